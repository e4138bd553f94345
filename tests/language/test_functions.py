"""Built-in functions, predicates and times, against plain Python one value at a time."""

import itertools
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scallax.facts.mappings import fit_tuples, read_tuple
from scallax.grounding.expressions import Evaluation
from scallax.grounding.generation import generate_rows
from scallax.grounding.symbols import Symbols, decode_values, encode, encode_values
from scallax.language import ir
from scallax.language.functions import FUNCTIONS
from scallax.language.predicates import PREDICATES
from scallax.language.signatures import FLOATS, INTEGERS
from scallax.language.siphash import hash_values
from scallax.language.times import parse_datetime, parse_duration, show_datetime
from scallax.language.values import Value, ValueType
from scallax.reasoner.reasoner import Reasoner
from tests import references

_TEXTS = ["", "a", "Hello, Wörld", "  x \t", "naïve", "ßÄä", "banana", "日本語", "a,b,,c"]
_DATES = ["0001-01-01 00:00:00 UTC", "1969-12-31 23:59:59.999999 UTC", "2024-02-29 12:00:00 UTC"]
_DATES += ["9999-12-31 23:59:59 UTC", "1900-03-01 00:00:00 UTC"]


def interesting(type: ValueType) -> list[Any]:
    if type.is_float:
        values = [0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -2.5, 2.5, 1e-3, 7.25, 1e30, math.inf, -math.inf]
        return [float(np.float32(value)) for value in values] if type is ValueType.F32 else values
    if type is ValueType.DATETIME:
        return list(_DATES)
    if type is ValueType.STRING:
        return list(_TEXTS)
    low, high = type.bounds
    return sorted({low, low + 1, -1 if low else 0, 0, 1, 2, 3, 7, high - 1, high})


def call_columns(function: str, types: list[ValueType], result: ValueType, rows: list[tuple]) -> list[Value | None]:
    symbols = Symbols()
    names = [f"x{i}" for i in range(len(types))]
    columns = {
        name: encode_values([row[i] for row in rows], type, symbols)
        for i, (name, type) in enumerate(zip(names, types, strict=True))
    }
    variables = tuple(ir.Variable(name, type) for name, type in zip(names, types, strict=True))
    evaluation = Evaluation(columns, len(rows), symbols, None)
    native = evaluation.native(ir.Call(function, variables, result))
    missing = np.zeros(len(rows), np.bool_) if evaluation.missing is None else evaluation.missing
    values = decode_values(encode(native, result, symbols), result, symbols)
    return [None if gone else value for value, gone in zip(values, missing.tolist(), strict=True)]


def _calls() -> list:
    """Every function, with every type of its family, and each number of arguments that it takes up to 3."""
    calls = []
    for name, function in FUNCTIONS.items():
        signature = function.signature
        families = sorted(signature.generics[0], key=str) if signature.is_generic else [ValueType.I32]
        for generic in families:
            for count in range(4):
                parameters = signature.parameters_of(count)
                if parameters is None or name in ("hash", "format", "dim", "dot"):
                    continue
                types = [generic if isinstance(part, int) else next(iter(part)) for part in parameters]
                result = generic if isinstance(signature.result, int) else next(iter(signature.result))
                calls.append(pytest.param(name, types, result, id=f"{name}({', '.join(map(str, types))})"))
    return calls


@pytest.mark.parametrize(("function", "types", "result"), _calls())
def test_a_function_is_what_it_is_in_python(function: str, types: list[ValueType], result: ValueType):
    choices = [interesting(type) for type in types]
    if function == "pow":
        choices[1] = [0, 1, 2, 3, 31, 64, 129, 2000]
    if function in ("string_char_at", "substring"):
        choices[1:] = [[0, 1, 3, 6, 7, 13, 2**64 - 1]] * (len(types) - 1)
    rows = list(itertools.product(*choices))
    if function == "mod" and types[0].is_float:
        rows = [row for row in rows if all(map(math.isfinite, row))]
    actual = call_columns(function, types, result, rows)
    for row, value in zip(rows, actual, strict=True):
        expected = references.call(function, row, tuple(types), result)
        if isinstance(expected, float):
            tolerance = 1e-6 if result is ValueType.F32 else 1e-12
            assert value == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True), (row, expected)
        else:
            assert value == expected, row


