"""Strata: relations in an order in which every negated or aggregated relation is complete before it is used."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from scallax.errors import Diagnostic, Span, StratificationError
from scallax.language import ir
from scallax.language.records import record
from scallax.planner.enumeration import creates_terms


@record
class _Dependency:
    """A body literal of a rule for `head` that reads `relation`."""

    head: str
    relation: str
    # The head's need of the relation: "" for its tuples; "not " or "`count` of " for the complete relation.
    kind: str
    span: Span | None


def stratify(program: ir.Program) -> tuple[tuple[str, ...], ...]:
    """The strongly connected components of the program's relations, those they depend on first.

    Raises `StratificationError` for every component in which a relation depends on its own negation or aggregate.
    """
    dependencies = _dependencies(program)
    components, blamed = _negative_cycles(program, dependencies)
    if blamed:
        raise StratificationError(
            *(_report(dependency, dependencies, components[component]) for component, dependency in blamed.items())
        )
    return components


def find_negative_cycles(program: ir.Program) -> list[tuple[str, ...]]:
    """The components for which `stratify` raises."""
    components, blamed = _negative_cycles(program, _dependencies(program))
    return [components[component] for component in blamed]


def _negative_cycles(
    program: ir.Program, dependencies: Sequence[_Dependency]
) -> tuple[tuple[tuple[str, ...], ...], dict[int, _Dependency]]:
    """All components, and by number those that cannot be stratified, with the first dependency to blame."""
    names = [relation.name for relation in program.relations]
    graph: dict[str, dict[str, None]] = {name: {} for name in names}
    for dependency in dependencies:
        graph[dependency.head][dependency.relation] = None
    components = _components(graph)
    position = {name: i for i, component in enumerate(components) for name in component}
    blamed: dict[int, _Dependency] = {}
    for dependency in dependencies:
        component = position[dependency.head]
        if dependency.kind and position[dependency.relation] == component:
            blamed.setdefault(component, dependency)
    return components, blamed


def is_recursive(program: ir.Program) -> bool:
    """Whether a relation depends on itself."""
    dependencies = _dependencies(program)
    components, _ = _negative_cycles(program, dependencies)
    return any(len(component) > 1 for component in components) or any(
        dependency.head == dependency.relation for dependency in dependencies
    )


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
        _Dependency(rule.relation, relation, kind, literal.span or rule.span)
        for rule in program.rules
        for literal in rule.body
        for relation, kind in _reads(literal)
    ]
    listings = [relation.name for relation in program.relations if relation.constructor is not None]
    if listings:
        creators = {rule.relation: rule.span for rule in program.rules if creates_terms(rule, program.library)}
        dependencies += [
            _Dependency(name, relation, "", span) for name in listings for relation, span in creators.items()
        ]
    return dependencies


def read_relations(rule: ir.Rule) -> Iterator[str]:
    """The relations that a rule reads."""
    return (relation for literal in rule.body for relation, _ in _reads(literal))


def _reads(literal: ir.BodyLiteral) -> Iterator[tuple[str, str]]:
    """The relations that a literal reads, each with the way in which it needs them."""
    match literal:
        case ir.Atom(relation=relation):
            yield relation, ""
        case ir.NegatedAtom(relation=relation):
            yield relation, "not "
        case ir.Reduce(op=op, body=body, domain=domain):
            for relation in (body,) if domain is None else (body, domain):
                yield relation, "the values of " if ir.is_values(body) else f"`{op}` of "
        case ir.Constraint() | ir.ForeignAtom() | ir.Case():
            pass
        case _:
            assert_never(literal)


def _components(graph: Mapping[str, Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """Tarjan's strongly connected components, successors first; uses an explicit stack, because chains may be long."""
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


def _report(blamed: _Dependency, dependencies: Sequence[_Dependency], component: Sequence[str]) -> Diagnostic:
    """The cycle through a negation or an aggregate, without the hidden relations that hold parts of aggregates."""
    cycle = [blamed, *_path(blamed.relation, blamed.head, dependencies, component)]
    while _is_hidden(cycle[0].head):
        cycle = [*cycle[1:], cycle[0]]
    steps: list[_Dependency] = []
    kind, place = "", None
    for step in cycle:
        # A need through a hidden relation counts as a need of the relation that uses the hidden one, at its place.
        kind, place = step.kind or kind, place or step.span
        if not _is_hidden(step.relation):
            steps.append(_Dependency(cycle[0].head if not steps else steps[-1].relation, step.relation, kind, place))
            kind, place = "", None
    head = steps[0].head
    shown = " ".join(
        f"needs {step.kind}`{step.relation}`{_place(step.span)}" + (", which" if step is not steps[-1] else "")
        for step in steps
    )
    end, kind = next((step.relation, step.kind) for step in steps if step.kind)
    what, use = "aggregate", "the aggregate"
    if blamed.kind == "not " and kind == "not ":
        what, use = "negation", "the negation" if _is_hidden(blamed.relation) else f"`not {blamed.relation}`"
    return Diagnostic(
        f"`{head}` depends on its own {what}: `{head}` {shown}",
        blamed.span,
        f"break the cycle: {use} may only be used by relations that `{end}` does not depend on",
    )


def _is_hidden(relation: str) -> bool:
    return relation.startswith("#")


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
    return "" if span is None else f" ({span.place})"
