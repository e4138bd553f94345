"""Error recovery: the part of a program without the items that have problems, for the stages that follow.

A problem must not show again as a second one that follows from it. So a name with a wrong declaration takes with it
every item that mentions the name. The rest is a part of the program, and conflicts in a part are conflicts in the
whole.
"""

from collections.abc import Iterator, Sequence

from scallax.errors import Diagnostic, Span
from scallax.syntax import ast


def understood_items(
    items: Sequence[ast.Item], problems: Sequence[Diagnostic]
) -> tuple[list[ast.Item], frozenset[str]]:
    """The items without a problem that mention no name which a wrong item declares.

    Also returns the relations whose patterns of demand may be in the removed items.
    """
    left_out = [_is_wrong(item, problems) for item in items]
    unknown: set[str] = set()
    while True:
        found = {name for item, gone in zip(items, left_out, strict=True) if gone for name in _declared_names(item)}
        if found == unknown:
            break
        unknown = found
        left_out = [
            gone or not unknown.isdisjoint(_mentioned_names(item)) for item, gone in zip(items, left_out, strict=True)
        ]
    kept = [item for item, gone in zip(items, left_out, strict=True) if not gone]
    return kept, frozenset(
        name for item, gone in zip(items, left_out, strict=True) if gone for name in _demanded_relations(item)
    )


def has_problem(span: Span, problems: Sequence[Diagnostic]) -> bool:
    """Whether a problem lies within a span."""
    return any(problem.span is not None and _contains(span, problem.span) for problem in problems)


def _is_wrong(item: ast.Item, problems: Sequence[Diagnostic]) -> bool:
    places = (item.declaration.span, *(attribute.span for attribute in item.attributes))
    return any(has_problem(place, problems) for place in places)


def _contains(outer: Span, inner: Span) -> bool:
    return outer.source is inner.source and outer.start <= inner.start and inner.end <= outer.end


def _declared_names(item: ast.Item) -> Iterator[str]:
    """The types, constants and constructors that an item declares."""
    match item.declaration:
        case ast.TypeAlias(name=name):
            yield name
        case ast.EnumType(name=name, members=parts) | ast.DataType(name=name, variants=parts):
            yield name
            yield from (part.name for part in parts)
        case ast.ConstantDeclarations(declarations=declarations):
            yield from (declaration.name for declaration in declarations)


def _mentioned_names(item: ast.Item) -> Iterator[str]:
    """The names in an item that may be types, constants or constructors."""
    for node in ast.walk(item.declaration):
        match node:
            case ast.TypeName(name=name) | ast.Name(name=name) | ast.Application(name=name) | ast.New(constructor=name):
                yield name


def _demanded_relations(item: ast.Item) -> Iterator[str]:
    """The relations for which an item may declare a pattern."""
    match item.declaration:
        case ast.RelationTypes(relations=relations):
            yield from (relation.name for relation in relations)
        case ast.FactSet(relation=relation) | ast.ReduceRule(relation=relation) if item.attributes:
            yield relation
        case ast.Fact(atom=atom) if item.attributes:
            yield atom.name
        case ast.Rule(heads=heads) if item.attributes:
            yield from (head.name for head in heads)
