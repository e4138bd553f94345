"""Worlds of a compiled condition: the most probable one, the most probable decisions, and draws.

A circuit of disjoint sums and independent products (`compiler`) holds in a world for one reason: at each sum, one of
its products holds. So the best reason, or a drawn one, is found in one pass up, with the weights of all sums, and one
pass down, which chooses a product of each sum that it reaches. What the reason does not mention is chosen by itself.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scallax.circuits.knowledge.compiler import compile_circuit
from scallax.grounding.derivations import ONE, Derivations, Literals, operand_literal
from scallax.language.records import record

# Numbers that a draw of several worlds holds at once.
_MAX_NUMBERS = 1 << 24
# Assignments that a search for decisions extends at once, and those that it weighs at most.
_AT_ONCE = 64
MOST_WEIGHED = 1 << 14


class SearchLimitError(Exception):
    """A search for decisions weighed too many assignments."""


@record
class Variables:
    """The random variables of literals: an exclusive group, or a literal alone.

    The outcomes of a variable are its members, `literals[first[v]:first[v + 1]]`, and then none of them. `of_literal`
    int64 `[literals]` is the variable of each literal.
    """

    literals: np.ndarray
    first: np.ndarray
    of_literal: np.ndarray

    @staticmethod
    def of(literals: Literals) -> "Variables":
        """The variables of literals, in the order of the first literal of each."""
        count = len(literals)
        name = np.where(literals.group >= 0, count + literals.group, np.arange(count))
        _, place, inverse = np.unique(name, return_index=True, return_inverse=True)
        rank = np.empty(len(place), np.int64)
        rank[np.argsort(place)] = np.arange(len(place))
        of_literal = rank[inverse.reshape(-1)]
        sizes = np.bincount(of_literal, minlength=len(place))
        first = np.append(0, np.cumsum(sizes))
        return Variables(np.argsort(of_literal, kind="stable"), first, of_literal)

    def __len__(self) -> int:
        return len(self.first) - 1

    def members(self, variable: int) -> np.ndarray:
        """The literals of a variable."""
        return self.literals[self.first[variable] : self.first[variable + 1]]

    def outcomes(self, variable: int, p: np.ndarray) -> np.ndarray:
        """The probabilities `[outcomes, ...]` of a variable's outcomes, for those of literals `[literals, ...]`."""
        members = p[self.members(variable)]
        return np.concatenate([members, np.maximum(1 - members.sum(0, keepdims=True), 0)])


@record
class _Event:
    """A set of outcomes of one variable."""

    variable: int
    outcomes: tuple[int, ...]


