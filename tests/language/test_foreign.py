"""Functions, predicates and aggregates of Python against programs that say the same with facts or built-ins."""

import itertools
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import scallax.nn
import torch_bridge
from scallax import ForeignError, ScallaxError
from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import Source
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.language.values import ValueType
from scallax.provenance.traits import traits_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "foreign"

T = TypeVar("T", bound=scallax.Number)
U = TypeVar("U")


def tuples(text: str, foreign: Iterable[ForeignItem], relation: str = "out") -> list[tuple]:
    """The tuples of a relation in every world together."""
    program = analyse_program([Source(text)], library=read_foreign(foreign))
    return sorted(ground_program(program, traits_of("unit"), [], [relation]).tuples(relation))


# Functions ------------------------------------------------------------------------------------------------------------


def test_a_function_is_called_once_for_every_distinct_tuple():
    calls: Counter[tuple] = Counter()

    @scallax.foreign_function
    def mix(x: scallax.i32, y: scallax.i32) -> scallax.i32:
        calls[x, y] += 1
        return (x * 7 + y) % 10

    program = """
    rel a = {(0, 1), (1, 2), (0, 2), (5, 1)}
    rel reach(0)
    rel reach($mix(x, 3)) = reach(x)
    rel out(x, $mix(x, 3), $mix(x, $mix(x, 3))) = reach(x)
    rel both(x, y) = a(x, _), a(y, _), $mix(x, y) == $mix(y, x)
    query out
    query both
    """
    step = {x: (x * 7 + 3) % 10 for x in range(10)}
    reached = [0]
    while step[reached[-1]] not in reached:
        reached.append(step[reached[-1]])
    assert tuples(program, [mix]) == sorted((x, step[x], (x * 7 + step[x]) % 10) for x in reached)
    assert set(calls.values()) == {1}
    both = [(x, y) for x, y in itertools.product([0, 1, 5], repeat=2) if (x * 7 + y) % 10 == (y * 7 + x) % 10]
    assert tuples(program, [mix], "both") == both


@pytest.mark.parametrize("seed", range(5))
def test_a_function_is_a_relation_of_arguments_and_values(seed: int):
    random = np.random.default_rng(seed)
    table = {(x, y): int(random.integers(6)) for x in range(6) for y in range(6) if random.random() < 0.7}

    @scallax.foreign_function
    def f(x: scallax.i32, y: scallax.i32) -> scallax.i32:
        return table.get((x, y))  # pyright: ignore[reportReturnType]

    facts = ", ".join(str((x, y, z)) for (x, y), z in table.items())
    edges = ", ".join(str(tuple(map(int, random.integers(0, 6, 2)))) for _ in range(6))
    called = f"""rel e = {{{edges}}}
    rel out(x, $f(x, y)) = e(x, y)
    rel out(x, $f(z, y)) = out(x, z), e(z, y), $f(y, z) != x"""
    looked_up = f"""rel e = {{{edges}}}  rel t = {{{facts}}}
    rel out(x, v) = e(x, y), t(x, y, v)
    rel out(x, v) = out(x, z), e(z, y), t(z, y, v), t(y, z, w), w != x"""
    assert tuples(called, [f]) == tuples(looked_up, [])


_LITERALS = {
    ValueType.BOOL: ["true", "false"],
    ValueType.CHAR: ["'a'", "'é'"],
    ValueType.STRING: ['""', '"né"'],
    ValueType.SYMBOL: ['s"a"', 's"b"'],
    ValueType.DATETIME: ['t"2024-02-29 12:30"', 't"0001-01-01"'],
    ValueType.DURATION: ['d"1 month 3s"', 'd"0s"'],
    ValueType.ENTITY: ["E", "Nil()"],
    ValueType.F32: ["0.1", "-2.5"],
    ValueType.F64: ["0.1", "-2.5"],
}


@pytest.mark.parametrize("type", [type for type in ValueType if type is not ValueType.TENSOR], ids=str)
def test_values_of_every_type_come_back(type: ValueType):
    seen = []

    def identity(x):
        seen.append(x)
        return x

    function = scallax.foreign_function(name="same", arg_types=[type], ret_type=type)(identity)
    literals = _LITERALS.get(type) or [str(bound) for bound in (0, *type.bounds)]
    given = " ".join(f"rel v({literal})" for literal in literals)
    program = f"type List = Cons(i32, List) | Nil()  const E = Cons(-1, Nil())  type v({type})  {given}"
    program = f"{program}  rel out($same(x)) = v(x)"
    assert tuples(program, [function]) == tuples(program, [function], "v")
    assert len(seen) == len(set(literals))
    kinds = {ValueType.BOOL: bool, ValueType.F32: float, ValueType.F64: float}
    assert {kinds.get(type, int if type.is_integer else str)} == set(map(__builtins__["type"], seen))


