"""Demand: what is asked for is the same as without demand, and nothing else is computed."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from scallax.circuits.circuit import Circuit, leaves
from scallax.circuits.compile import analyse_program, compile_outputs, compile_plan, ground_program
from scallax.errors import Source, TypeInferenceError, UnboundVariableError
from scallax.evaluation.batch import Arguments, Signature
from scallax.evaluation.jax_batch import evaluate_batch
from scallax.grounding.derivations import ONE
from scallax.language import ir
from scallax.planner.plan import plan
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.table import resolve_provenance
from scallax.provenance.traits import traits_of
from scallax.reasoner.reasoner import Reasoner
from tests.uncertain_programs import random_program

PATHS = """
    rel edge = {0.9::(0, 1), 0.8::(1, 2), 0.7::(2, 0), 0.6::(3, 4), 0.5::(0, 2)}
    type path(%s: i32, %s: i32)
    rel path(x, y) = edge(x, y)
    rel path(x, z) = path(x, y), edge(y, z)
    rel blocked(x) = edge(x, _), not path(0, x)
    rel to(y) = path(0, y)
    query to
    query blocked
"""


def results(program: str, provenance: str) -> dict:
    found = Reasoner(program, provenance=provenance, k=5)()
    return {name: dict(zip(tuples, values.tolist()[0], strict=True)) for name, (tuples, values) in found.items()}


@pytest.mark.parametrize("provenance", ["minmaxprob", "addmultprob", "topkproofs", "diffminmaxprob"])
@pytest.mark.parametrize("pattern", ["bf", "bb"])
def test_demand_changes_no_answer(provenance: str, pattern: str):
    columns = ["bound x" if pattern[0] == "b" else "x", "bound y" if pattern[1] == "b" else "y"]
    program = PATHS.replace("path(0, y)", "edge(_, y), path(0, y)") if pattern == "bb" else PATHS
    program = program if pattern == "bf" else program.replace("path(x, y), edge", "edge(_, y), path(x, y), edge")
    wanted = results(program % ("x", "y"), provenance)
    actual = results(program % tuple(columns), provenance)
    assert {name: pytest.approx(values) for name, values in wanted.items()} == actual


def test_only_what_is_asked_for_is_computed():
    program = "rel edge = {(0, 1), (1, 2), (5, 6)}\ntype path(bound x: i32, y: i32)\nrel path(x, y) = edge(x, y)\n"
    program += "rel path(x, z) = edge(x, y), path(y, z)\nrel to(y) = path(1, y)\nrel all(x, y) = edge(x, _), path(x, y)"
    outputs = Reasoner(program, provenance="unit", output_mappings={"to": None, "path": None}).compiled_program.outputs
    assert [output.tuples for output in outputs] == [((2,),), ((1, 2),)]


def test_a_condition_limits_what_is_asked_for_wherever_it_stands():
    program = "type fib(bound x: i32, y: i32)\nrel fib = {(0, 1), (1, 1)}\nquery fib(10, y)\n"
    program += "rel fib(x, a + b) = fib(x - 1, a) and fib(x - 2, b) and x > 1"
    assert [output.tuples for output in Reasoner(program, provenance="unit").compiled_program.outputs] == [((10, 89),)]


def test_demand_goes_through_terms_and_infinite_relations():
    program = """
        type Nat = Z() | S(Nat)
        type value(bound n: Nat, v: i32), power(bound n: i32, free v: i32)
        rel value(Z(), 0)
        rel value(S(n), v + 1) = value(n, v)
        rel power(0, 1)
        rel power(n + 1, 2 * v) = n >= 0, power(n, v)
        query value(S(S(Z())), v)
        query power(10, v)
    """
    found = {output.relation: output.tuples for output in Reasoner(program, provenance="unit").compiled_program.outputs}
    assert found == {"value(S(S(Z())), v)": (("S(S(Z()))", 2),), "power(10, v)": ((10, 1024),)}


def test_a_use_without_bindings():
    program = "type p(bound x: i32, y: i32)\nrel p(x, x + 1) = x > 0\nrel q(x, y) = p(x, y)"
    with pytest.raises(UnboundVariableError) as caught:
        plan(analyse_program([Source(program)]), ["q"])
    assert str(caught.value) == (
        "<program>:3:15: `p` is computed for given values only, and this rule does not give them\n"
        "  rel q(x, y) = p(x, y)\n"
        "                ^^^^^^^\n"
        "hint: its columns are bound, free: bind those that are bound by an atom, an equality or a constant"
    )


def test_a_pattern_of_another_length():
    with pytest.raises(TypeInferenceError, match="has 3 letters"):
        analyse_program([Source('@demand("bff")\nrel p(x, y) = q(x, y)\ntype q(i32, i32)')])


# Constants ask --------------------------------------------------------------------------------------------------------

EDGES = "rel e = {(0, 1), (1, 2), (2, 0), (3, 4)}\nrel f = {1, 2}\n"
CLOSURE = "rel edge = {(0, 1), (1, 2), (2, 0), (3, 4), (4, 5)}\nrel path(x, y) = edge(x, y)\n"


def asked(program: str) -> list[str]:
    """The relations that the program's queries ask for."""
    checked = analyse_program([Source(program)])
    relations = plan(checked, [query.name for query in checked.queries]).relations
    return sorted(ir.demanded_relation(relation.name) for relation in relations if ir.is_demand(relation.name))