@dataclass(slots=True)
class Condition:
    """A condition as a circuit, by levels: rows are products `left * right` of slots, which nodes sum up.

    The slots are the nodes, then the events, then one that always holds.
    """

    variables: Variables
    events: list[_Event]
    num_nodes: int
    root: int
    # For each level, from the lowest: the rows' slots, the first row of each head, and the heads.
    levels: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def num_slots(self) -> int:
        return self.num_nodes + len(self.events) + 1

    def weigh(self, event_weights: np.ndarray, join: np.ufunc, is_largest: np.ndarray | None = None) -> np.ndarray:
        """The logarithms `[slots, batch]` of weights, for those of events.

        `join` adds products, or takes the largest, which the nodes of the mask `is_largest` do in any case.
        """
        weights = np.full((self.num_slots, event_weights.shape[1]), -np.inf)
        weights[self.num_nodes : -1] = event_weights
        weights[-1] = 0
        for left, right, first, heads in self.levels:
            products = weights[left] + weights[right]
            weights[heads] = join.reduceat(products, first, axis=0)
            if is_largest is not None and is_largest[heads].any():
                largest = np.maximum.reduceat(products, first, axis=0)
                weights[heads] = np.where(is_largest[heads][:, None], largest, weights[heads])
        return weights

    def reasons(self, weights: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """The events `[events, batch]` of one reason: the best, or drawn in proportion to weights."""
        holds = np.zeros(weights.shape, np.bool_)
        holds[self.root] = True
        for left, right, first, heads in reversed(self.levels):
            found = weights[left] + weights[right]
            if rng is not None:
                # The largest of weights with this noise is each one in proportion (Gumbel).
                found = found + rng.gumbel(size=found.shape)
            sizes = np.diff(np.append(first, len(found)))
            best = np.maximum.reduceat(found, first, axis=0).repeat(sizes, axis=0)
            row = np.arange(len(found))[:, None]
            place = np.where(found == best, row, len(found))
            is_chosen = (place == np.minimum.reduceat(place, first, axis=0).repeat(sizes, axis=0)) & (found > -np.inf)
            is_chosen &= holds[heads].repeat(sizes, axis=0)
            np.logical_or.at(holds, left, is_chosen)
            np.logical_or.at(holds, right, is_chosen)
        return holds[self.num_nodes : -1]


def compile_condition(derivations: Derivations, literals: Literals, operand: int) -> Condition:
    """The circuit of one operand. Raises what `compile_circuit` does."""
    compiled, (root,) = compile_circuit(derivations, literals, np.array([operand], np.int64))
    variables = Variables.of(literals)
    reader = _Reader(compiled, variables)
    columns = [compiled.left, compiled.right, compiled.left_negated, compiled.right_negated]
    rows = list(zip(compiled.head.tolist(), *(column.tolist() for column in columns), strict=True))
    slots = [(head, reader.slot(left, a), reader.slot(right, b)) for head, left, right, a, b in rows]
    # A root that is no node is the sum of itself.
    slots.append((compiled.num_nodes, reader.slot(int(root), False), reader.slot(ONE, False)))
    num_nodes = compiled.num_nodes + 1
    condition = Condition(variables, reader.events, num_nodes, num_nodes - 1)
    depth = np.zeros(num_nodes, np.int64)
    for head, left, right in slots:
        below = max((int(depth[slot]) for slot in (left, right) if slot >= 0), default=0)
        depth[head] = max(depth[head], below + 1)
    places = np.array(slots, np.int64).reshape(-1, 3)
    # Events are behind the nodes, which were not counted yet; what always holds is last.
    places[:, 1:] = np.where(places[:, 1:] < 0, condition.num_slots + places[:, 1:], places[:, 1:])
    order = np.lexsort((places[:, 0], depth[places[:, 0]]))
    places = places[order]
    for level in np.split(places, np.flatnonzero(np.diff(depth[places[:, 0]])) + 1):
        first = np.flatnonzero(np.diff(level[:, 0], prepend=-1))
        condition.levels.append((level[:, 1], level[:, 2], first, level[first, 0]))
    return condition


class _Reader:
    """Slots of operands: nodes as they are, what always holds as -1, and events from -2 on downwards."""

    def __init__(self, compiled: Derivations, variables: Variables):
        self._compiled = compiled
        self._variables = variables
        self._numbers: dict[_Event, int] = {}
        self._rows: dict[int, list[int]] = {}
        for head, left in zip(compiled.head.tolist(), compiled.left.tolist(), strict=True):
            self._rows.setdefault(head, []).append(left)

    @property
    def events(self) -> list[_Event]:
        return list(self._numbers)[::-1]

    def slot(self, operand: int, negated: bool) -> int:
        if operand == ONE:
            assert not negated
            return -1
        if operand >= 0 and not negated:
            return operand
        # A complement is one of members of a group, added up.
        members = [operand] if operand < 0 else self._rows[operand]
        literals = operand_literal(np.array(members, np.int64))
        (variable,) = set(self._variables.of_literal[literals].tolist())
        own = self._variables.members(variable)
        is_meant = np.isin(own, literals) != negated
        outcomes = tuple(np.flatnonzero(np.append(is_meant, negated)).tolist())
        return -2 - self._numbers.setdefault(_Event(variable, outcomes), len(self._numbers))


def most_probable(condition: Condition, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable world of each sample in which the condition holds, and the logarithm of its probability.

    `p` float64 `[literals, batch]`. The truth of literals is bool `[literals, batch]`; the logarithm is -inf where the
    condition never holds.
    """
    variables = condition.variables
    with np.errstate(divide="ignore"):
        outcomes = [np.log(variables.outcomes(v, p)) for v in range(len(variables))]
    best = [each.max(0) for each in outcomes]
    # Relative to the best outcome: what a reason does not mention counts 1 then.
    weights = np.array(
        [outcomes[e.variable][list(e.outcomes)].max(0) - best[e.variable] for e in condition.events]
    ).reshape(len(condition.events), p.shape[1])
    found = condition.weigh(weights, np.maximum)
    chosen = _assign(condition, condition.reasons(found, None), outcomes, None)
    logarithm = found[condition.root] + np.sum(best, axis=0)
    return _truth(variables, chosen), logarithm


def draw(condition: Condition, p: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Worlds in which the condition holds, drawn in proportion to their probabilities, for `p` `[literals]`.

    The truth of literals is bool `[literals, count]`, beside the logarithm of the condition's probability.
    """
    variables, total = condition.variables, condition.num_slots + len(condition.variables.literals)
    with np.errstate(divide="ignore"):
        outcomes = [np.log(variables.outcomes(v, p[:, None])) for v in range(len(variables))]
    weights = np.array([np.logaddexp.reduce(outcomes[e.variable][list(e.outcomes)], axis=0) for e in condition.events])
    found = condition.weigh(weights.reshape(len(condition.events), 1), np.logaddexp)
    step = max(1, _MAX_NUMBERS // total)
    worlds = [np.zeros((len(p), 0), np.bool_)]
    for start in range(0, count, step):
        size = min(step, count - start)
        reasons = condition.reasons(np.broadcast_to(found, (len(found), size)), rng)
        repeated = [np.broadcast_to(each, (len(each), size)) for each in outcomes]
        worlds.append(_truth(variables, _assign(condition, reasons, repeated, rng)))
    return np.concatenate(worlds, axis=1), found[condition.root, 0]


def _assign(
    condition: Condition, reasons: np.ndarray, outcomes: Sequence[np.ndarray], rng: np.random.Generator | None
) -> np.ndarray:
    """The outcome `[variables, batch]` of each variable, among those that a reason leaves it."""
    variables = condition.variables
    mentioned: dict[int, list[int]] = {}
    for place, event in enumerate(condition.events):
        mentioned.setdefault(event.variable, []).append(place)
    chosen = np.empty((len(variables), reasons.shape[1]), np.int64)
    for variable, logarithms in enumerate(outcomes):
        if rng is not None:
            logarithms = logarithms + rng.gumbel(size=logarithms.shape)
        for place in mentioned.get(variable, ()):
            is_left = np.isin(np.arange(len(logarithms)), condition.events[place].outcomes)
            logarithms = np.where(reasons[place] & ~is_left[:, None], -np.inf, logarithms)
        chosen[variable] = logarithms.argmax(0)
    return chosen


def _truth(variables: Variables, chosen: np.ndarray) -> np.ndarray:
    """The truth `[literals, batch]` of literals where the variables have these outcomes."""
    place = np.empty(len(variables.literals), np.int64)
    sizes = np.diff(variables.first)
    place[variables.literals] = np.arange(len(variables.literals)) - variables.first[:-1].repeat(sizes)
    return chosen[variables.of_literal] == place[:, None]


def decide(
    condition: Condition, p: np.ndarray, decided: Sequence[int], limit: int = MOST_WEIGHED
) -> tuple[dict[int, int], float]:
    """The outcomes of the variables `decided` that are most probable together with the condition, for `p` `[literals]`.

    With them comes the logarithm of their probability together with the condition, whatever the other variables are.
    Partial assignments with the largest bounds are extended first (`_Bounds`), so that the first complete one is best.
    Raises `SearchLimitError` beyond the limit of assignments that are weighed.
    """
    bounds = _Bounds(condition, p, decided)
    num_weighed, num_decided = 1, len(bounds.order)
    heap: list[tuple[float, tuple[int, ...]]] = [(-float(bounds.of([()])[0]), ())]
    while True:
        bound, assignment = heapq.heappop(heap)
        if len(assignment) == num_decided or bound == np.inf:
            return dict(zip(bounds.order, assignment, strict=False)), -bound
        # Others of large bounds are extended with it: one pass over the circuit serves many.
        several = [assignment]
        while heap and len(several) < _AT_ONCE and len(heap[0][1]) < num_decided:
            several.append(heapq.heappop(heap)[1])
        extended = [(*each, o) for each in several for o in range(bounds.num_outcomes(len(each)))]
        num_weighed += len(extended)
        if num_weighed > limit:
            raise SearchLimitError
        for each, logarithm in zip(extended, bounds.of(extended).tolist(), strict=True):
            heapq.heappush(heap, (-logarithm, each))


class _Bounds:
    """Bounds of what decisions may weigh, by partial assignments of the variables in `order`.

    Sums over decided variables become maxima, others stay (Huang, Chavira, Darwiche, "Solving MAP exactly by searching
    on compiled arithmetic circuits", 2006). The left factors of a node's products exclude each other: where all of them
    depend on decided variables alone, one product is left for each assignment, so that the bound is the largest. With
    all variables assigned it is exact.
    """

    def __init__(self, condition: Condition, p: np.ndarray, decided: Sequence[int]):
        variables, num_nodes = condition.variables, condition.num_nodes
        self._condition = condition
        with np.errstate(divide="ignore"):
            self._outcomes = {v: np.log(variables.outcomes(v, p)) for v in decided}
            self.order = sorted(decided, key=lambda v: -float(self._outcomes[v].max()))
            self._weights = np.array(
                [np.log(variables.outcomes(e.variable, p)[list(e.outcomes)].sum()) for e in condition.events]
            )
        # By decided variable its events, and which outcomes are in each.
        self._events: dict[int, tuple[list[int], np.ndarray]] = {}
        for place, event in enumerate(condition.events):
            if event.variable in self._outcomes:
                logarithms = self._outcomes[event.variable]
                self._weights[place] = logarithms[list(event.outcomes)].max() - logarithms.max()
                places, has = self._events.get(event.variable, ([], np.zeros((0, len(logarithms)), np.bool_)))
                has = np.concatenate([has, np.isin(np.arange(len(logarithms)), event.outcomes)[None]])
                self._events[event.variable] = [*places, place], has
        is_decided = np.zeros(condition.num_slots, np.bool_)
        is_decided[num_nodes:-1] = [event.variable in self._outcomes for event in condition.events]
        is_decided[-1] = True
        # Nodes that are the largest of their products.
        self._is_largest = np.zeros(num_nodes, np.bool_)
        for left, right, first, heads in condition.levels:
            self._is_largest[heads] = np.logical_and.reduceat(is_decided[left], first)
            is_decided[heads] = np.logical_and.reduceat(is_decided[left] & is_decided[right], first)

    def num_outcomes(self, place: int) -> int:
        """The number of outcomes of the variable at a place in the order."""
        return len(self._outcomes[self.order[place]])

    def of(self, assignments: Sequence[tuple[int, ...]]) -> np.ndarray:
        """The bounds of assignments of the first variables in the order, as logarithms."""
        weights = np.repeat(self._weights[:, None], len(assignments), axis=1)
        total = np.full(len(assignments), sum(float(each.max()) for each in self._outcomes.values()))
        for sample, assignment in enumerate(assignments):
            for variable, outcome in zip(self.order, assignment, strict=False):
                logarithms = self._outcomes[variable]
                total[sample] += logarithms[outcome] - logarithms.max()
                if variable in self._events:
                    places, has = self._events[variable]
                    weights[places, sample] = np.where(has[:, outcome], 0, -np.inf)
        return self._condition.weigh(weights, np.logaddexp, self._is_largest)[self._condition.root] + total
