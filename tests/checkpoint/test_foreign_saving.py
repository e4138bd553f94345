"""Programs with functions of Python in every form of saving: no code is stored, and none is needed for an answer."""

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import CheckpointError, checkpoint

calls: Counter[int] = Counter()


@scallax.foreign_function
def square(x: scallax.i32) -> scallax.i32:
    calls[x] += 1
    return x * x


@scallax.foreign_predicate
def near(x: int) -> scallax.Facts[float, tuple[int]]:
    yield 0.5, (x + 1,)


@scallax.foreign_aggregate
def largest(values: list[scallax.i32]) -> scallax.i32:
    return max(values) if values else None  # pyright: ignore[reportReturnType]


FOREIGN = [square, near, largest]
PROGRAM = """
rel step(x, $square(y)) = a(x), near(x, y)
rel out(x, m) = m := largest(y: step(x, y))
"""
OPTIONS: dict[str, Any] = {"input_mappings": {"a": range(3)}, "output_relation": "out", "foreign": FOREIGN}
A = np.array([[0.5, 0.25, 0.75]], np.float32)


@scallax.foreign_function(name="square")
def other_square(x: scallax.i32) -> scallax.i64:
    return x * x


def test_a_specification_names_what_is_foreign_and_holds_no_code():
    reasoner = scallax.Reasoner(PROGRAM, **OPTIONS)
    assert reasoner.specification.foreign == (
        "aggregate largest(i32) -> (i32)",
        "function $square(i32) -> i32",
        "predicate near(i32, i32) of 1 input tagged",
    )
    text = reasoner.specification.to_json()
    assert scallax.Reasoner.from_json(text, FOREIGN) == reasoner
    with pytest.raises(CheckpointError) as caught:
        scallax.Reasoner.from_json(text, [near, other_square])
    assert str(caught.value) == (
        "the saved program uses the aggregate largest(i32) -> (i32), which is not passed\n"
        "hint: pass it when loading: `foreign=[…]`; code is not saved\n\n"
        "the saved program uses the function $square(i32) -> i32, but what is passed is the function $square(i32) -> "
        "i64\nhint: pass the one that it was saved with"
    )


@pytest.mark.parametrize("name", ["model", "model.safetensors"])
def test_checkpoints_are_loaded_with_what_they_use(name: str, tmp_path):
    reasoner = scallax.Reasoner(PROGRAM, **OPTIONS)
    checkpoint.save(tmp_path / "plain.safetensors", reasoner)
    assert checkpoint.load(tmp_path / "plain.safetensors", foreign=FOREIGN) == reasoner
    checkpoint.save(tmp_path / name, reasoner, ground=True)
    with pytest.raises(CheckpointError, match=rf"{name}`: the saved program uses the function \$square"):
        checkpoint.load(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"but what is passed is the function \$square\(i32\) -> i64"):
        checkpoint.load(tmp_path / name, foreign=[other_square, near, largest])
    calls.clear()
    loaded = checkpoint.load(tmp_path / name, foreign=FOREIGN)
    np.testing.assert_array_equal(loaded(a=A)[1], reasoner(a=A)[1])
    assert not calls
    # Another number of proofs than those stored is grounded anew.
    assert loaded.with_k(1)(a=A)[0] == reasoner(a=A)[0]
    assert calls == {1: 1, 2: 1, 3: 1}
    module = torch_bridge.load(tmp_path / name, foreign=FOREIGN)
    np.testing.assert_array_equal(module(a=torch.tensor(A))[1].numpy(), reasoner(a=A)[1])


def test_pickles_hold_what_was_grounded():
    reasoner = scallax.Reasoner(PROGRAM, **OPTIONS)
    calls.clear()
    again = pickle.loads(pickle.dumps(reasoner))
    assert again == reasoner
    np.testing.assert_array_equal(again(a=A)[1], reasoner(a=A)[1])
    assert not calls
    with pytest.raises(CheckpointError, match=r"what is stored does not answer this, .*\nhint: load it with `foreign="):
        again.with_k(1)(a=A)
    assert again.with_foreign(FOREIGN).with_k(1)(a=A)[0] == reasoner(a=A)[0]


def test_files_of_torch_hold_data_only(tmp_path):
    module = torch_bridge.Module(PROGRAM, **OPTIONS)
    expected = module(a=torch.tensor(A))[1]
    torch_bridge.save(tmp_path / "model.pt", module)
    calls.clear()
    again = torch.load(tmp_path / "model.pt")
    assert torch.equal(again(a=torch.tensor(A))[1], expected)
    with pytest.raises(CheckpointError, match=r"the saved program uses the predicate near"):
        torch_bridge.load(tmp_path / "model.pt")
    again = torch_bridge.load(tmp_path / "model.pt", foreign=FOREIGN)
    assert torch.equal(again(a=torch.tensor(A))[1], expected)
    assert not calls
    again.reasoner.with_k(1)(a=A)
    assert calls
    # A state dict needs the module that it is loaded into.
    module.load_state_dict(torch_bridge.Module(PROGRAM, **OPTIONS).state_dict())
    other = torch_bridge.Module(PROGRAM.replace("$square(y)", "y"), **OPTIONS)
    with pytest.raises(RuntimeError, match="foreign: was"):
        module.load_state_dict(other.state_dict())


def test_a_damaged_grounding_in_a_file_of_torch_is_refused():
    module = torch_bridge.Module(PROGRAM, **OPTIONS)
    state = module.__getstate__()
    for damaged in (3, {"data": "{", "arrays": {}}, {"data": "{}", "arrays": {}}, {"data": "{}", "arrays": {"a": 1}}):
        with pytest.raises(CheckpointError, match="the stored grounding is damaged"):
            torch_bridge.Module.__new__(torch_bridge.Module).__setstate__({**state, "ground": damaged})


def test_conversion_to_torch_needs_what_the_program_uses(tmp_path):
    checkpoint.save(tmp_path / "model.safetensors", scallax.Reasoner(PROGRAM, **OPTIONS))
    with pytest.raises(CheckpointError, match=r"the saved program uses the aggregate largest"):
        torch_bridge.convert(tmp_path / "model.safetensors", tmp_path / "model.pt")
    torch_bridge.convert(tmp_path / "model.safetensors", tmp_path / "model.pt", foreign=FOREIGN)
    torch_bridge.convert(tmp_path / "model.pt", tmp_path / "again.safetensors")
    assert checkpoint.load(tmp_path / "again.safetensors", foreign=FOREIGN).specification.program == PROGRAM
