"""The grammar's tables, read from the file where `scallax.syntax.make_grammar` has written them."""

import json
import os
import re
import zlib
from functools import cache
from typing import Any, TypedDict, cast, final

from scallax.syntax.lalr import Parser, Rule
from scallax.syntax.tokens import Lexer

START = "item"
GRAMMAR_FILE, TABLES_FILE = "grammar.lark", "grammar.json"
# Counts up with the form of `Tables`.
FORMAT = 1
_WORD_LIST = re.compile(r"([a-z]+|\([a-z|]+\))\(\?!.*\)")


class Tables(TypedDict):
    """All that lexing and parsing need of a grammar, as JSON can hold it."""

    format: int
    # The checksum of the grammar that the tables are of.
    grammar: int
    # Names and regular expressions of terminals, in the order in which they are tried.
    patterns: list[tuple[str, str]]
    # By the name of a pattern the texts that are terminals of their own, with these.
    words: dict[str, dict[str, str]]
    ignored: list[str]
    # The texts of terminals with a single one.
    spellings: dict[str, str]
    # The fields of `Rule`.
    rules: list[tuple[int, str, str | None, list[int | None]]]
    # Sets of terminals.
    followers: list[list[str]]
    # By state the states that symbols lead to, and pairs of a rule and the set of terminals before which it is reduced.
    states: list[tuple[dict[str, int], list[tuple[int, int]]]]


@final
class Grammar:
    """A lexer and a parser of the language's items, and how its terminals are written."""

    __slots__ = ("_patterns", "_spellings", "lexer", "parser")

    def __init__(self, tables: Tables):
        self._patterns, self._spellings = tables["patterns"], tables["spellings"]
        self.lexer = Lexer(self._patterns, tables["words"], tables["ignored"])
        rules = [Rule(*rule) for rule in tables["rules"]]
        followers = tables["followers"]
        states = []
        for targets, reductions in tables["states"]:
            actions: dict[str, int | Rule] = dict(targets)
            for rule, terminals in reductions:
                actions.update(dict.fromkeys(followers[terminals], rules[rule]))
            states.append(actions)
        self.parser = Parser(states, START)

    def spelling(self, terminal: str) -> str | None:
        """The text of a terminal; None if it has several."""
        return self._spellings.get(terminal)

    def keywords(self) -> list[str]:
        """The reserved words of the language, without the names of types."""
        words = [word for word in self._spellings.values() if word.isalpha()]
        # The grammar writes words that would otherwise be names as `(one|two)(?!…)`.
        for name, pattern in self._patterns:
            if name != "PRIMITIVE" and (match := _WORD_LIST.fullmatch(pattern)):
                words += match.group(1).strip("()").split("|")
        return sorted(words)


@cache
def grammar() -> Grammar:
    """The grammar of the language: its tables are read, or made anew where there are none of this version."""
    text = read_file(GRAMMAR_FILE)
    try:
        tables = fresh_tables(read_file(TABLES_FILE), text)
    except OSError:  # a clone whose table file is gone
        tables = None
    if tables is None:
        # Lark takes a third of a second.
        from scallax.syntax.make_grammar import make_tables

        tables = make_tables(text)
    return Grammar(tables)


def fresh_tables(text: str, grammar: str) -> Tables | None:
    """The tables of a grammar that a JSON text holds; None if they are of another one, of another form, or damaged."""
    try:
        tables = json.loads(text)
    except ValueError:  # the file was cut off
        return None
    is_fresh = isinstance(tables, dict) and (tables.get("format"), tables.get("grammar")) == (FORMAT, checksum(grammar))
    return cast(Tables, tables) if is_fresh else None


def checksum(grammar: str) -> int:
    """A number that tells grammars apart."""
    return zlib.crc32(grammar.encode())


def read_file(name: str) -> str:
    """The text of a file beside this module, be the package in a folder or in a zip archive."""
    # As `pkgutil.get_data`; `importlib.resources` takes longer to import than all tables to load.
    loader: Any = __spec__.loader
    data = loader.get_data(os.path.join(os.path.dirname(__file__), name))
    # Some tools check files out with other line ends.
    return data.decode().replace("\r\n", "\n")
