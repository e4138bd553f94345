"""Exact inference against all possible worlds, and what a compilation is refused for."""

import itertools
import json
import math
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge
from scallax import nn
from scallax.circuits.compile import analyse_program
from scallax.circuits.knowledge.budget import CompilationLimits, Deadline, LimitError, run_apart
from scallax.circuits.knowledge.compiler import compile_circuit
from scallax.errors import Source, UnsupportedError
from scallax.facts.mappings import InputMapping
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals, literal_operand, operand_literal
from scallax.reasoner.reasoner import Reasoner
from tests.compilations import counted_compilations
from tests.test_conformance import CASES, check_run
from tests.uncertain_programs import KnownProgram, known_program
from tests.worlds import Choice, PossibleWorlds, datalog_in_worlds

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
    for output in reasoner.compiled_program.outputs:
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
    arrays = reasoner.evaluator.layout.order({name: p[None] for each in known for name, p in each.inputs.items()})
    values, residuals = reasoner.evaluator.forward(arrays)
    assert values.dtype == dtype
    np.testing.assert_allclose(values[0], expected, rtol=tolerance, atol=1e-2 * tolerance)
    pulled, _ = reasoner.evaluator.pull_back(arrays, residuals, jnp.asarray(np.array(cotangent)[None].astype(dtype)))
    for name, actual in zip(reasoner.evaluator.layout.mappings, pulled, strict=True):
        # Derivatives of either sign cancel.
        assert (np.abs(np.asarray(actual)[0] - gradients[name]) <= tolerance * (1 + sizes[name])).all(), name


def test_float32_values_and_gradients_are_those_of_the_worlds():
    # 16 roundings of half an epsilon each.
    check(0, np.float32, 1e-6)


