"""Terms of algebraic data types: one code for each structure, and their text."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from scallax.kernels.row_sets import Columns, RowTable
from scallax.language import ir
from scallax.language.records import record
from scallax.language.values import Value, ValueType, canonical_time

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>[std]?"(?:\\.|[^"\\])*")|(?P<name>[A-Za-z][A-Za-z_0-9]*)|(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|[+-]?inf|nan)"""
    r"""|(?P<char>'(?:\\.|[^'\\])')|(?P<sign>[(),]))""",
    re.DOTALL,
)
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "0": "\0"}


@record
class Term:
    """A constructor and its arguments: values, or terms."""

    constructor: str
    arguments: tuple["Value | Term", ...]


def parse_term(text: str, variants: Sequence[ir.Variant]) -> Term | str:
    """The term that a text such as `Cons(1, Nil())` writes, or why it writes none.

    A constructor without arguments may stand without parentheses.
    """
    known = {variant.name: variant for variant in variants}
    position = 0
    # Terms that are open: constructor, arguments so far.
    stack: list[tuple[ir.Variant, list[Value | Term]]] = []
    while True:
        token = _TOKEN.match(text, position)
        if token is None:
            return f"`{text}` ends too early" if not text[position:].strip() else _unreadable(text, position)
        position = token.end()
        expected = stack[-1][0].columns[len(stack[-1][1])] if stack else ValueType.ENTITY
        done: Value | Term
        if expected is not ValueType.ENTITY:
            value = _read_value(token, expected)
            if value is None:
                return f"`{token[0].strip()}` in `{text}` is no {expected}"
            done = value
        else:
            variant = known.get(token["name"] or "")
            if variant is None:
                return f"`{token[0].strip()}` in `{text}` is no constructor"
            opening = _TOKEN.match(text, position)
            if opening is not None and opening["sign"] == "(":
                position = opening.end()
                if variant.columns:
                    stack.append((variant, []))
                    continue
                closing = _TOKEN.match(text, position)
                if closing is None or closing["sign"] != ")":
                    return f"`{variant.name}` in `{text}` has no arguments"
                position = closing.end()
            elif variant.columns:
                return f"`{variant.name}` in `{text}` lacks its arguments"
            done = Term(variant.name, ())
        while stack:
            variant, arguments = stack[-1]
            arguments.append(done)
            is_full = len(arguments) == len(variant.columns)
            token = _TOKEN.match(text, position)
            if token is None or token["sign"] != (")" if is_full else ","):
                return f"`{variant.name}` in `{text}` has {len(variant.columns)} arguments"
            position = token.end()
            if not is_full:
                break
            stack.pop()
            done = Term(variant.name, tuple(arguments))
        else:
            assert isinstance(done, Term)
            return done if not text[position:].strip() else _unreadable(text, position)


def print_term_value(value: Value, type: ValueType) -> str:
    """An argument of a term as its text shows it."""
    if type is ValueType.F32 and isinstance(value, int | float):
        return str(np.float32(value))
    return ir.print_value(value, type)


def _unreadable(text: str, position: int) -> str:
    return f"`{text[position:].strip()}` in `{text}` is not expected"


def _read_value(token: re.Match, type: ValueType) -> Value | None:
    if token["string"] is not None:
        prefix, quoted = token["string"].split('"', 1)
        text = _unquote(f'"{quoted}')
        if not (type.is_text or type.is_time) or prefix not in ("", ir.print_value("", type).rstrip('"')):
            return None
        return canonical_time(text, type) if type.is_time else text
    if token["char"] is not None:
        return _unquote(token["char"]) if type is ValueType.CHAR else None
    if type is ValueType.BOOL:
        return {"true": True, "false": False}.get(token["name"] or "")
    text = token["number"] or token["name"]
    if text is None or not type.is_number:
        return None
    # A number outside the type is no value: the caller reports it.
    try:
        value = float(text) if type.is_float else int(text)
    except ValueError:
        return None
    return value if type.is_float or type.admits(value) else None


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1], flags=re.DOTALL)


