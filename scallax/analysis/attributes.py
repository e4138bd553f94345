"""Attributes of items: which ones there are, where they may stand, and what their arguments mean."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scallax.errors import Diagnostic, Span, counted, near_name
from scallax.language import ir
from scallax.language.records import record
from scallax.language.values import Value
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.query_names import name_query

_RELATIONS = (ast.RelationTypes, ast.FactSet, ast.Fact, ast.Rule, ast.ReduceRule)

# Parameters with the kinds of their arguments, in positional order.
_TEXT, _TEXTS, _FLAG, _COUNT = "a string", "a string or a list of strings", "a bool", "an integer"
_CHARACTER = "one character, no quote and no line break"


@record
class _Form:
    """The places where an attribute may stand, its parameters, and which of them are required."""

    targets: tuple[type, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


_FORMS = {
    "hidden": _Form(_RELATIONS),
    "demand": _Form(_RELATIONS, {"pattern": _TEXT}, ("pattern",)),
    "file": _Form(
        (ast.RelationTypes, ast.Query),
        {
            "path": _TEXT,
            "deliminator": _CHARACTER,
            "header": _FLAG,
            "has_header": _FLAG,
            "has_probability": _FLAG,
            "keys": _TEXTS,
            "fields": _TEXTS,
        },
        ("path",),
    ),
    "goal": _Form(_RELATIONS),
    "scheduler": _Form(
        _RELATIONS, {"name": _TEXT, "beam_size": _COUNT}, ("name",), values=("lfp", "dfs", "astar", "beam")
    ),
    "storage": _Form(_RELATIONS, {"name": _TEXT}, ("name",), values=("sorted", "indexed_vec")),
    "tagged": _Form(_RELATIONS),
    "no_temp_relation": _Form((ast.Rule,)),
}


_PLACES = {
    (ast.RelationTypes, ast.Query): "the declaration of a relation's type, or a query",
    (ast.Rule,): "a rule",
}
# Arguments of `@file` that say how to read.
_READING = ("keys", "fields")


@record
class Demand:
    """A pattern of `b` and `f`, one letter for each column, with the place of its declaration."""

    pattern: str
    span: Span


@dataclass(slots=True)
class Attributes:
    """The properties of relations that the attributes of a program declare; `problems` are those of the attributes."""

    hidden: set[str] = field(default_factory=set)
    demands: dict[str, Demand] = field(default_factory=dict)
    files: list[ir.FactsFile] = field(default_factory=list)
    answer_files: list[ir.AnswerFile] = field(default_factory=list)
    goals: dict[str, Span] = field(default_factory=dict)
    schedulers: dict[str, Span] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)


def is_built_in(name: str) -> bool:
    """Whether the language has an attribute of this name."""
    return name in _FORMS


def read_attributes(items: Sequence[ast.Item], foreign: Collection[str] = ()) -> Attributes:
    """Reads the attributes of all items, except foreign ones, and the adornments of relation types.

    `@goal`, `@scheduler`, `@storage`, `@tagged` and `@no_temp_relation` are checked but have no effect: in the
    reference they say how to compute, not what.
    """
    found = Attributes()
    for item in items:
        for attribute in item.attributes:
            _read(attribute, item.declaration, found, foreign)
        if isinstance(item.declaration, ast.RelationTypes):
            for relation in item.declaration.relations:
                if any(column.adornment == "bound" for column in relation.columns):
                    pattern = "".join("b" if column.adornment == "bound" else "f" for column in relation.columns)
                    _add_demand(relation.name, Demand(pattern, relation.span), found)
    return found


def _read(attribute: ast.Attribute, declaration: ast.Declaration, found: Attributes, foreign: Collection[str]) -> None:
    form = _FORMS.get(attribute.name)
    if form is None:
        known = [*_FORMS, *foreign]
        hint = near_name(attribute.name, known, "@") or f"there are: {', '.join(f'`@{name}`' for name in known)}"
        found.problems.append(Diagnostic(f"unknown attribute `@{attribute.name}`", attribute.span, hint))
        return
    if not isinstance(declaration, form.targets):
        message = f"`@{attribute.name}` belongs before {_PLACES.get(form.targets, 'a relation')}"
        found.problems.append(Diagnostic(message, attribute.span, "move it there, or remove it"))
        return
    problems = list(_check_arguments(attribute, form))
    found.problems += problems
    if not problems:
        _add(attribute, _arguments(attribute, form), declaration, found)


def _add(
    attribute: ast.Attribute,
    arguments: Mapping[str, "Value | tuple"],
    declaration: ast.Declaration,
    found: Attributes,
) -> None:
    """Adds what an attribute with right arguments declares."""
    relations = tuple(dict.fromkeys(_relations(declaration)))
    match attribute.name:
        case "hidden":
            found.hidden.update(relations)
        case "demand":
            pattern = str(arguments["pattern"])
            if not pattern or set(pattern) - set("bf"):
                message = f"`{pattern}` is no pattern of demand"
                hint = "write a letter for each column: `b` for bound, `f` for free"
                found.problems.append(Diagnostic(message, attribute.span, hint))
                return
            for relation in relations:
                _add_demand(relation, Demand(pattern, attribute.span), found)
        case "goal":
            for relation in relations:
                _add_goal(relation, _arity(declaration, relation), attribute.span, found)
        case "scheduler":
            for relation in relations:
                _add_scheduler(relation, attribute.span, found)
        case "file" if isinstance(declaration, ast.Query):
            for name in _READING:
                if name in arguments:
                    message = f"`{name}` of `@file` says how to read facts: a query's answer is written in full"
                    hint = "write a rule that gives the columns to write, and query it"
                    found.problems.append(Diagnostic(message, attribute.span, hint))
            query = name_query(declaration.target)
            found.answer_files.append(_answer_file(query, arguments, attribute.span))
        case "file":
            for relation in relations:
                found.files.append(_facts_file(relation, arguments, attribute.span))


def _add_demand(relation: str, demand: Demand, found: Attributes) -> None:
    earlier = found.demands.setdefault(relation, demand)
    if earlier.pattern != demand.pattern:
        message = f"`{relation}` is demanded as `{demand.pattern}` here and as `{earlier.pattern}` elsewhere"
        hint = f"a relation has one pattern; the other is at {earlier.span.place}"
        found.problems.append(Diagnostic(message, demand.span, hint))


def _add_scheduler(relation: str, span: Span, found: Attributes) -> None:
    earlier = found.schedulers.setdefault(relation, span)
    if earlier is not span:
        hint = f"the other is at {earlier.place}: remove one of the two"
        found.problems.append(Diagnostic(f"`{relation}` has two schedulers", span, hint))


def _add_goal(relation: str, arity: int, span: Span, found: Attributes) -> None:
    if arity:
        message = f"the goal `{relation}` has {counted(arity, 'column')}"
        hint = f"declare a goal without columns: `@goal rel reached() = {relation}(…)`"
        found.problems.append(Diagnostic(message, span, hint))
    found.goals.setdefault(relation, span)
    first = next(iter(found.goals))
    if relation != first:
        message = f"`{relation}` is a second goal"
        hint = f"a program has one; `{first}` is marked at {found.goals[first].place}: remove one of the two"
        found.problems.append(Diagnostic(message, span, hint))


def _arity(declaration: ast.Declaration, relation: str) -> int:
    """The number of columns that a declaration gives a relation; 0 for an empty fact set."""
    match declaration:
        case ast.RelationTypes(relations=relations):
            return next(len(type.columns) for type in relations if type.name == relation)
        case ast.FactSet(elements=elements):
            return max((len(element.values) for element in elements), default=0)
        case ast.Fact(atom=atom):
            return len(atom.arguments)
        case ast.Rule(heads=heads):
            return max(len(head.arguments) for head in heads if head.name == relation)
        case _:
            # The results of an aggregate.
            return 1


def _facts_file(relation: str, arguments: Mapping[str, "Value | tuple"], span: Span) -> ir.FactsFile:
    fields = _texts(arguments.get("fields", ()))
    keys = _texts(arguments.get("keys", ()))
    has_header = bool(arguments.get("header", arguments.get("has_header", bool(fields or keys))))
    has_probability = bool(arguments.get("has_probability", False))
    delimiter = str(arguments.get("deliminator", ","))
    return ir.FactsFile(relation, str(arguments["path"]), delimiter, has_header, has_probability, keys, fields, span)


def _answer_file(query: str, arguments: Mapping[str, "Value | tuple"], span: Span) -> ir.AnswerFile:
    has_header = bool(arguments.get("header", arguments.get("has_header", False)))
    has_probability = bool(arguments.get("has_probability", False))
    delimiter = str(arguments.get("deliminator", ","))
    return ir.AnswerFile(query, str(arguments["path"]), delimiter, has_header, has_probability, span)


def _texts(value: "Value | tuple") -> tuple[str, ...]:
    return tuple(str(part) for part in value) if isinstance(value, tuple) else (str(value),)


def _check_arguments(attribute: ast.Attribute, form: _Form) -> Iterator[Diagnostic]:
    span = attribute.span
    names = list(form.parameters)
    positional = [argument for argument in attribute.arguments if argument.keyword is None]
    if len(positional) > len(names):
        most = f"takes at most {len(names)} argument{'s' * (len(names) > 1)}" if names else "takes no arguments"
        yield Diagnostic(f"`@{attribute.name}` {most}", span, _known_arguments(names))
        return
    given = dict(zip(names, positional, strict=False))
    for argument in attribute.arguments:
        if argument.keyword is None:
            continue
        if argument.keyword not in form.parameters:
            hint = near_name(argument.keyword, names) or _known_arguments(names)
            yield Diagnostic(f"`@{attribute.name}` has no argument `{argument.keyword}`", span, hint)
        elif argument.keyword in given:
            yield Diagnostic(f"`@{attribute.name}` is given `{argument.keyword}` twice", span, "remove one of the two")
        else:
            given[argument.keyword] = argument
    for name in form.needed:
        if name not in given:
            yield Diagnostic(f"`@{attribute.name}` lacks its argument: {name}, {form.parameters[name]}", span)
    yield from _check_values(attribute, form, given)


def _check_values(
    attribute: ast.Attribute, form: _Form, given: Mapping[str, ast.AttributeArgument]
) -> Iterator[Diagnostic]:
    for name, argument in given.items():
        kind = form.parameters.get(name)
        if kind is not None and not _is_of(argument.value, kind):
            yield Diagnostic(f"`{name}` of `@{attribute.name}` must be {kind}", attribute.span)
        elif name == "name" and form.values and _value(argument.value) not in form.values:
            known = ", ".join(f"`{value}`" for value in form.values)
            hint = near_name(_value(argument.value), form.values) or f"there are: {known}"
            yield Diagnostic(f"`@{attribute.name}` knows no `{_value(argument.value)}`", attribute.span, hint)


def _known_arguments(names: Sequence[str]) -> str:
    return f"its arguments are: {', '.join(f'`{name}`' for name in names)}" if names else "leave them out"


def _arguments(attribute: ast.Attribute, form: _Form) -> dict[str, "Value | tuple"]:
    names = iter(form.parameters)
    return {argument.keyword or next(names): _value(argument.value) for argument in attribute.arguments}


def _value(value: "ast.Constant | tuple") -> "Value | tuple":
    return value.value if isinstance(value, ast.Constant) else tuple(_value(part) for part in value)


def _is_of(value: "ast.Constant | tuple", kind: str) -> bool:
    if isinstance(value, tuple):
        return kind == _TEXTS and all(_is_of(part, _TEXT) for part in value)
    match kind:
        case "a bool":
            return value.kind is ConstantKind.BOOL
        case "an integer":
            return value.kind is ConstantKind.INTEGER
        case "one character, no quote and no line break":
            text = str(value.value)
            return (
                value.kind in (ConstantKind.CHAR, ConstantKind.STRING)
                and len(text) == 1
                and text not in ir.NO_DELIMITERS
            )
        case _:
            return value.kind is ConstantKind.STRING


def _relations(declaration: ast.Declaration) -> Iterator[str]:
    match declaration:
        case ast.RelationTypes(relations=relations):
            yield from (relation.name for relation in relations)
        case ast.FactSet(relation=relation) | ast.ReduceRule(relation=relation):
            yield relation
        case ast.Fact(atom=atom):
            yield atom.name
        case ast.Rule(heads=heads):
            yield from (head.name for head in heads)
