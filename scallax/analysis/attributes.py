"""Attributes of items: which there are, where they may stand, and what their arguments say."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from scallax import ir
from scallax.errors import Diagnostic
from scallax.source import Span
from scallax.syntax import ast
from scallax.syntax.ast import LiteralKind
from scallax.values import Value

_RELATIONS = (ast.RelationTypes, ast.FactSet, ast.Fact, ast.Rule, ast.ReduceRule)

# Parameters by name with what they take, in the order of positional arguments.
_TEXT, _TEXTS, _FLAG, _COUNT, _CHARACTER = "a string", "a string or a list of strings", "a bool", "an integer", "a char"


@dataclass(frozen=True, slots=True)
class _Form:
    """Where an attribute may stand, its parameters, and which of them are needed."""

    targets: tuple[type, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


_FORMS = {
    "hidden": _Form(_RELATIONS),
    "demand": _Form(_RELATIONS, {"pattern": _TEXT}, ("pattern",)),
    "file": _Form(
        (ast.RelationTypes,),
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


@dataclass(frozen=True, slots=True)
class Demand:
    """A pattern of `b` and `f`, a letter for each column, and where it is declared."""

    pattern: str
    span: Span


@dataclass(slots=True)
class Attributes:
    """What the attributes of a program say of its relations; `problems` are those of the attributes."""

    hidden: set[str] = field(default_factory=set)
    demands: dict[str, Demand] = field(default_factory=dict)
    files: list[ir.FactsFile] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)


def is_built_in(name: str) -> bool:
    """Whether the language has an attribute of this name."""
    return name in _FORMS


def read_attributes(items: Sequence[ast.Item], foreign: Collection[str] = ()) -> Attributes:
    """The attributes of all items, those of Python (`foreign`) aside, and the adornments of relation types.

    `@goal`, `@scheduler`, `@storage`, `@tagged` and `@no_temp_relation` are checked, and change nothing here: they say
    how to compute, not what.
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
        near = get_close_matches(attribute.name, known, 1)
        hint = f"did you mean `@{near[0]}`?" if near else f"there are: {', '.join(f'`@{name}`' for name in known)}"
        found.problems.append(Diagnostic(f"unknown attribute `@{attribute.name}`", attribute.span, hint))
        return
    if not isinstance(declaration, form.targets):
        what = "the declaration of a relation's type" if form.targets == (ast.RelationTypes,) else "a relation"
        what = "a rule" if form.targets == (ast.Rule,) else what
        message = f"`@{attribute.name}` belongs before {what}"
        found.problems.append(Diagnostic(message, attribute.span))
        return
    problems = list(_check_arguments(attribute, form))
    found.problems += problems
    if problems:
        return
    arguments = _arguments(attribute, form)
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
        case "file":
            for relation in relations:
                found.files.append(_facts_file(relation, arguments, attribute.span))


def _add_demand(relation: str, demand: Demand, found: Attributes) -> None:
    earlier = found.demands.setdefault(relation, demand)
    if earlier.pattern != demand.pattern:
        line, column = earlier.span.source.position(earlier.span.start)
        message = f"`{relation}` is demanded as `{demand.pattern}` here and as `{earlier.pattern}` elsewhere"
        hint = f"a relation has one pattern; the other is at {earlier.span.source.name}:{line}:{column}"
        found.problems.append(Diagnostic(message, demand.span, hint))


def _facts_file(relation: str, arguments: Mapping[str, "Value | tuple"], span: Span) -> ir.FactsFile:
    fields = _texts(arguments.get("fields", ()))
    keys = _texts(arguments.get("keys", ()))
    has_header = bool(arguments.get("header", arguments.get("has_header", bool(fields or keys))))
    has_probability = bool(arguments.get("has_probability", False))
    delimiter = str(arguments.get("deliminator", ","))
    return ir.FactsFile(relation, str(arguments["path"]), delimiter, has_header, has_probability, keys, fields, span)


def _texts(value: "Value | tuple") -> tuple[str, ...]:
    return tuple(str(part) for part in value) if isinstance(value, tuple) else (str(value),)


def _check_arguments(attribute: ast.Attribute, form: _Form) -> Iterator[Diagnostic]:
    span = attribute.span
    names = list(form.parameters)
    positional = [argument for argument in attribute.arguments if argument.keyword is None]
    if len(positional) > len(names):
        yield Diagnostic(f"`@{attribute.name}` takes at most {len(names)} arguments", span)
        return
    given = dict(zip(names, positional, strict=False))
    for argument in attribute.arguments:
        if argument.keyword is None:
            continue
        if argument.keyword not in form.parameters:
            near = get_close_matches(argument.keyword, names, 1)
            hint = f"did you mean `{near[0]}`?" if near else None
            yield Diagnostic(f"`@{attribute.name}` has no argument `{argument.keyword}`", span, hint)
        elif argument.keyword in given:
            yield Diagnostic(f"`@{attribute.name}` is given `{argument.keyword}` twice", span)
        else:
            given[argument.keyword] = argument
    for name in form.needed:
        if name not in given:
            yield Diagnostic(f"`@{attribute.name}` lacks its argument: {name}, {form.parameters[name]}", span)
    for name, argument in given.items():
        kind = form.parameters.get(name)
        if kind is not None and not _is_of(argument.value, kind):
            yield Diagnostic(f"`{name}` of `@{attribute.name}` must be {kind}", span)
        elif name == "name" and form.values and _value(argument.value) not in form.values:
            near = get_close_matches(str(_value(argument.value)), form.values, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(f'`{v}`' for v in form.values)}"
            yield Diagnostic(f"`@{attribute.name}` knows no `{_value(argument.value)}`", span, hint)


def _arguments(attribute: ast.Attribute, form: _Form) -> dict[str, "Value | tuple"]:
    names = iter(form.parameters)
    return {argument.keyword or next(names): _value(argument.value) for argument in attribute.arguments}


def _value(value: "ast.Literal | tuple") -> "Value | tuple":
    return value.value if isinstance(value, ast.Literal) else tuple(_value(part) for part in value)


def _is_of(value: "ast.Literal | tuple", kind: str) -> bool:
    if isinstance(value, tuple):
        return kind == _TEXTS and all(_is_of(part, _TEXT) for part in value)
    match kind:
        case "a bool":
            return value.kind is LiteralKind.BOOL
        case "an integer":
            return value.kind is LiteralKind.INTEGER
        case "a char":
            return value.kind in (LiteralKind.CHAR, LiteralKind.STRING) and len(str(value.value)) == 1
        case _:
            return value.kind is LiteralKind.STRING


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
