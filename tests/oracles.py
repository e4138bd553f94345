"""References to check against: slow, obvious, over Python sets."""

import contextlib
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scallax.language import ir
from scallax.language.bindings import solve_equality
from scallax.language.values import Value, ValueType
from tests.references import PREDICATES, call

Database = Mapping[str, set[tuple[Value, ...]]]
Binding = dict[str, Value]


class _NoValueError(Exception):
    """An expression has no value for a binding: the row is dropped."""


class _OutsideError(_NoValueError):
    """An integer leaves its type where numbers are compared."""


def naive_datalog(
    program: ir.Program, facts: Mapping[str, Iterable[tuple[Value, ...]]], possible: Database | None = None
) -> dict[str, set[tuple]]:
    """All tuples of every relation: rules are applied to everything, stratum by stratum, until nothing is new.

    `possible` are the tuples of other worlds as well: which groups an aggregate has, and what its form with `!` takes.
    """
    database: dict[str, set[tuple]] = {
        relation.name: set(facts.get(relation.name, ())) for relation in program.relations
    }
    level_of = levels(program)
    for level in range(max(level_of.values(), default=0) + 1):
        rules = [rule for rule in program.rules if level_of[rule.relation] == level]
        size = -1
        while size != sum(map(len, database.values())):
            size = sum(map(len, database.values()))
            for rule in rules:
                match rule.body:
                    case (ir.Reduce() as reduce,):
                        heads = reduce_matches(reduce, database, possible or database)
                    case _:
                        heads = {head for head, _, _ in rule_matches(rule, database)}
                database[rule.relation] |= heads
    return database


def rule_matches(rule: ir.Rule, database: Database) -> list[tuple[tuple[Value, ...], tuple[tuple, ...], Binding]]:
    """Every match of a rule's body: the head tuple, the tuples of its positive atoms in body order, the binding."""
    matches = []
    for binding, tuples in _atom_matches([a for a in rule.body if isinstance(a, ir.Atom)], {}, (), database):
        rest = [literal for literal in rule.body if not isinstance(literal, ir.Atom)]
        for solution in _solutions(rest, binding, database):
            with contextlib.suppress(_NoValueError):
                matches.append((tuple(evaluate(e, solution) for e in rule.head), tuples, solution))
    return matches


def reduce_matches(reduce: ir.Reduce, database: Database, possible: Database) -> set[tuple[Value, ...]]:
    """Groups and results of an aggregate in one world."""
    end = len(reduce.keys)
    if reduce.domain is not None:
        groups = database[reduce.domain]
    else:
        groups = {values[:end] for values in possible[reduce.body]} if reduce.keys else {()}
    names = [variable.name for variable in reduce.groups]
    body = possible[reduce.body] if reduce.is_discrete else database[reduce.body]
    found = set()
    for group in groups:
        key = tuple(group[names.index(variable.name)] for variable in reduce.keys)
        elements = sorted(values[end:] for values in body if values[:end] == key)
        slots = sorted(
            {values[end:][: len(reduce.arguments)] for values in possible[reduce.body] if values[:end] == key}
        )
        found |= {(*group, *result) for result in aggregate(reduce, elements, slots)}
    return found


def aggregate(
    reduce: ir.Reduce, elements: list[tuple[Value, ...]], slots: list[tuple[Value, ...]]
) -> list[tuple[Value, ...]]:
    """An aggregate's results for the elements, arguments and values in order; `slots` holds the possible arguments."""
    end = len(reduce.arguments)
    values: list[Any] = [element[end:] for element in elements]
    match reduce.op:
        case "count":
            return [(len(elements),)]
        case "sum":
            return [(sum(value for (value,) in values),)]
        case "prod":
            return [(math.prod(value for (value,) in values),)]
        case "avg":
            return [(int(sum(value for (value,) in values) / len(values)),)] if values else []
        case "string_join" if dict(reduce.parameters).get("all"):
            choices = [[str(element[end]) for element in elements if element[:end] == slot] for slot in slots]
            separator = str(dict(reduce.parameters).get("separator", ""))
            return [(separator.join(choice),) for choice in itertools.product(*choices)]
        case "string_join":
            return [(str(dict(reduce.parameters).get("separator", "")).join(value for (value,) in values),)]
        case "exists":
            return [(bool(elements),)]
        case "forall":
            return [(not elements,)]
        case "min" | "max" | "argmin" | "argmax":
            best = (min if "min" in reduce.op else max)(values, default=())
            chosen = [element for element in elements if element[end:] == best]
            return [element[:end] for element in chosen] if "arg" in reduce.op else chosen
    raise AssertionError(f"no reference for {reduce.op}")


