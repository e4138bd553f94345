"""Demand: what is asked for is the same as without demand, and nothing else is computed."""

import pytest

from scallax.analysis.lower import analyse
from scallax.errors import TypeInferenceError, UnboundVariableError
from scallax.planner.plan import plan
from scallax.reasoner import Reasoner
from scallax.source import Source

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
    outputs = Reasoner(program, provenance="unit", output_mappings={"to": None, "path": None}).outputs
    assert [output.tuples for output in outputs] == [((2,),), ((1, 2),)]


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
    found = {output.relation: output.tuples for output in Reasoner(program, provenance="unit").outputs}
    assert found == {"value(S(S(Z())), v)": (("S(S(Z()))", 2),), "power(10, v)": ((10, 1024),)}


def test_a_use_without_bindings():
    program = "type p(bound x: i32, y: i32)\nrel p(x, x + 1) = x > 0\nrel q(x, y) = p(x, y)"
    with pytest.raises(UnboundVariableError) as caught:
        plan(analyse([Source(program)]), ["q"])
    assert str(caught.value) == (
        "<program>:3:15: `p` is computed for given values only, and this rule does not give them\n"
        "  rel q(x, y) = p(x, y)\n"
        "                ^^^^^^^\n"
        "hint: its columns are bound, free: bind those that are bound by an atom, an equality or a constant"
    )


def test_a_pattern_of_another_length():
    with pytest.raises(TypeInferenceError, match="has 3 letters"):
        analyse([Source('@demand("bff")\nrel p(x, y) = q(x, y)\ntype q(i32, i32)')])