def test_float64_values_and_gradients_are_those_of_the_worlds():
    with jax.enable_x64(True):
        check(1, np.float64, 1e-12)


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(2, 22))
def test_values_and_gradients_of_many_programs(block: int):
    dtype = np.float32 if block % 2 else np.float64
    with jax.enable_x64(dtype is np.float64):
        check(block, dtype, 1e-6 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("count", [3, 8, 11])
def test_what_a_group_leaves_of_one_keeps_its_digits(count: int):
    reasoner = Reasoner(
        f"type c(x: i32)\nrel some(x) = c(x)\nrel none() = {', '.join(f'not c({i})' for i in range(count))}",
        provenance="diffexact",
        input_mappings={"c": InputMapping(list(range(count)), disjunctive=True)},
        output_mapping=("none", [()]),
    )
    p = np.random.default_rng(0).dirichlet(np.ones(count + 1) / 4, 300)[:, :count].astype(np.float32)
    rest = 1 - p.astype(np.float64).sum(1)
    p, rest = p[rest > 1e-6], rest[rest > 1e-6]
    values, residuals = reasoner.evaluator.forward([p])
    # More than 8 members are added up first, each to half a digit of 1.
    np.testing.assert_allclose(values[:, 0], rest, rtol=1e-7, atol=0 if count <= 8 else count * 2.0**-24)
    (gradient,), _ = reasoner.evaluator.pull_back([p], residuals, np.ones(values.shape, np.float32))
    np.testing.assert_array_equal(gradient, np.full(p.shape, -1.0))


WARM = """
    rel warm() = c("red") or c("orange")
    rel both() = c("red"), c("orange")
    rel none() = not c(_)
    rel other() = c("blue"), not c("red")
"""
COLORS = ["red", "orange", "blue"]


def colors(**options) -> Reasoner:
    mapping = InputMapping(COLORS, disjunctive=True, retain_k=options.pop("retain_k", None))
    outputs = {"warm": (), "both": (), "none": (), "other": ()}
    return Reasoner(WARM, provenance="exact", input_mappings={"c": mapping}, output_mappings=outputs, **options)


@pytest.mark.parametrize("options", [{}, {"wmc_with_disjunctions": True}, {"k": 1}])
def test_a_group_is_one_variable(options: dict):
    found = colors(**options)(c=np.array([[0.5, 0.25, 0.125], [0.5, 0.25, 0.25], [0, 0, 0], [0, 1, 0]], np.float32))
    np.testing.assert_array_equal(found["warm"], [0.75, 0.75, 0, 1])
    np.testing.assert_array_equal(found["both"], [0, 0, 0, 0])
    np.testing.assert_array_equal(found["none"], [0.125, 0, 1, 0])
    np.testing.assert_array_equal(found["other"], [0.125, 0.25, 0, 0])


@pytest.mark.parametrize("p", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
def test_derivatives_of_a_group_are_constant(p: list[float]):
    gradient = jax.jacobian(lambda p: jnp.stack([v[0] for v in colors()(c=p[None]).values()]))(jnp.asarray(p))
    np.testing.assert_array_equal(gradient, [[1, 1, 0], [0, 0, 0], [-1, -1, -1], [0, 0, 1]])


def test_what_is_not_kept_of_a_group_is_left_to_none():
    p = jnp.asarray([[0.5, 0.125, 0.25]])
    values, gradient = jax.value_and_grad(lambda p: colors(retain_k=1)(c=p)["none"][0])(p)
    assert values == 0.5
    np.testing.assert_array_equal(gradient, [[-1, 0, 0]])
    np.testing.assert_array_equal(colors(retain_k=1)(c=p)["warm"], [0.5])


def test_what_is_not_kept_does_not_hold():
    reasoner = Reasoner(
        "rel out(x) = f(x, _)\nrel neither() = not f(0, 1), not f(1, 0)",
        provenance="exact",
        input_mappings={"f": InputMapping([(0, 1), (0, 2), (1, 0)], retain_threshold=0.3)},
        output_mappings={"out": [0, 1], "neither": ()},
    )
    found = reasoner(f=np.array([[0.25, 0.5, 0.75]], np.float32))
    np.testing.assert_array_equal(found["out"], [[0.5, 0.75]])
    np.testing.assert_array_equal(found["neither"], [0.25])


def test_alternatives_of_heads_are_equally_likely():
    program = "rel 0.5::v(1)\nrel {on(x); off(x)} = v(x)\nrel either(x) = on(x) or off(x)\nquery either\nquery on"
    found = Reasoner(program, provenance="exact")()
    assert (found["either"][1][0, 0], found["on"][1][0, 0]) == (0.5, 0.25)


def test_logits_of_facts_sets_and_rules_have_the_gradients_of_the_worlds():
    facts, rules = [("f", (0, 1)), ("f", (1, 2)), ("f", (2, 0))], [("coin", (x,)) for x in range(3)]
    body = "rel reached(y) = reached(x), f(x, y)\n"
    reasoner = Reasoner(
        "rel c = {0.25::0; 0.5::1; 0.125::2}\nrel f = {0.5::(0, 1), 0.25::(1, 2), 0.75::(2, 0)}\n"
        f"rel 0.375::reached(x) = c(x)\n{body}",
        trainable=["c", "f", "reached"],
        provenance="diffexact",
        output_mapping=("reached", (2,)),
    )
    choices = [Choice((fact,), (p,)) for fact, p in zip(facts, (0.5, 0.25, 0.75), strict=True)]
    choices.append(Choice((("c", (0,)), ("c", (1,)), ("c", (2,))), (0.25, 0.5, 0.125)))
    choices += [Choice((coin,), (0.375,)) for coin in rules]
    worlds = PossibleWorlds(choices)
    explicit = analyse_program([Source(f"type c(i32), f(i32, i32), coin(i32)\nrel reached(x) = c(x), coin(x)\n{body}")])
    reached = datalog_in_worlds(explicit, worlds.facts(), worlds.everywhere)["reached"][2,]
    parameters = {name: jnp.asarray(array) for name, array in reasoner.parameters.items()}
    value, gradient = jax.value_and_grad(lambda q: reasoner.apply(q)[0])(parameters)
    np.testing.assert_allclose(value, worlds.probability(reached), rtol=1e-6)
    *independent, coin0, coin1, coin2 = worlds.derivatives(reached)
    # The derivatives of a sigmoid, and of a softmax with what is left to none of the set.
    sigmoids = [d.item() * p * (1 - p) for d, p in zip(independent[:3], (0.5, 0.25, 0.75), strict=True)]
    expected = {"f.facts": np.array(sigmoids)}
    expected["reached.rules.0"] = np.array((coin0 + coin1 + coin2).item() * 0.375 * 0.625)
    shares, slopes = np.array([0.25, 0.5, 0.125, 0.125]), np.append(independent[3], 0)
    expected["c.facts"] = shares * (slopes - shares @ slopes)
    for name, actual in gradient.items():
        np.testing.assert_allclose(actual, expected[name], rtol=1e-5, atol=1e-7)


PATHS = "rel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)"
CYCLE = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 0)]


