"""Random programs of few facts, with recursion, negation, aggregates, exclusive groups, tagged rules and heads."""

from dataclasses import dataclass

import numpy as np

from scallax.circuits.compile import analyse_program
from scallax.errors import Source
from scallax.language import ir
from tests.worlds import Choice, PossibleWorlds, Tagged, datalog_in_worlds

MOST_FACTS = 14
_AGGREGATES = ("count", "sum", "min", "max", "exists")


@dataclass(frozen=True)
class Coin:
    """A relation with a fact for each binding of a tagged rule's body, all of one probability.

    A rule whose alternatives have `tags` has a fact for each alternative and binding, the alternative's number
    first; those of one binding exclude each other.
    """

    relation: str
    tags: tuple[float, ...]
    variables: list[str]

    def choice(self, binding: tuple) -> Choice:
        """The facts of which one may be chosen for a binding."""
        facts = [binding] if len(self.tags) == 1 else [(place, *binding) for place in range(len(self.tags))]
        return Choice(
            tuple((self.relation, fact) for fact in facts), tuple(float(np.float32(tag)) for tag in self.tags)
        )


@dataclass(frozen=True)
class UncertainProgram:
    """A program twice: with tagged rules in `text`, with an atom of their coin instead in `explicit`.

    `explicit` also has a relation `bind_` of each coin: the bindings of the rule's body. Relations of `derived` are
    derived; `independent` and `exclusive` are facts, each relation of the latter an exclusive group.
    """

    text: str
    explicit: str
    independent: dict[str, list[tuple]]
    exclusive: dict[str, list[tuple]]
    coins: list[Coin]
    derived: list[str]


class _Writer:
    """Writes relations, each from those before it and from itself; the number is part of their names."""

    def __init__(self, rng: np.random.Generator, number: int, *, aggregates: bool):
        self.rng = rng
        self.aggregates = aggregates
        self.number = number
        self.arity = {f"f_{number}": 2, f"g_{number}": 1, f"c_{number}": 1}
        self.lines: list[str] = []
        self.explicit: list[str] = []
        self.coins: list[Coin] = []
        self.derived: set[str] = set()

    def pick(self, items) -> str:
        return str(self.rng.choice(list(items)))

    def write(self, line: str) -> None:
        self.lines.append(f"rel {line}")
        self.explicit.append(f"rel {line}")

    def relation(self, index: int) -> None:
        name, size = f"d{self.number}_{index}", int(self.rng.integers(1, 3))
        head, sources = ["x", "y"][:size], list(self.arity)
        self.derived.add(name)
        for rule in range(int(self.rng.integers(1, 3))):
            self.rule(f"coin{self.number}_{index}_{rule}", name, head, sources)
        if size == 2 and self.rng.random() < 0.5:
            step = self.pick(source for source in sources if self.arity[source] == 2)
            self.write(f"{name}(x, z) = {name}(x, y), {step}(y, z)")
        self.arity[name] = size
        if self.aggregates and self.rng.random() < 0.6:
            self.aggregate(index, name, size)

    def rule(self, coin: str, name: str, variables: list[str], sources: list[str]) -> None:
        first = self.pick(sources)
        used = [*variables, "z"][: self.arity[first]]
        atoms = [_atom(first, used)]
        for missing in [variable for variable in variables if variable not in used]:
            second = self.pick(source for source in sources if source != first)
            arguments = [missing, "z"][: self.arity[second]]
            used += [argument for argument in arguments if argument not in used]
            atoms.append(_atom(second, arguments[:: int(self.rng.choice([1, -1]))]))
        if self.rng.random() < 0.4:
            other = self.pick(sources)
            atoms.append("not " + _atom(other, [self.pick(used) for _ in range(self.arity[other])]))
        if len(used) > 1 and self.rng.random() < 0.3:
            atoms.append(f"{used[0]} {self.pick(['<', '!=', '<='])} {used[1]}")
        head, body, kind = _atom(name, variables), ", ".join(atoms), self.rng.random()
        if kind < 0.75:
            self.write(f"{head} = {body}")
            return
        if kind < 0.88:
            tags = (round(float(self.rng.uniform(0.2, 0.9)), 3),)
            self.lines.append(f"rel {tags[0]}::{head} = {body}")
            self.explicit.append(f"rel {head} = {body}, {_atom(coin, used)}")
        else:
            # Alternatives of the relation and of another one, which later relations may be derived from.
            tags = tuple(np.round(self.rng.dirichlet([2, 2, 1])[:2], 3).tolist())
            other = f"o{name}"
            heads = [head, _atom(other, variables[:: int(self.rng.choice([1, -1]))])]
            self.lines.append(f"rel {{{'; '.join(f'{t}::{h}' for t, h in zip(tags, heads, strict=True))}}} = {body}")
            for place, each in enumerate(heads):
                self.explicit.append(f"rel {each} = {body}, {_atom(coin, [str(place), *used])}")
            self.derived.add(other)
            self.arity[other] = len(variables)
        self.coins.append(Coin(coin, tags, used))
        self.explicit.append(f"rel {_atom(f'bind_{coin}', used)} = {body}")

    def aggregate(self, index: int, name: str, size: int) -> None:
        operator = self.pick(_AGGREGATES)
        groups = ["x"] if size == 2 and self.rng.random() < 0.7 else []
        terms = [*(groups if groups else ["_"] * (size - 1)), "y"]
        result = f"a{self.number}_{index}"
        self.derived.add(result)
        self.write(f"{_atom(result, [*groups, 'n'])} = n := {operator}(y: {_atom(name, terms)})")
        if groups and operator != "exists":
            above = f"b{self.number}_{index}"
            self.write(f"{above}(x) = {result}(x, n), n > 1")
            self.arity[above] = 1
            self.derived.add(above)


