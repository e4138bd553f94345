"""Recursion that only exclusive facts bound: it ends, and every world keeps its tuples."""

import itertools

import numpy as np
import pytest
import torch

import torch_bridge
from scallax import Limits, Reasoner
from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import GroundingError, Source
from scallax.facts.fact_table import FactTable
from scallax.grounding.fixpoint import Grounding
from scallax.language.ir import Program
from scallax.planner.algebra import Growth
from scallax.planner.plan import plan
from scallax.provenance.traits import traits_of
from tests.grounding.test_grounding import node_values
from tests.oracles import naive_datalog

EXPRESSIONS = """
type constant(String, i32), plus(String, String, String)
rel eval(e, y) = constant(e, y)
rel eval(e, x + y) = plus(e, l, r), eval(l, x), eval(r, y)
"""
CONSTANTS = [("A", 1), ("C", 2), ("E", 3)]
# 1 + (2 + 3), then (1 + 2) + 3.
TREES = [("B", "A", "D"), ("D", "C", "E"), ("D", "B", "E"), ("B", "A", "C")]
VALUES = [("B", 3), ("B", 6), ("D", 5), ("D", 6)]
TEXT = EXPRESSIONS + 'rel root = {"B", "D"}\nrel result(e, y) = root(e), eval(e, y)\n'


def ground_text(program: Program, given: list[FactTable], provenance: str = "exact", **options) -> Grounding:
    outputs = [relation.name for relation in program.relations]
    return ground_program(program, traits_of(provenance), given, outputs, **options)


def exclusive(relation: str, tuples: list, groups: list[int]) -> FactTable:
    return FactTable.of(relation, tuples, inputs=np.arange(len(tuples)), groups=np.array(groups))


