"""Makes the grammar's tables with lark: `python -m scallax.syntax.make_grammar` writes the file that is read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lark import Lark, Token
from lark.grammar import Rule, Terminal
from lark.lark import PostLex

from scallax.syntax.tables import FORMAT, GRAMMAR_FILE, START, TABLES_FILE, Tables, checksum, read_file


class _Errors(PostLex):
    """Keeps terminals that are in no rule, so that texts which only start like tokens are told by name."""

    always_accept = ("UNCLOSED_COMMENT", "UNCLOSED_STRING", "UNKNOWN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


def make_lark(grammar: str) -> Lark:
    """Lark's own parser of a grammar in its language."""
    return Lark(grammar, start=START, parser="lalr", lexer="basic", maybe_placeholders=True, postlex=_Errors())


def make_tables(grammar: str) -> Tables:
    """The tables of a grammar in lark's language.

    Equal grammars have equal tables: states are numbered in the order in which they are met, from the start's 0.
    """
    lark = make_lark(grammar)
    configuration = lark.parse_interactive().parser_state.parse_conf
    assert configuration.end_state == configuration.states[configuration.start_state][START][1]
    # Each numbered in the order of its entries.
    numbers: dict[Any, int] = {configuration.start_state: 0}
    rules: dict[Rule, int] = {}
    followers: dict[tuple[str, ...], int] = {}
    states = []
    waiting = [configuration.start_state]
    for state in waiting:
        targets: dict[str, int] = {}
        before: dict[int, list[str]] = {}
        for symbol, (_, argument) in sorted(configuration.states[state].items()):
            if isinstance(argument, Rule):
                before.setdefault(rules.setdefault(argument, len(rules)), []).append(str(symbol))
                continue
            if argument not in numbers:
                numbers[argument] = len(numbers)
                waiting.append(argument)
            targets[str(symbol)] = numbers[argument]
        reductions = [(rule, followers.setdefault(tuple(kinds), len(followers))) for rule, kinds in before.items()]
        states.append((targets, reductions))
    lexer: Any = lark.parser.lexer.lexer
    patterns = lexer.scanner.terminals
    # The scanner leaves out texts that another pattern takes, and the callback of that pattern finds them.
    words = {name: callback.scanner.terminals for name, callback in lexer.callback.items()}
    return {
        "format": FORMAT,
        "grammar": checksum(grammar),
        "patterns": [(terminal.name, terminal.pattern.to_regexp()) for terminal in patterns],
        "words": {name: {word.pattern.value: word.name for word in found} for name, found in words.items()},
        "ignored": sorted(lark.ignore_tokens),
        "spellings": {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"},
        "rules": list(map(_reduction, rules)),
        "followers": list(map(list, followers)),
        "states": states,
    }


def _reduction(rule: Rule) -> tuple[int, str, str | None, list[int | None]]:
    """The fields of `scallax.syntax.lalr.Rule`."""
    size = len(rule.expansion)
    assert size, "every rule has a place in the text"
    parts: list[int | None] = []
    symbols = enumerate(rule.expansion)
    # Lark tells by true and false which of a rule's symbols were left out of it.
    for is_absent in rule.options.empty_indices or (False,) * size:
        if is_absent:
            parts.append(None)
            continue
        place, symbol = next(symbols)
        if not symbol.is_term:
            parts.append(~place if symbol.name.startswith("_") else place)
        elif not cast(Terminal, symbol).filter_out:
            parts.append(place)
    is_transparent = rule.options.expand1 and rule.alias is None
    assert not is_transparent or size == 1 or len(parts) > 1, "a single part has no other symbols beside it"
    data = None if is_transparent and size == 1 else str(rule.alias or rule.origin.name)
    return size, str(rule.origin.name), data, parts


def format_tables(tables: Tables) -> str:
    """Tables as JSON, with a line for each entry."""
    fields = []
    for name, value in tables.items():
        text = json.dumps(value, separators=(",", ":"))
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in value) + "\n]"
        fields.append(f'"{name}":{text}')
    return "{\n" + ",\n".join(fields) + "\n}\n"


if __name__ == "__main__":
    Path(__file__).with_name(TABLES_FILE).write_text(format_tables(make_tables(read_file(GRAMMAR_FILE))))