def levels(program: ir.Program) -> dict[str, int]:
    """The least stratum number of every relation; programs with negation in a cycle are not admitted."""
    level_of = {relation.name: 0 for relation in program.relations}
    for _ in range(len(level_of) ** 2 + 1):
        for rule in program.rules:
            for literal in rule.body:
                match literal:
                    case ir.Atom(relation=relation):
                        least = level_of[relation]
                    case ir.NegatedAtom(relation=relation):
                        least = level_of[relation] + 1
                    case ir.Reduce(body=relation, domain=domain):
                        least = 1 + max(level_of[relation], 0 if domain is None else level_of[domain])
                    case _:
                        least = 0
                level_of[rule.relation] = max(level_of[rule.relation], least)
    return level_of


def _atom_matches(
    atoms: list[ir.Atom], binding: Binding, tuples: tuple[tuple, ...], database: Database
) -> Iterator[tuple[Binding, tuple[tuple, ...]]]:
    if not atoms:
        yield dict(binding), tuples
        return
    for values in database[atoms[0].relation]:
        extended = match_terms(atoms[0].terms, values, binding)
        if extended is not None:
            yield from _atom_matches(atoms[1:], extended, (*tuples, values), database)


def match_terms(terms: tuple[ir.Term, ...], values: tuple[Value, ...], binding: Binding) -> Binding | None:
    extended = dict(binding)
    for term, value in zip(terms, values, strict=True):
        match term:
            case ir.Constant(value=expected) if expected != value:
                return None
            case ir.Variable(name=name) if extended.setdefault(name, value) != value:
                return None
    return extended


def _solutions(literals: Sequence[ir.BodyLiteral], binding: Binding, database: Database) -> Iterator[Binding]:
    """The bindings under which the literals hold; foreign predicates and equalities extend the given one."""
    if not literals:
        yield binding
        return
    literal = min((literal for literal in literals if _is_ready(literal, binding)), key=_binds_by_solving)
    rest = [other for other in literals if other is not literal]
    try:
        extended = list(_extensions(literal, binding, database))
    except _NoValueError:
        return
    for solution in extended:
        yield from _solutions(rest, solution, database)


def _extensions(literal: ir.BodyLiteral, binding: Binding, database: Database) -> Iterator[Binding]:
    match literal:
        case ir.NegatedAtom(relation=relation, terms=terms, computed=computed):
            is_inside = all(_is_inside(expression, binding) for expression in computed)
            matches = (match_terms(terms, values, binding) for values in database[relation])
            if not is_inside or all(match is None for match in matches):
                yield binding
        case ir.ForeignAtom(predicate=predicate, inputs=inputs, outputs=outputs, is_negated=is_negated):
            values = [evaluate(term, binding) for term in inputs if not isinstance(term, ir.Wildcard)]
            found = [match_terms(outputs, match, binding) for match in PREDICATES[predicate](*values)]
            matches = [match for match in found if match is not None]
            if is_negated:
                is_inside = all(_is_inside(expression, binding) for expression in literal.computed)
                yield from [binding] * (not matches or not is_inside)
            else:
                yield from matches
        case ir.Constraint(condition=condition, saturates=saturates):
            solution = solve_equality(literal, binding)
            if solution is not None:
                variable, expression = solution
                binding = {**binding, variable.name: evaluate(expression, binding, not saturates)}
            if (solution is not None and solution[0].type.is_float) or _holds(condition, binding, saturates):
                yield binding


def _is_inside(expression: ir.Expression, binding: Binding) -> bool:
    """Whether all integers on the way to a value are of their types."""
    with contextlib.suppress(_OutsideError):
        evaluate(expression, binding, exact=True)
        return True
    return False


def _holds(condition: ir.Expression, binding: Binding, saturates: bool) -> bool:
    if saturates or not isinstance(condition, ir.Binary) or condition.op not in ("==", "!="):
        return evaluate(condition, binding)
    if not (_is_inside(condition.left, binding) and _is_inside(condition.right, binding)):
        return condition.op == "!="
    return evaluate(condition, binding)