def found(program: str) -> dict:
    return {output.relation: output.tuples for output in Reasoner(program, provenance="unit").compiled_program.outputs}


@pytest.mark.parametrize(
    ("step", "query", "tuples"),
    [
        ("path(x, y), edge(y, z)", "path(3, x)", 2),
        ("edge(x, y), path(y, z)", "path(3, x)", 3),
        ("path(x, y), path(y, z)", "path(3, x)", 3),
        ("path(x, y), edge(y, z)", "path(x, 5)", 3),
        ("path(x, y), edge(y, z)", "path(3, 5)", 2),
        ("path(x, y), edge(y, z)", "path", 12),
    ],
)
def test_closures_from_constants(step: str, query: str, tuples: int):
    program = analyse_program([Source(f"{CLOSURE}rel path(x, z) = {step}\nquery {query}")])
    grounding = ground_program(program, traits_of("unit"), [], [query])
    assert grounding.relations["path"].size == tuples


def test_constants_are_pushed_through_rules_joins_aggregates_and_negation():
    program = f"""{CLOSURE}rel path(x, z) = path(x, y), edge(y, z)
        rel degree(x, n) = n := count(y: path(x, y) where x: edge(x, _))
        rel lonely(x) = edge(x, _), not path(x, 5)
        rel good(x) = degree(x, n), n > 1, lonely(x)
        rel next(y) = edge(0, x), path(x, y), x == 1
        query good(1)
        query next
    """
    assert {"good", "degree", "lonely", "path"} <= set(asked(program))
    assert found(program) == {"good(1)": ((1,),), "next": ((0,), (1,), (2,))}


@pytest.mark.parametrize(
    "program",
    [
        "rel p(x, y) = e(x, y)\nquery p(0, x)\nquery p",
        "rel p(x, y) = e(x, y)\nquery p(x, y)",
        "rel p(x, y) = e(x, y)\nrel q(y) = f(x), p(x, y)\nquery q",
        # A soft comparison is a literal for each row of the join so far, whatever is joined after it.
        "rel g = {(0.5, 1.5)}\nrel p(x, y) = e(x, y), g(a, b), soft_eq<f32>(a, b)\nquery p(0, x)",
        "rel p(x, y) = y := normalize(y: e(x, y))\nquery p(0, x)",
        # All tuples of an aggregate are weighed together.
        "rel p(x, y) = y := top<1>(y: q(x, y))\nrel 0.5::q(x, y) = e(x, y)\nquery p(0, x)",
        # Draws depend on the other groups.
        "rel p(x, y) = y := uniform<1>(y: e(x, y))\nquery p(0, y)",
        # Values computed from those that are asked for need not end.
        "rel p(x, n) = e(x, n)\nrel p(x, n) = y == x + 1, p(y, n), x > 0\nquery p(2, n)",
        # A NaN is not what was asked for.
        "type g(f64, f64)\nrel p(x, y) = g(x, y)\nquery p(1.0, y)",
        # All terms are listed, those of `p` among them.
        "type N = Z() | S(N)\nrel p(x, new S(t)) = e(x, _), t == new Z()\nrel q(t) = case t is S(_)\n"
        "query p(0, t)\nquery q",
    ],
)
def test_where_nothing_is_asked_for(program: str):
    assert asked(EDGES + program) == []


NEGATION = "rel a(u, x) = e(u, x), not b(x, x)\nrel b(x, y) = e(x, y), f(x)\nrel c(y) = a(0, x), b(x, y)\nquery c\n"
AGGREGATE = (
    "rel a(u, n) = n := count(y: f(u), b(u, y))\nrel b(x, y) = e(x, y), f(x)\nrel c(y) = a(1, n), b(n, y)\nquery c\n"
)


