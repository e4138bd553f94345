"""Grounding of single constructs: operands, nodes, literals, limits and errors."""

import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from scallax.circuits.compile import analyse_program
from scallax.errors import GroundingError, InputError, Source
from scallax.grounding.derivations import ONE, ZERO, Literals, literal_operand
from scallax.grounding.fixpoint import FactSet, Grounding, ground
from scallax.grounding.grounding_options import GroundingOptions
from scallax.grounding.limits import Limits
from scallax.language.values import Value, ValueType
from scallax.planner.plan import plan


def ground_text(text: str, **options) -> Grounding:
    """Grounds a program for all its relations; facts with a tag are literals of their own, in program order."""
    program = analyse_program([Source(text)])
    tuples: dict[str, list[tuple[Value, ...]]] = {}
    operands: dict[str, list[int]] = {}
    priors: list[float] = []
    for fact in program.facts:
        tuples.setdefault(fact.relation, []).append(fact.values)
        operands.setdefault(fact.relation, []).append(ONE if fact.tag is None else int(literal_operand(len(priors))))
        if fact.tag is not None:
            priors.append(float(fact.tag))
    facts = {
        name: FactSet(list(zip(*rows, strict=True)), np.array(operands[name], np.int64))
        for name, rows in tuples.items()
    }
    literals = Literals(np.array(priors), *(np.full(len(priors), -1) for _ in range(3)))
    return ground(
        plan(program, [relation.name for relation in program.relations]), facts, literals, GroundingOptions(**options)
    )


def derivations_of(grounding: Grounding, operand: int) -> list[tuple[int, int]]:
    """The operand pairs of a node's derivations, `~code` (the bitwise complement) standing for a negated operand."""
    d = grounding.derivations
    rows = np.flatnonzero(d.head == operand)
    left = np.where(d.left_negated, ~d.left, d.left)[rows]
    right = np.where(d.right_negated, ~d.right, d.right)[rows]
    return list(zip(left.tolist(), right.tolist(), strict=True))


def operand(grounding: Grounding, relation: str, *values) -> int:
    return int(grounding.operands(relation, [values])[0])


CLOSURE = "type edge(i64, i64)\nrel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)\n"


def _edges(pairs: list[tuple[int, int]], tag: str = "") -> str:
    return "rel edge = {" + ", ".join(f"{tag}({x}, {y})" for x, y in pairs) + "}\n"


