"""Modules with a reasoner in them work as torch's others do: compiled, exported, mapped, replicated, distributed."""

import gc
import os
import re
import shutil
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch._dynamo.exc import TorchRuntimeError, Unsupported
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import scallax
import torch_bridge
from scallax import InputError, UnsupportedError
from tests import distributed_process
from tests.compilations import counted_compilations
from tests.digit_models import SHIFTED_SUM, Adder, descend, features, loss_of, shifted_sum


def step(model: Any, batch: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Values, and gradients by the parameters' names."""
    parameters = dict(model.named_parameters())
    values = model(batch)
    gradients = torch.autograd.grad(-torch.log(values[:, 2].float() + 1e-6).mean(), list(parameters.values()))
    names = (name.removeprefix("_orig_mod.") for name in parameters)
    return values.detach(), dict(zip(names, gradients, strict=True))


def digits(batch: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(seed)).softmax(1)


@pytest.fixture
def backend() -> CompileCounterWithBackend:
    """Counts the graphs that are compiled, from none; forward and backward are traced, and run as they are."""
    torch.compiler.reset()
    return CompileCounterWithBackend("aot_eager")


def test_a_compiled_model_is_one_graph_with_the_same_values_and_gradients(backend):
    model = Adder()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    expected = step(model, features())
    torch.testing.assert_close(step(compiled, features()), expected)
    assert backend.frame_count == 1
    with counted_compilations() as compilations:
        torch.testing.assert_close(step(compiled, features(seed=1)), step(model, features(seed=1)))
    assert (backend.frame_count, compilations) == (1, [])


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
def test_torchs_own_backend():
    torch.compiler.reset()
    module = shifted_sum()
    a, b = digits().requires_grad_(), digits(seed=1)
    actual, expected = (function(digit_a=a, digit_b=b) for function in (torch.compile(module, fullgraph=True), module))
    torch.testing.assert_close(actual, expected)
    gradients = (torch.autograd.grad(values[:, 2].sum(), (a, *module.parameters())) for values in (actual, expected))
    torch.testing.assert_close(*gradients)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's backend compiles C++")
def test_torchs_own_backend_around_a_reasoner():
    torch.compiler.reset()
    model = Adder()
    torch.testing.assert_close(step(torch.compile(model, fullgraph=True), features()), step(model, features()))


def test_a_compiled_model_takes_batches_of_any_size(backend):
    model = Adder()
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=True)
    with torch.no_grad():
        for batch in (2, 5):
            torch.testing.assert_close(compiled(features(batch)), model(features(batch)))
    assert backend.frame_count == 1


def test_programs_of_one_class_do_not_share_a_graph(backend):
    modules = [shifted_sum(), shifted_sum(program=SHIFTED_SUM.replace("a + b + s", "a * b + s")), shifted_sum()]
    for module in modules:
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        with torch.no_grad():
            values = compiled(digit_a=digits(), digit_b=digits(seed=1))
            torch.testing.assert_close(values, module(digit_a=digits(), digit_b=digits(seed=1)))
    # Equal programs do share one.
    assert backend.frame_count == 2


def test_compiled_modes_differ_in_k(backend):
    module = shifted_sum(provenance="difftopkproofs", train_k=1, test_k=5)
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    results = []
    for is_training in (True, False, True):
        module.train(is_training)
        with torch.no_grad():
            results.append(compiled(digit_a=digits(), digit_b=digits(seed=1)))
            torch.testing.assert_close(results[-1], module(digit_a=digits(), digit_b=digits(seed=1)))
    assert not torch.equal(results[0], results[1])
    assert backend.frame_count == 2


@pytest.mark.parametrize(
    "options",
    [
        {"output_mapping": None, "output_relation": "sum_2"},
        {"output_mapping": ("sum_2", (3,))},
        {"output_mapping": None, "output_mappings": {"digit_a": (2,), "sum_2": range(3)}},
        {"provenance": "bool", "trainable": None},
    ],
)
def test_compiled_results_of_every_form(options, backend):
    module = shifted_sum(**options)
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    with torch.no_grad():
        actual, expected = (f(digit_a=digits(), digit_b=digits(seed=1)) for f in (compiled, module))
    assert type(actual) is type(expected)
    torch.testing.assert_close(actual, expected)


