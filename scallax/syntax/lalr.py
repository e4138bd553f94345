"""Runs the LALR tables of a grammar: tokens become a parse tree, or the place where they leave the grammar."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

from scallax.syntax.tokens import Token, Tree

END = "$END"


class Rule(NamedTuple):
    """A reduction: `size` symbols become one symbol `name`, and their values one tree of the kind `data`.

    Without `data` the value of the single symbol stays as it is. `parts` are the places of the values that become the
    tree's children, in order: `~place` for one whose own children take its place, None for an optional part left out.
    """

    size: int
    name: str
    data: str | None
    parts: list[int | None]


# By symbol the state to go to, or the rule to reduce by. A single character's case tells terminals from rules.
_Actions = Mapping[str, int | Rule]


class Rejection(NamedTuple):
    """Tokens that do not fit the grammar: the first that does not, and the tokens that would have fitted there."""

    token: Token
    expected: frozenset[str]


@final
class Parser:
    """A parser of an LALR grammar, whose start is the state 0 and whose texts are of the kind `start`."""

    __slots__ = ("_climbs", "_end", "_states")

    def __init__(self, states: Sequence[_Actions], start: str):
        self._states = states
        end = states[0][start]
        assert isinstance(end, int)
        self._end = end
        # From the state below a value, its own state and the next token to its state after all reductions of one
        # symbol.
        self._climbs: dict[tuple[int, int, str], int] = {}

    def parse(self, tokens: Sequence[Token]) -> Tree | Rejection:
        """The tree of the tokens, of which there is at least one, or where they do not fit the grammar."""
        table, climbs, states = self._states, self._climbs, [0]
        values: list[Token | Tree | None] = []
        # The start and end of each value's text.
        starts: list[int] = []
        ends: list[int] = []
        for token in (*tokens, Token(END, "", tokens[-1].end)):
            kind = token.type
            while True:
                action = table[states[-1]].get(kind)
                if isinstance(action, int):
                    states.append(action)
                    values.append(token)
                    starts.append(token.start)
                    ends.append(token.end)
                    break
                if action is None:
                    return Rejection(token, self._accepted(states))
                size, name, data, parts = action
                if data is None:
                    # Four of five reductions in a ladder of precedence have a single symbol, whose tree stays.
                    below = states[-2]
                    key = below, states[-1], kind
                    if key not in climbs:
                        climbs[key] = self._climb(below, name, kind)
                    states[-1] = climbs[key]
                    continue
                first = len(values) - size
                tree = Tree(data, _children(values[first:], parts), starts[first], ends[-1])
                del values[first:], starts[first + 1 :], ends[first:], states[first + 1 :]
                values.append(tree)
                ends.append(tree.end)
                state = table[states[-1]][name]
                assert isinstance(state, int)
                states.append(state)
                if kind == END and state == self._end:
                    return tree
        raise AssertionError("the end is shifted nowhere")

    def _climb(self, below: int, name: str, kind: str) -> int:
        """The state of a value that was reduced to `name`, after all further reductions of a single symbol."""
        table = self._states
        while True:
            state = table[below][name]
            assert isinstance(state, int)
            action = table[state].get(kind)
            if action is None or isinstance(action, int) or action.data is not None:
                return state
            name = action.name

    def _accepted(self, states: Sequence[int]) -> frozenset[str]:
        """The kinds of tokens that can be next."""
        return frozenset(kind for kind in self._states[states[-1]] if kind.isupper() and self._accepts(states, kind))

    def _accepts(self, states: Sequence[int], kind: str) -> bool:
        states = list(states)
        while (action := self._states[states[-1]].get(kind)) is not None:
            if isinstance(action, int):
                return True
            del states[len(states) - action.size :]
            state = self._states[states[-1]][action.name]
            assert isinstance(state, int)
            states.append(state)
            if kind == END and state == self._end:
                return True
        return False


def _children(values: list, parts: list[int | None]) -> list:
    children = []
    for part in parts:
        if part is None:
            children.append(None)
        elif part >= 0:
            children.append(values[part])
        else:
            children += values[~part].children
    return children
