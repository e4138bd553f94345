"""The Pygments lexer: every token of the grammar has a kind, and the tokens are the text."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Literal,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
)

from scallax.syntax.grammar import grammar
from scallax.syntax.highlighting import ScallopLexer

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").rglob("*.scl"))


def kinds(text: str) -> list[tuple]:
    return [(kind, value) for kind, value in ScallopLexer().get_tokens(text) if kind is not Whitespace]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_tokens_joined_are_the_text(path: Path):
    text = path.read_text()
    assert "".join(value for _, value in ScallopLexer().get_tokens(text)) == text


@given(st.text())
def test_tokens_of_any_text_joined_are_the_text(text: str):
    assert "".join(value for _, _, value in ScallopLexer().get_tokens_unprocessed(text)) == text


@pytest.mark.parametrize("word", grammar().keywords())
def test_keywords_are_keywords(word: str):
    ((kind, value),) = kinds(word)
    assert value == word
    assert kind in Keyword or kind is Operator.Word


KEYWORDS = """import type extern const rel relation query if then else new case is in as and or not implies where exists
forall true false bound free"""


def test_there_are_all_keywords():
    assert grammar().keywords() == sorted(KEYWORDS.split())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("usize", Keyword.Type),
        ("1", Number.Integer),
        ("1.5e-3", Number.Float),
        ("true", Keyword.Constant),
        (r"'\n'", String.Char),
        (r'"a\"b"', String),
        ('"""a\n"b"""', String),
        ('s"a"', String.Symbol),
        ('t"2020-01-01"', Literal.Date),
        ('d"1h"', Literal.Date),
        ("// c", Comment),
        ("/* c\nd */", Comment),
        ("/*", Error),
        ('"', Error),
        ("#", Error),
        ("<=", Operator),
        (":-", Operator),
        ("..=", Operator),
        ("->", Operator),
        ("/\\", Operator),
        ("(", Punctuation),
        ("_", Punctuation),
        ("x", Name.Variable),
    ],
)
def test_every_kind_of_token(text: str, kind):
    assert kinds(text) == [(kind, text)]


def test_names_are_told_apart_by_what_is_beside_them():
    assert kinds("@hidden rel path (x) = $abs(x)") == [
        (Punctuation, "@"),
        (Name.Decorator, "hidden"),
        (Keyword.Declaration, "rel"),
        (Name.Function, "path"),
        (Punctuation, "("),
        (Name.Variable, "x"),
        (Punctuation, ")"),
        (Operator, "="),
        (Punctuation, "$"),
        (Name.Function, "abs"),
        (Punctuation, "("),
        (Name.Variable, "x"),
        (Punctuation, ")"),
    ]


def test_the_word_of_evidence_is_a_name_elsewhere():
    words = [
        kind for kind, value in kinds("evidence a() /* b */ evidence not b(evidence) rel evidence(x) = evidence(x)")
    ]
    found = [kind for kind in words if kind is Keyword.Declaration or kind in (Name.Function, Name.Variable)]
    declared, function, variable = Keyword.Declaration, Name.Function, Name.Variable
    assert found[:5] == [declared, function, declared, function, variable]
    assert found[5:] == [declared, function, variable, function, variable]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_words_and_numbers_are_no_signs(path: Path):
    """A terminal that the lexer does not know would be taken for a sign."""
    for kind, value in kinds(path.read_text()):
        if value[0].isalnum():
            assert kind is Operator.Word or not (kind in Operator or kind in Punctuation), value


def test_pygments_finds_it_by_the_entry_point():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["pygments.lexers"]["scallop"].split(":")
    assert getattr(import_module(module), name) is ScallopLexer