def test_compiled_costs_are_integers(backend):
    sums = {"program": "rel sum_2(a + b) = digit_a(a) and digit_b(b)", "output_mapping": ("sum_2", range(5))}
    module = shifted_sum(provenance="tropical", trainable=None, **sums)
    costs = torch.tensor([[1, 5, 2], [4, 3, 9]])
    for inputs in ({"digit_a": costs, "digit_b": costs}, {"digit_a": costs.float(), "digit_b": costs.float()}):
        values = torch.compile(module, fullgraph=True, backend=backend)(**inputs)
        assert values.tolist() == [[2, 6, 3, 7, 4], [8, 7, 6, 12, 18]]
        assert values.dtype == module(**inputs).dtype == torch.int32


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float64), (torch.float16, torch.bfloat16)])
def test_compiled_dtypes(dtypes, backend):
    module = shifted_sum()
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    a, b = (digits(seed=seed).to(dtype).requires_grad_() for seed, dtype in enumerate(dtypes))
    actual, expected = compiled(digit_a=a, digit_b=b), module(digit_a=a, digit_b=b)
    torch.testing.assert_close(actual, expected)
    gradients = (torch.autograd.grad(values[:, 2].sum(), (a, b)) for values in (actual, expected))
    torch.testing.assert_close(*gradients)


def test_graphs_keep_no_module_alive(backend):
    module = shifted_sum(program=f"{SHIFTED_SUM}rel unused(1)")
    kept = weakref.ref(module), weakref.ref(module.reasoner)
    torch.compile(module, fullgraph=True, backend=backend)(digit_a=digits(), digit_b=digits()).sum().backward()
    del module
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_a_module_outlives_its_equals(backend):
    first, second = shifted_sum(), shifted_sum()
    compiled = torch.compile(second, fullgraph=True, backend=backend)
    del first
    gc.collect()
    torch.testing.assert_close(compiled(digit_a=digits(), digit_b=digits()), second(digit_a=digits(), digit_b=digits()))


@pytest.mark.parametrize("summand", [0, 1])
@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
def test_functions_of_python_are_told_apart(summand, backend):
    def plus(total: int) -> int:
        return total + summand

    def other(total: int) -> int:
        return total + 2

    declare = scallax.foreign_function(name="plus", arg_types=[scallax.i32], ret_type=scallax.i32)
    program = SHIFTED_SUM.replace("a + b + s", "$plus(a + b) + s")
    options = {"program": program, "output_mapping": ("sum_2", range(2, 6))}
    module, alike = (shifted_sum(foreign=[declare(function)], **options) for function in (plus, other))
    assert module.specification == alike.specification
    a, b = digits(), digits(seed=1)
    with torch.no_grad():
        torch.compile(alike, fullgraph=True, backend=backend)(digit_a=a, digit_b=b)
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        torch.testing.assert_close(compiled(digit_a=a, digit_b=b), module(digit_a=a, digit_b=b))
    with pytest.raises(UnsupportedError, match=r"^a graph that is saved holds no code of Python"):
        torch.export.export(module, (), {"digit_a": a, "digit_b": b}, strict=False)
    with pytest.raises(UnsupportedError, match=r"^a graph that is saved holds no code of Python"):
        torch.jit.trace(lambda a, b: module(digit_a=a, digit_b=b), (a, b))


def test_the_operator_is_what_torch_asks_of_one():
    module = shifted_sum()
    tensors = [digits().requires_grad_(), digits(seed=1).requires_grad_(), *module.parameters()]
    found = torch.library.opcheck(torch.ops.scallax.evaluate, (module.specification.digest, tensors))
    assert set(found.values()) == {"SUCCESS"}
    values = torch.ops.scallax.evaluate(module.specification.digest, tensors)
    (gradient,) = torch.autograd.grad(values[:, 2].sum(), tensors[0], create_graph=True)
    with pytest.raises(UnsupportedError, match=r"^second derivatives of a reasoner are not supported$"):
        gradient.sum().backward()


def test_errors_of_a_compiled_module(backend):
    model = Adder()
    compiled = torch.compile(model.reason, backend=backend)
    with pytest.raises(InputError, match=r"^`digit_a` is nan in sample 0 for the tuple `digit_a\(0\)`"):
        compiled(digit_a=torch.full((2, 3), torch.nan), digit_b=digits(2))
    with pytest.raises(InputError, match=r"^no input for `digit_b`: give an array of shape \(batch, 3\)$"):
        compiled(digit_a=digits())
    with pytest.raises(InputError, match=r"^`digit_a` is a int; give a tensor$"):
        compiled(digit_a=1, digit_b=digits())
    with pytest.raises(
        TorchRuntimeError, match=r"`digit_a` has shape \(4, 2\); its input mapping asks for \(batch, 3\)"
    ):
        compiled(digit_a=digits()[:, :2], digit_b=digits())
    with pytest.raises(TorchRuntimeError, match=r"vmap of a reasoner is not supported inside torch\.compile"):
        torch.compile(lambda x: torch.func.vmap(model)(x), backend=backend, fullgraph=True)(features(2)[:, None])
    with pytest.raises(TorchRuntimeError, match=r"autograd\.Function with functorch transforms"):
        torch.compile(torch.func.grad(lambda x: model(x).sum()), backend=backend, fullgraph=True)(features())