def paths(edges: list[tuple], **options) -> Reasoner:
    outputs = ("path", [(0, y) for y in range(4)])
    return Reasoner(PATHS, provenance="diffexact", input_mappings={"edge": edges}, output_mapping=outputs, **options)


def test_a_second_call_compiles_nothing():
    reasoner = paths(CYCLE)
    p = np.array([[0.9, 0.2, 0.8, 0.6, 0.5]], np.float32)

    def both(reasoner, p):
        values, residuals = reasoner.evaluator.forward([p])
        return values, reasoner.evaluator.pull_back([p], residuals, np.ones((len(p), 4), np.float32))

    values, _ = both(reasoner, p)
    np.testing.assert_allclose(values, [[0.2508, 0.9, 0.836, 0.5016]], rtol=1e-6)
    with counted_compilations() as compiled:
        both(reasoner, 1 - p)
    assert not compiled


def test_a_stored_circuit_needs_no_library(monkeypatch):
    reasoner = paths(CYCLE)
    p = np.array([[0.9, 0.2, 0.8, 0.6, 0.5]], np.float32)
    values, stored = reasoner(edge=p), reasoner.compiled_program.serialized()
    monkeypatch.setitem(sys.modules, "oxidd.bcdd", None)
    np.testing.assert_array_equal(Reasoner.from_stored(reasoner.specification, stored)(edge=p), values)
    with pytest.raises(UnsupportedError, match=r"pip install scallax\[exact\]"):
        paths(CYCLE)(edge=p)


def grid(side: int) -> tuple[Derivations, Literals, np.ndarray]:
    """Whether the last cell is reached over uncertain steps to the right and downwards, from the first."""
    rows, count = [], 0
    for cell in range(1, side * side):
        for before, possible in ((cell - 1, cell % side > 0), (cell - side, cell >= side)):
            if possible:
                rows.append((cell, ONE if before == 0 else before, int(literal_operand(count))))
                count += 1
    head, left, right = np.array(rows).T
    no = np.zeros(len(rows), bool)
    none = np.full(count, -1)
    return Derivations(side * side, head, left, right, no, no), Literals(np.zeros(count), none, none, none), head[-1:]


def evaluate(circuit: tuple[Derivations, np.ndarray], p: np.ndarray) -> np.ndarray:
    """The values of a circuit's outputs, in the dtype of `p`: nodes are numbered from the lowest up."""
    derivations, outputs = circuit
    values = np.zeros(derivations.num_nodes, p.dtype)

    def read(operand: int, negated: bool) -> np.floating:
        if operand in (ONE, ZERO):
            value = p.dtype.type(operand == ONE)
        else:
            value = values[operand] if operand >= 0 else p[operand_literal(operand)]
        return 1 - value if negated else value

    columns = derivations.head, derivations.left, derivations.right
    for head, left, right, *negated in zip(*columns, derivations.left_negated, derivations.right_negated, strict=True):
        assert max(left, right) < head
        values[head] += read(left, negated[0]) * read(right, negated[1])
    return np.array([read(output, False) for output in outputs])


