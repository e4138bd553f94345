"""Random programs and facts for comparing grounding with its references."""

from dataclasses import dataclass

import numpy as np

from scallax.grounding.derivations import ONE, Literals, literal_operand
from scallax.grounding.fixpoint import FactSet
from scallax.language import ir
from scallax.language.values import Value, ValueType

_TYPE = ValueType.I8
_NAMES = ("x", "y", "z", "w")


@dataclass(frozen=True)
class Case:
    """A program, its facts, and which of them are uncertain (in the order of `facts`)."""

    program: ir.Program
    facts: dict[str, list[tuple[Value, ...]]]
    uncertain: dict[str, list[bool]]

    def fact_sets(self) -> tuple[dict[str, FactSet], Literals]:
        count = 0
        sets: dict[str, FactSet] = {}
        for name, tuples in self.facts.items():
            operands = np.full(len(tuples), ONE)
            for i, uncertain in enumerate(self.uncertain[name]):
                if uncertain:
                    operands[i] = literal_operand(count)
                    count += 1
            sets[name] = FactSet(list(zip(*tuples, strict=True)), operands)
        return sets, independent_literals(count)

    def world(self, bits: list[bool]) -> dict[str, set[tuple[Value, ...]]]:
        """The facts of the world in which exactly the literals with a true bit hold."""
        remaining = iter(bits)
        return {
            name: {
                values
                for values, uncertain in zip(tuples, self.uncertain[name], strict=True)
                if not uncertain or next(remaining)
            }
            for name, tuples in self.facts.items()
        }

    @property
    def num_literals(self) -> int:
        return sum(map(sum, self.uncertain.values()))


def independent_literals(count: int) -> Literals:
    return Literals(np.full(count, 0.5), *(np.full(count, -1) for _ in range(3)))


def random_case(
    seed: int,
    *,
    negation: bool,
    num_literals: int,
    values: int = 4,
    with_builtins: bool = False,
    computes: bool = True,
) -> Case:
    """Layers of relations over few values: joins, constants, repeated variables, arithmetic, any recursion.

    `with_builtins`: ranges and calls of functions as well. Without `computes` heads are variables and constants.
    """
    rng = np.random.default_rng(seed)
    arities = {"e": 2, "f": 1, "g": 3, "p": 2, "q": 1, "r": 2, "s": 1}
    layers = (("e", "f", "g"), ("p", "q"), ("r", "s"))
    rules: list[ir.Rule] = []
    for number, layer in enumerate(layers[1:], start=1):
        below = [name for names in layers[:number] for name in names]
        for head in layer:
            for _ in range(rng.integers(1, 4)):
                rules.append(_random_rule(rng, head, arities, below, layer, negation, with_builtins, computes))
    facts: dict[str, list[tuple[Value, ...]]] = {
        name: [tuple(map(int, row)) for row in rng.integers(0, values, (rng.integers(1, 6), arities[name]))]
        for name in ("e", "f", "g", *(("p",) if rng.random() < 0.5 else ()))
    }
    places = [(name, i) for name, tuples in facts.items() for i in range(len(tuples))]
    chosen = {places[i] for i in rng.permutation(len(places))[:num_literals]}
    uncertain = {name: [(name, i) in chosen for i in range(len(tuples))] for name, tuples in facts.items()}
    relations = tuple(ir.Relation(name, (_TYPE,) * arity, (None,) * arity) for name, arity in arities.items())
    return Case(ir.Program(relations, tuple(rules), (), ()), facts, uncertain)


def _random_rule(
    rng,
    head: str,
    arities: dict[str, int],
    below: list[str],
    layer: tuple[str, ...],
    negation: bool,
    with_builtins: bool,
    computes: bool,
) -> ir.Rule:
    atoms: list[ir.Atom] = []
    for _ in range(rng.integers(1, 4)):
        relation = str(rng.choice(layer if rng.random() < 0.4 else below))
        atoms.append(ir.Atom(relation, tuple(_random_term(rng, _NAMES) for _ in range(arities[relation]))))
    bound = sorted({t.name for a in atoms for t in a.terms if isinstance(t, ir.Variable)})
    body: list[ir.BodyLiteral] = [*atoms]
    if bound and rng.random() < 0.4:
        condition = _binary(rng.choice(["<", "!=", "==", ">="]), _random_sum(rng, bound), _random_sum(rng, bound), True)
        body.append(ir.Constraint(condition))
    if bound and rng.random() < 0.4:
        solved = _binary(
            "==", _binary("+", _variable("v"), _variable(str(rng.choice(bound)))), _random_sum(rng, bound), True
        )
        body.append(ir.Constraint(solved))
        bound.append("v")
    if with_builtins:
        for name in "tu":
            if rng.random() < 0.5:
                literal = _random_range(rng, [*bound, name], is_negated=False)
                body.append(literal)
                if _variable(name) in literal.outputs:
                    bound.append(name)
        if rng.random() < 0.5:
            body.append(_random_range(rng, [*bound, "n"], is_negated=True))
    if negation and rng.random() < 0.7:
        relation = str(rng.choice(below))
        terms = tuple(_random_term(rng, bound) if bound else ir.Wildcard(_TYPE) for _ in range(arities[relation]))
        body.append(ir.NegatedAtom(relation, terms))
    rng.shuffle(body)
    if computes:
        head_terms = tuple(_binary("%", _random_sum(rng, bound), _constant(4)) for _ in range(arities[head]))
    else:
        head_terms = tuple(_variable(str(rng.choice(bound))) if bound else _constant(0) for _ in range(arities[head]))
    if with_builtins:
        head_terms = tuple(ir.Call("abs", (term,), _TYPE) for term in head_terms)
    return ir.Rule(head, head_terms, tuple(body))


def _random_range(rng, names: list[str], *, is_negated: bool) -> ir.ForeignAtom:
    """A range whose inputs are bound by the rest of the body: all names but the last are."""
    inputs = [_random_term(rng, names[:-1]) if len(names) > 1 else _constant(0) for _ in range(2)]
    inputs = tuple(_constant(3) if isinstance(term, ir.Wildcard) else term for term in inputs)
    output = ir.Wildcard(_TYPE) if rng.random() < 0.1 else _variable(str(rng.choice(names)))
    if is_negated and output == _variable(names[-1]):
        output = ir.Wildcard(_TYPE)
    return ir.ForeignAtom(str(rng.choice(["range", "range="])), inputs, (output,), is_negated)


def _random_term(rng, names) -> ir.Term:
    choice = rng.random()
    if choice < 0.1:
        return ir.Wildcard(_TYPE)
    return _constant(int(rng.integers(0, 3))) if choice < 0.2 else _variable(str(rng.choice(names)))


def _random_sum(rng, names: list[str]) -> ir.Expression:
    if not names or rng.random() < 0.1:
        return _constant(int(rng.integers(0, 4)))
    variable = _variable(str(rng.choice(names)))
    if rng.random() < 0.6:
        return variable
    return _binary(str(rng.choice(["+", "-", "*"])), variable, _random_sum(rng, names))


def _variable(name: str) -> ir.Variable:
    return ir.Variable(name, _TYPE)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(value, _TYPE)


def _binary(op: str, left: ir.Expression, right: ir.Expression, boolean: bool = False) -> ir.Binary:
    return ir.Binary(str(op), left, right, ValueType.BOOL if boolean else _TYPE)
