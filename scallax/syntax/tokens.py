"""Tokens, the parse trees that they are the leaves of, and a lexer."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, final


@final
class Token(str):
    """A text that is a token of the kind `type`, with the place of its first character and of the one after it."""

    __slots__ = ("end", "start", "type")

    type: str
    start: int
    end: int

    def __new__(cls, type: str, text: str, start: int) -> "Token":
        """The token of a text that starts at a character of the source."""
        token = super().__new__(cls, text)
        token.type = type
        token.start = start
        token.end = start + len(text)
        return token


@final
class Tree:
    """A node of a parse tree: the rule's name, its parts, and its place.

    The parts are trees, tokens, and None for an optional part left out; the rule alone tells which are which.
    """

    __slots__ = ("children", "data", "end", "start")

    def __init__(self, data: str, children: list[Any], start: int, end: int):
        self.data = data
        self.children = children
        self.start = start
        self.end = end


@final
class Lexer:
    """Splits texts into tokens by one regular expression, whose alternatives are tried in their order.

    `words` are, by the kind of a token, the texts that are of another kind. Tokens of an `ignored` kind are left out.
    Every character belongs to a token: the last patterns take what no other does.
    """

    __slots__ = ("_ignored", "_match", "_words")

    def __init__(
        self,
        patterns: Iterable[tuple[str, str]],
        words: Mapping[str, Mapping[str, str]],
        ignored: Collection[str],
    ):
        self._match = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in patterns)).finditer
        self._words = words
        self._ignored = frozenset(ignored)

    def lex(self, text: str, keeps_all: bool = False) -> list[Token]:
        """The tokens of a text; with `keeps_all` blanks and comments too."""
        ignored = frozenset() if keeps_all else self._ignored
        tokens: list[Token] = []
        for found in self._match(text):
            kind = found.lastgroup
            assert kind is not None
            if kind not in ignored:
                word = found[0]
                if kind in self._words:
                    kind = self._words[kind].get(word, kind)
                tokens.append(Token(kind, word, found.start()))
        _retype_parameter_lists(tokens)
        _retype_evidence([token for token in tokens if token.type not in self._ignored] if keeps_all else tokens)
        return tokens


_PARAMETER_TOKENS = frozenset(
    {"NAME", "PRIMITIVE", "COMMA", "EQUAL", "MINUS", "INTEGER", "FLOAT", "TRUTH", "CHAR", "STRING"}
)


def _retype_parameter_lists(tokens: Sequence[Token]) -> None:
    """Gives the `<` and `>` of parameter lists kinds of their own, since they are written like comparisons."""
    for start in range(1, len(tokens)):
        if tokens[start].type != "COMPARISON" or tokens[start] != "<":
            continue
        if (end := _parameters_end(tokens, start)) is not None:
            tokens[start].type = "PARAMETERS_OPEN"
            tokens[end].type = "PARAMETERS_CLOSE"


# Beginnings of a formula, before which stands no name but a word of the language.
_FORMULA_STARTS = frozenset({"NAME", "NOT", "TILDE", "QUANTIFIER"})
# Words after which a name is that of a relation, a type or a constant.
_NAMING = frozenset({"REL", "RELATION", "TYPE", "CONST", "QUERY", "NEW", "CASE"})


def _retype_evidence(tokens: Sequence[Token]) -> None:
    """Gives the word `evidence` a kind of its own where it starts an item; elsewhere it is a name."""
    for place, token in enumerate(tokens[:-1]):
        is_first = not place or tokens[place - 1].type not in _NAMING
        starts = token == "evidence" and tokens[place + 1].type in _FORMULA_STARTS
        if starts and is_first and token.type == "NAME":
            token.type = "EVIDENCE"


def _parameters_end(tokens: Sequence[Token], start: int) -> int | None:
    """The index of the `>` that closes the parameter list opened at `start`; None if it is a comparison.

    `x < y, y > (z + 1)` is two comparisons. So a list with a comma counts as parameters only if it names a primitive
    type or follows an assignment.
    """
    name = start - 1
    if tokens[name].type == "BANG":
        name -= 1
    if name < 0 or tokens[name].type != "NAME":
        return None
    end = start + 1
    while end < len(tokens) and tokens[end].type in _PARAMETER_TOKENS:
        end += 1
    if end + 1 >= len(tokens) or tokens[end] != ">" or tokens[end + 1].type not in ("LPAR", "LSQB"):
        return None
    inside = tokens[start + 1 : end]
    is_list = any(token.type == "COMMA" for token in inside)
    is_typed = any(token.type == "PRIMITIVE" for token in inside)
    is_assigned = name > 0 and tokens[name - 1] in ("=", ":=")
    return end if inside and (is_typed or is_assigned or not is_list) else None