def test_results_are_read_as_values_are_elsewhere():
    results: list[Any] = [np.int64(3), np.float32(0.5), jnp.float32(0.25), 7]

    @scallax.foreign_function
    def number(x: scallax.i32) -> scallax.f64:
        return results[x]

    @scallax.foreign_function
    def date(x: scallax.i32) -> scallax.DateTime:
        return datetime(2024, 1, 1 + x, tzinfo=UTC)  # pyright: ignore[reportReturnType]

    @scallax.foreign_function
    def span(x: scallax.i32) -> scallax.Duration:
        return timedelta(days=x)  # pyright: ignore[reportReturnType]

    program = "rel i = {0, 1, 2, 3}  rel out(x, $number(x)) = i(x)  rel t($date(x) + $span(x)) = i(x)"
    assert tuples(program, [number, date, span]) == [(0, 3.0), (1, 0.5), (2, 0.25), (3, 7.0)]
    days = [f"2024-01-0{1 + 2 * x} 00:00:00 UTC" for x in range(4)]
    assert tuples(program, [number, date, span], "t") == [(day,) for day in days]


def test_optional_and_variadic_arguments_and_type_parameters():
    @scallax.foreign_function
    def pick(first: T, second: T = 10, *others: T) -> T:  # pyright: ignore[reportArgumentType] (a number)
        return max(first, second, *others)

    number = scallax.Generic(scallax.Number)
    pick_too = scallax.foreign_function(
        name="pick", arg_types=[number], opt_arg_types=[number], var_arg_type=number, ret_type=number
    )(max)
    assert pick_too.signature == pick.signature

    @scallax.foreign_function
    def pair(x: scallax.Any, y: scallax.Any) -> scallax.String:
        return f"{x!r}|{y!r}"

    program = """
    type n(u8), f(f32)
    rel n = {1, 20}  rel f = {0.5}
    rel out($pick(x)) = n(x)
    rel two($pick(x, 5)) = n(x)
    rel many($pick(x, 1, 2, 30)) = n(x)
    rel floats($pick(x, 0.25)) = f(x)
    rel pairs($pair(x, "a")) = n(x)
    """
    expected = {"out": [(10,), (20,)], "two": [(5,), (20,)], "many": [(30,)], "floats": [(0.5,)]}
    for relation, values in expected.items():
        assert tuples(program, [pick, pair], relation) == values
    assert tuples(program, [pick, pair], "pairs") == [("1|'a'",), ("20|'a'",)]
    with pytest.raises(scallax.TypeInferenceError, match=r"`y` is `f64`, but `u8` is needed here"):
        tuples("type n(u8), f(f64)  rel out($pick(x, y)) = n(x), f(y)", [pick])
    with pytest.raises(scallax.TypeInferenceError, match=r"it is `\$pick<T: Number>\(T, T\?, T\.\.\.\) -> T`"):
        tuples("rel out($pick())", [pick])


def test_rows_that_are_gone_are_not_called():
    @scallax.foreign_function
    def inverse(x: scallax.i32) -> scallax.f64:
        return 1 / x

    program = """
    rel n = {0, 1, 2}
    rel out(x, $inverse(x)) = n(x), x != 0
    rel branch(x, if x == 0 then 0.0 else $inverse(x)) = n(x)
    rel failed($inverse("x" as i32)) = n(_)
    """
    assert tuples(program, [inverse]) == [(1, 1.0), (2, 0.5)]
    assert tuples(program, [inverse], "branch") == [(0, 0.0), (1, 1.0), (2, 0.5)]
    assert tuples(program, [inverse], "failed") == []


@pytest.mark.parametrize("how", [{"on_error": "drop"}, {"suppress_warning": True}])
def test_what_fails_may_be_dropped(how: dict):
    @scallax.foreign_function(**how)
    def half(x: scallax.i32) -> scallax.u8:
        return x // 2 if x % 2 == 0 else 1 // 0

    @scallax.foreign_predicate(**how)
    def below(x: scallax.i32) -> scallax.Facts[None, tuple[scallax.i32]]:
        yield (0,)
        if x == 3:
            raise ValueError("three")

    program = "rel n = {-2, 2, 3, 600}  rel out($half(x)) = n(x)  rel b(x, y) = n(x), below(x, y)"
    assert tuples(program, [half, below]) == [(1,)]
    assert tuples(program, [half, below], "b") == [(-2, 0), (2, 0), (600, 0)]


# Aggregates -----------------------------------------------------------------------------------------------------------