def derivations_of(num_nodes: int, rows: list[tuple[int, int, int, bool, bool]]) -> Derivations:
    head, left, right, *negated = (np.array(column) for column in zip(*rows, strict=True)) if rows else [[]] * 5
    return Derivations(
        num_nodes, *(np.array(c, np.int64) for c in (head, left, right)), *(np.array(c, bool) for c in negated)
    )


def literals_of(group: np.ndarray) -> Literals:
    none = np.full(len(group), -1)
    return Literals(np.zeros(len(group)), none, group, none)


def random_derivations(rng: np.random.Generator) -> tuple[Derivations, Literals, np.ndarray, np.ndarray]:
    """Rows of nodes that negate only those of lower strata, facts of which some exclude each other, and outputs."""
    num_literals, num_nodes = rng.integers(1, 8), int(rng.integers(1, 20))
    strata = np.sort(rng.integers(0, rng.integers(1, num_nodes + 1), num_nodes))
    share_of_facts, share_of_chains = rng.choice([0.2, 0.6]), rng.choice([0.0, 0.7])

    def operand(head: int) -> tuple[int, bool]:
        if rng.random() < share_of_facts:
            return int(literal_operand(rng.integers(num_literals))), rng.random() < 0.2
        if rng.random() < 0.05:
            return int(rng.choice([ONE, ZERO])), rng.random() < 0.2
        other = head - 1 if head and rng.random() < share_of_chains else int(rng.integers(num_nodes))
        if strata[other] > strata[head]:
            other = int(rng.integers(head + 1))
        return other, strata[other] < strata[head] and rng.random() < 0.3

    rows = []
    for head in range(num_nodes):
        for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
            (left, a), (right, b) = operand(head), operand(head) if rng.random() < 0.5 else (ONE, False)
            rows.append((head, left, right, a, b))
    rng.shuffle(rows)
    group = np.where(rng.random(num_literals) < rng.choice([0.0, 0.6]), rng.integers(0, 3, num_literals), -1)
    outputs = rng.integers(num_nodes, size=rng.integers(1, 6))
    return derivations_of(num_nodes, rows), literals_of(group), outputs, strata


def probabilities_in_worlds(
    derivations: Derivations, literals: Literals, outputs: np.ndarray, strata: np.ndarray, p: np.ndarray
) -> np.ndarray:
    """Probabilities of the outputs, by the least fixpoint of each stratum in every world."""
    choices = [[(i, p[i]), (None, 1 - p[i])] for i in np.flatnonzero(literals.group < 0)]
    for group in np.unique(literals.group[literals.group >= 0]):
        members = np.flatnonzero(literals.group == group)
        choices.append([*((i, p[i]) for i in members), (None, 1 - p[members].sum())])
    worlds = list(itertools.product(*choices))
    chances = np.array([math.prod(chance for _, chance in world) for world in worlds])
    facts = np.array([[i in dict(world) for world in worlds] for i in range(len(literals))]).reshape(-1, len(worlds))
    holds = np.zeros((derivations.num_nodes, len(worlds)), bool)

    def read(operand: int, negated: bool) -> np.ndarray:
        if operand in (ONE, ZERO):
            return np.full(len(worlds), (operand == ONE) != negated)
        return (holds[operand] if operand >= 0 else facts[operand_literal(operand)]) != negated

    for stratum in range(derivations.num_nodes):
        rows = np.flatnonzero(strata[derivations.head] == stratum)
        before = None
        while before is None or (holds != before).any():
            before = holds.copy()
            for row in rows:
                left = read(derivations.left[row], derivations.left_negated[row])
                right = read(derivations.right[row], derivations.right_negated[row])
                holds[derivations.head[row]] |= left & right
    return holds[outputs] @ chances