def test_format_writes_values_as_casts_do():
    types = [ValueType.STRING, ValueType.BOOL, ValueType.F32, ValueType.CHAR, ValueType.DATETIME]
    rows = [("<{}|{}|{}|{}>", True, 0.1, "c", _DATES[2]), ("{}{}", True, 0.1, "c", _DATES[2])]
    # The second template takes another number of values: it has none.
    assert call_columns("format", types, ValueType.STRING, rows) == ["<true|0.1|c|2024-02-29 12:00:00 UTC>", None]
    assert call_columns("format", types[:1], ValueType.STRING, [("plain",)]) == ["plain"]


def test_hash_is_siphash():
    assert hash_values([ValueType.I32] * 2, [1, 3]) == 7198375873285174811
    assert hash_values([ValueType.STRING], ["a"]) == 9263968507118638105
    assert call_columns("hash", [ValueType.I32] * 2, ValueType.U64, [(1, 3), (1, 3)]) == [7198375873285174811] * 2
    # Each width hashes its own bytes.
    assert len({hash_values([type], [1]) for type in INTEGERS - {ValueType.ISIZE, ValueType.USIZE}}) >= 5


def match_rows(name: str, types: list[ValueType], inputs: list[tuple]) -> list[list[tuple]]:
    symbols = Symbols()
    codes = [encode_values([row[i] for row in inputs], types[i], symbols) for i in range(len(inputs[0]))]
    rows, outputs, _ = generate_rows(name, codes, types, len(inputs), symbols, 10**6, None)
    columns = [decode_values(c, t, symbols) for c, t in zip(outputs, types[len(codes) :], strict=True)]
    found = list(zip(*columns, strict=True)) if columns else [()] * len(rows)
    return [[match for row, match in zip(rows.tolist(), found, strict=True) if row == i] for i in range(len(inputs))]


@pytest.mark.parametrize("type", sorted(INTEGERS, key=str), ids=str)
@pytest.mark.parametrize("name", ["range", "range="])
def test_ranges(name: str, type: ValueType):
    low, high = type.bounds
    ends = [low, low + 1, low + 2, 0, 3, high - 1, high]
    inputs = [(a, b) for a in ends for b in ends if b - a < 5]
    expected = [list(references.PREDICATES[name](*row)) for row in inputs]
    assert match_rows(name, [type] * 3, inputs) == expected


@pytest.mark.parametrize("name", ["string_chars", "string_index", "string_find", "string_split", "datetime_ymd"])
def test_a_predicate_is_what_it_is_in_python(name: str):
    predicate = PREDICATES[name]
    types = [next(iter(part)) for part in predicate.signature.parameters if not isinstance(part, int)]
    choices = [interesting(types[0]), ["a", "na", ",", "ö", "語", "ana"]][: predicate.num_inputs]
    inputs = list(itertools.product(*choices))
    expected = [list(references.PREDICATES[name](*row)) for row in inputs]
    assert match_rows(name, types, inputs) == expected


def test_an_empty_pattern_matches_around_every_character():
    strings = [ValueType.STRING] * 3
    assert match_rows("string_split", strings, [("ab", "")]) == [[("",), ("a",), ("b",), ("",)]]
    usize = ValueType.USIZE
    assert match_rows("string_find", [*strings[:2], usize, usize], [("é", "")]) == [[(0, 0), (2, 2)]]


@pytest.mark.parametrize("type", sorted(FLOATS, key=str), ids=str)
def test_soft_comparisons_have_the_probabilities_that_they_are_named_for(type: ValueType):
    pairs = [(0.0, 2.0), (1.0, 1.0), (-3.0, 4.0), (math.inf, 0.0), (math.inf, math.inf)]
    symbols = Symbols()
    codes = [encode_values([pair[i] for pair in pairs], type, symbols) for i in range(2)]
    expected = {
        "soft_gt": lambda x, y: 1 / (1 + math.exp(y - x)),
        "soft_lt": lambda x, y: 1 / (1 + math.exp(x - y)),
        "soft_eq": lambda x, y: 1 / math.cosh((x - y) / 2) if math.isfinite(x - y) else 0.0,
        "soft_neq": lambda x, y: 1 - (1 / math.cosh((x - y) / 2) if math.isfinite(x - y) else 0.0),
    }
    for name, reference in expected.items():
        rows, _, probability = generate_rows(name, codes, [type] * 2, len(pairs), symbols, 100, None)
        # The difference of two infinities is none.
        assert rows.tolist() == [0, 1, 2, 3]
        if name in ("soft_lt",):
            assert probability[3] == 0
            rows = rows[:3]
        assert probability[: len(rows)] == pytest.approx([reference(*pairs[i]) for i in rows.tolist()], abs=1e-6)


