"""One state in every form: torch files, safetensors files and Orbax directories are the same model, bit for bit."""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import nnx

import scallax
import torch_bridge
from scallax import CheckpointError, InputError, checkpoint, nn

GOLDEN = Path(__file__).parents[1] / "golden"

PROGRAM = """
rel edge = {0.3::(0, 1), 0.6::(1, 2)}
rel color = {0.2::(0, "r"); 0.35::(0, "g")}
rel 0.7::path(x, y) = edge(x, y) or back(y, x)
rel out(x, y, c) = path(x, y), color(0, c)
"""
OPTIONS = {
    "provenance": "diffaddmultprob",
    "trainable": ["path", "edge", "color"],
    "input_mappings": {"back": [(1, 0), (2, 1), (2, 0)]},
    "output_mapping": ("out", [(0, 1, "r"), (1, 2, "g")]),
}
SUM_2 = {
    "program": "rel sum_2(a + b) = digit_a(a) and digit_b(b)",
    "input_mappings": {"digit_a": range(10), "digit_b": range(10)},
    "output_mapping": ("sum_2", range(19)),
}
FORMS = {"torch": "model.pt", "safetensors": "model.safetensors", "orbax": "model"}
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


def make_module(dtype: torch.dtype = torch.float32) -> torch_bridge.Module:
    """A module whose parameters are not the written ones."""
    module = torch_bridge.Module(PROGRAM, **OPTIONS).to(dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=generator).to(dtype)
    return module