class Terms:
    """Terms by code, hash-consed: a term is its constructor and the codes of its arguments.

    The code of a term is `row * number of constructors + constructor`, its row being its place among the terms of its
    constructor.
    """

    __slots__ = ("_numbers", "_tables", "_variants")

    def __init__(self, variants: Sequence[ir.Variant]):
        self._variants = tuple(variants)
        self._numbers = {variant.name: number for number, variant in enumerate(variants)}
        self._tables = [RowTable(len(variant.columns)) for variant in variants]

    def copy(self) -> "Terms":
        """Terms with the same codes, which grow apart from these."""
        terms = Terms(self._variants)
        terms._tables = [table.copy() for table in self._tables]
        return terms

    @property
    def variants(self) -> tuple[ir.Variant, ...]:
        return self._variants

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many terms of each constructor are known."""
        return tuple(table.size for table in self._tables)

    def number(self, constructor: str) -> int:
        """The place of a constructor among the variants."""
        return self._numbers[constructor]

    def columns(self, constructor: str) -> tuple[ValueType, ...]:
        """The types of a constructor's arguments."""
        return self._variants[self._numbers[constructor]].columns

    def intern(self, constructor: str, columns: Columns, num_rows: int) -> np.ndarray:
        """Codes int64 `[rows]` of the terms with these arguments, which are known from now on."""
        number = self._numbers[constructor]
        return self._tables[number].insert(columns, num_rows) * len(self._tables) + number

    def find(self, constructor: str, columns: Columns, num_rows: int) -> np.ndarray:
        """Codes int64 `[rows]`, -1 for terms that are not known."""
        number = self._numbers[constructor]
        rows = self._tables[number].find(columns, num_rows)
        return np.where(rows >= 0, rows * len(self._tables) + number, -1)

    def is_of(self, codes: np.ndarray, constructor: str) -> np.ndarray:
        """A mask of the codes that are terms of the constructor; -1, an unknown term, is of none."""
        return (codes >= 0) & (codes % len(self._tables) == self._numbers[constructor])

    def arguments(self, codes: np.ndarray, constructor: str) -> tuple[np.ndarray, ...]:
        """The arguments, a column each, of terms of the constructor."""
        rows = codes // len(self._tables)
        return tuple(column[rows] for column in self._tables[self._numbers[constructor]].columns)

    def listed(self, constructor: str, start: int) -> tuple[list[np.ndarray], int]:
        """Codes and arguments of the known terms of the constructor from the row `start` on, and how many there are."""
        table = self._tables[self._numbers[constructor]]
        count = table.size - start
        codes = np.arange(start, table.size) * len(self._tables) + self._numbers[constructor]
        return [codes, *(column[start:].copy() for column in table.columns)], count

    def texts(self, codes: np.ndarray, decode: Callable[[np.ndarray, ValueType], list[Value]]) -> list[str]:
        """The text of each code; `decode` gives the values of codes of other types."""
        known: dict[int, str] = {}
        pending = list(dict.fromkeys(codes.tolist()))
        while pending:
            code = pending[-1]
            if code in known:
                pending.pop()
                continue
            if not self._is_known(code):
                # A row without a value, which is dropped.
                known[code] = ""
                continue
            variant = self._variants[code % len(self._variants)]
            columns = self.arguments(np.array([code]), variant.name)
            inner = [
                int(column[0])
                for column, type in zip(columns, variant.columns, strict=True)
                if type is ValueType.ENTITY and int(column[0]) not in known
            ]
            if inner:
                pending.extend(inner)
                continue
            arguments = (
                known[int(column[0])] if type is ValueType.ENTITY else print_term_value(decode(column, type)[0], type)
                for column, type in zip(columns, variant.columns, strict=True)
            )
            known[code] = f"{variant.name}({', '.join(arguments)})"
            pending.pop()
        return [known[code] for code in codes.tolist()]

    def _is_known(self, code: int) -> bool:
        return (
            code >= 0 and code // len(self._tables) < self._tables[code % len(self._tables)].size
            if self._tables
            else False
        )

    def codes(
        self,
        texts: Sequence[str],
        encode: Callable[[list[Value], ValueType], tuple[np.ndarray, np.ndarray]],
        lookup: Callable[[str, Columns, int], np.ndarray],
    ) -> np.ndarray:
        """Codes int64 `[texts]`, -1 for texts that write no term.

        `encode` gives codes of values of other types and which of them exist; `lookup` is `intern` or `find`.
        """
        known: dict[str, int] = {}
        for text in texts:
            if text not in known:
                term = parse_term(text, self._variants)
                known[text] = -1 if isinstance(term, str) else self._code(term, encode, lookup)
        return np.array([known[text] for text in texts], np.int64)

    def _code(self, term: Term, encode, lookup) -> int:
        results: list[int] = []
        # Arguments come before their term; an open term is met again when they are done.
        stack: list[tuple[Term, bool]] = [(term, False)]
        while stack:
            top, is_open = stack.pop()
            inner = [argument for argument in top.arguments if isinstance(argument, Term)]
            if not is_open and inner:
                stack.append((top, True))
                stack.extend((argument, False) for argument in reversed(inner))
                continue
            codes = iter(results[len(results) - len(inner) :])
            columns: list[np.ndarray] = []
            exists = True
            for argument, type in zip(top.arguments, self.columns(top.constructor), strict=True):
                if isinstance(argument, Term):
                    columns.append(np.array([next(codes)], np.int64))
                    exists &= bool(columns[-1][0] >= 0)
                else:
                    column, found = encode([argument], type)
                    columns.append(column)
                    exists &= bool(found[0])
            del results[len(results) - len(inner) :]
            results.append(int(lookup(top.constructor, columns, 1)[0]) if exists else -1)
        return results[0]
