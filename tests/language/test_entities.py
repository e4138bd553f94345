"""Algebraic data types: terms are what they are made of, however they were made."""

import pytest

import scallax
from scallax.errors import InputError
from scallax.grounding.symbols import Symbols
from scallax.grounding.terms import Term, parse_term
from scallax.language import ir
from scallax.language.values import ValueType
from scallax.reasoner.reasoner import Reasoner

VARIANTS = (
    ir.Variant("Nil", ()),
    ir.Variant("Cons", (ValueType.I32, ValueType.ENTITY)),
    ir.Variant("Name", (ValueType.STRING, ValueType.CHAR, ValueType.F32, ValueType.BOOL)),
)
LISTS = "type L = Nil() | Cons(i32, L)\n"


def answers(program: str, relation: str, **given) -> list[tuple]:
    (output,) = Reasoner(LISTS + program, provenance="unit", output_relation=relation, **given).compiled_program.outputs
    return list(output.tuples)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Nil()", "Nil()"),
        (" Nil ", "Nil()"),
        ("Cons( -1 ,Cons(2,Nil))", "Cons(-1, Cons(2, Nil()))"),
        ('Name("a\\"),(", \',\', 0.1, true)', 'Name("a\\"),(", \',\', 0.1, true)'),
        ("Name(\"x\", 'y', 2, false)", "Name(\"x\", 'y', 2.0, false)"),
    ],
)
def test_texts_of_terms(text: str, canonical: str):
    symbols = Symbols(VARIANTS)
    assert symbols.term_texts(symbols.intern_terms([text])) == [canonical]
    assert symbols.find_terms([canonical]) == symbols.intern_terms([text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        "1",
        '"Nil()"',
        "Cons",
        "Cons(1)",
        "Cons(1, Nil()",
        "Cons(1, Nil(), 2)",
        "Cons(x, Nil())",
        "Cons(1, 2)",
        "Cons(1.5, Nil())",
        "Cons(3000000000, Nil())",
        "Nil() Nil()",
        "Nil(1)",
        "Name(1, 'a', 2.0, true)",
        "Snoc(1)",
    ],
)
def test_texts_that_are_no_terms(text: str):
    assert isinstance(parse_term(text, VARIANTS), str)
    assert Symbols(VARIANTS).intern_terms([text]) == [-1]


def test_deep_terms():
    text = "Cons(1, " * 5_000 + "Nil()" + ")" * 5_000
    symbols = Symbols(VARIANTS)
    codes = symbols.intern_terms([text])
    assert symbols.term_texts(codes) == [text]
    assert parse_term("Cons(1, Nil())", VARIANTS) == Term("Cons", (1, Term("Nil", ())))


def test_identity_is_structural():
    program = """
        const A = Cons(1, Nil())
        rel a(A)
        rel b(Cons(1, Nil()))
        rel n = {1}
        rel c(new Cons(x, new Nil())) = n(x)
        rel all(x) = a(x), b(x), c(x), given(x)
    """
    assert answers(program, "all", facts={"given": [("Cons(1,Nil)",)]}) == [("Cons(1, Nil())",)]


def test_patterns_nest_and_repeat():
    program = """
        rel l = {Cons(1, Cons(1, Nil())), Cons(1, Cons(2, Nil())), Cons(3, Nil()), Nil()}
        rel same(x) = l(Cons(x, Cons(x, _)))
        rel next(x) = l(Cons(x, Cons(x + 1, Nil())))
        rel empty(x) = l(x), case x is Nil()
        rel long(x) = l(x), not l(Cons(3, Nil())), not case x is Nil()
        rel other(x) = l(x), not case x is Cons(1, _)
    """
    assert answers(program, "same") == [(1,)]
    assert answers(program, "next") == [(1,)]
    assert answers(program, "empty") == [("Nil()",)]
    assert answers(program, "long") == []
    assert answers(program, "other") == [("Cons(3, Nil())",), ("Nil()",)]