def _atom(relation: str, terms: list[str]) -> str:
    return f"{relation}({', '.join(terms)})"


def random_program(rng: np.random.Generator, number: int, *, aggregates: bool = True) -> UncertainProgram:
    """A program over `f(x, y)`, `g(x)` and the exclusive `c(x)`; programs of different numbers share no relation."""
    pairs = [(x, y) for x in range(4) for y in range(4)]

    def some(tuples: list[tuple], least: int, most: int) -> list[tuple]:
        return [tuples[i] for i in sorted(rng.choice(len(tuples), rng.integers(least, most + 1), replace=False))]

    points = [(x,) for x in range(4)]
    facts = {f"f_{number}": some(pairs, 2, 6), f"g_{number}": some(points, 1, 2)}
    exclusive = {f"c_{number}": some(points, 2, 4)}
    if rng.random() < 0.5:
        exclusive[f"e_{number}"] = some(points, 2, 3)
    writer = _Writer(rng, number, aggregates=aggregates)
    writer.arity |= dict.fromkeys(exclusive, 1)
    for index in range(int(rng.integers(2, 5))):
        writer.relation(index)
    given = {name: writer.arity[name] for name in (*facts, *exclusive)} | {
        c.relation: len(c.variables) + (len(c.tags) > 1) for c in writer.coins
    }
    types = {name: f"type {_atom(name, ['i32'] * size)}\n" for name, size in given.items()}
    coins = {coin.relation for coin in writer.coins}
    return UncertainProgram(
        "".join(line for name, line in types.items() if name not in coins) + "\n".join(writer.lines) + "\n",
        "".join(types.values()) + "\n".join(writer.explicit) + "\n",
        facts,
        exclusive,
        writer.coins,
        sorted(writer.derived),
    )


@dataclass(frozen=True)
class KnownProgram:
    """A random program, the worlds in which its tuples hold, and the probabilities of its facts by relation."""

    program: UncertainProgram
    worlds: PossibleWorlds
    tuples: Tagged
    inputs: dict[str, np.ndarray]


def known_program(rng: np.random.Generator, number: int, dtype: type) -> KnownProgram:
    """A random program of at most `MOST_FACTS` facts, coins included."""
    while True:
        program = random_program(rng, number)
        choices, inputs = [], {}
        for name, tuples in program.independent.items():
            inputs[name] = rng.uniform(0.05, 0.95, len(tuples)).astype(dtype)
            choices += [Choice(((name, t),), (float(p),)) for t, p in zip(tuples, inputs[name], strict=True)]
        for name, tuples in program.exclusive.items():
            inputs[name] = rng.dirichlet(np.ones(len(tuples) + 1))[:-1].astype(dtype)
            choices.append(Choice(tuple((name, t) for t in tuples), tuple(map(float, inputs[name]))))
        if sum(len(choice.facts) for choice in choices) > MOST_FACTS:
            continue
        parsed = analyse_program([Source(program.explicit)])
        if program.coins:
            bindings = _bindings(program, parsed, choices)
            choices += [coin.choice(t) for coin in program.coins for t in bindings[coin.relation]]
        if sum(len(choice.facts) for choice in choices) <= MOST_FACTS:
            worlds = PossibleWorlds(choices)
            return KnownProgram(program, worlds, datalog_in_worlds(parsed, worlds.facts(), worlds.everywhere), inputs)


def _bindings(program: UncertainProgram, parsed: ir.Program, choices: list[Choice]) -> dict[str, list[tuple]]:
    """The values that each tagged rule's body can be bound to, whatever holds."""
    numbers = range(4)
    every = {1: [(x,) for x in numbers], 2: [(x, y) for x in numbers for y in numbers]}
    every[3] = [(*t, z) for t in every[2] for z in numbers]
    facts: Tagged = {}
    for coin in program.coins:
        choices = [*choices, *map(coin.choice, every[len(coin.variables)])]
    for choice in choices:
        for relation, values in choice.facts:
            facts.setdefault(relation, {})[values] = 0
    # In no world at all, positive atoms alone derive tuples: they bind the variables.
    reached = datalog_in_worlds(parsed, facts, 0)
    return {coin.relation: sorted(reached[f"bind_{coin.relation}"]) for coin in program.coins}
