"""All possible worlds at once: naive Datalog over sets of worlds, and exact probabilities and derivatives.

A set of worlds is an integer: bit w says that something holds in world w. A head of a rule holds in the worlds of
its atoms; nothing is shared with grounding but the program.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from scallax.language import ir
from tests.oracles import aggregate, levels, match_terms, rule_matches

Worlds = int
Tagged = dict[str, dict[tuple, Worlds]]


@dataclass(frozen=True)
class Choice:
    """Facts of which at most one holds, each with its probability; one fact alone is independent."""

    facts: tuple[tuple[str, tuple], ...]
    probabilities: tuple[float, ...]


class PossibleWorlds:
    """All worlds of some choices: each has one fact of every choice, or none of it."""

    def __init__(self, choices: Sequence[Choice]):
        self.choices = choices
        # Row by world: the fact chosen of each choice, the number of facts for none.
        sizes = [range(len(choice.facts) + 1) for choice in choices]
        self.chosen = np.array(list(itertools.product(*sizes)), np.int64).reshape(-1, len(choices))
        self.everywhere = (1 << len(self.chosen)) - 1
        factors = np.ones(self.chosen.shape)
        for number, choice in enumerate(choices):
            factors[:, number] = np.array([*choice.probabilities, 1 - math.fsum(choice.probabilities)])[
                self.chosen[:, number]
            ]
        self._probabilities = factors.prod(1)
        # For each choice, the probability of what the others choose in each world.
        self._others = [np.delete(factors, number, 1).prod(1) for number in range(len(choices))]

    def facts(self) -> Tagged:
        found: Tagged = {}
        for number, choice in enumerate(self.choices):
            for place, (relation, values) in enumerate(choice.facts):
                found.setdefault(relation, {})[values] = _pack(self.chosen[:, number] == place)
        return found

    def probability(self, worlds: Worlds) -> float:
        """The sum of the worlds' probabilities."""
        return math.fsum(self._probabilities[self._select(worlds)])

    def derivatives(self, worlds: Worlds) -> list[np.ndarray]:
        """For each choice the derivatives by its facts: what none of them has decreases as each increases."""
        selected = self._select(worlds)
        found = []
        for number, choice in enumerate(self.choices):
            others, chosen = self._others[number][selected], self.chosen[selected, number]
            *facts, none = [others[chosen == i].sum() for i in range(len(choice.facts) + 1)]
            found.append(np.array(facts) - none)
        return found

    def _select(self, worlds: Worlds) -> np.ndarray:
        count = len(self.chosen)
        packed = np.frombuffer(worlds.to_bytes(-(-count // 8), "little"), np.uint8)
        return np.unpackbits(packed, count=count, bitorder="little").astype(bool)


def _pack(holds: np.ndarray) -> Worlds:
    return int.from_bytes(np.packbits(holds, bitorder="little").tobytes(), "little")


def datalog_in_worlds(program: ir.Program, facts: Tagged, everywhere: Worlds) -> Tagged:
    """The worlds in which each tuple holds; rules are applied to everything until nothing changes."""
    found: Tagged = {relation.name: dict(facts.get(relation.name, {})) for relation in program.relations}
    for fact in program.facts:
        found[fact.relation][fact.values] = everywhere
    level_of = levels(program)
    for level in range(max(level_of.values(), default=0) + 1):
        rules = [rule for rule in program.rules if level_of[rule.relation] == level]
        before = None
        while before != found:
            before = {name: dict(tuples) for name, tuples in found.items()}
            for rule in rules:
                for head, worlds in _derived(rule, found, everywhere):
                    # A tuple that holds in no world may still be one that an aggregate is grouped by.
                    found[rule.relation][head] = found[rule.relation].get(head, 0) | worlds
    return found


def _derived(rule: ir.Rule, found: Mapping, everywhere: Worlds) -> list[tuple[tuple, Worlds]]:
    if isinstance(rule.body[0], ir.Reduce):
        return _reduced(rule.body[0], found, everywhere)
    atoms = [literal for literal in rule.body if isinstance(literal, ir.Atom)]
    negated = [literal for literal in rule.body if isinstance(literal, ir.NegatedAtom)]
    positive = ir.Rule(rule.relation, rule.head, tuple(b for b in rule.body if b not in negated))
    results = []
    for head, tuples, binding in rule_matches(positive, {name: set(tuples) for name, tuples in found.items()}):
        worlds = everywhere
        for atom, values in zip(atoms, tuples, strict=True):
            worlds &= found[atom.relation][values]
        for atom in negated:
            for values, where in found[atom.relation].items():
                if match_terms(atom.terms, values, binding) is not None:
                    worlds &= ~where
        results.append((head, worlds))
    return results


def _reduced(operator: ir.Reduce, found: Mapping, everywhere: Worlds) -> list[tuple[tuple, Worlds]]:
    """Every subset of a group's tuples gives its results in the worlds where just these hold."""
    assert operator.domain is None
    end = len(operator.keys)
    body = found[operator.body]
    results = []
    for group in {values[:end] for values in body} if operator.keys else {()}:
        elements = sorted(values for values in body if values[:end] == group)
        for chosen in itertools.product([False, True], repeat=len(elements)):
            parts = [body[e] if holds else ~body[e] for e, holds in zip(elements, chosen, strict=True)]
            worlds = reduce(lambda a, b: a & b, parts, everywhere)
            held = [element[end:] for element, holds in zip(elements, chosen, strict=True) if holds]
            results += [((*group, *result), worlds) for result in aggregate(operator, held, [])]
    return results
