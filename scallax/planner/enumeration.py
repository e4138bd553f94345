"""Enumeration of terms: a `case` whose subject nothing binds ranges over all known terms of its constructor."""

from collections.abc import Sequence
from dataclasses import replace

from scallax.language import ir
from scallax.language.bindings import atom_names, solve_equality, term_names
from scallax.language.library import Library
from scallax.language.values import ValueType


def enumerate_terms(program: ir.Program) -> ir.Program:
    """The program in which an atom of a relation of terms stands in the place of each `case` with an unbound subject.

    The relation for constructor C is `adt#C`; its first column is the term, the others are the arguments. Grounding
    fills it with every term that the program knows.
    """
    variants = {variant.name: variant for variant in program.variants}
    used: dict[str, ir.Relation] = {}
    rules = []
    for rule in program.rules:
        positions = _unbound_cases(rule)
        body = list(rule.body)
        for position in positions:
            case = body[position]
            assert isinstance(case, ir.Case)
            name = f"adt#{case.constructor}"
            columns = (ValueType.ENTITY, *variants[case.constructor].columns)
            used[name] = ir.Relation(name, columns, (None,) * len(columns), hidden=True, constructor=case.constructor)
            body[position] = ir.Atom(name, (case.subject, *case.terms), case.span)
        rules.append(replace(rule, body=tuple(body)) if positions else rule)
    return replace(program, relations=(*program.relations, *used.values()), rules=tuple(rules)) if used else program


def creates_terms(rule: ir.Rule, library: Library) -> bool:
    """Whether a rule computes terms: by `new`, by a function, or by a foreign predicate or aggregate."""
    reduced = [literal for literal in rule.body if isinstance(literal, ir.Reduce) and literal.op in library.aggregates]
    if any(variable.type is ValueType.ENTITY for literal in reduced for variable in literal.results):
        return True
    return any(map(_computes_terms, rule.head)) or any(map(makes_terms, rule.body))


def makes_terms(literal: ir.BodyLiteral) -> bool:
    """Whether a literal of a body computes terms, by a function or a predicate."""
    match literal:
        case ir.ForeignAtom(outputs=made):
            return not literal.is_negated and any(term.type is ValueType.ENTITY for term in made)
        case ir.Constraint(condition=condition):
            return _computes_terms(condition)
        case _:
            return False


def _computes_terms(expression: ir.Expression) -> bool:
    return any(
        part.type is ValueType.ENTITY and not isinstance(part, ir.Variable | ir.Constant)
        for part in ir.parts(expression)
    )


def _unbound_cases(rule: ir.Rule) -> Sequence[int]:
    """The positions of the cases whose subject is bound by no atom, equality, predicate or other case.

    If cases bind each other in a circle, the first counts as unbound.
    """
    waiting = {i: literal for i, literal in enumerate(rule.body) if isinstance(literal, ir.Case)}
    if not waiting:
        return ()
    constraints = [literal for literal in rule.body if isinstance(literal, ir.Constraint)]
    foreign = [literal for literal in rule.body if isinstance(literal, ir.ForeignAtom) and not literal.is_negated]
    bound = set(atom_names(rule.body))
    unbound: list[int] = []
    while True:
        grown = _close(bound, constraints, foreign, waiting)
        if not waiting:
            return unbound
        if not grown:
            position = min(waiting)
            unbound.append(position)
            bound |= _case_names(waiting.pop(position))


def _close(
    bound: set[str],
    constraints: Sequence[ir.Constraint],
    foreign: Sequence[ir.ForeignAtom],
    waiting: dict[int, ir.Case],
) -> bool:
    """Adds the bindings of one round of equalities, predicates and cases to `bound`; whether there were any."""
    before = len(bound), len(waiting)
    for constraint in constraints:
        solution = solve_equality(constraint, bound)
        if solution is not None:
            bound.add(solution[0].name)
    for literal in foreign:
        if term_names(literal.inputs) <= bound:
            bound |= term_names(literal.outputs)
    for position, case in list(waiting.items()):
        if isinstance(case.subject, ir.Constant) or case.subject.name in bound:
            bound |= _case_names(waiting.pop(position))
    return before != (len(bound), len(waiting))


def _case_names(case: ir.Case) -> frozenset[str]:
    return term_names((case.subject, *case.terms))