@pytest.mark.parametrize("limits", [CompilationLimits(), CompilationLimits(levels=1)])
def test_circuits_of_random_derivations_are_those_of_the_worlds(limits: CompilationLimits):
    for seed in range(100):
        rng = np.random.default_rng((limits.levels, seed))
        derivations, literals, outputs, strata = random_derivations(rng)
        # Each of n members of a group has a probability of 1 / n at most.
        p = rng.uniform(0, 1 / len(literals), len(literals))
        actual = evaluate(compile_circuit(derivations, literals, outputs, limits), p)
        expected = probabilities_in_worlds(derivations, literals, outputs, strata, p)
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15, err_msg=str(seed))


def test_facts_that_reach_many_nodes_over_several_paths():
    rng = np.random.default_rng(0)
    parents = [[]] + [sorted({int(parent) for parent in rng.integers(0, i, 2)}) for i in range(1, 220)]
    rows = [(i, int(literal_operand(i)), ONE, False, False) for i in range(220)]
    rows += [(parent, i, ONE, False, False) for i in range(220) for parent in parents[i]]
    p = rng.uniform(0.001, 0.02, 220)
    circuit = compile_circuit(derivations_of(220, rows), literals_of(np.full(220, -1)), np.arange(220))
    below = [{i} for i in range(220)]
    for i in range(219, 0, -1):
        for parent in parents[i]:
            below[parent] |= below[i]
    # A node holds unless none of the facts does that reach it.
    expected = [1 - math.prod(1 - p[i] for i in facts) for facts in below]
    np.testing.assert_allclose(evaluate(circuit, p), expected, rtol=1e-12)


@pytest.mark.parametrize("num_events", [2, 3, 70])
def test_disjunctions_and_conjunctions_keep_the_digits_of_small_probabilities(num_events: int):
    facts = [int(literal_operand(i)) for i in range(num_events)]
    rows = [(0, fact, ONE, False, False) for fact in facts]
    # Node 1 is that none holds, written as a chain.
    rows += [(i + 1, i if i > 1 else ONE, fact, False, True) for i, fact in enumerate(facts, 1)]
    outputs = np.array([0, num_events + 1])
    circuit = compile_circuit(derivations_of(num_events + 2, rows), literals_of(np.full(num_events, -1)), outputs)
    small = np.full(num_events, 1e-9, np.float32)
    np.testing.assert_allclose(evaluate(circuit, small)[0], num_events * 1e-9, rtol=1e-6)
    large = np.full(num_events, 1 - 2.0**-20, np.float32)
    np.testing.assert_allclose(
        evaluate(circuit, large)[1], 2.0 ** (-20 * num_events) if num_events < 7 else 0, rtol=1e-6
    )


@pytest.mark.parametrize("num_facts", [1, 2, 500])
def test_what_shares_no_fact_needs_no_diagram(num_facts: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "oxidd.bcdd", None)
    facts = [int(literal_operand(i)) for i in range(2 * num_facts)]
    # A node of two facts each, their chain of conjunctions, and whether any holds.
    rows = [(i // 2, fact, ONE, False, False) for i, fact in enumerate(facts)]
    rows += [(num_facts + i, i, num_facts + i - 1 if i else ONE, False, i % 2 == 1) for i in range(num_facts)]
    p = np.random.default_rng(0).uniform(size=2 * num_facts)
    pairs = 1 - (1 - p[::2]) * (1 - p[1::2])
    chain = [pairs[0]]
    for i in range(1, num_facts):
        chain.append(pairs[i] * (1 - chain[-1] if i % 2 else chain[-1]))
    outputs = np.array([*range(num_facts), 2 * num_facts - 1])
    circuit = compile_circuit(derivations_of(2 * num_facts, rows), literals_of(np.full(len(facts), -1)), outputs)
    np.testing.assert_allclose(evaluate(circuit, p), [*pairs, chain[-1]], rtol=1e-12)


def test_who_asks_does_not_wait_for_work_that_takes_too_long():
    is_over = threading.Event()
    deadline = Deadline(0)
    with pytest.raises(LimitError, match="0 seconds"):
        run_apart(is_over.wait, 1, deadline)
    is_over.set()


def test_what_work_apart_raises_is_raised_for_who_asks():
    with pytest.raises(ZeroDivisionError):
        run_apart(lambda: 1 // 0, 1, Deadline(3600))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            CompilationLimits(decisions=300),
            r"more than 300 decisions of diagrams over 60 facts .*: \d+ of 35 nodes were done",
        ),
        (CompilationLimits(seconds=0), r"more than 0 seconds .*: 0 of 35 nodes were done"),
    ],
)
def test_what_takes_too_much_is_refused(limits: CompilationLimits, message: str):
    with pytest.raises(UnsupportedError, match=message) as error:
        compile_circuit(*grid(6), limits)
    assert "topkproofs" in str(error.value)