UNCERTAIN = """
rel b = {(0, 3), 0.5::(0, 1), 0.25::(0, 7), 0.75::(1, 4), 0.125::(1, 2), (2, 5), (2, 6)}
rel k = {0, 1, 2, 3}
"""


@scallax.foreign_aggregate
def listed(values: list[scallax.i32]) -> scallax.String:
    return ",".join(map(str, values))


@scallax.foreign_aggregate
def middle(values: list[T], *, place: float = 0.5, low: bool = False) -> T:
    return sorted(values)[int(len(values) * (0 if low else place))] if values else None  # pyright: ignore


@scallax.foreign_aggregate(initial=0)
def added(total, x: scallax.i32) -> scallax.i32:
    return total + x


def finish_mean(state: tuple[int, int]) -> scallax.f32:
    return state[0] / state[1] if state[1] else None  # pyright: ignore[reportReturnType]


@scallax.foreign_aggregate(initial=(0, 0), finish=finish_mean)
def mean(state, x: scallax.i32):
    return state[0] + x, state[1] + 1


@scallax.foreign_aggregate
def extent(pairs: list[tuple[scallax.i32, scallax.i32]]) -> tuple[scallax.i32, scallax.usize]:
    return sum(x * y for x, y in pairs), len(pairs)


def enumerated(aggregate: Callable[[list], object]) -> dict[tuple, float]:
    """The probability of each result for each key, over all worlds."""
    certain = {0: [3], 1: [], 2: [5, 6]}
    possible = {0: [(0.5, 1), (0.25, 7)], 1: [(0.75, 4), (0.125, 2)], 2: []}
    found: Counter[tuple] = Counter()
    for key, rows in possible.items():
        for world in itertools.product([False, True], repeat=len(rows)):
            weight = math.prod(p if holds else 1 - p for holds, (p, _) in zip(world, rows, strict=True))
            values = sorted([*certain[key], *(x for holds, (_, x) in zip(world, rows, strict=True) if holds)])
            result = aggregate(values)
            if result is not None:
                found[key, result] += weight
    return dict(found)