def test_every_evaluation_of_a_soft_comparison_is_a_variable_of_its_own():
    program = "rel a = {1.0}\nrel r() = a(x), soft_gt<f32>(x, 1.0)\nrel r() = a(x), soft_lt<f32>(x, 1.0)"
    reasoner = Reasoner(program, provenance="topkproofs", output_mappings={"r": None})
    assert np.asarray(reasoner.evaluator.forward(())[0]) == pytest.approx(0.75)
    negated = "rel a = {0.0}\nrel r() = a(x), not soft_gt<f32>(x, 2.0)"
    reasoner = Reasoner(negated, provenance="topkproofs", output_mappings={"r": None})
    assert np.asarray(reasoner.evaluator.forward(())[0]) == pytest.approx(1 - 1 / (1 + math.exp(2)), abs=1e-6)


@pytest.mark.parametrize(
    ("body", "tuples"),
    [
        ("range<i32>(0, 3, x)", [0, 1, 2]),
        ("range(0, 3, x), not range(1, 2, x)", [0, 2]),
        ("x in 0..=2, not x in 2..10", [0, 1]),
        ("n(x), x in 2..4", [2, 3]),
        ("n(y), range(y, 5, x), x == y + 2", [3, 4]),
        ("range(0, 5, x + 1)", [-1, 0, 1, 2, 3]),
        ("n(y), range(x, x + 2, y), y == x + 1", [0, 1, 2]),
        ("x in 0..2 or x in 7..8", [0, 1, 7]),
        ("range(0, 3, x), range(0, x, x)", []),
        ('n(x), not string_chars("abc", x as usize, _)', [3]),
        ('n(x), string_chars("abc", x as usize, _)', [1, 2]),
        ('string_index("abc", i), x == i as i32', [0, 1, 2]),
        ('string_find("aXa", "a", b, b), x == b as i32', []),
    ],
)
def test_predicates_in_bodies(body: str, tuples: list[int] | None):
    if tuples is None:
        return
    program = f"rel n = {{1, 2, 3}}\nrel r(x) = {body}"
    reasoner = Reasoner(program, provenance="unit", output_mappings={"r": None})
    assert [values[0] for values in reasoner.compiled_program.outputs[0].tuples] == tuples


def test_a_range_beyond_the_limit_is_one_error():
    symbols = Symbols()
    codes = [encode_values([value], ValueType.I64, symbols) for value in (0, 2**40)]
    with pytest.raises(Exception, match="`range` in this rule gives over 1,000 rows"):
        generate_rows("range", codes, [ValueType.I64] * 3, 1, symbols, 1000, None)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2019-01-01", "2019-01-01 00:00:00 UTC"),
        ("2020-05-06T07:08:09Z", "2020-05-06 07:08:09 UTC"),
        ("2020-05-06 07:08:09.25 UTC", "2020-05-06 07:08:09.250 UTC"),
        ("4/8/2014 22:05", "2014-04-08 22:05:00 UTC"),
        ("08/21/71", "1971-08-21 00:00:00 UTC"),
        ("September 17, 2012 10:09am", "2012-09-17 10:09:00 UTC"),
        ("May 26, 2021, 12:49 AM PDT", "2021-05-26 07:49:00 UTC"),
        ("Wed, 02 Jun 2021 06:31:39 GMT", "2021-06-02 06:31:39 UTC"),
        ("oct. 7, 1970", "1970-10-07 00:00:00 UTC"),
        ("2021-Feb-21", "2021-02-21 00:00:00 UTC"),
        ("2014年04月08日11时25分18秒", "2014-04-08 11:25:18 UTC"),
        ("2014-04-26 13:13:44 +09:00", "2014-04-26 04:13:44 UTC"),
        ("2019-11-29 08:08-08", "2019-11-29 16:08:00 UTC"),
        ("1511648546", "2017-11-25 22:22:26 UTC"),
        ("2020-02-30", None),
        ("2020-01-01 25:00", None),
        ("2020-01-01 13:00pm", None),
        ("0001-01-01 00:00 +08:00", None),
        ("maybe 3, 2020", None),
        ("12", None),
        ("", None),
    ],
)
def test_dates_are_read_in_the_usual_notations(text: str, canonical: str | None):
    instant = parse_datetime(text)
    assert (None if instant is None else show_datetime(instant)) == canonical
    if canonical is not None:
        assert parse_datetime(canonical) == instant