@pytest.mark.parametrize("tag", ["", "0.5::"])
def test_closure_of_a_path_has_a_tuple_per_pair(tag: str):
    grounding = ground_text(CLOSURE + _edges([(i, i + 1) for i in range(29)], tag))
    assert len(grounding.tuples("path")) == 30 * 29 // 2
    assert grounding.num_rounds == 29
    # One derivation by each of the rules per edge, and per path with its last edge.
    assert len(grounding.derivations) == (29 + 29 * 28 // 2 if tag else 0)


@pytest.mark.parametrize(
    "rule",
    ["path(x, y), edge(y, z)", "edge(x, y), path(y, z)", "path(x, y), path(y, z)"],
    ids=["left", "right", "both"],
)
def test_closure_of_a_cycle_has_every_pair(rule: str):
    text = f"type edge(i64, i64)\nrel path(x, y) = edge(x, y)\nrel path(x, z) = {rule}\n"
    grounding = ground_text(text + _edges([(i, (i + 1) % 12) for i in range(12)], "0.5::"))
    assert grounding.tuples("path") == [(i, j) for i in range(12) for j in range(12)]


def test_closure_of_a_tree_and_of_a_grid():
    tree = [(i // 2, i) for i in range(2, 2**7)]
    assert len(ground_text(CLOSURE + _edges(tree)).tuples("path")) == sum(d * 2**d for d in range(1, 7))
    right = [(10 * i + j, 10 * i + j + 1) for i in range(6) for j in range(7)]
    down = [(10 * i + j, 10 * i + 10 + j) for i in range(5) for j in range(8)]
    expected = sum(i * j - 1 for i in range(1, 7) for j in range(1, 9))
    assert len(ground_text(CLOSURE + _edges(right + down)).tuples("path")) == expected


def test_a_lone_fact_is_its_own_operand():
    grounding = ground_text("rel a = {0.5::1, 2}\n")
    assert grounding.operands("a").tolist() == [-3, ONE]
    assert grounding.derivations.num_nodes == 0


def test_repeated_facts_are_a_node_with_a_derivation_each():
    grounding = ground_text("rel a = {0.5::1, 0.4::1, 0.3::2, 2}\n")
    node, certain = grounding.operands("a").tolist()
    assert derivations_of(grounding, node) == [(-3, ONE), (-4, ONE)]
    assert certain == ONE


def test_certain_tuples_keep_their_nodes_where_asked():
    grounding = ground_text("rel a = {1, 2, 2}\nrel b(x) = a(x)\n", collapse_certain=False)
    first, second = grounding.operands("a").tolist()
    assert derivations_of(grounding, first) == [(ONE, ONE)]
    assert derivations_of(grounding, second) == [(ONE, ONE), (ONE, ONE)]
    assert [derivations_of(grounding, node) for node in grounding.operands("b").tolist()] == [
        [(first, ONE)],
        [(second, ONE)],
    ]


def test_conjunctions_are_shared_between_rules():
    grounding = ground_text(
        "rel 0.5::a(1)\nrel 0.5::b(1)\nrel c = {0.5::1, 0.5::2}\n"
        "rel p(x) = a(1), b(1), c(x)\nrel q(x, y) = a(1), b(1), c(x), c(y)\n"
    )
    (first, _), (second, _) = (derivations_of(grounding, node)[0] for node in grounding.operands("p").tolist())
    assert first == second
    assert derivations_of(grounding, first) == [(-3, -4)]


def test_conjunctions_that_are_equal_without_late_certain_operands_are_one():
    grounding = ground_text("""
        rel base = {1, 2}
        rel u = {0.5::1, 0.5::2}
        rel e = {0.3::7}
        rel f = {0.4::7}
        rel g = {0.6::7}
        rel p(x) = u(x)
        rel p(x) = q(x, 2)
        rel q(x, 0) = base(x)
        rel q(x, n + 1) = q(x, n), n < 2
        rel q(x, 3) = h(x), x > 100
        rel h(y) = not g(y), p(x), e(y), p(z), f(y)
    """)
    # In the first round `p` depends on `u`: by then there are four derivations.
    ((conjunction, f),) = derivations_of(grounding, operand(grounding, "h", 7))
    assert f == operand(grounding, "f", 7)
    assert derivations_of(grounding, conjunction) == [(~operand(grounding, "g", 7), operand(grounding, "e", 7))]


def test_a_tuple_certain_in_a_later_round_is_certain_where_it_was_used():
    grounding = ground_text(
        "rel 0.5::p(3)\nrel step = {(1, 2), (2, 3), (3, 4)}\nrel p(1)\nrel p(y) = p(x), step(x, y)\nrel q(x) = p(x)\n"
    )
    assert grounding.operands("p").tolist() == [ONE] * 4
    assert grounding.operands("q").tolist() == [ONE] * 4
    assert len(grounding.derivations) == 0


def test_duplicates_by_projection_are_separate_while_their_operands_differ():
    grounding = ground_text("rel 0.5::a(1)\nrel b = {1, 2, 0.5::3, 0.5::4}\nrel r(x) = a(x), b(_)\n")
    assert derivations_of(grounding, operand(grounding, "r", 1)) == [(-3, ONE), (-3, -4), (-3, -5)]


def test_negation_drops_keeps_or_negates():
    grounding = ground_text("rel a = {1, 2, 3}\nrel b = {1, 0.5::2}\nrel r(x) = a(x), not b(x)\n")
    assert grounding.tuples("r") == [(2,), (3,)]
    node, certain = grounding.operands("r").tolist()
    assert derivations_of(grounding, node) == [(~-3, ONE)]
    assert certain == ONE


def test_negation_over_a_wildcard_negates_a_projection():
    grounding = ground_text(
        "rel a = {1, 2, 3}\nrel b = {0.9::(1, 1), 0.8::(1, 2), 0.7::(2, 1), (2, 2)}\nrel r(x) = a(x), not b(x, _)\n"
    )
    assert grounding.tuples("r") == [(1,), (3,)]
    ((negated, right),) = derivations_of(grounding, operand(grounding, "r", 1))
    assert right == ONE
    assert derivations_of(grounding, ~negated) == [(-3, ONE), (-4, ONE)]
    assert operand(grounding, "r", 3) == ONE


def test_every_grounding_of_a_tagged_rule_has_a_literal():
    text = "rel a = {1, 2}\nrel 0.3::b(x) = a(x)\n"
    grounding = ground_text(text)
    assert [derivations_of(grounding, node) for node in grounding.operands("b").tolist()] == [[(-3, ONE)], [(-4, ONE)]]
    assert grounding.literals.prior.tolist() == [float(np.float32(0.3))] * 2
    assert grounding.literals.source.tolist() == [-1, -1]
    assert grounding.literals.group.tolist() == [-1, -1]
    assert ground_text(text, rule_tags=False).operands("b").tolist() == [ONE, ONE]


def test_a_tag_that_is_no_number_drops_the_row():
    grounding = ground_text(
        "type a(f32)\nrel a = {0.0, 4.0}\nrel 1.0 / (a - a) :: r() = a(a)\nrel a / a :: s(a) = a(a)\n"
    )
    assert grounding.tuples("s") == [(4.0,)]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_iter_limit_ends_a_stratum_after_one_more_round(limit: int):
    grounding = ground_text(CLOSURE + _edges([(i, i + 1) for i in range(9)]), iter_limit=limit)
    assert grounding.tuples("path") == [(i, j) for i in range(10) for j in range(i + 1, min(i + limit + 2, 10))]


def test_equalities_are_solved_by_numbers_of_the_type():
    grounding = ground_text(
        "type a(u8)\nrel a = {3, 12}\nrel r(y) = a(x), x == y + 5\n"
        "rel s(y) = a(x), y - 4 == x\nrel t(y) = a(x), 5 - y == x\n"
    )
    assert grounding.tuples("r") == [(7,)]
    assert grounding.tuples("s") == [(7,), (16,)]
    assert grounding.tuples("t") == [(2,)]


def test_a_sum_that_leaves_its_type_equals_nothing():
    text = "type a(u8), b(u8)\nrel a = {250}\nrel b = {4, 5, 6, 200}\nrel r(y) = a(x), b(y), x + y == 255\n"
    assert ground_text(text).tuples("r") == [(5,)]


@dataclass(frozen=True)
class _Sum:
    """`left op right` of two variables or numbers."""

    left: str | int
    op: str
    right: str | int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"

    def number(self, binding: Mapping[str, int]) -> int:
        left, right = (binding[part] if isinstance(part, str) else part for part in (self.left, self.right))
        return {"+": operator.add, "-": operator.sub, "*": operator.mul}[self.op](left, right)


def _random_literals(rng: np.random.Generator) -> list[tuple[str, tuple[_Sum, ...]]]:
    """Literals, `{}` standing for each of their sums: x and y occur in positive atoms, alone or in a sum."""

    def term(name: str) -> _Sum:
        number = int(rng.integers(3))
        return _Sum(name, str(rng.choice(["+", "-"])), number) if rng.random() < 0.6 else _Sum(number, "-", name)

    def anything() -> _Sum:
        if rng.random() < 0.4:
            return _Sum("x", str(rng.choice(["+", "-", "*"])), "y")
        return term(str(rng.choice(["x", "y"])))

    literals = [("s({}, {})", (term("x"), term("y"))), ("v({})", (term("x"),))]
    kinds = ["v({})", "s({}, _)", "s(_, {})", "not v({})", "not s({}, _)", "{} == {}", "{} != {}", "{} < {}"]
    for kind in rng.choice(kinds, 2):
        literals.append((str(kind), tuple(anything() for _ in range(str(kind).count("{}")))))
    return literals


def _holds(text: str, numbers: Sequence[int], facts: Mapping[str, set[tuple[int, ...]]], type: ValueType) -> bool:
    """Whether a literal holds where its sums are these numbers."""
    low, high = type.bounds
    is_inside = all(low <= number <= high for number in numbers)
    if "<" in text:
        left, right = (min(max(number, low), high) for number in numbers)
        return left < right
    if "=" in text:
        return (is_inside and numbers[0] == numbers[1]) == ("==" in text)
    rows = facts["s" if "s(" in text else "v"]
    rows = {row[-1:] if "(_" in text else row[:1] if ", _" in text else row for row in rows}
    return (is_inside and tuple(numbers) in rows) != text.startswith("not")


@pytest.mark.parametrize("name", ["u8", "i32", "i64", "u64", "u128"])
def test_what_equations_match_does_not_depend_on_their_order(name: str):
    type = ValueType(name)
    rng = np.random.default_rng(list(ValueType).index(type))
    low, high = type.bounds
    near = sorted(
        {value for middle in (low, 0, high) for value in range(middle - 8, middle + 9) if low <= value <= high}
    )
    values = [low, low + 1, low + 2, high - 1, high]
    facts = {"s": {(x, y) for x in values for y in values if rng.random() < 0.5}, "v": {(x,) for x in values[1:]}}
    facts["v"].add((0,))
    bodies = [_random_literals(rng) for _ in range(5)]
    lines = [f"type s({type}, {type}), v({type})"]
    lines += [f"rel {relation} = {{{', '.join(map(str, sorted(rows)))}}}" for relation, rows in facts.items()]
    for number, literals in enumerate(bodies):
        texts = [text.format(*sums) for text, sums in literals]
        for order, body in enumerate(list(itertools.permutations(texts))[::2]):
            lines.append(f"rel w{number}_{order}(x, y) = {', '.join(body)}")
    grounding = ground_text("\n".join(lines))
    for number, literals in enumerate(bodies):
        bindings = [{"x": x, "y": y} for x in near for y in near]
        right = [
            (binding["x"], binding["y"])
            for binding in bindings
            if all(_holds(text, [part.number(binding) for part in sums], facts, type) for text, sums in literals)
        ]
        for order in range(12):
            assert grounding.tuples(f"w{number}_{order}") == right, [text.format(*sums) for text, sums in literals]


def test_fibonacci():
    grounding = ground_text("rel f = {(0, 0), (1, 1)}\nrel f(n, a + b) = f(n - 1, a), f(n - 2, b), n <= 10\n")
    assert grounding.tuples("f")[-1] == (10, 55)
    assert len(grounding.tuples("f")) == 11


def test_tuples_are_listed_in_value_order():
    grounding = ground_text(
        'rel s = {"b", "a", "Z", ""}\ntype big(u64, i128)\n'
        "rel big = {(5, 1), (5, -7)}\nrel big(x * 4000000000 * 4000000000, y) = big(x, y), y > 0\n"
        "rel none()\n"
    )
    assert grounding.tuples("s") == [("",), ("Z",), ("a",), ("b",)]
    assert grounding.tuples("big") == [(5, -7), (5, 1), (2**64 - 1, 1)]
    assert grounding.tuples("none") == [()]
    assert grounding.operands("none").tolist() == [ONE]


def test_operands_of_tuples_that_cannot_be_derived_are_zero():
    grounding = ground_text('rel a = {(1, "x")}\nrel empty(x) = a(x, "y")\n')
    asked = [(1, "x"), (1, "y"), ("x", 1), (1,), (2**40, "x"), (True, "x"), (1, "never seen")]
    assert grounding.operands("a", asked).tolist() == [ONE] + [ZERO] * 6
    assert grounding.operands("empty", [(1,)]).tolist() == [ZERO]
    assert grounding.tuples("empty") == []
    with pytest.raises(InputError, match="relation `b` was not grounded"):
        grounding.tuples("b")


def test_f32_facts_are_rounded():
    grounding = ground_text("type a(f32)\nrel a = {0.1, -0.0, 0.0}\n")
    assert grounding.tuples("a") == [(0.0,), (float(np.float32(0.1)),)]
    assert grounding.operands("a", [(0.1,)]).tolist() == [ONE]


def test_division_by_zero_names_the_rule():
    with pytest.raises(GroundingError) as caught:
        ground_text("rel a = {0, 1}\nrel r(4 / x) = a(x)\n")
    assert "division by zero in `4 / x`" in str(caught.value)
    assert "<program>:2:" in str(caught.value)
    assert "hint:" in str(caught.value)


def test_filters_run_before_divisions():
    grounding = ground_text("rel a = {0, 2}\nrel zero = {0}\nrel r(y) = a(x), y == 4 / x, x != 0\n")
    assert grounding.tuples("r") == [(2,)]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(rounds=50), "limit of 50 rounds"),
        (Limits(tuples=40), "limit of 40 tuples"),
        (Limits(seconds=0.05), "limit of 0.05 seconds"),
    ],
)
def test_endless_recursion_is_an_error_that_names_the_rule(limits: Limits, message: str):
    with pytest.raises(GroundingError) as caught:
        ground_text("type n(i64)\nrel n(0)\nrel n(x + 1) = n(x)\n", limits=limits)
    assert message in str(caught.value)
    assert "bound it with a constraint, or give `iter_limit`" in str(caught.value)
    assert "this rule for `n` grew by 1 in the last round" in str(caught.value)
    assert "<program>:3:" in str(caught.value)
    (name,) = [field for field in ("rounds", "tuples", "seconds") if field in message]
    assert f"or raise the limit: `limits=scallax.Limits({name}=…)`" in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"tuples": -1}, {"rounds": 1.5}, {"derivations": True}, {"seconds": -0.1}, {"seconds": float("nan")}]
)
def test_limits_are_counts(values: dict):
    (name,) = values
    with pytest.raises(InputError, match=f"`Limits`: `{name}` is"):
        Limits(**values)


