"""A Pygments lexer for the language, which colours the tokens of the grammar."""

from collections.abc import Iterator
from typing import Any, final

from pygments.lexer import Lexer
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

# Terminals with many spellings; a terminal with one spelling is a keyword, an operator or punctuation.
_KINDS = {
    "NAME": Name,
    "PRIMITIVE": Keyword.Type,
    "EXTERN": Keyword,
    "EVIDENCE": Keyword.Declaration,
    "ADORNMENT": Keyword,
    "QUANTIFIER": Keyword,
    "TRUTH": Keyword.Constant,
    "FLOAT": Number.Float,
    "INTEGER": Number.Integer,
    "CHAR": String.Char,
    "STRING": String,
    "SYMBOL": String.Symbol,
    "DATETIME": Literal.Date,
    "DURATION": Literal.Date,
    "COMMENT": Comment,
    "BLANK": Whitespace,
    "UNCLOSED_COMMENT": Error,
    "UNCLOSED_STRING": Error,
    "UNKNOWN": Error,
}
_PUNCTUATION = frozenset("(){}[],;:.@$_")
_DECLARATIONS = frozenset({"rel", "relation", "type", "const", "query", "import"})


@final
class ScallopLexer(Lexer):
    """Lexes every token that `scallax.syntax` knows; the colour of a name follows from the token beside it."""

    name = "Scallop"
    aliases = ("scallop", "scl")  # pyright: ignore[reportIncompatibleVariableOverride] (Pygments' stubs want lists)
    filenames = ("*.scl",)  # pyright: ignore[reportIncompatibleVariableOverride]
    url = "https://www.scallop-lang.org"

    def __init__(self, **options):
        # The text is not normalized, so that the joined tokens are the text.
        super().__init__(**{"stripnl": False, "ensurenl": False, **options})

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, Any, str]]:
        """The start, kind and text of every token."""
        position = 0
        before = ""
        tokens = [(token.type, str(token)) for token in grammar().lexer.lex(text, keeps_all=True)]
        for i, (terminal, value) in enumerate(tokens):
            kind = _kind(terminal, value)
            if kind is Name:
                after = next((text for name, text in tokens[i + 1 : i + 3] if name != "BLANK"), "")
                kind = _name_kind(before, after)
            yield position, kind, value
            position += len(value)
            if terminal not in ("BLANK", "COMMENT"):
                before = value


def _kind(terminal: str, value: str):
    if terminal in _KINDS:
        return _KINDS[terminal]
    if value in _DECLARATIONS:
        return Keyword.Declaration
    if value in ("and", "or", "not", "implies", "in", "is", "as"):
        return Operator.Word
    if value.isalpha():
        return Keyword
    return Punctuation if value in _PUNCTUATION else Operator


def _name_kind(before: str, after: str):
    match before, after:
        case "@", _:
            return Name.Decorator
        case "$", _:
            return Name.Function
        case "type" | "<:", _:
            return Name.Class
        case _, "(":
            return Name.Function
        case _:
            return Name.Variable
