"""Turns text into the syntax tree: tokens, then items, and errors with their places."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, pairwise

from scallax.errors import Diagnostic, ParseError, Source, Span
from scallax.kernels.bounded_cache import BoundedCache
from scallax.syntax import ast
from scallax.syntax.builder import build_item
from scallax.syntax.grammar import grammar
from scallax.syntax.lalr import END, Rejection
from scallax.syntax.tokens import Token, Tree

_ITEM_STARTS = frozenset({"REL", "RELATION", "TYPE", "CONST", "QUERY", "EVIDENCE", "IMPORT", "EXTERN", "AT"})

# Tokens that follow the name of a column, a variable or a constant, and never the keyword of an item.
_NAME_FOLLOWERS = frozenset({"COLON", "COMMA", "EQUAL", "RPAR"})

# The words for terminals in "expected …"; punctuation is shown as it is.
_WORDS = {
    "NAME": "a name",
    "PRIMITIVE": "a type",
    "INTEGER": "a number",
    "FLOAT": "a number",
    "STRING": "a string",
    END: "the end of the item",
    "RANGE": "`..`",
    "LOGICAL": "`&&`",
    "COMPARISON": "a comparison",
    "MULTIPLICATIVE": "`*`",
    "QUANTIFIER": "a quantifier",
    "EVIDENCE": "`evidence`",
}
# Never shown as expected: the token is a comparison until a whole parameter list has been seen.
_RETYPED = frozenset({"PARAMETERS_OPEN", "PARAMETERS_CLOSE"})
# Lone halves of UTF-16 pairs: Python's texts may hold them, UTF-8 may not.
_SURROGATES = re.compile("[\ud800-\udfff]+")
# Levels of a tree that may lie in each other: the passes over it recurse, and Python's stack is not endless. A sum has
# a level for each term, parentheses have two.
_MAX_DEPTH = 200
# A list of what could follow helps only while it is short.
_LONGEST_HINT = 5


# The syntax trees of the texts that were parsed last. A tree takes some 40 bytes for each character.
_TREES: BoundedCache[Source, ast.Program] = BoundedCache(512, 160_000_000, lambda source, _: 40 * len(source.text))


def parse(source: Source) -> ast.Program:
    """The items of a source in order. ParseError lists the first problem of every wrong item.

    A program that is built step by step is analysed as a whole at every step, and its texts do not change: trees are
    kept.
    """
    tree = _TREES.find(source)
    if tree is None:
        tree = _parse(source)
        _TREES.add(source, tree)
    return tree


def _parse(source: Source) -> ast.Program:
    items: list[ast.Item] = []
    problems: list[Diagnostic] = []
    for found in _SURROGATES.finditer(source.text):
        span = Span(source, found.start(), found.end())
        problems.append(
            Diagnostic("the text has half of a surrogate pair, which is no character", span, "decode the text as UTF-8")
        )
    if problems:
        raise ParseError(*problems)
    for tokens in _split_items(grammar().lexer.lex(source.text)):
        # Items are independent: an error in one says nothing about the next.
        try:
            tree = _parse_item(source, tokens)
            _check_depth(source, tree)
            items.append(build_item(source, tree))
        except ParseError as error:
            problems.extend(error.diagnostics)
    if problems:
        raise ParseError(*problems)
    return ast.Program(tuple(items))


def is_unfinished(source: Source) -> bool:
    """Whether more text could complete the last item: it ends too early, or inside a string or a comment."""
    items = list(_split_items(grammar().lexer.lex(source.text)))
    if not items:
        return False
    tree = grammar().parser.parse(items[-1])
    return isinstance(tree, Rejection) and tree.token.type in (END, "UNCLOSED_STRING", "UNCLOSED_COMMENT")


def _split_items(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """The tokens of each item: its attributes, `extern`, and everything up to the keyword that starts the next item."""
    item: list[Token] = []
    in_prefix = False
    for token, after in pairwise(chain(tokens, [None])):
        assert token is not None
        # Before such a token the keyword was meant as a name, which is an error of the current item.
        is_start = token.type in _ITEM_STARTS and (after is None or after.type not in _NAME_FOLLOWERS)
        if is_start and item and not in_prefix:
            yield item
            item = []
        # Attributes and `extern` come before the keyword of the same item.
        in_prefix = token.type in ("AT", "EXTERN") or (in_prefix and bool(item) and not is_start)
        item.append(token)
    if item:
        yield item


def _parse_item(source: Source, tokens: Sequence[Token]) -> Tree:
    tree = grammar().parser.parse(tokens)
    if isinstance(tree, Rejection):
        raise ParseError(_explain(source, tree.token, tree.expected, tokens))
    return tree


def _check_depth(source: Source, tree: Tree) -> None:
    """ParseError for a tree that is too deep; works without recursion."""
    level: list[Tree] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in parent.children if isinstance(child, Tree)]
        if not level:
            return
    place = level[0]
    hint = "split it: name parts by variables, `y == x + 1`, or by relations of their own"
    raise ParseError(Diagnostic("this is nested too deep", Span(source, place.start, place.end), hint))


def _explain(source: Source, token: Token, expected: Collection[str], tokens: Sequence[Token]) -> Diagnostic:
    if token.type == END:
        return _explain_end(source, expected, tokens)
    start = token.start
    span = Span(source, start, token.end)
    place = next(i for i, other in enumerate(tokens) if other is token)
    unclosed = _unclosed_bracket(tokens[:place])
    before = tokens[place - 1] if place else None
    after = tokens[place + 1] if place + 1 < len(tokens) else None
    match token.type:
        case "UNCLOSED_STRING":
            return Diagnostic("the string is never closed", span, f"end it with `{token.lstrip('std')}`")
        case "UNCLOSED_COMMENT":
            return Diagnostic("the comment is never closed", span, "end it with `*/`")
        case "UNKNOWN" if not _is_number_part(before, token, after):
            return Diagnostic(f"`{token}` is no part of the language", span, _unknown_hint(token, after))
        case "SEMICOLON" if END in expected:
            return Diagnostic("unexpected `;`", span, _NO_END)
    if _is_number_part(before, token, after):
        is_number = before is not None and before.type in _NUMBERS and before.end == start
        found = _NUMBER_LIKE.match(source.text, start - len(before) if is_number and before is not None else start)
        assert found is not None
        span = Span(source, found.start(), found.end())
        hint = "integers are digits, floats are written `0.5` or `1.5e-3`"
        return Diagnostic(f"`{found[0]}` is no number", span, hint)
    hint = _hint(before, token, expected)
    if hint is None and unclosed is not None and token in (")", "]", "}") and token != _CLOSING[unclosed]:
        hint = f"the `{unclosed}` at {Span(source, unclosed.start, unclosed.end).place} is not closed"
    if hint is None and place == 0:
        hint = "an item starts with `rel`, `type`, `const`, `query`, `evidence`, `import` or an attribute"
    return Diagnostic(
        f"unexpected `{token}`", span, hint or _expectation(expected) or _separator(before, token, expected)
    )


_CLOSING = {"(": ")", "[": "]", "{": "}"}


def _explain_end(source: Source, expected: Collection[str], tokens: Sequence[Token]) -> Diagnostic:
    """The problem of an item that ends too early, at its innermost open bracket or else at its end."""
    end = tokens[-1].end
    unclosed = _unclosed_bracket(tokens)
    if unclosed is None:
        return Diagnostic("the item ends too early", Span(source, max(end - 1, 0), end), _expectation(expected))
    start = unclosed.start
    hint = f"the item ends at {Span(source, end, end).place}; a `{_CLOSING[unclosed]}` is missing before it"
    return Diagnostic(f"the `{unclosed}` is never closed", Span(source, start, start + 1), hint)


def _unclosed_bracket(tokens: Iterable[Token]) -> Token | None:
    """The innermost bracket that the tokens open but do not close."""
    opened: list[Token] = []
    for token in tokens:
        if token in _CLOSING:
            opened.append(token)
        elif opened and token == _CLOSING[opened[-1]]:
            opened.pop()
    return opened[-1] if opened else None


_NUMBERS = ("INTEGER", "FLOAT")
_NUMBER_LIKE = re.compile(r"[0-9.]+[0-9A-Za-z_.]*")
_NO_END = "items end without a sign: remove it"
_UNKNOWN_HINTS = {
    "'": "a char is one character in single quotes, a string is in double quotes",
    "#": "comments start with `//`",
    "&": "write `and` between atoms, `&&` between bools",
    "“": 'strings are in straight quotes: `"`',
    "”": 'strings are in straight quotes: `"`',
}


def _unknown_hint(token: Token, after: Token | None) -> str | None:
    if token == "." and after is None:
        return _NO_END
    if token.isalpha():
        return "names are of the letters `a` to `z` and `A` to `Z`, digits and `_`"
    return _UNKNOWN_HINTS.get(token)


def _is_number_part(before: Token | None, token: Token, after: Token | None) -> bool:
    """Whether a token continues what looks like a number: `1.`, `.5`, `1e5`, `1_000`, `0x10`."""
    follows = before is not None and before.type in _NUMBERS and before.end == token.start
    if token == "." and before is not None and before.type != "RANGE":
        leads = after is not None and after.type == "INTEGER" and after.start == token.end
        return leads or (follows and after is not None)
    return follows and (token.type == "NAME" or token == "_")


def _hint(before: Token | None, token: Token, expected: Collection[str]) -> str | None:
    """A hint for a token of another language, or for a common mistake."""
    touches = before is not None and before.end == token.start
    match token.type:
        case "COMPARISON" if touches and before == "=" and token in ("<", ">"):
            return f"write `{token}=`"
        case "COMPARISON" if touches and before == "<" and token == ">":
            return "write `!=`"
        case "COMPARISON":
            return "comparisons do not chain: join two of them by `and`"
        case "COMMA" if END in expected and before is not None and before.type == "PRIMITIVE":
            return "declare each type in an item of its own, with `type` before it"
        case "COMMA" if END in expected:
            return "join several heads by `and`; write `rel` before each fact"
        case "IF":
            return "put the `if … then … else …` in parentheses"
        case "VBAR":
            return "write `or` between atoms, `||` between bools"
        case "LSQB" if before == "in":
            return "a range is `x in 0..10`; other values are those of a relation: `r(x)`"
        case "LSQB" if before == "=":
            return "facts are in braces: `{1, 2}`"
        case "NAME" if touches and before == "_":
            return "a name starts with a letter"
        case "NAME" if before is not None and before.type == "QUANTIFIER":
            return f"write `{before}(x: …)`"
    is_word = token.type == "PRIMITIVE" or (token.isalpha() and token.type != "NAME")
    # The word is out of place between two operands, but could be a name elsewhere.
    is_name = token not in _INFIX_WORDS or (before is not None and before.type in _ITEM_STARTS)
    if "NAME" in expected and is_word and is_name:
        kind = "a type" if token.type == "PRIMITIVE" else "a word of the language"
        return f"`{token}` is {kind}, and no name"
    return None


def _separator(before: Token | None, token: Token, expected: Collection[str]) -> str | None:
    """A hint that a comma may be missing between two tokens, of which the first can end and the second start a part."""
    ends = before is not None and (before.type in _PART_ENDS or before in (")", "}"))
    starts = token.type in _PART_ENDS or token in ("(", "not", "~", "$", "new", "exists", "forall")
    return "a `,` may be missing before it" if "COMMA" in expected and ends and starts else None


_INFIX_WORDS = frozenset({"and", "or", "implies", "where", "then", "else", "in", "is", "as"})
_PART_ENDS = frozenset({"NAME", "INTEGER", "FLOAT", "STRING", "CHAR", "TRUTH", "SYMBOL", "DATETIME", "DURATION"})


def _expectation(terminals: Iterable[str]) -> str | None:
    words = sorted({_WORDS.get(name) or _shown(name) for name in terminals if name not in _RETYPED})
    if not words or len(words) > _LONGEST_HINT:
        return None
    return f"expected {' or '.join(words)}"


def _shown(terminal: str) -> str:
    """A terminal as programs write it; its name in words if it has several spellings."""
    spelling = grammar().spelling(terminal)
    return terminal.lower() if spelling is None else f"`{spelling}`"