def test_a_second_derivative_of_a_compiled_model_is_torchs_error(backend):
    compiled = torch.compile(Adder(), fullgraph=True, backend=backend)
    batch = features().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(compiled, batch), batch, create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        gradient.sum().backward()


def test_a_constant_program_breaks_the_graph(backend):
    module = torch_bridge.Module(program="rel r = {0.25::(1)}", output_mapping=("r", [1]))
    assert torch.compile(module, backend=backend)().tolist() == [[0.25]]
    with pytest.raises(UnsupportedError, match=r"^a saved graph holds a reasoner that takes tensors, one or more"):
        torch.export.export(module, ())


@pytest.mark.parametrize("provenance", ["samplekproofs", "difftopkproofsdebug"])
def test_draws_and_returned_proofs_break_the_graph(provenance, backend):
    module = shifted_sum(provenance=provenance, trainable=None).eval()
    inputs = {"digit_a": digits(), "digit_b": digits(seed=1)}
    assert repr(torch.compile(module, backend=backend)(**inputs)) == repr(module(**inputs))
    torch.compiler.reset()
    with pytest.raises(Unsupported, match="draws nothing and returns dense tensors"):
        torch.compile(module, backend=backend, fullgraph=True)(**inputs)
    with pytest.raises(UnsupportedError, match=r"^a saved graph holds a reasoner that takes tensors"):
        torch.export.export(module, (), inputs, strict=False)


@pytest.mark.parametrize("is_strict", [False, True])
def test_an_exported_model_answers_without_the_model(is_strict, tmp_path):
    model = Adder()
    batch = features(9)
    expected = model(batch).detach()
    sizes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, (features(),), dynamic_shapes=sizes, strict=is_strict)
    torch.export.save(exported, tmp_path / "model.pt2")
    del model, exported
    torch.compiler.reset()
    gc.collect()
    torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(batch), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
def test_a_traced_model_answers_without_the_model(tmp_path):
    model = Adder()
    batch = features(9)
    expected = step(model, batch)
    traced: Any = torch.jit.trace(model, features())
    traced.save(tmp_path / "model.pt")
    del model
    gc.collect()
    torch.testing.assert_close(step(torch.jit.load(tmp_path / "model.pt"), batch), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
def test_a_scripted_model_is_one_error():
    with pytest.raises(
        UnsupportedError, match=r"^torch\.jit\.script cannot compile a reasoner\nhint: use torch\.export"
    ):
        torch.jit.script(Adder())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_narrows_the_inputs_and_not_the_reasoning(dtype, backend):
    model, module = Adder(), shifted_sum()
    expected, gradients = step(model, features())
    with torch.autocast("cpu", dtype=dtype):
        a, b = (digits(seed=seed).to(dtype) for seed in (0, 1))
        exact = module(digit_a=a.float(), digit_b=b.float())
        assert torch.equal(module(digit_a=a, digit_b=b), exact.to(dtype))
        assert exact.dtype == torch.float32
        found = [step(model, features()), step(torch.compile(model, fullgraph=True, backend=backend), features())]
    for values, actual in found:
        assert values.dtype == dtype
        # Products of three rounded numbers, and the rounding of a layer before and of the sum.
        torch.testing.assert_close(values.float(), expected, atol=4 * torch.finfo(dtype).eps, rtol=0)
        assert {gradient.dtype for gradient in actual.values()} == {torch.float32}
        torch.testing.assert_close(actual, gradients, atol=16 * torch.finfo(dtype).eps, rtol=0)


def test_functional_calls_and_gradients():
    model = Adder()
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    _, expected = step(model, features())

    def loss(parameters, batch):
        return loss_of(lambda batch: torch.func.functional_call(model, parameters, (batch,)), batch)

    torch.testing.assert_close(torch.func.grad(loss)(parameters, features()), expected)
    pull_back = torch.func.vjp(lambda parameters: loss(parameters, features()), parameters)[1]
    torch.testing.assert_close(pull_back(torch.tensor(1.0))[0], expected)
    torch.testing.assert_close(torch.func.jacrev(loss)(parameters, features()), expected)
    # Gradients for each sample, whose mean is that of the batch.
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, features()[:, None])
    torch.testing.assert_close({name: gradient.mean(0) for name, gradient in each.items()}, expected)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_activations(use_reentrant):
    model = Adder()
    expected = step(model, features())
    batch = features().requires_grad_()
    values = checkpoint(model, batch, use_reentrant=use_reentrant)
    torch.testing.assert_close(values, expected[0])
    (-torch.log(values[:, 2] + 1e-6).mean()).backward()
    torch.testing.assert_close({name: value.grad for name, value in model.named_parameters()}, expected[1])


