"""Variables that negations and aggregates share with a rule, or have for themselves: random rules, read naively.

Each formula is written beside what it means: a function of the values of the variables around it. Variables of its own
are tried one by one.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from scallax.circuits.compile import analyse_program
from scallax.errors import Source
from tests.oracles import naive_datalog

Values = dict[str, int]
Facts = dict[str, set[tuple[int, ...]]]

ARITIES = {"m": 1, "t": 1, "u": 1, "r": 2, "e": 2, "s": 3}
DOMAIN = range(1, 5)
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": int.__eq__,
    "!=": int.__ne__,
    "<": int.__lt__,
    ">=": int.__ge__,
}
OPERATORS: dict[str, Callable[[Sequence[int]], list[int]]] = {
    "count": lambda values: [len(values)],
    "sum": lambda values: [sum(values)],
    "min": lambda values: [min(values)] if values else [],
    "max": lambda values: [max(values)] if values else [],
}


@dataclass(frozen=True)
class Formula:
    text: str
    holds: Callable[[Values, Facts], bool]


def bindings(values: Values, names: Sequence[str]) -> Iterator[Values]:
    for chosen in itertools.product(DOMAIN, repeat=len(names)):
        yield {**values, **dict(zip(names, chosen, strict=True))}


def read(argument: str, values: Values) -> int:
    name, plus, number = argument.partition(" + ")
    return (values[name] if name in values else int(name)) + (int(number) if plus else 0)


def atom(relation: str, arguments: Sequence[str]) -> Formula:
    text = f"{relation}({', '.join(arguments)})"
    return Formula(text, lambda values, facts: tuple(read(part, values) for part in arguments) in facts[relation])


def compared(left: str, sign: str, right: str) -> Formula:
    compare = COMPARISONS[sign]
    return Formula(f"{left} {sign} {right}", lambda values, facts: compare(read(left, values), read(right, values)))


def both(parts: Sequence[Formula]) -> Formula:
    text = f"({' and '.join(part.text for part in parts)})"
    return Formula(text, lambda values, facts: all(part.holds(values, facts) for part in parts))


def either(parts: Sequence[Formula]) -> Formula:
    text = f"({' or '.join(part.text for part in parts)})"
    return Formula(text, lambda values, facts: any(part.holds(values, facts) for part in parts))


def negated(part: Formula, own: Sequence[str] = ()) -> Formula:
    return Formula(f"not {part.text}", lambda values, facts: not exists(part, own, values, facts))


def exists(part: Formula, own: Sequence[str], values: Values, facts: Facts) -> bool:
    return any(part.holds(each, facts) for each in bindings(values, own))


def implied(part: Formula, conclusion: Formula, own: Sequence[str]) -> Formula:
    counterexample = both([part, negated(conclusion)])
    text = f"({part.text} implies {conclusion.text})"
    return Formula(text, lambda values, facts: not exists(counterexample, own, values, facts))


def quantified(part: Formula, own: Sequence[str]) -> Formula:
    text = f"exists({', '.join(own)}: {part.text})"
    return Formula(text, lambda values, facts: exists(part, own, values, facts))


def aggregate(operator: str, part: Formula, own: str, values: Values, facts: Facts) -> list[int]:
    return OPERATORS[operator]([each[own] for each in bindings(values, [own]) if part.holds(each, facts)])


class RuleWriter:
    """Rules for `a`. Formulas may use the variables `here` in positive atoms, and those of `there` in negated ones."""

    def __init__(self, random: Random):
        self.random = random
        self.num_variables = 0

    def own(self) -> str:
        self.num_variables += 1
        return f"v{self.num_variables}"

    def atom(self, names: Sequence[str]) -> Formula:
        relation = self.random.choice(list(ARITIES))
        return atom(relation, [self.random.choice([*names, "1", "2"]) for _ in range(ARITIES[relation])])

    def binding(self, own: Sequence[str], names: set[str]) -> list[Formula]:
        """Atoms each of which binds one of the `own` variables."""
        found = []
        for name in own:
            relation = self.random.choice(list(ARITIES))
            arguments = [self.random.choice([*sorted(names), *own, "1"]) for _ in range(ARITIES[relation])]
            arguments[self.random.randrange(len(arguments))] = name
            found.append(atom(relation, arguments))
        return found

    def formula(self, here: set[str], there: set[str], depth: int) -> Formula:
        """A condition on variables that have values; where it has some of its own, they are its own by their place."""
        names, choice = sorted(here | there), self.random.randrange(8 if depth else 4)
        own = [self.own(), self.own()]
        match choice:
            case 0:
                sign = self.random.choice(list(COMPARISONS))
                return compared(self.random.choice(names), sign, self.random.choice([*names, "2"]))
            case 1:
                arguments = [own[0], own[0], self.random.choice([*sorted(there), "1"])]
                self.random.shuffle(arguments)
                return negated(atom("s", arguments), own[:1])
            case 2:
                return negated(self.atom(sorted(there)))
            case 3:
                name = self.random.choice([*sorted(there), own[0]])
                return negated(atom("r", [name, f"{name} + 1"]), own[:1])
            case 4:
                parts = [*self.binding(own, there), self.formula(there | {*own}, here | {*own}, depth - 1)]
                self.random.shuffle(parts)
                return negated(both(parts), own)
            case 5:
                conclusion = self.formula(here | {*own}, there | {*own}, depth - 1)
                return implied(both(self.binding(own, there)), conclusion, own)
            case 6:
                inner = both([*self.binding(own, there), self.formula(there | {*own}, here | {*own}, depth - 1)])
                return negated(quantified(inner, own))
            case _:
                return either([self.formula(here, there, depth - 1), self.counted(here | there, depth - 1)])

    def counted(self, around: set[str], depth: int) -> Formula:
        """A comparison of an aggregate's result, which is a variable of its own."""
        operator, part, own = self.aggregated(around, depth)
        result, sign, bound = self.own(), self.random.choice(list(COMPARISONS)), self.random.randrange(4)
        text = f"({result} := {operator}({own}: {part.text}) and {result} {sign} {bound})"
        compare = COMPARISONS[sign]
        return Formula(
            text,
            lambda values, facts: any(compare(n, bound) for n in aggregate(operator, part, own, values, facts)),
        )

    def aggregated(self, around: set[str], depth: int) -> tuple[str, Formula, str]:
        """An aggregate whose positive atoms leave the variables around to its negated ones and its comparisons."""
        own = self.own()
        parts = [*self.binding([own], set()), self.formula({own}, around | {own}, depth)]
        self.random.shuffle(parts)
        return self.random.choice(list(OPERATORS)), both(parts), own


