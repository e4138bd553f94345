"""Decisions over random variables in an order, and the circuits that they make.

A decision goes by the outcome of one variable to decisions over those after it. The outcomes exclude each other, and a
decision shares no variable with those that it goes to: the sum over the outcomes is the probability.
"""

from collections.abc import Callable, Sequence

from scallax.circuits.knowledge.arithmetic_circuit import PRODUCT_COST, ArithmeticCircuit, Operand, event
from scallax.grounding.derivations import ONE, ZERO
from scallax.language.records import record

FALSE, TRUE = 0, 1
# A circuit of so many levels is left as it is.
_FEW_LEVELS = 3
# Decisions over halves for each product of another circuit, and the fewest that are tried: where those of counts and
# hierarchies are the same for many, those of grids are not.
_HALVES_FOR_PRODUCT = 3
_FEWEST_HALVES = 1024
# Steps between two checks; steps for each microsecond that a circuit of halves may save, and in all.
_CHECKED = 4096
_STEPS_FOR_COST = 80
_MOST_STEPS = 1_000_000


@record
class Variable:
    """An independent leaf, or the used members of an exclusive group; outcome i is that member i holds.

    One more outcome is that none does. A set of outcomes is an integer, whose bit i is outcome i.
    """

    leaves: tuple[int, ...]

    @property
    def none(self) -> int:
        """The outcome that no member holds."""
        return len(self.leaves)

    @property
    def everything(self) -> int:
        """The set of all outcomes."""
        return (2 << self.none) - 1


class Decisions:
    """Decisions, each once: numbers from 2, after FALSE and TRUE. One is made after those that it goes to."""

    def __init__(self, variables: Sequence[Variable]):
        self.variables = variables
        # By number: the place of the variable, and where each set of outcomes goes.
        self.places = [len(variables)] * 2
        self.branches: list[tuple[tuple[int, int], ...]] = [(), ()]
        # By number, the last place that it depends on.
        self.last_places = [-1, -1]
        self._found: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}

    def __len__(self) -> int:
        return len(self.places)

    def decide(self, place: int, branches: Sequence[tuple[int, int]]) -> int:
        """The decision that goes from sets of outcomes, which cover all of them, to others."""
        if len(branches) == 2:  # nearly all: those of a variable of two outcomes
            one, other = branches
            if one[1] == other[1]:
                return one[1]
            merged = (one, other) if one[0] < other[0] else (other, one)
        else:
            sets: dict[int, int] = {}
            for outcomes, target in branches:
                sets[target] = sets.get(target, 0) | outcomes
            if len(sets) == 1:
                return next(iter(sets))
            merged = tuple(sorted(zip(sets.values(), sets, strict=True)))
        known = len(self.places)
        number = self._found.setdefault((place, merged), known)
        if number == known:
            self.places.append(place)
            self.branches.append(merged)
            self.last_places.append(max(place, *[self.last_places[target] for _, target in merged]))
        return number

    def circuit(self, roots: Sequence[int], check: Callable[[], None]) -> ArithmeticCircuit:
        """The cheaper one of two circuits: with a level for each variable, and with halves of the variables apart.

        `check` is called now and then, and raises what ends the work.
        """
        line = _decide_in_line(self, roots, check)
        if line.depth <= _FEW_LEVELS:
            return line
        try:
            halved = _Halving(self, line, check).circuit(roots)
        except _CostlyError:
            return line
        return min(line, halved, key=lambda circuit: circuit.cost)


class _Sums:
    """A circuit over variables: sums of products, and the probabilities of sets of outcomes."""

    def __init__(self, variables: Sequence[Variable]):
        self.circuit = ArithmeticCircuit()
        self._variables = variables
        self._sets: dict[tuple[int, int], Operand] = {}

    def add(self, products: Sequence[tuple[Operand, Operand]]) -> Operand:
        if len(products) == 1 and products[0][1] == (ONE, False):
            return products[0][0]
        return self.circuit.add(products)

    def probability(self, place: int, outcomes: int) -> Operand:
        """The sum of a set's members, or one minus that of the members left out if none of them may hold."""
        variable = self._variables[place]
        is_rest = bool(outcomes >> variable.none & 1)
        members = outcomes if not is_rest else variable.everything & ~outcomes
        if not members & (members - 1):
            return event(variable.leaves[members.bit_length() - 1], not is_rest)
        if (place, members) not in self._sets:
            leaves = [leaf for outcome, leaf in enumerate(variable.leaves) if members >> outcome & 1]
            self._sets[place, members] = self.circuit.add([(event(leaf, True), (ONE, False)) for leaf in leaves])
        return self._sets[place, members][0], is_rest