def test_little_room_is_enough_for_little():
    program, p = grid(3), np.random.default_rng(0).uniform(size=12)
    expected = evaluate(compile_circuit(*program), p)
    np.testing.assert_allclose(evaluate(compile_circuit(*program, CompilationLimits(decisions=200)), p), expected)


def test_what_was_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch):
    tried = []

    def refuse(derivations, literals, outputs):
        tried.append(outputs)
        return compile_circuit(derivations, literals, outputs, CompilationLimits(seconds=0))

    monkeypatch.setattr("scallax.circuits.knowledge.compiler.compile_circuit", refuse)
    rules = "rel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)"
    edges = [(x, y) for x in range(4) for y in range(4) if x != y]
    reasoner = Reasoner(rules, provenance="exact", input_mappings={"edge": edges}, output_mapping=("path", (0, 3)))
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="more than 0 seconds"):
            reasoner(edge=np.full((1, len(edges)), 0.5, np.float32))
    assert len(tried) == 1


def exact_cases(area: str) -> list[dict]:
    """The first case of each group whose exact answers are known."""
    found: dict[str, dict] = {}
    for case in json.loads((CASES / area).read_text()):
        if "exact" in case and case["kind"] == "run":
            found.setdefault(case.get("group", case["name"]), case)
    return list(found.values())


AREAS = [
    area for area in sorted(p.relative_to(CASES).as_posix() for p in Path(CASES).rglob("*.json")) if exact_cases(area)
]


@pytest.mark.parametrize(
    "area", [area if area == "exclusive.json" else pytest.param(area, marks=pytest.mark.nightly) for area in AREAS]
)
def test_conformance_cases_have_their_exact_answers(area: str):
    for case in exact_cases(area):
        check_run({**case, "provenance": "exact", "expected": case["exact"]})


# Softmaxes that are not declared --------------------------------------------------------------------------------------

SOFTMAX = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], np.float32)
WARNED = "`a` adds up to 1 in every sample, but the tuples count as independent under `exact`"


def copying(mapping: object = range(3), provenance: str = "exact", door: Any = Reasoner, **inputs: object) -> Any:
    program = "rel c(x) = a(x)" if not inputs else "rel c(x) = a(x), b(x)"
    mappings: dict[str, object] = {"a": mapping, **inputs}
    return door(program=program, provenance=provenance, input_mappings=mappings, output_relation="c")


def warnings_of(reasoner: Reasoner, *arrays: np.ndarray) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reasoner.evaluator.check(arrays, None)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def test_a_softmax_that_counts_as_independent_is_warned_of_once():
    reasoner = copying()
    # Traced arrays have no values.
    jax.eval_shape(lambda a: reasoner.evaluator.check((a,), None).arrays[0], SOFTMAX)
    assert warnings_of(reasoner, SOFTMAX[:0]) == []
    (text,) = warnings_of(reasoner, SOFTMAX)
    assert text.startswith(f"{WARNED}\nhint: if one of them holds, as behind a softmax, give `InputMapping(…, disjunct")
    for same in (reasoner, reasoner.with_k(1), reasoner.in_mode(True)):
        assert warnings_of(same, SOFTMAX) == []
    (text,) = warnings_of(copying(b=InputMapping(range(3))), SOFTMAX, SOFTMAX)
    assert text.startswith("`a` and `b` add up to 1 in every sample")


