"""The grammar of the language: a lexer and a parser, from the tables that `scallax.syntax.make_grammar` has written."""

import re
from functools import cache
from typing import final

from scallax.syntax.lalr import Parser, Rule
from scallax.syntax.tables import GRAMMAR_FILE, START, TABLES_FILE, Tables, fresh_tables, read_file
from scallax.syntax.tokens import Lexer

_WORD_LIST = re.compile(r"([a-z]+|\([a-z|]+\))\(\?!.*\)")


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