def worlds(groups: list[int]):
    """The sets of facts, by position, with at most one of each group; -1 is a group of its own for each."""
    members: dict[object, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(("alone", place) if group < 0 else group, []).append(place)
    for chosen in itertools.product(*([None, *places] for places in members.values())):
        yield {place for place in chosen if place is not None}


def check_worlds(program: Program, given: FactTable, certain: dict[str, list], grounding: Grounding) -> None:
    assert given.groups is not None
    for world in worlds(given.groups.tolist()):
        facts = {name: set(tuples) for name, tuples in certain.items()}
        facts[given.relation] = {given.tuples[place] for place in world}.union(certain.get(given.relation, ()))
        values = node_values(grounding, [place in world for place in range(len(given.tuples))])
        for name, expected in naive_datalog(program, facts).items():
            codes = grounding.operands(name).tolist()
            held = {t for t, code in zip(grounding.tuples(name), codes, strict=True) if values[code]}
            assert held == expected, (name, world)


@pytest.mark.parametrize("seed", range(8))
def test_every_world_of_random_expressions_has_its_values(seed: int):
    rng = np.random.default_rng(seed)
    names = list("ABCDEFG"[: rng.integers(5, 7)])
    certain = [(name, int(rng.integers(1, 4))) for name in names[:3]]
    # In a world each of the others is one sum, so that it has finitely many values.
    sums = sorted({(name, *map(str, rng.choice(names, 2))) for name in names[3:] for _ in range(3)})
    given = exclusive("plus", sums, [names.index(name) for name, _, _ in sums])
    # A sum is not chosen the other way around, so that its negation says nothing new, but for that of two equal parts.
    negation = "" if seed % 2 else ", not plus(e, r, l)"
    program = analyse_program([Source(EXPRESSIONS.replace("eval(r, y)", "eval(r, y)" + negation))])
    grounding = ground_text(program, [FactTable.of("constant", certain), given], limits=Limits(rounds=200))
    check_worlds(program, given, {"constant": certain}, grounding)


@pytest.mark.parametrize("is_certain", [False, True])
def test_a_derivation_that_waits_is_found_when_its_parts_can_hold(is_certain: bool):
    # D is 4 by a fact that excludes the one of F at first, and by I later; K and L add up for ever without groups.
    sums = [("D", "A", "E"), ("F", "D", "A"), ("K", "A", "L"), ("L", "K", "A"), ("M", "A", "A"), ("D", "I", "A")]
    count = len(sums) - is_certain
    given = exclusive("plus", sums[:count], [0, 0, 1, 1, 2, 2][:count])
    certain = {"constant": [("A", 1), ("E", 3)], "plus": [("H", "A", "A"), ("I", "H", "A"), ("L", "A", "A")]}
    certain["plus"] += sums[count:]
    program = analyse_program([Source(EXPRESSIONS)])
    facts = [*(FactTable.of(name, tuples) for name, tuples in certain.items()), given]
    grounding = ground_text(program, facts, limits=Limits(rounds=200))
    check_worlds(program, given, certain, grounding)
    values = {"A": 1, "D": 4, "E": 3, "F": 5, "H": 2, "I": 3, "K": 3, "L": 2, "M": 2}
    assert grounding.tuples("eval") == sorted(values.items())


def test_a_set_of_choices_within_another_is_all_that_is_kept():
    # D is 4 by one choice, and by this one with another, through J; K and L add up for ever without groups.
    sums = [("D", "A", "E"), ("F", "D", "A"), ("J", "D", "Z"), ("K", "A", "L"), ("L", "K", "A"), ("D", "J", "Z")]
    given = exclusive("plus", sums, [0, 0, 1, 1, 1, -1])
    certain = {"constant": [("A", 1), ("E", 3), ("Z", 0)], "plus": [("L", "A", "A")]}
    program = analyse_program([Source(EXPRESSIONS)])
    facts = [*(FactTable.of(name, tuples) for name, tuples in certain.items()), given]
    grounding = ground_text(program, facts, limits=Limits(rounds=60, environments=1))
    check_worlds(program, given, certain, grounding)


CONFLICT_BELOW = """
type option(String, String)
rel step(a, b) = option(a, "left"), option(a, "right"), option(b, _)
rel value("B", 0)
rel value(b, x + 1) = step(a, b), value(a, x)
"""


@pytest.mark.parametrize(
    ("text", "tuples"),
    [
        (CONFLICT_BELOW, [("B", "left"), ("B", "right")]),
        # The comparison bounds nothing.
        (CONFLICT_BELOW.replace("value(a, x)", "value(a, x), x >= 0"), [("B", "left"), ("B", "right")]),
    ],
)
def test_what_excludes_each_other_below_the_recursion_ends_it(text: str, tuples: list):
    program = analyse_program([Source(text)])
    given = exclusive("option", tuples, [0] * len(tuples))
    grounding = ground_text(program, [given], limits=Limits(rounds=5000))
    check_worlds(program, given, {"value": [("B", 0)]}, grounding)
    assert len(grounding.tuples("value")) < 5


@pytest.mark.parametrize(
    "limits", [Limits(rounds=6), Limits(tuples=25), Limits(derivations=40), Limits(rounds=100, tuples=100)]
)
def test_a_limit_counts_what_can_hold(limits: Limits):
    given = exclusive("plus", TREES, [0, -1, 0, -1])
    grounding = ground_text(
        analyse_program([Source(TEXT)]), [FactTable.of("constant", CONSTANTS), given], limits=limits
    )
    assert grounding.tuples("result") == VALUES


@pytest.mark.parametrize(
    ("provenance", "limits", "hint"),
    [
        ("proofs", Limits(rounds=30, environments=0), "lead to tuples of `eval`: raise the limit: `limits=scallax.L"),
        ("minmaxprob", Limits(rounds=30), "raise the limit: `limits=scallax.Limits(rounds=…)`, `--limit-rounds`"),
        ("unit", Limits(rounds=30), "raise the limit: `limits=scallax.Limits(rounds=…)`, `--limit-rounds`"),
    ],
)
def test_what_nothing_ends_passes_a_limit(provenance: str, limits: Limits, hint: str):
    given = exclusive("plus", TREES, [0, -1, 0, -1])
    with pytest.raises(GroundingError, match="limit of 30 rounds: this rule for `eval` grew") as caught:
        ground_text(
            analyse_program([Source(TEXT)]), [FactTable.of("constant", CONSTANTS), given], provenance, limits=limits
        )
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "rules",
    [
        # A parser: parts of a text share no symbol.
        "rel sum(x, 0, 1) = symbol(0, x)\nrel sum(x + y, 0, e + 1) = sum(x, 0, e), symbol(e, y), mark(y), mark(1)",
        # Counting down from what excludes each other.
        "rel count(n) = n := count(p, x: symbol(p, x))\nrel sum(n as i32, 0, 0) = count(n)\n"
        "rel sum(n - 1, 0, 0) = sum(n, _, _), n != 0",
        # A recursion that needs no symbol.
        "rel other(x) = symbol(_, x)\nrel sum(1, 0, 0)\nrel sum(x + 1, 0, 0) = sum(x, _, _), x != 30",
    ],
)
def test_nothing_is_lost_where_nothing_excludes_each_other(rules: str):
    types = "type symbol(i32, i32), sum(i32, i32, i32), mark(i32)\nrel mark = {0.5::1, 0.5::2}\n"
    program = analyse_program([Source(f"{types}{rules}\n")])
    symbols = [(place, x) for place in range(12) for x in (1, 2)]
    given = exclusive("symbol", symbols, [place for place, _ in symbols])
    grounding = ground_text(program, [given])
    alone = ground_text(program, [FactTable.of("symbol", symbols, inputs=np.arange(len(symbols)))])
    assert grounding.tuples("sum") == alone.tuples("sum")
    assert len(grounding.derivations) == len(alone.derivations)


