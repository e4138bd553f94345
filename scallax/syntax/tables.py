"""The tables of a grammar: their form, and the file that holds those of the language's grammar."""

import json
import os
import zlib
from typing import Any, TypedDict, cast

START = "item"
GRAMMAR_FILE, TABLES_FILE = "grammar.lark", "grammar.json"
# Counts up with the form of `Tables`.
FORMAT = 1


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