def replicate(model: nn.Module) -> nn.Module:
    """The copy that `torch.nn.parallel.replicate` makes of a model, which it does on CUDA devices only."""
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            assert child is not None
            replica._modules[name] = replicas[child]
            setattr(replica, name, replicas[child])
        for name, parameter in module._parameters.items():
            assert parameter is not None
            setattr(replica, name, parameter.clone())
    return replicas[model]


@pytest.mark.parametrize("is_replicated", [True, False])
def test_eight_threads(is_replicated):
    model = Adder()
    _, expected = step(model, features(16))
    losses: dict[int, torch.Tensor] = {}

    def work(index: int, replica: nn.Module) -> None:
        losses[index] = loss_of(replica, features(16)[2 * index : 2 * index + 2])

    models = [replicate(model) if is_replicated else model for _ in range(8)]
    threads = [threading.Thread(target=work, args=item) for item in enumerate(models)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.stack([losses[index] for index in range(8)]).mean().backward()
    torch.testing.assert_close({name: value.grad for name, value in model.named_parameters()}, expected)


def test_two_processes_learn_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.manual_seed(0)
    expected = descend(Adder(), features(8))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.distributed_process", tmp_path]
    with subprocess.Popen(command, env=environment, cwd=root, stderr=subprocess.PIPE, text=True) as other:
        distributed_process.train(0, tmp_path)
        _, errors = other.communicate()
    assert other.returncode == 0, errors
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"parameters_{rank}.pt"), expected)


class DigitReader(lightning.LightningModule):
    """Reads handwritten digits, and learns it from the sums of pairs of them."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(64, 10)
        self.reason = torch_bridge.Module(
            program="rel sum_2(a + b) = digit_a(a) and digit_b(b)",
            provenance="diffaddmultprob",
            input_mappings={"digit_a": range(10), "digit_b": range(10)},
            output_mapping=("sum_2", range(19)),
        )
        self.losses: list[float] = []

    def forward(self, first, second):
        return self.reason(digit_a=self.encoder(first).softmax(1), digit_b=self.encoder(second).softmax(1))

    def training_step(self, batch, index):
        first, second, sums = batch
        loss = nn.functional.nll_loss(torch.log(self(first, second) + 1e-6), sums)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


@pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning", "ignore:.isinstance:FutureWarning")
def test_lightning_trains_and_resumes(tmp_path):
    images, labels = (torch.tensor(array[:256]) for array in load_digits(return_X_y=True))
    first, second = images.float().div(16).split(128)
    pairs = DataLoader(TensorDataset(first, second, labels[:128] + labels[128:]), batch_size=32)

    def fit(model: DigitReader, epochs: int, resumed: Path | None = None) -> Path:
        folder = tmp_path / f"{epochs}_{resumed is not None}"
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[ModelCheckpoint(folder, filename="last")],
        )
        trainer.fit(model, pairs, ckpt_path=resumed, weights_only=True)
        return folder / "last.ckpt"

    torch.manual_seed(0)
    model = DigitReader()
    fit(model, 4)
    assert len(model.losses) == 16
    assert sum(model.losses[-4:]) < sum(model.losses[:4])
    torch.manual_seed(0)
    saved = fit(DigitReader(), 2)
    torch.manual_seed(1)
    resumed = DigitReader()
    fit(resumed, 4, saved)
    torch.testing.assert_close(resumed.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert resumed.losses == model.losses[8:]


DOCUMENT = Path(__file__).parents[2] / "docs" / "torch.md"


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
def test_the_examples_of_the_document(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.compiler.reset()
    code = "".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    # Torch's own backend calls a C++ compiler, which takes half a minute.
    names: dict[str, Any] = {}
    exec(code.replace("fullgraph=True)", 'fullgraph=True, backend="aot_eager")'), names)
    assert names["each"]["reason.bias.facts"].shape == (4, 2)
    assert all(parameter.grad is not None for parameter in names["model"].parameters())
    assert (names["paths"].values().shape, names["p"].grad.tolist()) == ((4,), [1.25, 2.5])
    assert names["derivatives"].values().tolist() == [1.0, 0.25, 0.5, 1.0, 1.0]
    assert capsys.readouterr().out.startswith("torch.jit.script cannot compile a reasoner\n")


def test_a_compiled_model_warns_at_the_users_line():
    # Graphs of equal programs share a reasoner, which warns once.
    module = torch_bridge.Module(
        "rel b(x) = a(x) // compiled", provenance="minmaxprob", input_mappings={"a": [0]}, output_mapping=("b", [0])
    )
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    with pytest.warns(UserWarning, match="outside") as caught:
        compiled(a=torch.full((1, 1), 1.5))
    assert [warning.filename for warning in caught] == [__file__]