class Network(torch.nn.Module):
    """A reasoner with a network in front."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.encoder = torch.nn.Linear(4, 3, dtype=dtype)
        self.reasoner = make_module(dtype)


def assert_same(one: torch_bridge.Module, other: torch_bridge.Module) -> None:
    assert one.specification == other.specification
    for (name, value), (other_name, other_value) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert name == other_name
        assert value.dtype == other_value.dtype
        assert torch.equal(value, other_value)


def write(module: torch_bridge.Module, folder: Path, form: str) -> Path:
    path = folder / FORMS[form]
    if form == "orbax":
        torch_bridge.save(folder / "first.pt", module)
        torch_bridge.convert(folder / "first.pt", path)
    else:
        torch_bridge.save(path, module)
    return path


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_becomes_every_other(dtype, tmp_path):
    module = make_module(dtype)
    for source in FORMS:
        (tmp_path / source).mkdir()
        path = write(module, tmp_path / source, source)
        assert_same(torch_bridge.load(path), module)
        for target in FORMS:
            converted = tmp_path / source / f"again-{FORMS[target]}"
            torch_bridge.convert(path, converted)
            assert_same(torch_bridge.load(converted), module)


def test_a_module_without_tensors_in_every_form(tmp_path):
    module = torch_bridge.Module(**SUM_2, provenance="diffaddmultprob")
    digits = {name: torch.rand(3, 10) for name in ("digit_a", "digit_b")}
    for form in FORMS:
        path = write(module, tmp_path, form)
        assert torch.equal(torch_bridge.load(path)(**digits), module(**digits))


def test_a_larger_model_in_every_form(tmp_path):
    model = Network(torch.float64)
    torch_bridge.save(tmp_path / "model.pt", model.state_dict())
    for source, target in itertools.pairwise(["model.pt", "model.safetensors", "model", "again.pt"]):
        torch_bridge.convert(tmp_path / source, tmp_path / target)
        state = torch_bridge.load(tmp_path / target)
        other = Network(torch.float64)
        other.load_state_dict(state)
        assert torch.equal(other.encoder.weight, model.encoder.weight)
        assert_same(other.reasoner, model.reasoner)
    with pytest.raises(CheckpointError, match=r"a torch model with reasoners at `reasoner`, not one reasoner"):
        checkpoint.load(tmp_path / "model")


def test_what_torch_wrote_is_a_flax_module_and_back(tmp_path):
    module = make_module()
    back = torch.rand(4, 3)
    torch_bridge.save(tmp_path / "model.pt", module)
    with pytest.raises(
        CheckpointError, match=r"this is a file of torch\nhint: .*torch_bridge\.convert\(source, target"
    ):
        checkpoint.load(tmp_path / "model.pt")
    torch_bridge.convert(tmp_path / "model.pt", tmp_path / "model")
    flax_module = checkpoint.load(tmp_path / "model")
    assert isinstance(flax_module, nn.Reasoner)
    np.testing.assert_array_equal(flax_module(back=back.numpy()), module(back=back).detach().numpy())
    nnx.update(flax_module, jax.tree.map(lambda logits: logits + 1, nnx.state(flax_module)))
    checkpoint.save(tmp_path / "trained.safetensors", flax_module)
    again = torch_bridge.load(tmp_path / "trained.safetensors")
    np.testing.assert_array_equal(flax_module(back=back.numpy()), again(back=back).detach().numpy())
    torch_bridge.convert(tmp_path / "trained.safetensors", tmp_path / "trained.pt")
    assert_same(torch.load(tmp_path / "trained.pt"), again)


def test_a_reasoner_comes_back_as_one(tmp_path):
    reasoner = scallax.Reasoner(PROGRAM, **OPTIONS)
    reasoner = reasoner.with_parameters({name: logits + 1 for name, logits in reasoner.parameters.items()})
    checkpoint.save(tmp_path / "model", reasoner, extra={"epoch": 3})
    assert checkpoint.load(tmp_path / "model") == reasoner
    assert checkpoint.read(tmp_path / "model").extra == {"epoch": 3}


@pytest.mark.parametrize("output", [("out", [(0, 1, "r"), (1, 2, "g")]), pytest.param(None, marks=pytest.mark.nightly)])
def test_a_stored_grounding_answers_without_a_program(output):
    options = {**OPTIONS, "k": 3, "test_k": 1, "provenance": "difftopkproofs", "output_mapping": output}
    reasoner = scallax.Reasoner(PROGRAM, **options, output_relation=None if output else "out")
    back = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    # Who would ground this would fail.
    specification = dataclasses.replace(reasoner.specification, program="no program")
    stored = scallax.Reasoner.from_stored(specification, reasoner.compiled_program.serialized())
    for ours, theirs in ((stored, reasoner), (stored.in_mode(False), reasoner.in_mode(False))):
        jax.tree.map(np.testing.assert_array_equal, ours(back=back), theirs(back=back))
        gradient, expected = (
            jax.grad(lambda p, r=r: jax.tree.leaves(r.apply(p, back=back))[-1].sum())(r.parameters)
            for r in (ours, theirs)
        )
        jax.tree.map(np.testing.assert_array_equal, gradient, expected)
    with pytest.raises(scallax.ParseError):
        stored.with_k(2)(back=back)


@pytest.mark.parametrize("name", ["model", "model.safetensors"])
def test_a_grounding_is_stored_with_a_checkpoint(name, tmp_path):
    program = 'rel r = {0.5::("é", 1.5, true), 0.25::("", -0.5, false)}  rel s(a, b, c, 7) = r(a, b, c)'
    reasoner = scallax.Reasoner(program, provenance="diffminmaxprob", output_relation="s")
    checkpoint.save(tmp_path / name, reasoner, ground=True)
    loaded = checkpoint.load(tmp_path / name)
    assert loaded == reasoner
    assert loaded()[0] == reasoner()[0]
    np.testing.assert_array_equal(loaded()[1], reasoner()[1])


def test_a_stored_grounding_that_points_outside_is_refused(tmp_path):
    reasoner = scallax.Reasoner(PROGRAM, **OPTIONS)
    stored = reasoner.compiled_program.serialized()
    for name, array in stored.arrays.items():
        if array.dtype != np.int32 or not array.size or name.endswith((".begins", ".offset")):
            continue
        wrong = np.array(array)
        wrong[...] = 1 << 30
        forged = type(stored)(stored.data, {**stored.arrays, name: wrong})
        with pytest.raises(CheckpointError, match="the stored grounding is damaged"):
            scallax.Reasoner.from_stored(reasoner.specification, forged)
    other = dataclasses.replace(reasoner.specification, provenance="difftopkproofs")
    with pytest.raises(CheckpointError, match="the stored grounding is of another provenance"):
        scallax.Reasoner.from_stored(other, stored)


def test_a_training_state_beside_the_model_is_not_lost_in_silence(tmp_path):
    checkpoint.save(tmp_path / "model", scallax.Reasoner(PROGRAM, **OPTIONS), extra={"epoch": 3})
    torch_bridge.convert(tmp_path / "model", tmp_path / "model.safetensors")
    assert checkpoint.read(tmp_path / "model.safetensors").extra == {"epoch": 3}
    with pytest.raises(CheckpointError, match=r"has extra beside the model\nhint: read them"):
        torch_bridge.convert(tmp_path / "model", tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_what_is_no_model_is_not_converted(tmp_path):
    torch_bridge.save(tmp_path / "model.pt", {"epoch": 3, "model": make_module().state_dict()})
    with pytest.raises(CheckpointError, match=r"`epoch` is a int, no tensor\nhint: a state dict maps names to tensors"):
        torch_bridge.convert(tmp_path / "model.pt", tmp_path / "model")
    with pytest.raises(InputError, match=r"^a list is no model\nhint: give a module or its state dict$"):
        torch_bridge.save(tmp_path / "model.safetensors", [])
    torch_bridge.save(tmp_path / "good.pt", make_module())
    torch_bridge.convert(tmp_path / "good.pt", tmp_path / "good")
    with pytest.raises(CheckpointError, match=r"exists; give overwrite=True"):
        torch_bridge.convert(tmp_path / "good.pt", tmp_path / "good")
    torch_bridge.convert(tmp_path / "good.pt", tmp_path / "good", overwrite=True)


def test_a_meta_device_and_a_device_are_taken(tmp_path):
    module = make_module()
    torch_bridge.save(tmp_path / "model.safetensors", module)
    assert_same(torch_bridge.load(tmp_path / "model.safetensors", map_location="cpu"), module)
    on_meta = torch_bridge.load(tmp_path / "model.safetensors", map_location="meta")
    assert all(parameter.device.type == "meta" for parameter in on_meta.parameters())


def test_the_golden_checkpoints_of_torch_load():
    """Files of format version 1, written once: every later version reads them."""
    modules = [torch_bridge.load(GOLDEN / name) for name in ("v1.pt", "v1.safetensors", "v1_orbax")]
    modules.append(torch.load(GOLDEN / "v1.pt"))
    # One has the specification as bytes, as it was packed first, the other as digits.
    for name in ("v1_state_dict.pt", "v1_state_dict_digits.pt"):
        state = torch_bridge.load(GOLDEN / name)
        assert state["epoch"] == 3
        modules.append(torch_bridge.Module.from_reasoner(checkpoint.load(GOLDEN / "v1.safetensors")))
        with torch.no_grad():
            for parameter in modules[-1].parameters():
                parameter.zero_()
        modules[-1].load_state_dict(state["model"])
    for module in modules:
        assert module.get_parameter("edge.facts").tolist() == [0.5, -1.25]
        assert module.get_parameter("path.rules.0").item() == 2.0
        tuples, values = module()
        assert tuples == [(0, 1), (1, 2)]
        expected = torch.tensor([0.5, -1.25]).sigmoid() * torch.tensor(2.0).sigmoid()
        torch.testing.assert_close(values[0].detach(), expected)
