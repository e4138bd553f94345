"""A batch of facts per sample chooses, weighs and refuses as each sample does alone."""

import random
from typing import Any

import numpy as np
import pytest

import torch_bridge
from scallax.errors import UnsupportedError
from scallax.provenance.proofs import decision_diagrams
from scallax.reasoner.reasoner import Reasoner

# Every aggregator that chooses or shares by weight, by group and in stages, over uncertain tuples and certain ones.
PROGRAM = """
    type f(k: i32, x: i32), fixed(k: String, x: i32)
    rel first(k, x) = x := top<2>(x: f(k, x))
    rel single(k, x) = x := unique(x: f(k, x))
    rel placed(k, i, x) = (i, x) := rank(x: f(k, x))
    rel equally(k, x) = x := uniform<2>(x: f(k, x))
    rel by_weight(k, x) = x := categorical<1>(x: f(k, x))
    rel shares(k, x) = x := normalize(x: f(k, x))
    rel soft(k, x) = x := softmax(x: f(k, x))
    rel again(x) = x := categorical<1>(x: first(_, x))
    rel settled(k, x) = x := uniform<1>(x: fixed(k, x))
"""
OUTPUTS = ["first", "single", "placed", "equally", "by_weight", "shares", "soft", "again", "settled"]


def random_samples() -> tuple[list, list]:
    """Facts of 0 to 8 tuples, and certain ones."""
    source = random.Random(3)
    facts = [
        [(source.random(), (source.randint(1, 2), source.randint(0, 4))) for _ in range(count)]
        for count in (6, 3, 0, 8, 1)
    ]
    fixed = [[(source.choice("ba"), source.randint(0, 9)) for _ in range(4)] for _ in facts]
    return facts, fixed


def holding(tuples, values) -> dict[tuple, float]:
    return {t: float(v) for t, v in zip(tuples, np.asarray(values), strict=True) if v}


# One program that most aggregators are in takes long to compile: of each kind one in every run.
QUICK = ("minmaxprob", ["first", "equally", "by_weight", "settled"])
ALL = [QUICK, pytest.param(("difftopkproofs", OUTPUTS), marks=pytest.mark.nightly)]


@pytest.mark.parametrize("choice", ALL, ids=["quick", "all"])
def test_a_sample_chooses_as_it_does_alone(choice: tuple[str, list[str]]):
    provenance, outputs = choice
    facts, fixed = random_samples()
    options: dict[str, Any] = {
        "provenance": provenance,
        "non_probabilistic": ["fixed"],
        "output_mappings": dict.fromkeys(outputs),
    }
    together = Reasoner(PROGRAM, **options)(f=facts, fixed=fixed)
    # Two of the samples draw tuples that are not the first ones.
    for sample in (0, 3) if choice is QUICK else range(len(facts)):
        alone = Reasoner(PROGRAM, facts={"f": facts[sample], "fixed": fixed[sample]}, **options)()
        for name in outputs:
            expected = holding(alone[name][0], alone[name][1][0])
            assert holding(together[name][0], together[name][1][sample]) == pytest.approx(expected, abs=1e-6), name


def test_weights_of_constants_become_values_in_every_sample():
    program = """
        type ask(x: f64)
        rel w = {0.5::1.0, 0.25::2.0, 1.0::4.0}
        rel asked(x) = ask(x), w(x)
        rel total(s) = s := weighted_sum(x: asked(x))
        rel shared(s) = s := weighted_avg(x: w(x))
        rel out(s) = shared(s), ask(_)
    """
    reasoner = Reasoner(program, non_probabilistic=["ask"], output_mappings={"total": None, "out": None})
    found = reasoner(ask=[[1.0, 2.0], [4.0], []])
    tuples, values = found["total"]
    held = [holding(tuples, row) for row in values]
    # The tuples 1.0 and 2.0 both weigh 0.5, and each world has its own sum.
    assert held[0] == pytest.approx({(0.0,): 0.375, (0.5,): 0.5, (1.0,): 0.125})
    assert held[1:] == [{(4.0,): 1.0}, {(0.0,): 1.0}]
    tuples, values = found["out"]
    assert [float(sum(row)) for row in values] == pytest.approx([1.0, 1.0, 0.0])


def test_weights_that_a_sample_gives_are_refused():
    program = "type a(x: f64) rel total(s) = s := weighted_sum(x: a(x))"
    with pytest.raises(UnsupportedError, match="`weighted_sum` over tuples whose probabilities are inputs"):
        Reasoner(program, output_relation="total")(a=[[(0.5, 1.0)]])


# 28 proofs of 10 facts out of 60 each: more decisions than are made, which here are few, so that it is soon known.
_BITS = random.Random(0)
_PROOFS = [_BITS.sample(range(60), 10) for _ in range(28)]
TANGLE = "\n".join(
    ["type bit(i: i32)", "rel none() = bit(60)"]
    + [f"rel hit(7) = {', '.join(f'bit({b})' for b in p)}" for p in _PROOFS]
)
TANGLED = [[(0.9, b) for b in bits] for bits in (_PROOFS[3], range(60))]


def test_proofs_too_many_to_count_are_one_error_with_the_tuple_and_the_sample(monkeypatch):
    monkeypatch.setattr(decision_diagrams, "MAX_NODES", 500)
    options: dict[str, Any] = {"k": 28, "output_mappings": {"none": (), "hit": [7]}}
    reasoner = Reasoner(TANGLE, **options)
    message = (
        "`hit(7)` in sample 1: counting its proofs takes more than 50,000 decisions\n"
        "hint: lower `k`; up to 10 proofs are counted without a limit"
    )
    for call in (reasoner, torch_bridge.Module.from_reasoner(reasoner)):
        with pytest.raises(UnsupportedError) as caught:
            call(bit=TANGLED)
        assert str(caught.value) == message
    grounding = reasoner.ground({"bit": [[b for _, b in facts] for facts in TANGLED]})
    with pytest.raises(UnsupportedError, match="output 1 in sample 1: counting its proofs"):
        reasoner.evaluate_grounded(grounding.arrays, np.full(70, 0.9, np.float32))
