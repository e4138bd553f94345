"""Limits of grounding: every door takes them, and they are no part of the program."""

import io
import pickle

import pytest
import torch

import scallax
import scallax.nn
import torch_bridge
from scallax import GroundingError, InputError, Limits, Reasoner
from scallax.grounding import rounds

CHAIN = "type edge(i32, i32)\nrel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)\nquery path\n"
EDGES = [(i, i + 1) for i in range(9)]
FACTS = {"edge": [(None, edge) for edge in EDGES]}
ENOUGH = Limits(tuples=100, rounds=20)
DOORS = {
    "reasoner": Reasoner,
    "torch": torch_bridge.Module,
    "nnx": scallax.nn.Reasoner,
    "linen": scallax.nn.LinenReasoner,
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_limits(door: str):
    with pytest.raises(GroundingError) as caught:
        DOORS[door](CHAIN, facts=FACTS, limits=Limits(tuples=40))
    assert str(caught.value) == (
        "<program>:3:1: grounding passed its limit of 40 tuples: this rule for `path` grew by 5 in the last round;"
        " there are 35 tuples of `path`, 44 tuples and 0 derivations in all\n"
        "  rel path(x, z) = path(x, y), edge(y, z)\n"
        "  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "hint: if the recursion does not end, bound it with a constraint, or give `iter_limit`; if it does, bind more"
        " variables of the rule, give fewer facts, or raise the limit: `limits=scallax.Limits(tuples=…)`,"
        " `--limit-tuples` on the command line"
    )
    DOORS[door](CHAIN, facts=FACTS, limits=ENOUGH)


def test_plans_have_limits():
    text = CHAIN + "".join(f"rel edge({i}, {j})\n" for i, j in EDGES)
    with pytest.raises(GroundingError, match="limit of 3 rounds"):
        scallax.explain_plan(text, limits=Limits(rounds=3))
    assert "stratum path (45 tuples)" in scallax.explain_plan(text, limits=ENOUGH)


def test_limits_are_no_part_of_the_program():
    plain = Reasoner(CHAIN, facts=FACTS)
    limited = Reasoner(CHAIN, facts=FACTS, limits=ENOUGH)
    assert limited.specification.to_json() == plain.specification.to_json()
    assert limited == plain
    assert (plain.limits, limited.limits) == (Limits(), ENOUGH)


def test_what_was_grounded_within_its_limits_is_loaded_within_them():
    wide = Limits(rounds=30)
    reasoner = Reasoner(CHAIN, facts=FACTS, limits=wide)
    assert pickle.loads(pickle.dumps(reasoner)).limits == wide
    assert reasoner.with_k(2).limits == wide
    text = reasoner.specification.to_json()
    assert Reasoner.from_json(text, limits=wide).limits == wide
    with pytest.raises(scallax.CheckpointError, match="limit of 3 rounds"):
        Reasoner.from_json(text, limits=Limits(rounds=3))
    module = torch_bridge.Module(CHAIN, facts=FACTS, limits=wide)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert torch.load(file).reasoner.limits == wide


def test_limits_are_limits():
    with pytest.raises(InputError, match=r"`limits` is 40\nhint: give `scallax.Limits"):
        Reasoner(CHAIN, limits=40)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("rule", "is_told"),
    [("n(x + 1) = n(x)", True), ("n(x + 1) = n(x), x < 50", False), ("n(y) = n(x), e(x, y)", False)],
)
def test_a_recursion_that_makes_values_for_long_is_told_of_once(rule: str, is_told: bool, monkeypatch, caplog):
    # However fast the machine is.
    monkeypatch.setattr(rounds, "_SILENT_SECONDS", 0.0)
    context = scallax.Context(iter_limit=20)
    context.add_program(f"rel n(0)\nrel e = {{(0, 1), (1, 2), (2, 3)}}\nrel {rule}")
    context.run()
    told = [record.message for record in caplog.records if record.name == "scallax"]
    assert len(told) == is_told
    assert all("the rule at <program 1>:3:1 for `n` grew most" in text for text in told)
