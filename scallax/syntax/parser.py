"""From text to syntax tree: tokens, items, and errors with their place."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedToken

from scallax.errors import Diagnostic, ParseError
from scallax.source import Source, Span
from scallax.syntax import ast
from scallax.syntax.builder import build_item
from scallax.syntax.tables import Tables

_ITEM_STARTS = frozenset({"REL", "RELATION", "TYPE", "CONST", "QUERY", "IMPORT", "EXTERN", "AT"})

# What is shown of a terminal in "expected …"; punctuation shows itself.
_WORDS = {
    "NAME": "a name",
    "PRIMITIVE": "a type",
    "INTEGER": "a number",
    "FLOAT": "a number",
    "STRING": "a string",
    "$END": "the end of the item",
    "RANGE": "`..`",
    "LOGICAL": "`&&`",
    "COMPARISON": "a comparison",
    "MULTIPLICATIVE": "`*`",
    "QUANTIFIER": "a quantifier",
}
_WORD_LIST = re.compile(r"([a-z]+|\([a-z|]+\))\(\?!.*\)")
# Never what is expected: it is a comparison's sign until a whole list of parameters was seen.
_RETYPED = frozenset({"PARAMETERS_OPEN", "PARAMETERS_CLOSE"})
# Levels of a tree that may lie in each other: the passes over it recurse, and Python's stack is not endless. A sum has
# a level for each term, parentheses have two.
_MAX_DEPTH = 200
# A list of what could follow helps only while it is short.
_LONGEST_HINT = 5


def parse(source: Source) -> ast.Program:
    """The items of a source in order. Raises `ParseError` with the first problem of every item that has one."""
    items: list[ast.Item] = []
    problems: list[Diagnostic] = []
    for tokens in _split_items(_lark().lex(source.text)):
        # Items are independent: one that is no item says nothing about the next.
        try:
            tree = _parse_item(source, tokens)
            _check_depth(source, tree)
            items.append(build_item(source, tree))
        except ParseError as error:
            problems.extend(error.diagnostics)
    if problems:
        raise ParseError(*problems)
    return ast.Program(tuple(items))


def lex(text: str) -> Iterator[Token]:
    """All tokens of a text, blanks and comments among them: joined they are the text."""
    return _lark().lex(text, dont_ignore=True)


def keywords() -> list[str]:
    """The words of the language that are no names, those of types aside."""
    patterns = [terminal.pattern for terminal in _lark().terminals if terminal.name != "PRIMITIVE"]
    texts = [pattern.value for pattern in patterns if pattern.type == "str"]
    # Words that would be names otherwise are written as `(one|two)(?!…)`.
    for pattern in patterns:
        if pattern.type == "re" and (match := _WORD_LIST.fullmatch(pattern.value)):
            texts += match.group(1).strip("()").split("|")
    return sorted(text for text in texts if text.isalpha())


def is_unfinished(source: Source) -> bool:
    """Whether more text could complete the last item: it ends too early, or within a string or a comment."""
    items = list(_split_items(_lark().lex(source.text)))
    if not items:
        return False
    parser = _lark().parse_interactive()
    try:
        for token in items[-1]:
            parser.feed_token(token)
        parser.feed_eof(items[-1][-1])
    except UnexpectedToken as error:  # lark's way to report it
        return error.token.type in ("$END", "UNCLOSED_STRING", "UNCLOSED_COMMENT")
    return False


class _ParameterLists:
    """Retypes the `<` and `>` of parameter lists, which are written like comparisons."""

    always_accept = ("UNCLOSED_COMMENT", "UNCLOSED_STRING", "UNKNOWN")

    def process(self, stream: Iterable[Token]) -> Iterator[Token]:
        tokens = list(stream)
        for start in range(1, len(tokens)):
            if tokens[start].type != "COMPARISON" or tokens[start] != "<":
                continue
            if (end := _parameters_end(tokens, start)) is not None:
                tokens[start] = Token.new_borrow_pos("PARAMETERS_OPEN", tokens[start].value, tokens[start])
                tokens[end] = Token.new_borrow_pos("PARAMETERS_CLOSE", tokens[end].value, tokens[end])
        return iter(tokens)


def _parameters_end(tokens: Sequence[Token], start: int) -> int | None:
    """The index of the `>` that closes the parameter list opened at `start`, or None for a comparison.

    `x < y, y > (z + 1)` is two comparisons: of lists with a comma, only one that names a primitive type or that
    follows an assignment is taken for parameters.
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