def _decide_in_line(decisions: Decisions, roots: Sequence[int], check: Callable[[], None]) -> ArithmeticCircuit:
    needed: set[int] = set()
    waiting = [root for root in roots if root > TRUE]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += [target for _, target in decisions.branches[number] if target > TRUE]
    sums = _Sums(decisions.variables)
    found: dict[int, Operand] = {FALSE: (ZERO, False), TRUE: (ONE, False)}
    for count, number in enumerate(sorted(needed)):
        if not count % _CHECKED:
            check()
        found[number] = sums.add(
            [
                (sums.probability(decisions.places[number], outcomes), found[target])
                for outcomes, target in decisions.branches[number]
                if target != FALSE
            ]
        )
    sums.circuit.outputs = [found[root] for root in roots]
    return sums.circuit


class _CostlyError(Exception):
    """A circuit of halves costs more than another one, or takes too long to find."""


class _Halving:
    """Circuits of logarithmic depth: a decision is a sum over what it may be after the first half of its variables.

    They are the compressed partitions of sentential decision diagrams over a balanced tree of the variables (Darwiche,
    IJCAI 2011): the first factor of each product, decisions over the first half, exclude each other.
    """

    def __init__(self, decisions: Decisions, other: ArithmeticCircuit, check: Callable[[], None]):
        self._decisions = decisions
        self._sums = _Sums(decisions.variables)
        self._check = check
        self._most_cost = other.cost
        self._most_decisions = len(decisions) + max(_HALVES_FOR_PRODUCT * len(other.rows), _FEWEST_HALVES)
        self._steps = 0
        self._found: dict[int, Operand] = {FALSE: (ZERO, False), TRUE: (ONE, False)}
        # By decision and place: where it may be at the place, and by which decisions over the variables before.
        self._partitions: dict[tuple[int, int], dict[int, int]] = {}

    def circuit(self, roots: Sequence[int]) -> ArithmeticCircuit:
        num_places = len(self._decisions.variables)
        self._sums.circuit.outputs = [self._halve(root, 0, num_places) for root in roots]
        return self._sums.circuit

    def _halve(self, number: int, start: int, end: int) -> Operand:
        """The probability of a decision over the variables from `start` to `end`."""
        if number in self._found:
            return self._found[number]
        decisions, sums = self._decisions, self._sums
        first, last = decisions.places[number], decisions.last_places[number]
        if first == last:
            outcomes = next(outcomes for outcomes, target in decisions.branches[number] if target == TRUE)
            self._found[number] = sums.probability(first, outcomes)
            return self._found[number]
        middle = (start + end) // 2
        while not first < middle <= last:
            start, end = (middle, end) if first >= middle else (start, middle)
            middle = (start + end) // 2
        self._found[number] = sums.add(
            [
                (self._halve(before, start, middle), self._halve(after, middle, end))
                for after, before in self._partition(number, middle).items()
                if after != FALSE
            ]
        )
        if PRODUCT_COST * len(sums.circuit.rows) > self._most_cost:
            raise _CostlyError
        return self._found[number]

    def _partition(self, number: int, middle: int) -> dict[int, int]:
        decisions, partitions = self._decisions, self._partitions
        waiting = [number]
        while waiting:
            top = waiting[-1]
            place, branches = decisions.places[top], decisions.branches[top]
            missing = [target for _, target in branches if (target, middle) not in partitions]
            if (top, middle) in partitions:
                waiting.pop()
            elif place >= middle:
                partitions[top, middle] = {top: TRUE}
            elif missing:
                waiting += missing
            else:
                partitions[top, middle] = self._merge(
                    place, [(outcomes, partitions[target, middle]) for outcomes, target in branches]
                )
        return partitions[number, middle]

    def _merge(self, place: int, parts: Sequence[tuple[int, dict[int, int]]]) -> dict[int, int]:
        targets = dict.fromkeys(target for _, part in parts for target in part)
        before, self._steps = self._steps, self._steps + len(targets) * len(parts)
        if self._steps > min(_STEPS_FOR_COST * self._most_cost, _MOST_STEPS):
            raise _CostlyError
        if len(self._decisions) > self._most_decisions:
            raise _CostlyError
        if self._steps // _CHECKED > before // _CHECKED:
            self._check()
        decide = self._decisions.decide
        if len(parts) == 2:
            (one, left), (other, right) = parts
            return {
                target: decide(place, ((one, left.get(target, FALSE)), (other, right.get(target, FALSE))))
                for target in targets
            }
        return {
            target: decide(place, [(outcomes, part.get(target, FALSE)) for outcomes, part in parts])
            for target in targets
        }
