"""Runs the LALR tables of a grammar, and makes trees that know their places."""

from collections.abc import Callable, Sequence
from typing import Any, final

from lark import Lark, Token, Tree
from lark.grammar import Rule

_END = "$END"

# A state to shift to, or a rule: its number of symbols, its name, its tree builder (None keeps the single symbol).
_Action = int | tuple[int, str, Callable[[list], Any] | None]


@final
class Tables:
    """A parser with lark's tables, which sets the place of every tree in `meta.start_pos` and `meta.end_pos`.

    Four of five reductions in a ladder of precedence have a single symbol, whose tree stays as it is. Lark itself looks
    at the place of each of them, and takes three times as long.
    """

    __slots__ = ("_climbs", "_end", "_start", "_states")

    def __init__(self, lark: Lark):
        configuration = lark.parse_interactive().parser_state.parse_conf
        self._start, self._end = configuration.start_state, configuration.end_state

        def action(argument: object) -> _Action:
            if not isinstance(argument, Rule):
                assert isinstance(argument, int)
                return argument
            assert argument.expansion, "every rule has a place in the text"
            is_symbol = argument.options.expand1 and argument.alias is None and len(argument.expansion) == 1
            build = None if is_symbol else configuration.callbacks[argument]  # pyright: ignore[reportArgumentType] (lark's annotation is of names)
            return len(argument.expansion), str(argument.origin.name), build

        self._states: dict[int, dict[str, _Action]] = {
            state: {str(symbol): action(argument) for symbol, (_, argument) in actions.items()}
            for state, actions in configuration.states.items()
        }

        # From the state below a value, its own state and the next token to its state after all reductions of one
        # symbol.
        self._climbs: dict[tuple[int, int, str], int] = {}

    def _climb(self, below: int, name: str, kind: str) -> int:
        """The state of a value that was reduced to `name`, after all further reductions of a single symbol."""
        table = self._states
        while True:
            state = table[below][name]
            assert isinstance(state, int)
            action = table[state].get(kind)
            if action is None or isinstance(action, int) or action[2] is not None:
                return state
            name = action[1]

    def parse(self, tokens: Sequence[Token]) -> Tree | None:
        """The tree of the tokens, of which there is at least one; None if they do not fit the grammar."""
        table, climbs, states, values = self._states, self._climbs, [self._start], []
        # The start and end of each value's text.
        starts: list[int] = []
        ends: list[int] = []
        for token in (*tokens, Token.new_borrow_pos(_END, "", tokens[-1])):
            kind = token.type
            while True:
                action = table[states[-1]].get(kind)
                if isinstance(action, int):
                    states.append(action)
                    values.append(token)
                    starts.append(token.start_pos or 0)
                    ends.append(token.end_pos or 0)
                    break
                if action is None:
                    return None
                size, name, build = action
                if build is None:
                    below = states[-2]
                    key = below, states[-1], kind
                    if key not in climbs:
                        climbs[key] = self._climb(below, name, kind)
                    states[-1] = climbs[key]
                    continue
                first = len(values) - size
                tree = build(values[first:])
                meta = tree.meta
                if meta.empty:
                    meta.empty = False
                    meta.start_pos, meta.end_pos = starts[first], ends[-1]
                del values[first + 1 :], starts[first + 1 :], ends[first:], states[first + 1 :]
                values[first] = tree
                ends.append(meta.end_pos)
                states.append(table[states[-1]][name])
                if kind == _END and states[-1] == self._end:
                    return tree
        return None