def test_a_case_of_an_unbound_variable_is_any_known_term():
    program = """
        const A = Cons(1, Cons(2, Nil()))
        rel seed = {5}
        rel made(new Cons(x, Nil())) = seed(x)
        rel length(Nil(), 0)
        rel length(Cons(_, t), n + 1) = length(t, n)
    """
    assert answers(program, "length") == [
        ("Cons(1, Cons(2, Nil()))", 2),
        ("Cons(2, Nil())", 1),
        ("Cons(5, Nil())", 1),
        ("Nil()", 0),
    ]


def test_terms_are_certain_and_their_tuples_are_not():
    program = LISTS + "rel 0.5::n(1)\nrel l(new Cons(x, Nil())) = n(x)\nrel h(x) = l(Cons(x, _))\nquery h"
    tuples, values = Reasoner(program, provenance="diffminmaxprob")()
    assert tuples == [(1,)]
    assert values.tolist() == [[0.5]]


def test_given_facts_that_are_no_terms():
    with pytest.raises(InputError, match="lacks its arguments"):
        answers("type l(L)\nrel r(x) = l(x)", "r", facts={"l": [("Cons",)]})


def test_listing_terms_with_many_rules_in_one_stratum():
    program = """
        rel gen(0, Nil())
        rel gen(n + 1, new Cons(n, l)) = gen(n, l), n < 4
        rel size(Nil(), 0)
        rel size(Cons(_, t), n + 1) = size(t, n)
        rel r(n) = gen(4, l), size(l, n)
    """
    assert answers(program, "r") == [(4,)]


def test_texts_are_read_as_terms_by_a_function():
    program = """
        rel text = {"Cons(3, Nil)", "Cons(", "Other()"}
        rel read(x, v) = text(x), v == $parse_entity(x)
        rel first(x) = read(_, Cons(x, _))
    """
    assert answers(program, "read") == [("Cons(3, Nil)", "Cons(3, Nil())")]
    assert answers(program, "first") == [(3,)]


def test_terms_of_dates_and_durations():
    program = """
        type T = At(DateTime, Symbol) | For(Duration)
        rel t = {At(t"2020-01-01", s"a"), For(d"90s")}
        rel same(v) = t(v), v == $parse_entity(v as String)
    """
    texts = [('At(t"2020-01-01 00:00:00 UTC", s"a")',), ('For(d"PT90S")',)]
    assert answers(program, "same") == texts
    given = [('At("2020-01-01", "a")',), ('For("90s")',)]
    assert answers("type T = At(DateTime, Symbol) | For(Duration)\ntype u(T)", "u", facts={"u": given}) == texts


def test_aggregates_over_the_parts_of_terms():
    program = """
        rel p = {Cons(1, Cons(7, Nil())), Cons(7, Nil()), Nil()}
        rel number(n) = n := count(x: p(Cons(x, _)))
        rel each(v, n) = n := count(x: p(v) and case v is Cons(x, _))
        rel large(v) = p(v), exists(x: case v is Cons(x, _) and x > 5)
        rel other(v) = p(v), not exists(x: case v is Cons(x, _) and x > 5)
    """
    assert answers(program, "number") == [(2,)]
    assert answers(program, "each") == [("Cons(1, Cons(7, Nil()))", 1), ("Cons(7, Nil())", 1)]
    assert answers(program, "large") == [("Cons(7, Nil())",)]
    assert answers(program, "other") == [("Cons(1, Cons(7, Nil()))",), ("Nil()",)]


def test_a_query_of_wildcards_and_patterns():
    program = "rel q = {(1, 2, Cons(3, Nil()))}\nquery q(_, _, Cons(x, _))"
    (output,) = Reasoner(LISTS + program, provenance="unit").compiled_program.outputs
    assert list(output.tuples) == [(1, 2, "Cons(3, Nil())")]


def test_terms_of_aggregates_are_known_to_rules_before_them():
    @scallax.foreign_aggregate
    def listed(values: list[scallax.i32]) -> scallax.Entity:
        return "".join(f"Cons({value}, " for value in values) + "Nil()" + ")" * len(values)

    program = "rel n = {1, 2}\nrel any(h) = case l is Cons(h, _)\nrel made(l) = l := listed!(x: n(x))\nquery made\n"
    assert answers(program, "any", foreign=[listed]) == [(1,), (2,)]