AGGREGATES: dict[str, Callable] = {
    "listed(x: b(k, x))": lambda values: ",".join(map(str, values)),
    "middle(x: b(k, x))": lambda values: values[len(values) // 2] if values else None,
    "middle<0.9>(x: b(k, x))": lambda values: values[int(len(values) * 0.9)] if values else None,
    "middle<low>(x: b(k, x))": lambda values: values[0] if values else None,
    "middle<place=-0.5>(x: b(k, x))": lambda values: values[int(len(values) * -0.5)] if values else None,
    "added(x: b(k, x))": sum,
    "mean(x: b(k, x))": lambda values: float(np.float32(sum(values) / len(values))) if values else None,
}


def test_an_aggregate_is_that_of_every_world():
    rules = "\n".join(f"rel r{i}(k, r) = r := {call}" for i, call in enumerate(AGGREGATES))
    outputs = {f"r{i}": plain for i, plain in enumerate(AGGREGATES.values())}
    reasoner = scallax.Reasoner(
        f"{UNCERTAIN} {rules}",
        foreign=[listed, middle, added, mean],
        output_mappings=dict.fromkeys(outputs),
        # Different ways to a result exclude each other: their sum is exact.
        provenance="diffaddmultprob",
    )
    for relation, (found, values) in reasoner().items():
        actual = dict(zip(found, np.asarray(values)[0].tolist(), strict=True))
        assert actual == pytest.approx(enumerated(outputs[relation]), abs=1e-6)


def test_aggregates_of_certain_tuples():
    program = f"""{UNCERTAIN}
    rel out(k, r) = r := listed!(x: b(k, x))
    rel empty(k, r) = r := listed(x: b(k, x) where k: k(k))
    rel pairs(s, n) = (s, n) := extent(k, x: b(k, x))
    """
    foreign = [listed, extent]
    assert tuples(program, foreign) == [(0, "1,3,7"), (1, "2,4"), (2, "5,6")]
    assert (3, "") in tuples(program, foreign, "empty")
    assert tuples(program, foreign, "pairs") == [(0 * 11 + 6 + 2 * 11, 7)]


def test_too_many_worlds_are_refused_and_a_fold_has_no_worlds():
    facts = ", ".join(f"0.5::{i}" for i in range(17))
    program = f"rel a = {{{facts}}}  rel out(r) = r := NAME(x: a(x))"
    options: dict[str, Any] = {"output_relation": "out", "provenance": "diffaddmultprob"}
    with pytest.raises(ScallaxError, match=r"`listed` can take more than 65,536 values in one group"):
        scallax.Reasoner(program.replace("NAME", "listed"), foreign=[listed], **options)
    folded = scallax.Reasoner(program.replace("NAME", "added"), foreign=[added], **options)
    built_in = scallax.Reasoner(program.replace("NAME", "sum"), **options)
    assert folded()[0] == built_in()[0]
    np.testing.assert_allclose(folded()[1], built_in()[1], rtol=1e-5)


# Errors ---------------------------------------------------------------------------------------------------------------


@scallax.foreign_function
def fails(x: scallax.i32, text: str) -> scallax.i32:
    raise ValueError(f"no {text}")


@scallax.foreign_function
def wide(x: scallax.i32) -> scallax.u8:
    return x * 100


@scallax.foreign_function
def wrong(x: scallax.i32) -> scallax.String:
    return x  # pyright: ignore[reportReturnType]


@scallax.foreign_function
def term(x: scallax.i32) -> scallax.Entity:
    return f"Cons({x})"


@scallax.foreign_predicate
def untagged(x: scallax.i32) -> scallax.Facts[None, tuple[scallax.i32]]:
    yield 0.5, (x,)  # pyright: ignore[reportReturnType]


@scallax.foreign_predicate
def uneven(x: scallax.i32) -> scallax.Facts[None, tuple[scallax.i32]]:
    yield (x, x)  # pyright: ignore[reportReturnType]


@scallax.foreign_predicate
def nothing(x: scallax.i32) -> scallax.Facts[None, tuple[scallax.i32]]:
    return 7  # pyright: ignore[reportReturnType]


@scallax.foreign_predicate
def misgrouped(x: scallax.i32) -> scallax.Facts[tuple[float, int], tuple[scallax.i32]]:
    yield (0.5, "left"), (x,)  # pyright: ignore[reportReturnType]


@scallax.foreign_predicate
def paired(x: T, y: U) -> scallax.Facts[None, tuple[T, U]]:
    yield x, y


@scallax.foreign_aggregate
def unhappy(values: list[scallax.i32]) -> scallax.i32:
    return max(values)


@scallax.foreign_aggregate
def two(values: list[scallax.i32]) -> tuple[scallax.i32, scallax.i32]:
    return 1  # pyright: ignore[reportReturnType]


FOREIGN = [fails, wide, wrong, term, untagged, uneven, nothing, misgrouped, paired, unhappy, two, added, listed, extent]


def ground_all(source: Source) -> None:
    program = analyse_program([source], library=read_foreign(FOREIGN))
    ground_program(program, traits_of("unit"), [], [relation.name for relation in program.relations])


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.scl")), ids=lambda path: path.stem)
def test_errors_are_as_written(path: Path):
    with pytest.raises(ScallaxError) as caught:
        ground_all(Source(path.read_text(), path.name))
    # Tracebacks have the places of files.
    report = str(caught.value).partition("\nTraceback")[0]
    assert f"{type(caught.value).__name__}\n{report}\n" == path.with_suffix(".txt").read_text()


def test_an_error_shows_the_users_frames_only():
    with pytest.raises(ForeignError) as caught:
        tuples('rel out($fails(1, "luck"))', [fails])
    assert isinstance(caught.value.__cause__, ValueError)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.detail is not None
    frames = [line for line in diagnostic.detail.splitlines() if line.startswith("  File")]
    assert len(frames) == 1
    assert "test_foreign.py" in frames[0]
    assert str(caught.value).endswith("ValueError: no luck")


# Doors ----------------------------------------------------------------------------------------------------------------


def test_declaring_does_not_load_jax():
    code = "import scallax, sys; scallax.i32, scallax.Facts, scallax.foreign_function; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_door_takes_foreign_items():
    program = "rel out(added) = added := added(x: a(x))  query out"
    options: dict[str, Any] = {"input_mappings": {"a": range(3)}, "foreign": [added, wide]}
    a = np.array([[0.5, 0.25, 0.75]], np.float32)
    reasoner = scallax.Reasoner(program, **options)
    found, values = reasoner(a=a)
    # Items that the program does not name are no part of it.
    assert reasoner.specification.foreign == ("fold added(i32) -> (i32)",)
    doors: Sequence[Any] = [
        torch_bridge.Module(program, **options)(a=torch.tensor(a)),
        scallax.nn.Reasoner(program, **options)(a=a),
        scallax.nn.LinenReasoner(program, **options).apply({}, a=a),
    ]
    for tuples_of_door, values_of_door in doors:
        assert tuples_of_door == found
        np.testing.assert_array_equal(np.asarray(values_of_door), values)
    explanation = reasoner.explain("out", found[0], {"a": a})
    assert explanation.value == pytest.approx(float(np.asarray(values)[0, 0]))
    assert "extend y := $wide(x)" in scallax.explain_plan(
        "rel b(y) = x in 0..2, y == $wide(x)  query b", foreign=[wide]
    )
