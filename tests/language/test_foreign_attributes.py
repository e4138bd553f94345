"""Attributes of Python: what they are given, what they may do, and their errors."""

from collections.abc import Callable

import pytest

import scallax
from scallax import ForeignError, ScallaxError
from scallax.analysis.attribute_items import (
    ErrorAction,
    Item,
    MultipleActions,
    NoAction,
    RegisterForeignFunctionAction,
    RegisterForeignPredicateAction,
    RemoveItemAction,
)
from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import Source
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.provenance.traits import traits_of


@scallax.foreign_attribute
def python(item: Item, expression: str):
    """Makes a function of a function type and an expression of its parameters."""
    names = [str(binding.name) for binding in item.function_decl_args()]
    code = compile(expression, "<attribute>", "eval")

    def compute(*arguments):
        return eval(code, dict(zip(names, arguments, strict=True)))

    return scallax.foreign_function(
        name=item.function_decl_name(),
        arg_types=item.function_decl_arg_types(),
        ret_type=item.function_decl_ret_type(),
    )(compute)


@scallax.foreign_attribute(name="table")
def make_table(item: Item, *rows: list, reverse: bool = False):
    """Makes a predicate of a relation type, from rows in the attribute."""
    relation = item.relation_decl(0)

    def found():
        yield from map(tuple, reversed(rows) if reverse else rows)

    return scallax.foreign_predicate(
        name=relation.name, output_arg_types=[binding.type for binding in relation.arg_bindings]
    )(found)


def tuples(text: str, foreign: list[ForeignItem], relation: str = "out") -> list[tuple]:
    program = analyse_program([Source(text)], library=read_foreign(foreign))
    return sorted(ground_program(program, traits_of("unit"), [], [relation]).tuples(relation))


def test_attributes_make_functions_and_predicates():
    program = """
    type Id = u8
    @python("x + y * 2") type $f(x: Id, y: Id) -> Id
    @table([1, "one"], [2, "two"], reverse=true) type number(n: Id, name: String)
    rel out(n, $f(n, 1), name) = number(n, name)
    """
    assert tuples(program, [python, make_table]) == [(1, 3, "one"), (2, 4, "two")]


def test_an_item_tells_what_it_is():
    seen: list[Item] = []

    @scallax.foreign_attribute
    def look(item: Item):
        seen.append(item)

    text = """type E = A(i32) | B()
    @look type r(bound x: i32, E), s(y: Tensor)
    @look @hidden rel out(1)
    @look type $abs(x: i64) -> i64
    """
    assert tuples(text, [look]) == [(1,)]
    types, fact, function = seen
    assert types.is_relation_decl()
    assert not types.is_function_decl()
    relation, other = types.relation_decls()
    assert relation.name == "r"
    assert [(b.name, b.adornment) for b in relation.arg_bindings] == [("x", "bound"), (None, None)]
    assert relation.arg_bindings[0].type.is_i32()
    assert not relation.arg_bindings[0].type.is_u32()
    assert relation.arg_bindings[1].type.is_entity()
    assert other.arg_bindings[0].type.is_tensor()
    assert fact.text == "rel out(1)"
    assert fact.relation_decls() == []
    assert function.function_decl_name() == "abs"
    assert function.function_decl_ret_type().is_i64()
    with pytest.raises(AttributeError, match="there are `is_i32`"):
        _ = relation.arg_bindings[0].type.is_i33


@scallax.foreign_function
def seven() -> scallax.i32:
    return 7


@scallax.foreign_predicate
def eights() -> scallax.Facts[None, tuple[scallax.i32]]:
    yield (8,)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (None, [(1,), (2,)]),
        (NoAction(), [(1,), (2,)]),
        (RemoveItemAction(), [(2,)]),
        (MultipleActions([NoAction(), RemoveItemAction()]), [(2,)]),
        ([RemoveItemAction(), None], [(2,)]),
    ],
)
def test_actions(action: object, expected: list[tuple]):
    attribute = scallax.foreign_attribute(name="act")(lambda item: action)
    assert tuples("@act rel out(1)  rel out(2)", [attribute]) == expected


def test_what_is_registered_is_there():
    actions = MultipleActions([RegisterForeignFunctionAction(seven), RegisterForeignPredicateAction(eights)])
    attribute = scallax.foreign_attribute(name="act")(lambda item: actions)
    assert tuples("@act rel out(1)  rel out($seven())  rel out(x) = eights(x)", [attribute]) == [(1,), (7,), (8,)]


def fails(item: Item):
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda item: ErrorAction("not here"), r"<program>:1:1: not here\n  @act rel out\(1\)\n  \^{4}"),
        (fails, r"<program>:1:1: `@act` raised KeyError: 'lost'\n.*\n.*\nTraceback(.|\n)*KeyError: 'lost'"),
        (lambda item: 3, "it returned 3, which is no action, function or predicate"),
        (lambda item, x: None, r"`@act` raised TypeError: .* missing 1 required positional argument: 'x'"),
        (lambda item: scallax.foreign_function(name="abs")(seven.function), r"the function `\$abs` is built in"),
        (lambda item: item.function_decl_name(), "the item declares no function"),
        (lambda item: item.relation_decl(2), "the item declares 0 relations; there is no number 2"),
    ],
)
def test_errors_have_the_attributes_place(function: Callable, message: str):
    attribute = scallax.foreign_attribute(name="act")(function)
    with pytest.raises(ForeignError, match=message):
        tuples("@act rel out(1)", [attribute])


def test_an_unknown_attribute_is_told_of_those_of_python():
    with pytest.raises(ScallaxError, match=r"unknown attribute `@pyton`\n.*\n.*\nhint: did you mean `@python`\?"):
        tuples('@pyton("x") type $f(x: i32) -> i32', [python])


def test_a_program_with_attributes_is_saved_without_code():
    text = '@python("x + 1") type $f(x: i32) -> i32  rel out($f(1))'
    reasoner = scallax.Reasoner(text, output_relation="out", provenance="unit", foreign=[python])
    assert reasoner.specification.foreign == ("attribute @python",)
    again = scallax.Reasoner.from_json(reasoner.specification.to_json(), [python])
    assert again == reasoner
    assert again.compiled_program.outputs[0].tuples == ((2,),)
    with pytest.raises(scallax.CheckpointError, match="uses the attribute @python, which is not passed"):
        scallax.Reasoner.from_json(reasoner.specification.to_json())
