"""Strata: relations in an order in which every negated relation is complete before it is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scallax import ir
from scallax.errors import Diagnostic, StratificationError
from scallax.planner.enumeration import creates_terms
from scallax.source import Span


@dataclass(frozen=True, slots=True)
class _Dependency:
    """A body literal of a rule for `head` that reads `relation`."""

    head: str
    relation: str
    negated: bool
    span: Span | None


def stratify(program: ir.Program) -> tuple[tuple[str, ...], ...]:
    """The strongly connected components of the program's relations, those they depend on first.

    Raises `StratificationError` for every component in which a relation depends on its own negation.
    """
    dependencies = _dependencies(program)
    names = [relation.name for relation in program.relations]
    graph: dict[str, list[str]] = {name: [] for name in names}
    for dependency in dependencies:
        if dependency.relation not in graph[dependency.head]:
            graph[dependency.head].append(dependency.relation)
    components = _components(graph)
    position = {name: i for i, component in enumerate(components) for name in component}
    problems: list[Diagnostic] = []
    reported: set[int] = set()
    for dependency in dependencies:
        component = position[dependency.head]
        if dependency.negated and position[dependency.relation] == component and component not in reported:
            reported.add(component)
            problems.append(_report(dependency, dependencies, components[component]))
    if problems:
        raise StratificationError(*problems)
    return components


def needed_relations(program: ir.Program, outputs: Sequence[str]) -> frozenset[str]:
    """The outputs and every relation that a rule for a needed relation reads."""
    bodies: dict[str, set[str]] = {}
    for dependency in _dependencies(program):
        bodies.setdefault(dependency.head, set()).add(dependency.relation)
    needed: set[str] = set()
    pending = list(outputs)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(bodies.get(name, ()))
    return frozenset(needed)


def _dependencies(program: ir.Program) -> list[_Dependency]:
    dependencies = [
        _Dependency(rule.relation, literal.relation, isinstance(literal, ir.NegatedAtom), literal.span or rule.span)
        for rule in program.rules
        for literal in rule.body
        if isinstance(literal, ir.Atom | ir.NegatedAtom)
    ]
    listings = [relation.name for relation in program.relations if relation.constructor is not None]
    if listings:
        creators = {rule.relation: rule.span for rule in program.rules if creates_terms(rule)}
        dependencies += [
            _Dependency(name, relation, False, span) for name in listings for relation, span in creators.items()
        ]
    return dependencies


def _components(graph: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Tarjan's strongly connected components, successors first; an explicit stack, as chains may be long."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    components: list[tuple[str, ...]] = []
    order = {name: i for i, name in enumerate(graph)}
    for root in graph:
        work = [(root, iter(graph[root]))] if root not in index else []
        while work:
            name, successors = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                stack.append(name)
                on_stack.add(name)
            successor = next(successors, None)
            if successor is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    members = stack[stack.index(name) :]
                    del stack[stack.index(name) :]
                    on_stack.difference_update(members)
                    components.append(tuple(sorted(members, key=order.__getitem__)))
            elif successor not in index:
                work.append((successor, iter(graph[successor])))
            elif successor in on_stack:
                low[name] = min(low[name], index[successor])
    return tuple(components)


def _report(negation: _Dependency, dependencies: Sequence[_Dependency], component: Sequence[str]) -> Diagnostic:
    cycle = [negation, *_path(negation.relation, negation.head, dependencies, component)]
    steps = " ".join(
        f"needs {'not ' if step.negated else ''}`{step.relation}`{_place(step.span)}"
        + (", which" if step is not cycle[-1] else "")
        for step in cycle
    )
    return Diagnostic(
        f"`{negation.head}` depends on its own negation: `{negation.head}` {steps}",
        negation.span,
        f"break the cycle: `not {negation.relation}` may only be used by relations that `{negation.relation}`"
        " does not depend on",
    )


def _path(
    start: str, end: str, dependencies: Sequence[_Dependency], component: Sequence[str]
) -> tuple[_Dependency, ...]:
    """The shortest chain of dependencies from `start` to `end` within a component; empty if they are one."""
    reached: dict[str, tuple[_Dependency, ...]] = {start: ()}
    frontier = [start]
    while end not in reached:
        successors: list[str] = []
        for name in frontier:
            for step in dependencies:
                if step.head == name and step.relation in component and step.relation not in reached:
                    reached[step.relation] = (*reached[name], step)
                    successors.append(step.relation)
        frontier = successors
    return reached[end]


def _place(span: Span | None) -> str:
    if span is None:
        return ""
    line, column = span.source.position(span.start)
    return f" ({span.source.name}:{line}:{column})"