def test_a_time_alone_is_of_today():
    shown = show_datetime(parse_datetime("4:30pm") or 0)
    assert shown.endswith(" 16:30:00 UTC")
    assert abs((datetime.fromisoformat(shown[:10]).date() - datetime.now(UTC).date()).days) <= 1


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1 y 2 M 3 w 4 d 5 h 6 m 7 s", "R14MO PT2178367S"),
        ("2h30m", "PT9000S"),
        ("14M", "R14MO P0D"),
        ("-3d", "-PT259200S"),
        ("5 ns", "PT0.000000005S"),
        ("1500 msecs", "PT1.5S"),
        ("0s", "P0D"),
        ("3 parsecs", None),
        ("3", None),
        ("", None),
    ],
)
def test_durations_are_read_by_their_units(text: str, canonical: str | None):
    duration = parse_duration(text)
    assert (None if duration is None else str(duration)) == canonical
    if canonical is not None:
        assert parse_duration(canonical) == duration


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('t"2020-01-31" + d"1M"', "2020-02-29 00:00:00 UTC"),
        ('t"2020-03-31" - d"1M"', "2020-02-29 00:00:00 UTC"),
        ('t"2024-02-28" + d"36h"', "2024-02-29 12:00:00 UTC"),
        ('t"2020-01-02" - t"2020-01-01"', "PT86400S"),
        ('d"1M" + d"2d" - d"1d"', "R1MO PT86400S"),
        ('d"1y" * 2', "R24MO P0D"),
        ('d"3s" / 2', "PT1.5S"),
        ('d"-3M" / 2', "R-1MO P0D"),
        ('t"9999-12-31" + d"1d"', None),
        ('t"2020-01-01" < t"2020-01-02"', True),
        ('d"90s" < d"100s"', True),
        ('d"1M" > d"40d"', True),
        ('s"a" == s"a"', True),
        ('t"2020-01-01" as String', "2020-01-01 00:00:00 UTC"),
        ('s"a" as String', "a"),
        ("'b' > 'a' && true > false && \"b\" > \"a\"", True),
        ('($datetime_year(t"2020-01-01") + 1) as f32 as i8', 127),
    ],
)
def test_times_and_symbols_in_programs(expression: str, expected: Value | None):
    reasoner = Reasoner(f"rel r({expression})", provenance="unit", output_mappings={"r": None})
    assert reasoner.compiled_program.outputs[0].tuples == (() if expected is None else ((expected,),))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('t"2020-01-02" == x + d"1d"', "2020-01-01 00:00:00 UTC"),
        ('t"2020-01-02" == x - d"1d"', "2020-01-03 00:00:00 UTC"),
        ('d"1d" == x - t"2020-01-01"', "2020-01-02 00:00:00 UTC"),
        ('d"1d" == t"2020-01-01" - x', "2019-12-31 00:00:00 UTC"),
        ('t"2020-01-02" == t"2020-01-01" + x', "PT86400S"),
        ('t"2020-01-01" == t"2020-01-02" - x', "PT86400S"),
        ('d"3d" == x + d"1d"', "PT172800S"),
        ('d"3d" == d"4d" - x', "PT86400S"),
    ],
)
def test_equalities_of_times_are_solved(body: str, expected: str):
    reasoner = Reasoner(f"rel r(x) = {body}", provenance="unit", output_mappings={"r": None})
    assert reasoner.compiled_program.outputs[0].tuples == ((expected,),)


def test_dates_of_python_are_values():
    values = (datetime(2020, 1, 2, 3, tzinfo=UTC), date(2020, 1, 2), timedelta(days=1), "2020-01-02", "36h", "x")
    types = [ValueType.DATETIME] * 2 + [ValueType.DURATION, ValueType.DATETIME, ValueType.DURATION, ValueType.SYMBOL]
    fitted = fit_tuples([read_tuple(values, "facts")], types, "facts")[0]
    day = "2020-01-02 00:00:00 UTC"
    assert fitted == ("2020-01-02 03:00:00 UTC", day, "PT86400S", day, "PT129600S", "x")
    program = "type ev(DateTime, Duration, Symbol)\nrel r(t + d, s) = ev(t, d, s)"
    facts = {"ev": [(datetime(2020, 1, 31), "1 M", "a"), ("2020-01-31", timedelta(hours=1), "b")]}
    reasoner = Reasoner(program, provenance="unit", facts=facts, output_mappings={"r": None})
    expected = (("2020-01-31 01:00:00 UTC", "b"), ("2020-02-29 00:00:00 UTC", "a"))
    assert reasoner.compiled_program.outputs[0].tuples == expected