def test_choices_that_a_recursion_makes_exclude_each_other():
    program = analyse_program(
        [Source("rel at(0)\nrel {step(x, 1); step(x, 2)} = at(x), x < 40\nrel at(x + n) = step(x, n)\n")]
    )
    assert len(ground_text(program, []).tuples("at")) == 42
    program = analyse_program([Source("rel at(0)\nrel {up(n); down(n)} = at(n)\nrel at(n + 1) = up(n), down(n)\n")])
    assert ground_text(program, [], limits=Limits(rounds=90)).tuples("at") == [(0,)]


def test_samples_exclude_their_own_facts():
    reasoner = Reasoner(TEXT, provenance="exact", output_relation="result", limits=Limits(rounds=100))
    constants = [(0.5, values) for values in CONSTANTS]
    other = [(0.6, TREES[2]), (0.3, TREES[0]), (0.9, TREES[3])]
    tagged = [(0.5, ("F", "A", "A")), *zip([0.8, 0.5, 0.2, 0.2], TREES, strict=True)]
    facts = {"constant": [constants, [], constants], "plus": [tagged, tagged, other]}
    groups = {"plus": [[[1, 3], [0, 2]], [[1, 3]], [[0, 1]]]}
    tuples, values = reasoner(**facts, disjunctions=groups)
    assert tuples == VALUES
    right = [[0.05, 0.05, 0.125, 0.005], [0, 0, 0, 0], [0.9 * 0.25, 0, 0, 0.6 * 0.9 * 0.125]]
    assert values.tolist() == [pytest.approx(row) for row in right]

    module = torch_bridge.Module.from_reasoner(reasoner)
    tags = torch.tensor([0.8, 0.8, 0.2, 0.2], requires_grad=True)
    found, values = module(
        constant=[constants], plus=[list(zip(tags, TREES, strict=True))], disjunctions={"plus": [[[0, 2]]]}
    )
    values[0, found.index(("D", 6))].backward()
    assert tags.grad.tolist() == pytest.approx([0, 0, 0.2 / 8, 0.2 / 8])


def test_samples_share_exclusive_facts():
    text = (
        TEXT
        + """
        rel option = {0.8::("B", "A", "D"); 0.2::("D", "B", "E")}
        rel seen = {0.5::0}
        rel plus(e, l, r) = picked(e, l, r)
        rel picked(e, l, r) = option(e, l, r), seen(_)
    """
    )
    reasoner = Reasoner(text, provenance="proofs", output_relation="result", limits=Limits(rounds=100))
    constants = [[tuple(values) for values in CONSTANTS]] * 2
    grounding = reasoner.ground(
        {"constant": constants, "plus": [[("F", "A", "A"), *TREES[1::2]]] * 2}, disjunctions={"plus": [[[0, 1]]] * 2}
    )
    assert grounding.outputs[0].tuples == tuple(VALUES)
    assert np.count_nonzero(grounding.sources < len(grounding.places)) == 2 * len(VALUES)


@pytest.mark.parametrize("provenance", ["difftopkproofs", "diffexact"])
def test_facts_per_sample_are_grounded_under_proofs(provenance: str):
    module = torch_bridge.Module(TEXT, provenance=provenance, output_relation="result", limits=Limits(rounds=100))
    facts = {"constant": [[(0.5, values) for values in CONSTANTS]], "plus": [[(0.5, tree) for tree in TREES]]}
    grounding = module.ground(facts, disjunctions={"plus": [[[0, 2]]]})
    assert grounding.outputs[0].tuples == tuple(VALUES)


@pytest.mark.parametrize(
    ("rule", "growth"),
    [
        ("p(x, y) = p(x, z), e(z, y)", Growth.FINITE),
        ("p(x, 1) = p(x, z), e(z, _)", Growth.FINITE),
        ("p(x, y) = p(x, z), e(z, y), y == z + 1", Growth.FINITE),
        ("p(x, z + 1) = p(x, z), z < 9", Growth.COMPARED),
        ("p(x, y) = p(x, z), y == z + 1, y < 9", Growth.COMPARED),
        ("p(x, z + 1) = p(x, z), x < 9", Growth.OPEN),
        ("p(x, z + 1) = p(x, z), z != 9", Growth.OPEN),
        ("p(x, y) = p(x, z), e(z, a), y == z + a", Growth.OPEN),
        ("p(x, y) = p(x, z), range(z, 9, y)", Growth.OPEN),
        ("p(x + 1, y) = e(x, y)", Growth.FINITE),
    ],
)
def test_what_ends_a_recursion(rule: str, growth: Growth):
    program = analyse_program([Source(f"type e(i32, i32), p(i32, i32)\nrel p(x, y) = e(x, y)\nrel {rule}\n")])
    strata = plan(program, ["p"]).strata
    assert next(stratum.growth for stratum in strata if "p" in stratum.relations) == growth