@pytest.mark.parametrize("program", [NEGATION, AGGREGATE])
@pytest.mark.parametrize("declaration", ["", "type b(bound x: usize, y: usize)\n"])
def test_demand_does_not_break_strata(program: str, declaration: str):
    # `b` would be asked for by `a`, which depends on all of it.
    assert "b" not in asked(EDGES + declaration + program)
    whole = found(f"{EDGES}{program}query b\n")
    assert found(EDGES + declaration + program) == {"c": whole["c"]}


def test_demand_that_is_declared_asks_for_more_if_it_must():
    # Without a value for x there is no tuple of `b`; `e` gives one and does not depend on `b`.
    program = f"""{EDGES}type b(bound x: i32, y: i32)
        rel a(u, x) = e(u, x), not b(x, x)
        rel b(x, x + 1) = x > 0
        rel c(y) = a(0, x), e(x, _), b(x, y)
        query c
    """
    assert asked(program) == ["a", "b"]
    assert found(program) == {"c": ((2,),)}


def test_demand_divides_by_nothing_that_a_negation_excludes():
    program = f"""{EDGES}type b(bound x: i32, y: i32)
        rel zero = {{0}}
        rel b(x, y) = e(x, y)
        rel c(z) = e(x, _), not zero(x), y == 4 / x, b(y, z)
        query c
    """
    assert found(program) == {"c": ((0,), (2,))}


def test_bindings_that_are_not_demanded_may_divide_by_zero():
    program = f"{EDGES}rel p(x, y) = e(x, z), y == 4 / x\nquery p(2, y)"
    assert found(program) == {"p(2, y)": ((2, 2),)}


# Demand changes nothing -----------------------------------------------------------------------------------------------

STEPS = (
    "path(x, y), edge(y, z)",
    "edge(x, y), path(y, z)",
    "path(x, y), path(y, z)",
    "path(x, y), path(y, w), edge(w, z)",
    "hop(x, y), path(y, z), not blocked(y)",
    "path(x, y), edge(y, _), edge(_, z)",
)
CHOICES = ("path(x, y); path(y, x)", "path(x, y); hop(y, x)")


def closure(rng: np.random.Generator) -> str:
    """A closure of few uncertain edges, with cycles, tagged rules, choices and a query that gives values."""
    size = int(rng.integers(4, 8))
    names = rng.permutation(size) if rng.random() < 0.3 else None

    def value(number: int) -> str:
        return str(number) if names is None else f'"n{names[number]}"'

    def tag(odds: float, *tags: float) -> str:
        return f"{rng.choice(tags)}::" if rng.random() < odds else ""

    def facts(odds: float, tuples: np.ndarray) -> str:
        shown = [f"({', '.join(map(value, each))})" for each in np.unique(tuples, axis=0).tolist()]
        return ", ".join(tag(odds, 0.2, 0.5, 0.5, 0.9) + shown[i] for i in rng.permutation(len(shown)))

    type = "i32" if names is None else "String"
    odds = rng.choice([0.5, 0.9])
    lines = [f"type edge({type}, {type}), blocked({type}), hop({type}, {type})"]
    lines.append(f"rel edge = {{{facts(odds, rng.integers(0, size, (rng.integers(size, 3 * size), 2)))}}}")
    lines.append(f"rel blocked = {{{facts(1, rng.integers(0, size, (2, 1)))}}}")
    lines.append(f"rel {tag(0.3, 0.5)}path(x, y) = edge(x, y){rng.choice(['', ', not blocked(y)'])}")
    lines.append(f"rel {tag(0.3, 0.5, 0.9)}path(x, z) = {rng.choice(STEPS)}")
    lines.append(f"rel {tag(0.3, 0.9)}hop(x, z) = {rng.choice(['edge(x, z)', 'path(x, y), edge(y, z)'])}")
    if rng.random() < 0.3:
        lines.append(f"rel {{{rng.choice(CHOICES)}}} = edge(x, y)")
    lines.append("rel good(x) = edge(x, y), not path(y, x)\nrel degree(x, n) = n := count(y: path(x, y))")
    first, second = map(value, rng.integers(0, size, 2).tolist())
    query = rng.choice([f"path({first}, x)", f"path(x, {first})", f"path({first}, {second})"])
    lines.append(f"query {rng.choice([query, query, f'good({first})', f'degree({first}, n)'])}")
    return "\n".join(lines)


