"""Range restriction: every variable of a rule must be bound by a positive atom or an equality."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from scallax.errors import Diagnostic, Span
from scallax.language import ir
from scallax.language.bindings import bound_names, bound_terms, demand_premise, is_bound, may_overflow, term_names


def bind_variables(
    rules: Sequence[ir.Rule], demands: Mapping[str, str], unsure: Collection[str] = ()
) -> tuple[tuple[ir.Rule, ...], list[Diagnostic]]:
    """The rules, with wildcards for variables that occur only under negation, and a problem for every unbound variable.

    A relation in `demands` is given the values of its pattern's bound columns, so that these columns of its rules'
    heads are bound. A relation in `unsure` may be given others. Equalities are solved as `solve_equality` does
    (Ullman 1988, section 3.2). An equality that alone binds a variable is its definition, and saturates.
    """
    problems: list[Diagnostic] = []
    bound_rules = []
    for rule in rules:
        is_asked = rule.relation in demands
        premise = demand_premise(rule, demands[rule.relation], demands) if is_asked else ()
        bound = bound_names((*premise, *rule.body))
        for problem in _unbound(rule, bound):
            if problem not in problems and rule.relation not in unsure:
                problems.append(problem)
        rule = _with_definitions(rule, premise, demands)
        bound_rules.append(replace(rule, body=tuple(_close(literal, bound) for literal in rule.body)))
    return tuple(bound_rules), problems


def unbound_in_head(name: str, relation: str, span: Span | None) -> Diagnostic:
    """The problem of a head whose variable the body does not bind."""
    # Relations with a `#` hold the body of an aggregate.
    place = "is used by an aggregate" if "#" in relation else f"appears in the head of `{relation}`"
    message = f"`{name}` {place} but no positive atom in the body binds it"
    return Diagnostic(message, span, f"add an atom that mentions `{name}` to the body")


def _with_definitions(rule: ir.Rule, premise: Sequence[ir.BodyLiteral], demands: Mapping[str, str]) -> ir.Rule:
    """The rule in which equalities that define a variable saturate, like the same expression in a head would.

    An equality defines the variable on one of its sides if nothing else binds this variable. It also does if the
    `premise` asks for the variable's values and the body alone binds the other side.
    """
    matched, asked = _matched_names(rule.body), _matched_names(premise)
    solved = _only_solutions((*rule.body, *premise), matched | asked)
    body = list(rule.body)
    for place, literal in enumerate(rule.body):
        if not isinstance(literal, ir.Constraint) or not _is_equality(literal.condition):
            continue
        others = (*rule.body[:place], *rule.body[place + 1 :])
        for side, value in _sides(literal.condition):
            if not isinstance(side, ir.Variable) or not may_overflow(value):
                continue
            if side.name == solved.get(place):
                body[place] = replace(literal, saturates=True)
            elif side.name in asked and side.name not in bound_names(others):
                body[place] = replace(literal, saturates=is_bound(value, bound_names(others, demands)))
    return replace(rule, body=tuple(body))


def _matched_names(body: Sequence[ir.BodyLiteral]) -> set[str]:
    """The variables in a body that stand for columns, arguments of terms, or results."""
    return {name for literal in body for name in term_names(bound_terms(literal))}


def _only_solutions(body: Sequence[ir.BodyLiteral], bound: set[str]) -> dict[int, str]:
    """Each equality that is the only one to give some variable its value, by position, with that variable.

    An equality gives one variable its value, so it is then removed for all others, which leaves them with fewer.
    """
    unknown = {
        place: _solvable_names(literal.condition) - bound
        for place, literal in enumerate(body)
        if isinstance(literal, ir.Constraint) and _is_equality(literal.condition)
    }
    places: dict[str, set[int]] = {}
    for place, names in unknown.items():
        for name in names:
            places.setdefault(name, set()).add(place)
    solved: dict[int, str] = {}
    waiting = [name for name, found in places.items() if len(found) == 1]
    while waiting:
        name = waiting.pop()
        for place in places.pop(name, ()):
            solved[place] = name
            for other in unknown[place] & places.keys():
                places[other].discard(place)
                waiting += [other] * (len(places[other]) == 1)
    return solved


def _is_equality(condition: ir.Expression) -> TypeGuard[ir.Binary]:
    return isinstance(condition, ir.Binary) and condition.op == "=="


def _sides(equality: ir.Binary) -> tuple[tuple[ir.Expression, ir.Expression], ...]:
    return (equality.left, equality.right), (equality.right, equality.left)


def _solvable_names(expression: ir.Expression) -> set[str]:
    """The variables for which an equality with the expression may be solved."""
    match expression:
        case ir.Variable(name=name):
            return {name}
        case ir.Binary(op="+" | "-" | "==", left=left, right=right):
            return _solvable_names(left) | _solvable_names(right)
        case _:
            return set()


def _unbound(rule: ir.Rule, bound: set[str]) -> Iterator[Diagnostic]:
    """A diagnostic for each unbound variable, at its first place."""
    seen = set(bound)
    for literal in rule.body:
        if isinstance(literal, ir.ForeignAtom) and not literal.is_negated:
            # Outputs of a predicate that lacks an input: the input is reported.
            seen |= term_names(literal.outputs)
    for variable in _variables(rule.head):
        if variable.name not in seen:
            seen.add(variable.name)
            yield unbound_in_head(variable.name, rule.relation, _shown(variable, rule.span))
    for literal in rule.body:
        if isinstance(literal, ir.ForeignAtom):
            yield from _unbound_inputs(literal, seen)
    conditions = [literal.condition for literal in rule.body if isinstance(literal, ir.Constraint)]
    tags = () if rule.tag is None else (rule.tag,)
    if rule.choice is not None and rule.choice.alternative == 0:
        tags += rule.choice.probabilities
    for expressions, where in ((tags, "the tag"), (conditions, "a condition")):
        for variable in _variables(expressions):
            # A variable with a `#` stands for an argument; its own unbound variables are reported.
            if variable.name not in seen and "#" not in variable.name:
                seen.add(variable.name)
                yield Diagnostic(
                    f"`{variable.name}` appears in {where} but no positive atom in the body binds it",
                    _shown(variable, rule.span),
                    f"add an atom that mentions `{variable.name}`, or an equality that can be solved for it",
                )


def _unbound_inputs(literal: ir.ForeignAtom, seen: set[str]) -> Iterator[Diagnostic]:
    name = literal.predicate.rstrip("=")
    for term in literal.inputs:
        if isinstance(term, ir.Wildcard):
            yield Diagnostic(f"`_` is an input of `{name}`, which needs a value", term.span, "bind a variable for it")
        elif isinstance(term, ir.Variable) and term.name not in seen and "#" not in term.name:
            seen.add(term.name)
            yield Diagnostic(
                f"`{term.name}` is an input of `{name}` but nothing else in the body binds it",
                _shown(term, literal.span),
                f"add an atom that mentions `{term.name}`, or an equality that can be solved for it",
            )


def _shown(variable: ir.Variable, otherwise: Span | None) -> Span | None:
    return variable.span or otherwise


def _variables(expressions: Sequence[ir.Expression]) -> Iterator[ir.Variable]:
    return (part for expression in expressions for part in ir.parts(expression) if isinstance(part, ir.Variable))


def _close(literal: ir.BodyLiteral, bound: set[str]) -> ir.BodyLiteral:
    """A negated atom with wildcards in the place of variables that nothing binds."""
    match literal:
        case ir.NegatedAtom(terms=terms):
            return replace(literal, terms=_close_terms(terms, bound))
        case ir.ForeignAtom(is_negated=True, outputs=outputs):
            return replace(literal, outputs=_close_terms(outputs, bound))
        case _:
            return literal


def _close_terms(terms: Sequence[ir.Term], bound: set[str]) -> tuple[ir.Term, ...]:
    return tuple(
        ir.Wildcard(term.type, term.span) if isinstance(term, ir.Variable) and term.name not in bound else term
        for term in terms
    )
