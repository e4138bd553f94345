"""Exact inference against all possible worlds, and what a compilation is refused for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax.mappings import InputMapping
from scallax.reasoner import Reasoner
from tests.uncertain_programs import KnownProgram, known_program

# Programs of one text, which is compiled once.
BLOCK = 50


def reasoner_of(known: list[KnownProgram]) -> Reasoner:
    """All programs side by side."""
    mappings: dict[str, InputMapping] = {}
    for each in known:
        mappings |= {name: InputMapping(tuples) for name, tuples in each.program.independent.items()}
        mappings |= {name: InputMapping(tuples, disjunctive=True) for name, tuples in each.program.exclusive.items()}
    return Reasoner(
        "".join(each.program.text for each in known),
        provenance="diffexact",
        input_mappings=mappings,
        output_mappings=dict.fromkeys(name for each in known for name in each.program.derived),
    )


def check(block: int, dtype: type, tolerance: float) -> None:
    """Values and gradients of a block of random programs are those of the worlds."""
    seeds = range(block * BLOCK, (block + 1) * BLOCK)
    known = [known_program(np.random.default_rng(seed), number, dtype) for number, seed in enumerate(seeds)]
    reasoner = reasoner_of(known)
    owner = {name: each for each in known for name in each.program.derived}
    expected, cotangent = [], []
    weights = np.random.default_rng(block)
    gradients = {name: np.zeros(values.shape) for each in known for name, values in each.inputs.items()}
    sizes = {name: np.zeros(values.shape) for name, values in gradients.items()}
    for output in reasoner.outputs:
        each = owner[output.relation]
        absent = set(each.tuples[output.relation]) - set(output.tuples)
        assert not any(each.tuples[output.relation][values] for values in absent)
        for values in output.tuples:
            worlds = each.tuples[output.relation].get(values, 0)
            expected.append(each.worlds.probability(worlds))
            cotangent.append(weights.uniform(0.5, 1.5))
            derivatives = each.worlds.derivatives(worlds)
            start = dict.fromkeys(each.inputs, 0)
            for choice, derivative in zip(each.worlds.choices, derivatives, strict=True):
                name, count = choice.facts[0][0], len(choice.facts)
                if name in start:
                    place = slice(start[name], start[name] + count)
                    gradients[name][place] += cotangent[-1] * derivative
                    sizes[name][place] += cotangent[-1] * np.abs(derivative)
                    start[name] += count
    arrays = reasoner.order({name: p[None] for each in known for name, p in each.inputs.items()})
    values, residuals = reasoner.forward(arrays)
    assert values.dtype == dtype
    np.testing.assert_allclose(values[0], expected, rtol=tolerance, atol=1e-2 * tolerance)
    pulled, _ = reasoner.pull_back(arrays, residuals, jnp.asarray(np.array(cotangent)[None].astype(dtype)))
    for name, actual in zip(reasoner.input_relations, pulled, strict=True):
        # Derivatives of either sign cancel.
        assert (np.abs(np.asarray(actual)[0] - gradients[name]) <= tolerance * (1 + sizes[name])).all(), name


def test_float32_values_and_gradients_are_those_of_the_worlds():
    # 16 roundings of half an epsilon each.
    check(0, np.float32, 1e-6)


def test_float64_values_and_gradients_are_those_of_the_worlds():
    with jax.enable_x64(True):
        check(1, np.float64, 1e-12)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("block", range(2, 22))
def test_values_and_gradients_of_many_programs(block: int):
    dtype = np.float32 if block % 2 else np.float64
    with jax.enable_x64(dtype is np.float64):
        check(block, dtype, 1e-6 if dtype is np.float32 else 1e-12)