def bound_queries(seed: int) -> Iterator[str]:
    """Programs with a query that gives values."""
    rng = np.random.default_rng(seed)
    yield from (closure(rng) for _ in range(4))
    program = random_program(rng, 0)
    facts = program.independent | program.exclusive
    text = program.text
    for name, tuples in facts.items():
        tags = [f"{rng.choice([0.3, 0.5, 0.9])}::" for _ in tuples]
        separator = "; " if name in program.exclusive else ", "
        shown = separator.join(f"{tag}({', '.join(map(str, each))})" for tag, each in zip(tags, tuples, strict=True))
        text += f"rel {name} = {{{shown}}}\n"
    for relation in analyse_program([Source(text)]).relations:
        if relation.name in program.derived and relation.columns[0].is_integer:
            terms = [str(rng.integers(0, 4)), *"xyz"[: len(relation.columns) - 1]]
            yield f"{text}query {relation.name}({', '.join(terms)})"


def compile_both(text: str, provenance: AbstractProvenance) -> list[Circuit]:
    """The arrays for the program's query, with demand and without; none where demand does not apply."""
    program = analyse_program([Source(text)])
    outputs = [query.name for query in program.queries]
    # Rounds are counted only where nothing is asked for.
    limits = (None, 1000)
    plans = [compile_plan(program, provenance.traits, outputs, limit) for limit in limits]
    if plans[0] == plans[1]:
        return []
    assert not any(ir.is_demand(relation.name) for relation in plans[1].relations)
    groundings = [
        ground_program(program, provenance.traits, [], outputs, iter_limit=limit, uniform_choices=True)
        for limit in limits
    ]
    return [compile_outputs(each, provenance.traits, each.operands(outputs[0])) for each in groundings]


def arrays(program: Circuit) -> dict[str, object]:
    """All of a circuit that evaluation depends on."""
    found = {form.name: np.asarray(value).tolist() for form, value in leaves(program) if form.name != "literal_ids"}
    selections = [[values.tolist() for values in stage.selections] for stage in program.stages]
    return {**found, "stages": [arrays(stage.program) for stage in program.stages], "selections": selections}


def check_layouts(seed: int, name: str) -> int:
    """The number of queries that ask for something; the layout of each is the one of the whole."""
    provenance = resolve_provenance(name)
    assert isinstance(provenance, AbstractProvenance)
    compared = 0
    for text in bound_queries(seed):
        compiled = compile_both(text, provenance)
        if compiled:
            assert arrays(compiled[0]) == arrays(compiled[1]), f"seed {seed}\n{text}"
            compared += 1
    return compared


@pytest.mark.parametrize(("provenance", "seeds"), [("topkproofs", 8), ("topbottomkclauses", 3)])
def test_demand_changes_no_layout(provenance: str, seeds: int):
    assert sum(check_layouts(seed, provenance) for seed in range(seeds)) > 5 * seeds


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(10))
def test_demand_changes_no_layout_of_many_programs(block: int):
    assert sum(check_layouts(seed, "topkproofs") for seed in range(1_000 + 100 * block, 1_100 + 100 * block)) > 500


@pytest.mark.parametrize("name", ["minmaxprob", "addmultprob", "exact"])
def test_demand_changes_tags_by_rounding_at_most(name: str):
    provenance = resolve_provenance(name)
    assert isinstance(provenance, AbstractProvenance)
    compared = 0
    for text in itertools.islice(bound_queries(1), 3, 8):
        tags = [
            np.asarray(evaluate_batch(None, Signature(provenance, (), (), len(each.outputs)), each, Arguments(())))
            for each in compile_both(text, provenance)
        ]
        if tags:
            # A cycle ends within a few roundings of its fixpoint.
            np.testing.assert_allclose(tags[0], tags[1], rtol=1e-5, atol=1e-6, err_msg=text)
            compared += tags[0].size
    assert compared > 0


def test_what_is_asked_for_is_no_node():
    program = analyse_program(
        [Source("type p(bound x: i32, y: i32)\nrel p(x, y) = e(x, y)\nrel q(y) = p(0, y)\n" + EDGES)]
    )
    grounding = ground_program(program, traits_of("unit"), [], ["q"], collapse_certain=False)
    assert grounding.operands("d#p").tolist() == [ONE]
    assert len(grounding.derivations) == len(grounding.tuples("e")) + 2
