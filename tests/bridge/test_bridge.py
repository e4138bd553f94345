"""Tensors through a reasoner: values, gradients, dtypes, memory, transformations, threads and processes."""

import copy
import os
import subprocess
import sys
import textwrap
import threading

import jax
import numpy as np
import pytest
import torch

from scallax import InputError
from tests.compilations import counted_compilations
from tests.digit_models import Sums
from torch_bridge import Module

SUM_2 = "rel sum_2(a + b) = digit_a(a) and digit_b(b)"
DIGITS = {"digit_a": range(10), "digit_b": range(10)}

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def sum_2(provenance="diffaddmultprob", **options) -> Module:
    defaults = {"input_mappings": DIGITS, "output_mapping": ("sum_2", range(19))}
    return Module(program=SUM_2, provenance=provenance, **{**defaults, **options})


def probabilities(batch: int = 4, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(torch.randn(batch, 10, generator=generator, dtype=torch.float64), 1).to(dtype)


def convolved(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The sums' probabilities by torch alone, differentiable."""
    columns = [[a[:, i] * b[:, s - i] for i in range(max(0, s - 9), min(9, s) + 1)] for s in range(19)]
    return torch.stack([torch.stack(products).sum(0) for products in columns], 1)


def gradient_of(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


@pytest.fixture(scope="module")
def adder() -> Module:
    return sum_2()


def test_values_and_gradients_are_those_of_torch(adder):
    a, b = probabilities().requires_grad_(), probabilities(seed=1).requires_grad_()
    weights = torch.rand(4, 19, generator=torch.Generator().manual_seed(2))
    values = adder(digit_a=a, digit_b=b)
    torch.testing.assert_close(values, convolved(a, b))
    actual = torch.autograd.grad((values * weights).sum(), (a, b))
    expected = torch.autograd.grad((convolved(a, b) * weights).sum(), (a, b))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("provenance", ["diffaddmultprob", "diffminmaxprob", "difftopkproofs"])
def test_gradcheck_in_float64(provenance):
    module = sum_2(provenance)
    inputs = (probabilities(2, dtype=torch.float64), probabilities(2, 1, dtype=torch.float64))
    inputs = tuple(tensor.requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(lambda a, b: module(digit_a=a, digit_b=b), inputs)


def test_a_gradient_through_one_input_only(adder):
    a, b = probabilities().requires_grad_(), probabilities(seed=1)
    adder(digit_a=a, digit_b=b)[:, 3].sum().backward()
    torch.testing.assert_close(gradient_of(a)[:, :4], b[:, :4].flip(1))
    assert b.grad is None


def test_every_result_form():
    a, b = probabilities().requires_grad_(), probabilities(seed=1)
    expected = convolved(a, b)
    single = sum_2(output_mapping=("sum_2", (3,)))(digit_a=a, digit_b=b)
    torch.testing.assert_close(single, expected[:, 3])
    tuples, values = sum_2(output_mapping=None, output_relation="sum_2")(digit_a=a, digit_b=b)
    assert tuples == [(n,) for n in range(19)]
    torch.testing.assert_close(values, expected)
    several = sum_2(output_mapping=None, output_mappings={"digit_a": (2,), "sum_2": range(19)})(digit_a=a, digit_b=b)
    torch.testing.assert_close(several["digit_a"], a[:, 2])
    torch.testing.assert_close(several["sum_2"], expected)
    several["digit_a"].sum().backward()
    assert gradient_of(a).sum() == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_output_and_the_gradient_have_the_dtype_of_the_input(dtype, adder):
    a, b = probabilities(dtype=dtype).requires_grad_(), probabilities(seed=1, dtype=dtype)
    values = adder(digit_a=a, digit_b=b)
    values[:, 3].sum().backward()
    assert values.dtype == dtype
    assert gradient_of(a).dtype == dtype
    expected = convolved(a.detach().double(), b.double())
    torch.testing.assert_close(values.double(), expected, atol=4 * torch.finfo(dtype).eps, rtol=torch.finfo(dtype).eps)


def test_float64_needs_no_global_option(adder):
    assert not jax.config.read("jax_enable_x64")
    a, b = probabilities(dtype=torch.float64), probabilities(seed=1, dtype=torch.float64)
    torch.testing.assert_close(adder(digit_a=a, digit_b=b), convolved(a, b), rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_every_batch_size(batch, adder):
    a, b = probabilities(batch).requires_grad_(), probabilities(batch, 1).requires_grad_()
    values = adder(digit_a=a, digit_b=b)
    assert values.shape == (batch, 19)
    values.sum().backward()
    assert gradient_of(a).shape == gradient_of(b).shape == (batch, 10)


@pytest.mark.parametrize(
    "arranged",
    [
        lambda t: t.t().contiguous().t(),
        lambda t: torch.cat([t, t], 1)[:, :10],
        lambda t: torch.cat([torch.zeros(1, 10), t])[1:],
        lambda t: torch.stack([t, t], 2)[..., 1],
        lambda t: t[:1].expand(4, 10),
        lambda t: t.repeat_interleave(2, 0)[::2],
    ],
)
def test_any_layout_in_memory(arranged, adder):
    a, b = arranged(probabilities()), probabilities(seed=1)
    torch.testing.assert_close(adder(digit_a=a, digit_b=b), convolved(a, b))


def test_an_input_changed_after_the_call_changes_nothing(adder):
    a, b = probabilities(512), probabilities(512, 1)
    expected = convolved(a, b)
    for _ in range(5):
        changed = a.clone()
        values = adder(digit_a=changed, digit_b=b)
        changed.zero_()
        torch.testing.assert_close(values, expected)


def test_an_input_changed_before_the_backward_pass_is_torchs_error(adder):
    a = probabilities().requires_grad_()
    scaled = a * 1
    values = adder(digit_a=scaled, digit_b=probabilities(seed=1))
    scaled.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


def test_outputs_are_the_callers_own(adder):
    a, b = probabilities(), probabilities(seed=1)
    first = adder(digit_a=a, digit_b=b)
    first.add_(1)
    torch.testing.assert_close(adder(digit_a=a, digit_b=b), convolved(a, b))


def test_nothing_is_kept_without_gradients(adder):
    a, b = probabilities().requires_grad_(), probabilities(seed=1)
    with torch.no_grad():
        assert adder(digit_a=a, digit_b=b).grad_fn is None
    with torch.inference_mode():
        assert adder(digit_a=a, digit_b=b).is_inference()
    assert adder(digit_a=a.detach(), digit_b=b).grad_fn is None


def test_a_step_that_was_compiled_compiles_nothing_again(adder):
    def step():
        a = probabilities().requires_grad_()
        adder(digit_a=a, digit_b=probabilities(seed=1)).sum().backward()
        with torch.no_grad():
            adder(digit_a=a, digit_b=a)

    step()
    with counted_compilations() as compiled:
        step()
    assert compiled == []


def test_a_graph_can_be_used_twice(adder):
    a = probabilities().requires_grad_()
    loss = adder(digit_a=a, digit_b=probabilities(seed=1))[:, 3].sum()
    loss.backward(retain_graph=True)
    once = gradient_of(a).clone()
    loss.backward()
    torch.testing.assert_close(gradient_of(a), 2 * once)


def test_functional_transforms(adder):
    a, b = probabilities(), probabilities(seed=1)

    def one(x, y):
        return adder(digit_a=x[None], digit_b=y[None])[0]

    expected = torch.autograd.functional.jacobian(lambda a: convolved(a, b), a)
    torch.testing.assert_close(torch.func.vmap(one)(a, b), convolved(a, b))
    torch.testing.assert_close(torch.func.vmap(one, in_dims=(1, None))(a.t(), b[0]), convolved(a, b[:1].expand(4, 10)))
    torch.testing.assert_close(torch.func.jacrev(lambda a: adder(digit_a=a, digit_b=b))(a), expected)
    gradient = torch.func.grad(lambda a: adder(digit_a=a, digit_b=b)[:, 3].sum())(a)
    torch.testing.assert_close(gradient, expected.select(1, 3).sum(0))
    each = torch.func.vmap(torch.func.grad(lambda x, y: one(x, y)[3]))(a, b)
    torch.testing.assert_close(each, gradient)
    per_sample = torch.func.vmap(torch.func.jacrev(one))(a, b)
    torch.testing.assert_close(per_sample, torch.stack([expected[i, :, i] for i in range(4)]))


def test_a_mapped_sample_without_its_batch_axis_is_one_error(adder):
    with pytest.raises(InputError, match=r"^`digit_a` has shape \(10,\); its input mapping asks for \(batch, 10\)$"):
        torch.func.vmap(lambda x: adder(digit_a=x, digit_b=x))(probabilities())


def test_outputs_of_bool_have_no_gradient():
    module = sum_2("bool")
    a = torch.zeros(1, 10).index_fill_(1, torch.tensor([3]), 1.0).requires_grad_()
    values = module(digit_a=a, digit_b=torch.ones(1, 10, dtype=torch.bool))
    assert values.dtype == torch.bool
    assert not values.requires_grad
    assert values[0].nonzero().flatten().tolist() == list(range(3, 13))


def test_train_and_eval_choose_k():
    module = sum_2("difftopkproofs", k=3, train_k=1, test_k=10)
    a, b = probabilities(), probabilities(seed=1)
    for mode, k in ((True, 1), (False, 10)):
        expected = sum_2("difftopkproofs", k=k)(digit_a=a, digit_b=b)
        torch.testing.assert_close(module.train(mode)(digit_a=a, digit_b=b), expected, rtol=0, atol=0)


def test_copies_and_conversions_change_nothing(adder):
    a, b = probabilities(), probabilities(seed=1)
    expected = adder(digit_a=a, digit_b=b)
    for other in (copy.deepcopy(adder), adder.to("cpu"), adder.half(), adder.double(), copy.deepcopy(adder).eval()):
        values = other(digit_a=a, digit_b=b)
        assert values.dtype == torch.float32
        assert torch.equal(values, expected)


def test_the_module_stands_in_a_larger_one():
    class Adder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(4, 10)
            self.reason = sum_2()

        def forward(self, left, right):
            left, right = (torch.softmax(self.encoder(x), 1) for x in (left, right))
            return self.reason(digit_a=left, digit_b=right)

    torch.manual_seed(0)
    model = Adder()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    left, right = torch.randn(8, 4), torch.randn(8, 4)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = -torch.log(model(left, right)[:, 7] + 1e-6).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert repr(model.reason) == "Module(digit_a, digit_b -> sum_2, provenance=diffaddmultprob, k=3)"


def test_threads(adder):
    def work(seed: int) -> None:
        for batch in (1, 4, 2):
            a, b = probabilities(batch, seed).requires_grad_(), probabilities(batch, seed + 1)
            values = adder(digit_a=a, digit_b=b)
            values[:, 3].sum().backward()
            correct.append(
                torch.allclose(values, convolved(a, b)) and torch.allclose(gradient_of(a)[:, :4], b[:, :4].flip(1))
            )

    correct: list[bool] = []
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert correct == [True] * 18


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"digit_a": np.ones((1, 10))}, "`digit_a` is a ndarray; give a tensor"),
        ({"digit_a": torch.ones(1, 10, dtype=torch.int32)}, "`digit_a` is of dtype int32; probabilities are floats"),
        ({"digit_a": torch.full((1, 10), torch.nan)}, "`digit_a` is nan in sample 0 for the tuple `digit_a(0)`"),
        ({"digit_a": torch.ones(1, 9)}, "`digit_a` has shape (1, 9); its input mapping asks for (batch, 10)"),
        ({"digit_a": torch.ones(1, 10, device="meta")}, "the inputs are on different devices: `digit_b` is on cpu"),
        (
            {"digit_a": torch.ones(1, 10).to_sparse()},
            "a tensor of layout torch.sparse_coo on the device cpu has no array",
        ),
        ({}, "no input for `digit_a`: give an array of shape (batch, 10)"),
    ],
)
def test_bad_tensors(inputs, message, adder):
    with pytest.raises(InputError) as caught:
        adder(digit_b=torch.full((1, 10), 0.1), **inputs)
    assert str(caught.value).startswith(message)
    assert adder(digit_a=probabilities(), digit_b=probabilities()).shape == (4, 19)


def test_numbers_outside_0_and_1_warn_once():
    module = sum_2()
    a, b = 2 * probabilities(), probabilities(seed=1) / 2
    a[0, 0] = 1.5
    with pytest.warns(
        UserWarning, match=r"^`digit_a` is 1\.5 in sample 0 .* outside \[0, 1\]; it is computed as it is$"
    ):
        values = module(digit_a=a, digit_b=b)
    torch.testing.assert_close(values, convolved(a, b))
    module(digit_a=a, digit_b=-b)


def run_in_a_new_process(code: str, **environment: str) -> str:
    """The printed output of a script, which must end by itself, without an error."""
    preamble = f"""
        import torch, torch_bridge
        def module(provenance="diffaddmultprob"):
            return torch_bridge.Module(
                program={SUM_2!r}, provenance=provenance,
                input_mappings={{"digit_a": range(10), "digit_b": range(10)}}, output_mapping=("sum_2", range(19)))
        def answer(adder):
            return round(float(adder(digit_a=torch.full((2, 10), 0.1), digit_b=torch.full((2, 10), 0.1))[0, 0]), 4)
    """
    script = textwrap.dedent(preamble) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FORK = """
    import os
    def in_a_fork(work):
        child = os.fork()
        if child == 0:
            try:
                print(work(), flush=True)
            except Exception as error:
                print(type(error).__name__, error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
"""
REFUSED = [
    "UnsupportedError this process was forked from one that had used JAX, and JAX would hang in it",
    "hint: start workers with the method `spawn` or `forkserver`, or fork before the first use of JAX",
]


def test_a_fork_answers_before_the_first_call_and_is_one_error_after_it():
    code = """
        def step(adder):
            digits = {name: torch.full((2, 10), 0.1, requires_grad=True) for name in ("digit_a", "digit_b")}
            adder(**digits).sum().backward()
            return "trained"
        adder = module()
        in_a_fork(lambda: answer(adder))
        print(answer(adder), flush=True)
        in_a_fork(lambda: answer(adder))
        print(answer(adder))
        for provenance in ("difftopkproofs", "diffminmaxprob"):
            adder = module(provenance)
            print(step(adder), flush=True)
            in_a_fork(lambda: step(adder))
    """
    lines = run_in_a_new_process(textwrap.dedent(FORK) + textwrap.dedent(code)).splitlines()
    assert lines == ["0.01", "0.01", *REFUSED, "0.01", *["trained", *REFUSED] * 2]


def test_a_fork_after_others_used_jax_is_one_error_and_the_process_exits_cleanly():
    code = """
        import jax
        jax.numpy.zeros(3).block_until_ready()
        adder = module()
        in_a_fork(lambda: answer(adder))
        a = torch.full((256, 10), 0.1, dtype=torch.bfloat16).requires_grad_()
        adder(digit_a=a, digit_b=a).sum().backward()
        print("done")
    """
    lines = run_in_a_new_process(textwrap.dedent(FORK) + textwrap.dedent(code)).splitlines()
    assert lines == [*REFUSED, "done"]


def test_a_worker_of_a_data_loader_answers():
    options = {"num_workers": 1, "multiprocessing_context": "spawn", "timeout": 3000}
    loader = torch.utils.data.DataLoader(Sums(), batch_size=2, **options)
    torch.testing.assert_close(next(iter(loader)), torch.tensor([0.01, 0.02]))


@pytest.mark.gpu
@needs_cuda
def test_cuda_tensors_are_answered_on_their_device(adder):
    a = probabilities().cuda().requires_grad_()
    b = probabilities(seed=1).cuda()
    values = adder(digit_a=a, digit_b=b)
    assert values.device == a.device
    torch.testing.assert_close(values.cpu(), convolved(a.cpu(), b.cpu()))
    values[:, 3].sum().backward()
    torch.testing.assert_close(gradient_of(a)[:, :4], b[:, :4].flip(1))


@pytest.mark.gpu
@needs_cuda
def test_inputs_on_two_devices_are_one_error(adder):
    with pytest.raises(
        InputError,
        match=r"^the inputs are on different devices: `digit_a` is on cuda:0, `digit_b` is on cpu\nhint: move them",
    ):
        adder(digit_a=probabilities().cuda(), digit_b=probabilities())


@pytest.mark.gpu
@needs_cuda
def test_cuda_tensors_are_answered_on_their_device_by_a_jax_without_cuda():
    code = """
        import os, warnings
        adder = module()
        p = torch.full((2, 10), 0.1, device="cuda").requires_grad_()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                values = adder(digit_a=p, digit_b=p)
                values[:, 0].sum().backward()
        print([str(warning.message) for warning in caught])
        print(values.device, p.grad.device, round(float(values[0, 1]), 4), round(float(p.grad[0, 0]), 4))
    """
    warning = "this JAX has no cuda device: tensors are copied to the CPU and back; install JAX for that device"
    assert run_in_a_new_process(code, JAX_PLATFORMS="cpu").splitlines() == [str([warning]), "cuda:0 cuda:0 0.02 0.4"]