_PARAMETER_TOKENS = frozenset({"NAME", "PRIMITIVE", "COMMA", "EQUAL", "INTEGER", "FLOAT", "TRUTH", "CHAR", "STRING"})


@cache
def _lark() -> Lark:
    return Lark(
        files("scallax.syntax").joinpath("grammar.lark").read_text(),
        start="item",
        parser="lalr",
        lexer="basic",
        maybe_placeholders=True,
        postlex=_ParameterLists(),
    )


@cache
def _tables() -> Tables:
    return Tables(_lark())


def _split_items(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """The tokens of each item: its attributes, `extern` and all up to the keyword that starts the next."""
    item: list[Token] = []
    in_prefix = False
    for token in tokens:
        is_start = token.type in _ITEM_STARTS
        if is_start and item and not in_prefix:
            yield item
            item = []
        # Attributes and `extern` come before the keyword of the same item.
        in_prefix = token.type in ("AT", "EXTERN") or (in_prefix and bool(item) and not is_start)
        item.append(token)
    if item:
        yield item


def _parse_item(source: Source, tokens: Sequence[Token]) -> Tree:
    tree = _tables().parse(tokens)
    if tree is not None:
        return tree
    # Lark tells what it expected.
    parser = _lark().parse_interactive()
    try:
        for token in tokens:
            parser.feed_token(token)
        return parser.feed_eof(tokens[-1])
    except UnexpectedToken as error:
        # A user's mistake, and lark's way to report it.
        raise ParseError(_explain(source, error, tokens)) from None


def _check_depth(source: Source, tree: Tree) -> None:
    """Raises `ParseError` for a tree that is too deep; without recursion."""
    level: list[Tree] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in parent.children if isinstance(child, Tree)]
        if not level:
            return
    place = next((tree.meta for tree in level if not tree.meta.empty), tree.meta)
    hint = "split it: name parts by variables, `y == x + 1`, or by relations of their own"
    raise ParseError(Diagnostic("this is nested too deep", Span(source, place.start_pos, place.end_pos), hint))


def _explain(source: Source, error: UnexpectedToken, tokens: Sequence[Token]) -> Diagnostic:
    token = error.token
    expected = error.accepts or error.expected
    if token.type == "$END":
        end = tokens[-1].end_pos or 0
        span = Span(source, max(end - 1, 0), end)
        return Diagnostic("the item ends too early", span, _expectation(expected))
    start = token.start_pos or 0
    span = Span(source, start, start + len(token))
    match token.type:
        case "UNCLOSED_STRING":
            return Diagnostic("the string is never closed", span, 'end it with `"`')
        case "UNCLOSED_COMMENT":
            return Diagnostic("the comment is never closed", span, "end it with `*/`")
        case "UNKNOWN":
            return Diagnostic(f"`{token}` is no part of the language", span)
        case "SEMICOLON" if "$END" in expected:
            return Diagnostic("unexpected `;`", span, "items end without a sign: remove it")
    if token is tokens[0]:
        hint = "an item starts with `rel`, `type`, `const`, `query`, `import` or an attribute"
        return Diagnostic(f"unexpected `{token}`", span, hint)
    return Diagnostic(f"unexpected `{token}`", span, _expectation(expected))


def _expectation(terminals: Iterable[str]) -> str | None:
    words = sorted({_WORDS.get(name) or _shown(name) for name in terminals if name not in _RETYPED})
    if not words or len(words) > _LONGEST_HINT:
        return None
    return f"expected {' or '.join(words)}"


def _shown(terminal: str) -> str:
    """A terminal as it is written; the name in words if it has no one spelling."""
    pattern = _lark().get_terminal(terminal).pattern
    return f"`{pattern.value}`" if pattern.type == "str" else terminal.lower()
