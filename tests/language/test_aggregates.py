"""Aggregates against possible worlds, and what their groups are."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax.circuits.compile import analyse_program, ground_program
from scallax.context.context import Context
from scallax.errors import GroundingError, Source, UnsupportedError
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import InputMapping
from scallax.provenance.traits import traits_of
from scallax.reasoner.reasoner import Reasoner
from tests.grounding.test_grounding import node_values
from tests.oracles import naive_datalog

# Facts of `f` are uncertain, those of `g` and `s` certain. Relations that start with `out` are compared.
PROGRAMS = {
    "count": "rel out(n) = n := count(x, y: f(x, y))",
    "count_grouped": "rel out(x, n) = n := count(y: f(x, y))",
    "count_where": "rel out(x, n) = n := count(y: f(x, y) where x: g(x))",
    "count_where_uncertain": "rel out(x, n) = n := count(y: g(y), y > x where x: f(x, 1))",
    "count_projected": "rel out(n) = n := count(x: f(x, _))",
    "count_discrete": "rel out(x, n) = n := count!(y: f(x, y))",
    "count_mixed": "rel out(n) = n := count(x: f(x, 1) or g(x))",
    "sum": "rel out(s) = s := sum[x](y: f(x, y))",
    "sum_negative": "rel out(s) = s := sum[x](y: z == 1 - y and f(x, z))",
    "sum_of_counts": "rel n(x, c) = c := count(y: f(x, y))\nrel out(s) = s := sum[x](c: n(x, c))",
    "prod": "rel out(x, s) = s := prod(y: f(x, y))",
    "avg": "rel out(s) = s := avg[x](y: f(x, y))",
    "string_join": 'rel out(x, t) = t := string_join<"-">[y](w: f(x, y) and w == y as String)',
    "string_join_all": 'rel out(t) = t := string_join<"-", all>[x](w: f(x, y) and w == y as String)',
    "exists": "rel out(x, b) = b := exists(y: f(x, y))",
    "exists_mixed": "rel out(b) = b := exists(y: f(1, y) and g(y))",
    "forall": "rel out(b) = b := forall(x, y: f(x, y) implies x < y)",
    "min": "rel out(x, y) = y := min(y: f(x, y))",
    "max_pair": "rel out(x, y) = (x, y) := max(x, y: f(x, y))",
    "max_with_ties": "rel out(x, y) = (x, y) := max[x](y: f(x, y))",
    "max_discrete": "rel out(x, y) = y := max!(y: f(x, y))",
    "argmin_with_ties": "rel out(x) = x := argmin[x](y: f(x, y))",
    "argmax_beside_certain": "rel out(x) = x := argmax[x](y: f(x, y) or s(x, y))",
    "min_where": "rel out(x, y) = y := min(y: f(x, y) where x: g(x))",
    "nested": "rel out(x) = x := argmax[x](n: n := count(y: f(x, y)))",
    "exists_beside": "rel out(x) = g(x), exists(y: f(x, y))",
    "not_exists_beside": "rel out(x) = g(x), not exists(y: f(x, y))",
    "not_exists_other_variable": "rel out() = g(x), not exists(y: f(x, y))",
    "forall_beside": "rel out(x) = g(x), forall(y: f(x, y) implies y > 1)",
    "forall_alone": "rel out(x) = forall(y: s(x, y) implies f(x, y))",
    "not_forall_beside": "rel out(x) = g(x), not forall(y: f(x, y) implies y > 1)",
    "quantifier_in_quantifier": "rel out(x) = g(x), forall(y: f(x, y) implies exists(z: f(y, z)))",
    "quantifier_bound_outside": "rel out(x) = f(x, 1), not exists(y: f(y, 1) and y > x)",
    "quantifier_in_aggregate": "rel out(n) = n := count(x: g(x), not exists(y: f(x, y)))",
    "quantifier_or": "rel out(x) = g(x), (x == 0 or not exists(y: f(x, y)))",
    "quantifier_in_recursion": "rel out(0)\nrel out(y) = out(x), s(x, y), not exists(z: f(y, z))",
    "negated_result": "rel n(x, c) = c := count(y: f(x, y))\nrel out(x) = g(x), not n(x, 2)",
}
CERTAIN = "rel g = {0, 1, 2}\nrel s = {(0, 1), (1, 2), (2, 0), (1, 1)}\ntype f(i32, i32)\n"
FACTS = [(0, 1), (0, 2), (1, 1), (1, 3), (2, 1), (1, 2)]


def ground(name: str, facts: list[tuple]):
    program = analyse_program([Source(CERTAIN + PROGRAMS[name])])
    given = [FactTable.of("f", facts, inputs=np.arange(len(facts)))]
    names = [relation.name for relation in program.relations]
    return program, ground_program(program, traits_of("diffaddmultprob"), given, names)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_world_has_its_results(name: str):
    program, grounding = ground(name, FACTS)
    possible = {relation: set(grounding.tuples(relation)) for relation in grounding.relations}
    certain: dict[str, set[tuple]] = {}
    for fact in program.facts:
        certain.setdefault(fact.relation, set()).add(fact.values)
    for world in itertools.product([False, True], repeat=len(FACTS)):
        chosen = {fact for fact, holds in zip(FACTS, world, strict=True) if holds}
        expected = naive_datalog(program, {**certain, "f": chosen}, possible)["out"]
        values = node_values(grounding, list(world))
        operands = grounding.operands("out").tolist()
        actual = {t for t, operand in zip(grounding.tuples("out"), operands, strict=True) if values[operand]}
        assert actual == expected, chosen


def by_worlds(text: str, facts: list[tuple], outputs: list[tuple], p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each output, and its derivatives `[outputs, facts]`, by adding up all worlds."""
    program = analyse_program([Source(text)], {"f": facts})
    values, gradient = np.zeros(len(outputs)), np.zeros((len(outputs), len(facts)))
    possible = naive_datalog(program, {"f": set(facts)})
    for world in itertools.product([False, True], repeat=len(facts)):
        chosen = {fact for fact, holds in zip(facts, world, strict=True) if holds}
        holds = naive_datalog(program, {"f": chosen}, possible)["out"]
        true = np.array([output in holds for output in outputs])
        factors = np.where(world, p, 1 - p)
        values += true * np.prod(factors)
        for i, present in enumerate(world):
            gradient[:, i] += true * (1 if present else -1) * np.prod(np.delete(factors, i))
    return values, gradient