def _binds_by_solving(literal: ir.BodyLiteral) -> bool:
    """Solutions of floats are rounded: what may bind a variable in another way comes first."""
    return isinstance(literal, ir.Constraint)


def _is_ready(literal: ir.BodyLiteral, binding: Binding) -> bool:
    if isinstance(literal, ir.Constraint):
        return _names(literal.condition) <= set(binding) or solve_equality(literal, binding) is not None
    assert not isinstance(literal, ir.Reduce), "it is alone in its rule"
    if isinstance(literal, ir.ForeignAtom) and not literal.is_negated:
        return all(not isinstance(term, ir.Variable) or term.name in binding for term in literal.inputs)
    return all(not isinstance(term, ir.Variable) or term.name in binding for term in literal.terms)


def _names(expression: ir.Expression) -> set[str]:
    if isinstance(expression, ir.Variable):
        return {expression.name}
    if isinstance(expression, ir.Call):
        return {name for argument in expression.arguments for name in _names(argument)}
    parts = (getattr(expression, field, None) for field in expression.__dataclass_fields__)
    return {name for part in parts if isinstance(part, ir.Expression) for name in _names(part)}


def evaluate(expression: ir.Expression, binding: Binding, exact: bool = False) -> Any:
    """The value of an expression under a binding. Raises ZeroDivisionError for an integer division by zero.

    If `exact`, _OutsideError where an integer leaves its type; what functions and conditions are given saturates.
    """
    match expression:
        case ir.Variable(name=name):
            return binding[name]
        case ir.Constant(value=value):
            return value
        case ir.Unary(op="!", operand=operand):
            return not evaluate(operand, binding)
        case ir.Unary(operand=operand, type=type):
            return _fit(-evaluate(operand, binding, exact), type, exact)
        case ir.Binary(op=op, left=left, right=right) if op in _COMPARISONS:
            return _COMPARISONS[op](evaluate(left, binding), evaluate(right, binding))
        case ir.Binary(op=op, left=left, right=right, type=type):
            return _arithmetic(op, evaluate(left, binding, exact), evaluate(right, binding, exact), type, exact)
        case ir.Conditional(condition=condition, then=then, otherwise=otherwise):
            return evaluate(then if evaluate(condition, binding) else otherwise, binding, exact)
        case ir.Cast(operand=operand, type=type):
            return _cast(evaluate(operand, binding, exact), operand.type, type)
        case ir.Call(function=function, arguments=arguments, type=type):
            values = tuple(evaluate(argument, binding) for argument in arguments)
            value = call(function, values, tuple(argument.type for argument in arguments), type)
            if value is None:
                raise _NoValueError
            return value
    raise AssertionError(expression)


_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&&": operator.and_,
    "||": operator.or_,
    "^": operator.xor,
}


def _arithmetic(op: str, left, right, type: ValueType, exact: bool) -> Value:
    match op:
        case "+":
            return left + right if type is ValueType.STRING else _fit(left + right, type, exact)
        case "-":
            return _fit(left - right, type, exact)
        case "*":
            return _fit(left * right, type, exact)
        case "/" if type.is_integer:
            return _fit(abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1), type, exact)
        case "%" if type.is_integer:
            return abs(left) % abs(right) * (-1 if left < 0 else 1)
        case "/":
            if right == 0 and left == 0:
                raise _NoValueError
            return _fit(left / right if right else left * np.inf, type)
    raise AssertionError(op)


def _fit(value: int | float, type: ValueType, exact: bool = False) -> Value:
    if type.is_integer:
        low, high = type.bounds
        if exact and not low <= value <= high:
            raise _OutsideError
        return min(max(value, low), high)
    return float(np.float32(value)) if type is ValueType.F32 else value


def _cast(value: Any, source: ValueType, target: ValueType) -> Value:
    if source is ValueType.STRING and target.is_integer:
        low, high = target.bounds
        if value.isascii() and value.removeprefix("-").isdigit() and low <= int(value) <= high:
            return int(value)
        raise _NoValueError
    if source.is_integer and target.is_integer:
        low, high = target.bounds
        return (value - low) % (high - low + 1) + low
    if source.is_integer and target is ValueType.STRING:
        return str(value)
    if target.is_float:
        return _fit(float(value), target)
    raise AssertionError(f"no reference for a cast from {source} to {target}")