def test_limits_on_derivations_and_on_joins():
    edges = CLOSURE + _edges([(i, (i + 1) % 9) for i in range(9)], "0.5::")
    with pytest.raises(GroundingError, match="limit of 60 derivations"):
        ground_text(edges, limits=Limits(derivations=60))
    product = "rel a = {1, 2, 3, 4, 5, 6, 7, 8}\nrel r(x, y) = a(x), a(y)\n"
    with pytest.raises(GroundingError, match="joining `a` in this rule gives over 20 rows"):
        ground_text(product, limits=Limits(derivations=20))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('s(x + "a") = s(x)', "limit of 10,000 characters of text: this rule for `s` grew by 1"),
        ("s(x + x) = s(x)", "limit of 10,000 characters of text: this rule for `s` grew by 1"),
        ("s(x + y) = s(x), s(y)", "the texts `x + y` pass the limit of 10,000 characters"),
    ],
)
def test_texts_that_grow_for_ever_are_an_error(rule: str, message: str):
    with pytest.raises(GroundingError) as caught:
        ground_text(f'rel s("a")\nrel {rule}\n', limits=Limits(characters=10_000))
    assert message in str(caught.value)
    assert "<program>:2:" in str(caught.value)


def test_rows_are_counted_by_rule():
    grounding = ground_text(CLOSURE + _edges([(1, 2), (2, 3), (1, 3)]))
    assert grounding.rule_rows == {0: 3, 1: 1}


def test_negation_without_any_binding():
    grounding = ground_text(
        "rel 0.3::a()\nrel 0.4::b(1, 2)\nrel c(1) = not a()\nrel d(1) = not b(_, _)\nrel e(1) = not b(2, _)\n"
    )
    assert derivations_of(grounding, operand(grounding, "c", 1)) == [(~-3, ONE)]
    ((negated, _),) = derivations_of(grounding, operand(grounding, "d", 1))
    assert derivations_of(grounding, ~negated) == [(-4, ONE)]
    assert operand(grounding, "e", 1) == ONE


def test_chains_over_certain_tuples_are_projected_on_the_way():
    # Ten joins over a complete graph of 12 nodes: 12^11 combinations, 12^2 of them different in the end.
    names = [f"x{i}" for i in range(11)]
    body = ", ".join(f"edge({a}, {b})" for a, b in itertools.pairwise(names))
    edges = _edges([(i, j) for i in range(12) for j in range(12)])
    grounding = ground_text(
        f"type edge(i64, i64)\nrel far(x0, x10) = {body}\n" + edges, limits=Limits(derivations=10_000)
    )
    assert len(grounding.tuples("far")) == 144