# Their worlds are disjoint, so that adding up is exact.
DISJOINT = {
    "count": "rel out(n) = n := count(x: f(x, _))",
    "sum": "rel out(s) = s := sum[x](y: f(x, y))",
    "prod": "rel out(s) = s := prod[x](y: f(x, y))",
    "min": "rel out(y) = y := min(y: f(_, y))",
    "argmax": "rel out(x) = x := argmax[x](y: f(x, y))",
    "none": "rel out() = not exists(x: f(x, _))",
}


@pytest.mark.parametrize(("provenance", "k", "size"), [("diffaddmultprob", None, 8), ("difftopkproofs", 20, 6)])
@pytest.mark.parametrize("kind", ["inside", "extreme"])
@pytest.mark.parametrize("name", DISJOINT)
def test_values_and_gradients_are_those_of_the_worlds(name: str, provenance: str, k: int | None, size: int, kind: str):
    # No zero, after which a product has as many proofs as there are choices of the rest.
    facts = [(i, i % 7 - 2 or 5) for i in range(size)]
    if name in ("min", "argmax"):
        # One tuple for each value: ties are alternatives that do not exclude each other.
        facts = [(i, (5 * i) % 12) for i in range(size)]
    with jax.enable_x64(True):
        options: dict[str, Any] = {} if k is None else {"k": k}
        text = f"type f(i32, i32)\n{DISJOINT[name]}"
        reasoner = Reasoner(
            text, input_mappings={"f": facts}, output_mapping=("out", None), provenance=provenance, **options
        )
        p = np.random.default_rng(0).uniform(size=size) if kind == "inside" else np.arange(size) % 2.0
        outputs = list(reasoner.compiled_program.outputs[0].tuples)
        values, pull_back = jax.vjp(lambda p: reasoner(f=p[None])[1][0], jnp.asarray(p))
        gradient = jax.vmap(pull_back)(jnp.eye(len(outputs)))[0]
        expected, expected_gradient = by_worlds(text, facts, outputs, p)
        np.testing.assert_allclose(values, expected, atol=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


def test_twelve_uncertain_tuples_are_counted_as_in_all_worlds():
    facts = [(i, 0) for i in range(12)]
    text = f"type f(i32, i32)\n{DISJOINT['count']}"
    p = np.random.default_rng(1).uniform(size=12)
    with jax.enable_x64(True):
        reasoner = Reasoner(
            text, input_mappings={"f": facts}, output_mapping=("out", None), provenance="diffaddmultprob"
        )
        actual = reasoner(f=jnp.asarray(p)[None])[1][0]
        expected, _ = by_worlds(text, facts, list(reasoner.compiled_program.outputs[0].tuples), p)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_a_count_of_many_uncertain_tuples_is_ground_small():
    entries = [[(i, k) for k in range(10)] for i in range(64)]
    mapping = InputMapping(entries, disjunctive_dim=1)
    program = analyse_program([Source("type d(i32, i32)\nrel n(k, c) = c := count(i: d(i, k))")])
    given = [FactTable.of("d", mapping.tuples, inputs=np.arange(640), groups=mapping.groups)]
    grounding = ground_program(program, traits_of("diffaddmultprob"), given, ["n"])
    assert len(grounding.tuples("n")) == 10 * 65
    # Two for each number of tuples so far, class by class.
    assert len(grounding.derivations) < 10 * 2 * 65 * 65


def test_certain_tuples_are_not_enumerated():
    text = "type a(i32)\nrel c(n) = n := count(x: a(x))\nrel s(n) = n := sum(x: a(x))\nrel m(n) = n := max(x: a(x))"
    program = analyse_program([Source(text)])
    given = [FactTable.of("a", [(i,) for i in range(100_000)])]
    grounding = ground_program(program, traits_of("difftopkproofs", k=3), given, ["c", "s", "m"])
    assert grounding.tuples("c") == [(100_000,)]
    assert grounding.tuples("s") == [(2**31 - 1,)]  # cut to the bounds, as sums are
    assert grounding.tuples("m") == [(99_999,)]
    assert grounding.derivations.num_nodes == 0


@pytest.mark.parametrize("provenance", ["natural", "realtropical", "proofs"])
def test_untagged_tuples_are_not_enumerated_where_their_tags_count(provenance: str):
    text = "rel c(n) = n := count(x: a(x))\nrel s(n) = n := sum(x: b(x))\nrel m(n) = n := max(x: a(x))"
    text += '\nrel b(x) = a(x), x < 3\nrel b(x + 1) = a(x), x < 3\nrel t(x) = x := string_join<"-">(y: d(y))'
    text += '\nrel e(y) = y := exists(x: a(x))\nrel d = {"u", "v"}'
    program = analyse_program([Source(f"type a(i32)\n{text}")])
    given = [FactTable.of("a", [(i,) for i in range(20_000)])]
    grounding = ground_program(program, traits_of(provenance), given, ["c", "s", "m", "t", "e"])
    found = {name: grounding.tuples(name) for name in ("c", "s", "m", "t", "e")}
    assert found == {"c": [(20_000,)], "s": [(6,)], "m": [(19_999,)], "t": [("u-v",)], "e": [(True,)]}
    assert len(grounding.derivations) < 6 * 20_000


def test_untagged_tuples_keep_their_tags_in_what_is_made_of_them():
    # `b(2)` has two derivations.
    text = "rel a = {1, 2}\nrel b(x) = a(x) or (a(y) and x == y + 1)\nrel g = {0::5}\nrel f(x) = b(x) or g(x)"
    text += "\nrel n(c) = c := count(x: b(x))\nrel s(c) = c := sum(x: f(x))\nrel m(c) = c := max(x: f(x))"
    text += "\nrel e(c) = c := exists(x: f(x))"
    assert answers(text, "n", "natural") == {(3,): 2}
    assert answers(text, "s", "natural") == {(6,): 2, (11,): 0}
    assert answers(text, "m", "natural") == {(3,): 1, (5,): 0}
    assert answers(text, "e", "natural") == {(True,): 4}


@pytest.mark.parametrize(
    ("provenance", "tag", "expected"),
    [("natural", 1.0, 1 << 20), ("tropical", 0.0, 20), ("realtropical", 0.0, 30.0), ("realtropicalproofs", 0.0, 30.0)],
)
def test_what_cannot_fail_for_its_tag_is_not_enumerated(provenance: str, tag: float, expected: float):
    weight = {"natural": 2, "tropical": 1}.get(provenance, 1.5)
    facts = ", ".join(f"{weight}::({i}, 1.0 / {i + 3}.0)" for i in range(20))
    text = f"type a(i32, f64)\nrel a = {{{facts}}}\nrel {tag}::b(i, x) = a(i, x)\nrel s(n) = n := sum[i](x: b(i, x))"
    (found,) = answers(text, "s", provenance).items()
    assert found == ((pytest.approx(sum(1 / (i + 3) for i in range(20))),), expected)
    # A tag of zero may fail.
    if provenance == "natural":
        text = "rel a = {0::1, 2::2}\nrel n(c) = c := count(x: a(x))"
        assert answers(text, "n", provenance) == {(1,): 2, (2,): 0}


def test_untagged_tuples_of_samples_are_not_enumerated():
    text = "type a(i32)\ntype b(i32)\nrel c(n) = n := count(x: a(x) or b(x))\nquery c"
    reasoner = Reasoner(text, provenance="natural", facts={"b": [(None, (1000 + i,)) for i in range(500)]})
    found, tags = reasoner(a=[[(None, (i,)) for i in range(n)] for n in (500, 700)])
    assert found == [(1000,), (1200,)]
    assert tags.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("provenance", ["proofs", "probproofs"])
def test_what_has_no_negation_refuses_by_its_name(provenance: str):
    with pytest.raises(UnsupportedError, match=f"`{provenance}` has no negation"):
        answered("rel a = {0.5::1}\nrel n(c) = c := count(x: a(x))", provenance)
    # Nothing is negated where all hold.
    context = answered("rel a = {0.5::1, 2}\nrel n() = c := count(x: a(x)), c == 2", provenance)
    assert len(list(context.relation("n"))) == 1


def answers(text: str, relation: str, provenance: str) -> dict[tuple, float]:
    return {values: tag for tag, values in answered(text, provenance).relation(relation)}


def answered(text: str, provenance: str) -> Context:
    context = Context(provenance=provenance)
    context.add_program(text)
    context.run()
    return context


def test_only_what_is_as_good_as_a_certain_tuple_can_be_best():
    text = "rel f = {0.5::(1, 9), (2, 5), 0.5::(3, 5), 0.5::(4, 1)}\nrel out(x) = x := argmax[x](y: f(x, y))"
    program = analyse_program([Source(text)])
    grounding = ground_program(program, traits_of("diffaddmultprob"), [], ["out"])
    assert grounding.tuples("out") == [(1,), (2,), (3,)]


def unit(text: str, relation: str = "out") -> list[tuple]:
    program = analyse_program([Source(text)])
    return list(ground_program(program, traits_of("unit"), [], [relation]).tuples(relation))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("rel out(n) = n := count(y: s(x, y)), g(x)", [(3,)]),
        ("rel out(x, n) = n := count(y: s(x, y)), g(x)", [(0, 1), (1, 2), (2, 1)]),
        ("rel out = sort<asc>[x](y: s(x, y))", [(0, 2, 0), (1, 0, 1), (2, 1, 1), (3, 1, 2)]),
        ("rel out(i, x) = (i, x) := argsort[x](y: s(x, y))", [(0, 1), (1, 0), (2, 1), (3, 2)]),
        ("rel out = enumerate(x: s(x, _))", [(0, 0), (1, 1), (2, 2)]),
        ("rel out = rank(x: g(x))", [(0, 0), (1, 1), (2, 2)]),
        ("rel out = top<2>(x: g(x))", [(0,), (1,)]),
        ("rel out = unique(x: g(x))", [(0,)]),
        ('rel out = string_join<", ">(x: x == y as String and g(y))', [("0, 1, 2",)]),
        ("rel out = string_join<all>(x: x == y as String and g(y))", [("012",)]),
        ("type n(String)\nrel out = string_join(x: n(x))", [("",)]),
        ("rel out = uniform<5>(x: g(x))", [(0,), (1,), (2,)]),
        ("rel out = categorical<k=3>(x: g(x))", [(0,), (1,), (2,)]),
        ("rel out = normalize(x: g(x))", [(0,), (1,), (2,)]),
        ("rel out = avg(x: x == 0 and g(y) and y < 0)", []),
        ("rel out = avg((x: f32): x == y as f32 and g(y))", [(1.0,)]),
        ("const K = 1\nrel out = top<K>(x: g(x))", [(0,)]),
        ("type a(u8)\nrel a = {200, 100}\nrel out = sum(x: a(x))", [(255,)]),
        ("type a(u8)\nrel a = {200, 100}\nrel out = prod!(x: a(x))", [(255,)]),
        ("type a(u8)\nrel a = {200, 100}\nrel out = avg(x: a(x))", [(150,)]),
        ("type a(i8)\nrel a = {-100, -101, 127, 74}\nrel out = sum(x: a(x))", [(0,)]),
        (f"type a(i64)\nrel a = {{{-(2**63)}, {2**63 - 1}, 2}}\nrel out = sum(x: a(x))", [(1,)]),
        (f"type a(i64)\nrel a = {{{-(2**63)}, {2**63 - 1}, 2}}\nrel out = prod(x: a(x))", [(-(2**63),)]),
        (f"type a(i64)\nrel a = {{{2**63 - 1}, {2**63 - 2}, 0}}\nrel out = prod(x: a(x))", [(0,)]),
        (f"type a(u128)\nrel a = {{{2**128 - 1}, 5}}\nrel out = sum(x: a(x))", [(2**128 - 1,)]),
        (f"type a(u128)\nrel a = {{{2**128 - 1}, 5}}\nrel out = avg(x: a(x))", [(2**127 + 2,)]),
        (f"type a(u64)\nrel a = {{{2**64 - 1}, {2**64 - 3}}}\nrel out = avg(x: a(x))", [(2**64 - 2,)]),
        (f"type a(i64)\nrel a = {{{-(2**63)}, {-(2**63) + 3}}}\nrel out = avg(x: a(x))", [(-(2**63) + 2,)]),
        (f"type a(i128)\nrel a = {{{-(2**127)}, {-(2**127) + 3}}}\nrel out = avg(x: a(x))", [(-(2**127) + 2,)]),
        ("rel out(x, n) = n := count(y: g(y) and y < x where x: g(x))", [(0, 0), (1, 1), (2, 2)]),
        ("rel out(x, n) = n := count(y: g(y) and y < x where x: g(x) and exists(z: g(z) and z < x))", [(1, 1), (2, 2)]),
        ("rel out(x) = g(x), not exists(y: g(y) and y > x)", [(2,)]),
        ("rel out(x) = g(x), forall(y: g(y) implies x <= y)", [(0,)]),
    ],
)
def test_results_of_certain_tuples(body: str, expected: list[tuple]):
    assert unit(CERTAIN + body) == expected


def test_a_sum_of_too_many_values_is_refused():
    facts = ", ".join(f"0.5::({i}, {2**i})" for i in range(20))
    program = analyse_program([Source(f"type a(i32, i64)\nrel a = {{{facts}}}\nrel s(n) = n := sum[i](x: a(i, x))")])
    with pytest.raises(GroundingError, match="`sum` can take more than 65,536 values") as caught:
        ground_program(program, traits_of("diffaddmultprob"), [], ["s"])
    assert caught.value.diagnostics[0].span is not None
