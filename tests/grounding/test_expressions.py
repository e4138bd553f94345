"""Column expressions against the same expression in Python integers, one row at a time."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from scallax.errors import GroundingError
from scallax.grounding.casts import cast
from scallax.grounding.expressions import Evaluation
from scallax.grounding.symbols import Symbols, decode, decode_values, encode, encode_values, sort_keys
from scallax.language import ir
from scallax.language.ir import Variant
from scallax.language.tensors import TensorValue
from scallax.language.values import Value, ValueType
from tests.oracles import evaluate

INTEGERS = [type for type in ValueType if type.is_integer]


def evaluate_columns(
    expression: ir.Expression, columns: Mapping[str, tuple[ValueType, Sequence[Value]]]
) -> tuple[list[Value], list[bool]]:
    """The values, and which rows have one."""
    symbols = Symbols()
    codes = {name: encode_values(values, type, symbols) for name, (type, values) in columns.items()}
    num_rows = len(next(iter(codes.values())))
    evaluation = Evaluation(codes, num_rows, symbols, None)
    native = evaluation.native(expression)
    missing = evaluation.missing if evaluation.missing is not None else np.zeros(num_rows, np.bool_)
    return decode_values(encode(native, expression.type, symbols), expression.type, symbols), (~missing).tolist()


def _interesting(type: ValueType) -> list[int]:
    low, high = type.bounds
    around = [low, low + 1, low // 2, -3, -1, 0, 1, 2, 3, 7, high // 3, high // 2, high - 1, high]
    return sorted({value for value in around if low <= value <= high})


@pytest.mark.parametrize("type", INTEGERS, ids=str)
@pytest.mark.parametrize("op", ["+", "-", "*", "/", "%", "<", "=="])
def test_integer_operations_saturate_and_truncate(type: ValueType, op: str):
    pairs = [(a, b) for a in _interesting(type) for b in _interesting(type) if b or op not in "/%"]
    result = ValueType.BOOL if op in ("<", "==") else type
    expression = ir.Binary(op, ir.Variable("a", type), ir.Variable("b", type), result)
    columns = {"a": (type, [a for a, _ in pairs]), "b": (type, [b for _, b in pairs])}
    assert evaluate_columns(expression, columns)[0] == [evaluate(expression, {"a": a, "b": b}) for a, b in pairs]


@pytest.mark.parametrize("source", INTEGERS, ids=str)
@pytest.mark.parametrize("target", INTEGERS, ids=str)
def test_casts_between_integers_wrap(source: ValueType, target: ValueType):
    expression = ir.Cast(ir.Variable("a", source), target)
    values = _interesting(source)
    assert evaluate_columns(expression, {"a": (source, values)})[0] == [evaluate(expression, {"a": a}) for a in values]


@pytest.mark.parametrize("type", [ValueType.I64, ValueType.I128], ids=str)
def test_division_by_zero_is_one_error(type: ValueType):
    expression = ir.Binary("/", ir.Variable("a", type), ir.Variable("b", type), type)
    with pytest.raises(GroundingError, match="division by zero in `a / b`"):
        evaluate_columns(expression, {"a": (type, [1, 2]), "b": (type, [1, 0])})


def test_a_conditional_divides_only_where_it_must():
    type = ValueType.I32
    a, b, zero = ir.Variable("a", type), ir.Variable("b", type), ir.Constant(0, type)
    safe = ir.Conditional(ir.Binary("!=", b, zero, ValueType.BOOL), ir.Binary("/", a, b, type), zero, type)
    values, exist = evaluate_columns(safe, {"a": (type, [7, 7, -7]), "b": (type, [2, 0, 2])})
    assert values == [3, 0, -3]
    assert all(exist)


@pytest.mark.parametrize("type", [ValueType.F32, ValueType.F64], ids=str)
def test_float_division_drops_nan_and_keeps_infinity(type: ValueType):
    expression = ir.Binary("/", ir.Variable("a", type), ir.Variable("b", type), type)
    values, exist = evaluate_columns(
        expression, {"a": (type, [0.0, 1.0, -1.0, 1.0]), "b": (type, [0.0, 0.0, 0.0, 4.0])}
    )
    assert exist == [False, True, True, True]
    assert values[1:] == [float("inf"), float("-inf"), 0.25]


def test_f32_is_computed_in_f32():
    f32 = ValueType.F32
    expression = ir.Binary("+", ir.Variable("a", f32), ir.Constant(0.2, f32), f32)
    assert evaluate_columns(expression, {"a": (f32, [0.1])})[0] == [float(np.float32(0.1) + np.float32(0.2))]


def test_zeros_of_either_sign_are_one_value():
    symbols = Symbols()
    codes = encode_values([0.0, -0.0], ValueType.F64, symbols)
    assert codes[0] == codes[1]


def test_texts_compare_by_code_point_and_not_by_number():
    texts = ["b", "a", "", "Z", "é", "aa", "\U0001f600", "\uffff"]
    string = ValueType.STRING
    expression = ir.Binary("<", ir.Variable("a", string), ir.Variable("b", string), ValueType.BOOL)
    pairs = [(a, b) for a in texts for b in texts]
    columns = {"a": (string, [a for a, _ in pairs]), "b": (string, [b for _, b in pairs])}
    assert evaluate_columns(expression, columns)[0] == [a.encode() < b.encode() for a, b in pairs]


def test_texts_concatenate():
    string = ValueType.STRING
    expression = ir.Binary("+", ir.Variable("a", string), ir.Variable("b", string), string)
    columns = {"a": (string, ["x", "", "x"]), "b": (string, ["y", "z", "y"])}
    assert evaluate_columns(expression, columns)[0] == ["xy", "z", "xy"]


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        (ValueType.STRING, ValueType.I32, "-4", -4),
        (ValueType.STRING, ValueType.I32, "+4", 4),
        (ValueType.STRING, ValueType.U8, "256", None),
        (ValueType.STRING, ValueType.U8, "-4", None),
        (ValueType.STRING, ValueType.I32, "3.5", None),
        (ValueType.STRING, ValueType.I32, " 3", None),
        (ValueType.STRING, ValueType.I32, "1_0", None),
        (ValueType.STRING, ValueType.I32, "", None),
        (ValueType.STRING, ValueType.I128, str(2**100), 2**100),
        (ValueType.STRING, ValueType.I64, "9" * 10_000, None),
        (ValueType.STRING, ValueType.F64, "1e2", 100.0),
        (ValueType.STRING, ValueType.F64, "abc", None),
        (ValueType.STRING, ValueType.F64, "nan", None),
        (ValueType.CHAR, ValueType.I32, "7", 7),
        (ValueType.CHAR, ValueType.I32, "q", None),
        (ValueType.CHAR, ValueType.STRING, "q", "q"),
        (ValueType.BOOL, ValueType.STRING, True, "true"),
        (ValueType.F32, ValueType.STRING, 0.1, "0.1"),
        (ValueType.F64, ValueType.STRING, 1.0, "1"),
        (ValueType.F64, ValueType.STRING, float("inf"), "inf"),
        (ValueType.F64, ValueType.STRING, 1e21, "1000000000000000000000"),
        (ValueType.U64, ValueType.STRING, 2**64 - 1, str(2**64 - 1)),
        (ValueType.F32, ValueType.F64, 0.1, float(np.float32(0.1))),
        (ValueType.F64, ValueType.I8, -1e9, -128),
        (ValueType.F64, ValueType.U64, 1e30, 2**64 - 1),
        (ValueType.F64, ValueType.I32, -2.9, -2),
        (ValueType.F64, ValueType.I32, float("nan"), 0),
        (ValueType.I128, ValueType.F64, 2**100, 2.0**100),
    ],
)
def test_casts(source: ValueType, target: ValueType, value: Value, expected: Value | None):
    symbols = Symbols()
    native = decode(encode_values([value], source, symbols), source, symbols)
    values, exists = cast(native, source, target, symbols)
    if expected is None:
        assert exists is not None
        assert not exists[0]
    else:
        assert exists is None or exists[0]
        assert decode_values(encode(values, target, symbols), target, symbols) == [expected]


@pytest.mark.parametrize("type", list(ValueType), ids=str)
def test_codes_keep_values_and_their_order(type: ValueType):
    symbols = Symbols([Variant("Nil", ()), Variant("Cons", (ValueType.STRING, ValueType.ENTITY))])
    match type:
        case ValueType.ENTITY:
            values = ['Cons("(", Nil())', 'Cons("a", Cons("b", Nil()))', "Nil()"]
        case ValueType.BOOL:
            values = [False, True]
        case ValueType.CHAR | ValueType.STRING | ValueType.SYMBOL:
            values = ["Z", "a", "b", "é"]
        case ValueType.DATETIME:
            values = ["0001-01-01 00:00:00 UTC", "1969-12-31 23:59:59.999999 UTC", "9999-12-31 00:00:00 UTC"]
        case ValueType.DURATION:
            values = ["R-1MO PT5S", "-PT0.000000001S", "P0D", "PT90S", "PT100S", "R2MO P0D"]
        case ValueType.TENSOR:
            arrays = [np.ones((), np.float32), np.zeros(()), np.zeros(2), np.ones(2), np.full(2, np.inf), np.eye(2)]
            values = [TensorValue(array) for array in arrays]
        case _ if type.is_float:
            values = [float("-inf"), -1.5, 0.0, 0.25, float("inf")]
        case _:
            values = _interesting(type)
    shuffled = [values[i] for i in np.random.default_rng(0).permutation(len(values))]
    codes = encode_values(shuffled, type, symbols)
    assert decode_values(codes, type, symbols) == shuffled
    order = np.argsort(sort_keys(decode(codes, type, symbols), type, symbols), kind="stable")
    assert decode_values(codes[order], type, symbols) == values