def write(random: Random) -> tuple[str, Callable[[Facts], set[tuple[int, ...]]]]:
    """A rule, and the tuples that it derives."""
    writer = RuleWriter(random)
    given = random.choice([["x"], ["x", "y"]])
    parts = [*writer.binding(given, set()), writer.formula({*given}, {*given}, 2)]
    operator, part, own = writer.aggregated({*given}, 1)
    texts = [*(each.text for each in parts), f"n := {operator}({own}: {part.text})"]
    random.shuffle(texts)

    def derive(facts: Facts) -> set[tuple[int, ...]]:
        matches = (each for each in bindings({}, given) if both(parts).holds(each, facts))
        return {(each["x"], n) for each in matches for n in aggregate(operator, part, own, each, facts)}

    return f"rel a(x, n) = {', '.join(texts)}", derive


@pytest.mark.parametrize("seed", range(8))
def test_rules_derive_what_they_say(seed: int):
    random = Random(seed)
    for _ in range(8):
        text, derive = write(random)
        columns = ", ".join(f"{name}({', '.join(['usize'] * arity)})" for name, arity in ARITIES.items())
        facts = {
            name: {tuple(random.choices(range(1, 4), k=arity)) for _ in range(random.randrange(1, 5))}
            for name, arity in ARITIES.items()
        }
        program = analyse_program([Source(f"type {columns}\n{text}")])
        assert naive_datalog(program, facts)["a"] == derive(facts), (text, facts)
        # The types of the declarations reach every relation that the rule is cut into.
        assert {str(type) for relation in program.relations for type in relation.columns} <= {"usize", "bool"}, text