@pytest.mark.parametrize(
    ("mapping", "provenance", "values"),
    [
        (InputMapping(range(3), disjunctive=True), "exact", SOFTMAX),
        (InputMapping(range(3), disjunctive=False), "exact", SOFTMAX),
        (range(3), "topkproofs", SOFTMAX),
        (range(3), "addmultprob", SOFTMAX),
        (range(3), "exact", SOFTMAX[:, ::-1] * 0.999),
        (range(3), "exact", np.concatenate([SOFTMAX, np.full((1, 3), 0.5, np.float32)])),
        (range(3), "exact", np.eye(3, dtype=np.float32)),
        ((1,), "exact", np.ones(2, np.float32)),
    ],
)
def test_what_is_declared_or_no_softmax_is_not_warned_of(mapping, provenance, values):
    reasoner = copying(mapping, provenance)
    assert warnings_of(reasoner, values) == []
    # The first call decides.
    assert warnings_of(reasoner, values) == []


@pytest.mark.parametrize(
    ("values", "option"),
    [
        (SOFTMAX[:, None], "disjunctive=True"),
        (np.stack([SOFTMAX, SOFTMAX], 1), "disjunctive_dim=1"),
        (np.stack([SOFTMAX, SOFTMAX], 2), "disjunctive_dim=0"),
        (np.stack([SOFTMAX, SOFTMAX], 1) / 2, "disjunctive=True"),
        (
            np.asarray(jax.nn.softmax(jnp.arange(12, dtype=jnp.bfloat16).reshape(1, 2, 6) / 3), np.float32),
            "disjunctive_dim=1",
        ),
    ],
)
def test_the_axis_of_a_softmax_is_named(values, option):
    tuples = {axis: range(size) for axis, size in enumerate(values.shape[1:])}
    reasoner = Reasoner(
        "rel c(x, y) = a(x, y)", provenance="diffexact", input_mappings={"a": tuples}, output_relation="c"
    )
    (text,) = warnings_of(reasoner, values)
    assert f"{option})`;" in text


def test_modules_warn_of_softmaxes_but_those_of_the_reference():
    assert len(warnings_of(copying(door=torch_bridge.Module).reasoner, SOFTMAX)) == 1
    assert len(warnings_of(copying(door=nn.Reasoner).reasoner, SOFTMAX)) == 1
    assert warnings_of(copying(door=torch_bridge.ForwardFunction).reasoner, SOFTMAX) == []
    # The name by which the code of the reference calls the package.
    scallopy = torch_bridge
    assert (
        warnings_of(copying(door=lambda *given, **options: scallopy.Module(*given, **options)).reasoner, SOFTMAX) == []
    )
    context = torch_bridge.ScallopContext("exact")
    context.add_relation("a", int, input_mapping=range(3))
    context.add_rule("c(x) = a(x)")
    assert warnings_of(context.forward_function("c").reasoner, SOFTMAX) == []
    # Nothing of it is saved.
    reasoner = copying()
    assert reasoner.specification == copying(InputMapping(range(3), disjunctive=False)).specification
    assert '"disjunctive":false' in reasoner.specification.to_json()
    assert warnings_of(Reasoner.from_json(reasoner.specification.to_json()), SOFTMAX) == []


def test_a_torch_call_warns_of_a_softmax_at_the_users_line():
    module = copying(door=torch_bridge.Module)
    with pytest.warns(UserWarning, match=WARNED) as caught:
        module(a=torch.tensor(SOFTMAX, requires_grad=True))
    assert [warning.filename for warning in caught] == [__file__]
