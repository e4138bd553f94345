"""Name resolution: finds the meaning of every declared name."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from scallax.analysis.attributes import Demand, read_attributes
from scallax.analysis.constants import Folding, literal_fits, typed
from scallax.errors import Diagnostic, Span, near_name
from scallax.language import ir
from scallax.language.library import BUILT_IN, Library
from scallax.language.predicates import PREDICATES
from scallax.language.records import record
from scallax.language.values import ValueType
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind

_PRIMITIVES = {type.value: type for type in ValueType} | {"&str": ValueType.STRING}
# Names of types in other languages, for hints.
_TYPES_ELSEWHERE = {"int": "i32", "integer": "i32", "long": "i64", "uint": "u32", "float": "f32", "double": "f64"}
_TYPES_ELSEWHERE |= {"str": "String", "text": "String", "boolean": "bool", "date": "DateTime", "time": "DateTime"}

# The hint for a function that neither the language nor `foreign` has.
_FOREIGN_HINT = "a function of Python is passed as `foreign=[…]`"


@record
class DeclaredRelation:
    """A relation type whose column types are resolved."""

    name: str
    columns: tuple[ValueType, ...]
    names: tuple[str | None, ...]
    span: Span


@record
class DeclaredVariant:
    """A constructor of a data type whose argument types are resolved."""

    name: str
    columns: tuple[ValueType, ...]
    span: Span


# The value of a constant: a literal or a term.
ConstantValue = ast.Constant | ast.Application


@record
class Names:
    """The meaning of every declared name of a program.

    `constants` are literals (typed if their declaration gives a type, as for members of enums) and applications of
    constructors to constants. `shadowed` are the program's own relations with the name of a built-in predicate;
    `warnings` tell of them.
    """

    types: dict[str, ValueType]
    constants: dict[str, ConstantValue]
    relations: dict[str, DeclaredRelation]
    variants: dict[str, DeclaredVariant]
    hidden: frozenset[str]
    demands: dict[str, Demand]
    files: tuple[ir.FactsFile, ...]
    answer_files: tuple[ir.AnswerFile, ...]
    library: Library
    shadowed: frozenset[str]
    warnings: tuple[Diagnostic, ...]

    def type(self, name: ast.TypeName) -> ValueType:
        """The type of a name; the name was checked to be one of a type."""
        return _PRIMITIVES.get(name.name) or self.types[name.name]

    def predicate(self, atom: ast.Application) -> str | None:
        """The library's name of an atom's predicate; None if it is an atom of a relation."""
        if _is_of_relation(atom, self.shadowed):
            return None
        types = [str(self.type(part)) for part in map(_type_argument, atom.parameters) if part is not None]
        return self.library.predicate_name(atom.name, types)


def _is_of_relation(atom: ast.Application, shadowed: Collection[str]) -> bool:
    """Whether an atom refers to the program's own relation and not to the predicate of the same name."""
    return atom.name in shadowed and not atom.parameters


def _type_argument(parameter: ast.Parameter) -> ast.TypeName | None:
    """The type that a parameter `<…>` of an atom names; None if it is a literal."""
    match parameter.value:
        case ast.TypeName(name=name, span=span) | ast.Name(name=name, span=span):
            return ast.TypeName(name, span)
        case _:
            return None


def _is_built_in(name: str) -> bool:
    """Whether there is a built-in predicate of this name, with any type arguments."""
    return BUILT_IN.is_predicate(name)


def _written_relations(declaration: ast.Declaration) -> Iterator[tuple[str, bool]]:
    """The relations that an item declares or gives tuples, and whether each is written with parameters there."""
    match declaration:
        case ast.RelationTypes(relations=relations, is_extern=False):
            yield from ((relation.name, False) for relation in relations)
        case ast.FactSet(relation=relation) | ast.ReduceRule(relation=relation):
            yield relation, False
        case ast.Fact(atom=atom):
            yield atom.name, bool(atom.parameters)
        case ast.Rule(heads=heads):
            yield from ((head.name, bool(head.parameters)) for head in heads)


def resolve_names(
    items: Sequence[ast.Item], library: Library, given: Collection[str] = ()
) -> tuple[Names, list[Diagnostic]]:
    """The declarations of a program, and a problem for every name that is unknown or declared twice.

    `given` are the relations with facts from Python. A name whose declaration is wrong stays open.
    """
    resolver = _Resolver(library)
    resolver.find_shadowed(items, given)
    attributes = read_attributes(items, library.attributes)
    resolver.problems += attributes.problems
    for item in items:
        resolver.declare(item)
    resolver.resolve()
    for node in ast.walk(tuple(items)):
        if isinstance(node, ast.Cast | ast.Binding) and node.type is not None:
            resolver.type(node.type)
        elif isinstance(node, ast.Call) and node.function not in library.functions:
            resolver.report_function(node)
        elif isinstance(node, ast.Application):
            resolver.check_parameters(node)
    for item in items:
        if isinstance(item.declaration, ast.Query):
            resolver.check_query(item.declaration.target)
    names = Names(
        resolver.types,
        resolver.constants,
        resolver.relations,
        resolver.variants,
        frozenset(attributes.hidden),
        attributes.demands,
        tuple(attributes.files),
        tuple(attributes.answer_files),
        library,
        frozenset(resolver.shadowed),
        tuple(resolver.shadowed.values()),
    )
    return names, resolver.problems


class _Resolver:
    """Collects declarations in order; types and constants may be used before they are declared."""

    def __init__(self, library: Library):
        self.library = library
        self.problems: list[Diagnostic] = []
        # The program's own relations with names of built-in predicates, and the warning about each.
        self.shadowed: dict[str, Diagnostic] = {}
        # The name that a type is declared as, or the type itself for enums and data types.
        self.type_names: dict[str, ast.TypeName | ValueType] = {}
        self.constant_values: dict[str, ast.ConstantDeclaration] = {}
        self.relation_types: dict[str, ast.RelationType] = {}
        self.first: dict[tuple[str, str], Span] = {}
        self.function_types: list[ast.FunctionType] = []
        self.types: dict[str, ValueType] = {}
        self.constants: dict[str, ConstantValue] = {}
        self.variant_types: dict[str, ast.Variant] = {}
        self.variants: dict[str, DeclaredVariant] = {}
        self.relations: dict[str, DeclaredRelation] = {}

    def declare(self, item: ast.Item) -> None:
        match item.declaration:
            case ast.TypeAlias(name=name, type=type, span=span):
                self.declare_type(name, type, span)
            case ast.EnumType(name=name, members=members, span=span):
                self.declare_type(name, ValueType.USIZE, span)
                self.number_members(members)
            case ast.DataType(name=name, variants=variants, span=span):
                self.declare_type(name, ValueType.ENTITY, span)
                for variant in variants:
                    if self.is_first("constructor", variant.name, variant.span):
                        self.variant_types[variant.name] = variant
            case ast.ConstantDeclarations(declarations=declarations):
                for declaration in declarations:
                    if self.is_first("constant", declaration.name, declaration.span):
                        self.constant_values[declaration.name] = declaration
            case ast.RelationTypes(relations=relations, is_extern=True):
                for relation in relations:
                    self.check_extern(relation)
            case ast.RelationTypes(relations=relations):
                for relation in relations:
                    if self.is_first("relation type", relation.name, relation.span):
                        self.relation_types[relation.name] = relation
            case ast.FunctionType():
                self.function_types.append(item.declaration)
        self.check_written(item.declaration)

    def declare_type(self, name: str, type: ast.TypeName | ValueType, span: Span) -> None:
        if self.is_first("type", name, span):
            self.type_names[name] = type

    def check_written(self, declaration: ast.Declaration) -> None:
        """Reports predicates among the relations that an item declares or gives tuples."""
        for name, has_parameters in dict.fromkeys(_written_relations(declaration)):
            if self.library.is_predicate(name) and (has_parameters or name not in self.shadowed):
                kind = "built-in" if _is_built_in(name) else "foreign"
                message = f"`{name}` is a {kind} predicate and cannot be declared, or given facts or rules"
                self.report(message, declaration.span, "give the relation another name")

    def find_shadowed(self, items: Sequence[ast.Item], given: Collection[str]) -> None:
        """Finds the program's own relations with names of built-in predicates, unless it declares the predicates."""
        declarations = [item.declaration for item in items]
        places: dict[str, Span | None] = dict.fromkeys(given)
        for declaration in reversed(declarations):
            written = (name for name, has_parameters in _written_relations(declaration) if not has_parameters)
            places |= dict.fromkeys(written, declaration.span)
        external = {
            relation.name
            for declaration in declarations
            if isinstance(declaration, ast.RelationTypes) and declaration.is_extern
            for relation in declaration.relations
        }
        for name, span in places.items():
            if _is_built_in(name) and name not in external:
                message = f"`{name}` is the program's own relation here, not the built-in predicate of that name"
                hint = "give the relation another name"
                if name in PREDICATES and PREDICATES[name].signature.is_generic:
                    hint += f", or write the predicate with its type: `{name}<…>(…)`"
                self.shadowed[name] = Diagnostic(message, span, hint)

    def check_function(self, function: ast.FunctionType) -> None:
        """Reports a declared function type that is not the function's; a missing function is reported at its calls."""
        names = (*(column.type for column in function.parameters), function.result)
        types = [self.type(name) for name in names]
        if function.name not in self.library.functions:
            return
        signature = self.library.functions[function.name].signature
        parameters = signature.parameters_of(len(function.parameters))
        hint = f"it is `${signature.text}`"
        if parameters is None:
            self.report(
                f"`${function.name}` is declared with another number of arguments than it takes", function.span, hint
            )
            return
        of_generic: dict[int, ValueType] = {}
        for name, type, parameter in zip(names, types, (*parameters, signature.result), strict=True):
            family = signature.generics[parameter] if isinstance(parameter, int) else parameter
            is_same = not isinstance(parameter, int) or of_generic.setdefault(parameter, type) is type
            if type not in family or not is_same:
                self.report(f"`${function.name}` is declared with other types than its own", name.span, hint)

    def report_function(self, call: ast.Call) -> None:
        """Reports a call of an unknown function."""
        if any(call.function == function.name for function in self.function_types):
            message = f"the function `${call.function}` has a declared type, and no definition"
            hint = "pass the function, or a foreign attribute that makes it, as `foreign=[…]`"
            self.report(message, call.span, hint)
        else:
            hint = near_name(call.function, self.library.functions, "$")
            self.report(f"unknown function `${call.function}`", call.span, hint or _FOREIGN_HINT)

    def check_extern(self, relation: ast.RelationType) -> None:
        """Reports an `extern` type that names no predicate, or differs from the predicate's."""
        if relation.name not in self.library.predicates:
            near = near_name(relation.name, self.library.predicates)
            hint = near or "pass it as `foreign=[…]`; without `extern` it is a relation of the program"
            self.report(f"there is no predicate `{relation.name}`", relation.span, hint)
            return
        signature = self.library.predicates[relation.name].signature
        if len(signature.parameters) != len(relation.columns):
            self.report(
                f"`{relation.name}` is declared with another number of arguments than it takes",
                relation.span,
                f"it is `{signature.text}`",
            )

    def check_parameters(self, atom: ast.Application) -> None:
        """Reports parameters `<…>` of an atom that takes none, or that are not one type."""
        if not self.library.is_predicate(atom.name) or _is_of_relation(atom, self.shadowed):
            if atom.parameters:
                hint = near_name(atom.name, self.library.predicates) or "relations have no parameters `<…>`"
                self.report(f"unknown predicate `{atom.name}`", atom.span, hint)
            return
        named = [_type_argument(parameter) for parameter in atom.parameters]
        types = [str(self.type(name)) for name in named if name is not None]
        if len(types) == len(named) and self.library.predicate_name(atom.name, types) not in (None, atom.name):
            return
        if atom.name not in self.library.predicates:
            known = [f"`{name}`" for name in self.library.predicates if name.startswith(f"{atom.name}<")]
            message = f"`{atom.name}` is not of these types" if named else f"`{atom.name}` needs its types"
            self.report(message, atom.span, f"there is {', '.join(known)}")
        elif atom.parameters and (len(named) != 1 or not types):
            self.report(f"`{atom.name}` takes one type as its parameter", atom.parameters[0].span, "as in `range<i32>`")

    def number_members(self, members: Sequence[ast.EnumMember]) -> None:
        """Numbers the members of an enum from 0, or on from the last number that was given."""
        following = 0
        for member in members:
            if member.number is not None:
                number = member.number.value
                if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                    message = f"the number of the enum member `{member.name}` is no integer of at least 0"
                    self.report(message, member.number.span, f"write `{member.name} = {following}`, or leave it out")
                    continue
                if number < following:
                    self.report(
                        f"`{member.name}` has the number {number}, which comes before those already given",
                        member.number.span,
                        f"give a number of at least {following}",
                    )
                    continue
                following = number
            if self.is_first("constant", member.name, member.span):
                literal = ast.Constant(following, ConstantKind.INTEGER, member.span, ValueType.USIZE)
                self.constants[member.name] = literal
            following += 1

    def is_first(self, kind: str, name: str, span: Span) -> bool:
        earlier = self.first.get((kind, name))
        if earlier is None:
            self.first[kind, name] = span
            return True
        hint = f"the first declaration is at {earlier.place}: remove one of the two"
        self.report(f"{kind} `{name}` is declared twice", span, hint)
        return False

    def resolve(self) -> None:
        for name in self.type_names:
            self.types[name] = self.alias(name)
        for name, variant in self.variant_types.items():
            columns = tuple(map(self.type, variant.columns))
            if ValueType.TENSOR in columns:
                span = variant.columns[columns.index(ValueType.TENSOR)].span
                hint = "give tensors numbers in a relation, and the number to the constructor"
                self.report(f"the constructor `{name}` cannot take a Tensor: terms are texts", span, hint)
            self.variants[name] = DeclaredVariant(name, columns, variant.span)
        for name, declaration in self.constant_values.items():
            literal = self.constant(declaration, ())
            if literal is not None:
                self.constants[name] = literal
        for name, relation in self.relation_types.items():
            columns = tuple(self.type(column.type) for column in relation.columns)
            names = tuple(column.name for column in relation.columns)
            self.relations[name] = DeclaredRelation(name, columns, names, relation.span)
        for function in self.function_types:
            self.check_function(function)

    def alias(self, name: str) -> ValueType:
        """The type behind a chain of names; `i32` if an error was reported for it."""
        seen = [name]
        while True:
            target = self.type_names[seen[-1]]
            if isinstance(target, ValueType):
                return target
            if target.name in seen:
                self.report(
                    f"type `{name}` is declared by itself", target.span, "declare it by a built-in type, such as `i32`"
                )
                return ValueType.I32
            if target.name not in self.type_names:
                return self.type(target)
            seen.append(target.name)

    def type(self, name: ast.TypeName) -> ValueType:
        found = _PRIMITIVES.get(name.name) or self.types.get(name.name)
        if found is None:
            known = [*self.type_names, *_PRIMITIVES]
            elsewhere = _TYPES_ELSEWHERE.get(name.name.lower())
            hint = f"did you mean `{elsewhere}`?" if elsewhere else near_name(name.name, known)
            self.report(f"unknown type `{name.name}`", name.span, hint or f"declare it: `type {name.name} = …`")
        return found or ValueType.I32

    def constant(self, declaration: ast.ConstantDeclaration, above: tuple[str, ...]) -> ConstantValue | None:
        """The value of a constant, which may refer to other constants."""
        value = self.constant_value(declaration.value, declaration, above)
        if value is None:
            return None
        if declaration.type is None:
            return value
        type = self.type(declaration.type)
        if isinstance(value, ast.Constant) and value.type is not None:
            if value.type is not type:
                message = f"constant `{declaration.name}` is declared `{type}`, but its value is of type `{value.type}`"
                hint = f"convert the value: `(…) as {type}`, or leave the type out"
                self.report(message, declaration.span, hint)
            return value
        if isinstance(value, ast.Constant) and literal_fits(value, type):
            return typed(value, type)
        if type is not ValueType.ENTITY or isinstance(value, ast.Constant):
            kind = value.kind.value if isinstance(value, ast.Constant) else "entity"
            low, high = type.bounds if type.is_integer else (0, 0)
            hint = f"values of `{type}` go from {low} to {high}" if type.is_integer else None
            message = f"{kind} constant `{declaration.name}` does not fit `{type}`"
            self.report(message, declaration.span, hint or "leave the type out, or declare another one")
        return value

    def constant_value(
        self, value: ast.Expression, declaration: ast.ConstantDeclaration, above: tuple[str, ...]
    ) -> ConstantValue | None:
        """The value of the expression in a constant's declaration; None, with an error reported, if it has none."""
        if isinstance(value, ast.Application):
            if value.name not in self.variants:
                hint = near_name(value.name, self.variants) or "declare it: `type T = A(i32) | B()`"
                self.report(f"unknown constructor `{value.name}`", value.span, hint)
                return None
            arguments = [self.constant_value(argument, declaration, above) for argument in value.arguments]
            known = tuple(argument for argument in arguments if argument is not None)
            return replace(value, arguments=known) if len(known) == len(arguments) else None
        if isinstance(value, ast.Name):
            if value.name in (*above, declaration.name):
                message = f"constant `{declaration.name}` is declared by itself"
                self.report(message, value.span, "give one of the constants a value of its own")
                return None
            if value.name in self.constants:
                return self.constants[value.name]
            if value.name not in self.constant_values:
                known = [*self.constant_values, *self.constants]
                hint = near_name(value.name, known) or f"declare it: `const {value.name} = …`"
                self.report(f"unknown constant `{value.name}`", value.span, hint)
                return None
            return self.constant(self.constant_values[value.name], (*above, declaration.name))
        if isinstance(value, ast.Constant):
            return value

        def value_of(name: str) -> ast.Constant | None:
            found = self.constant_value(ast.Name(name, value.span), declaration, above)
            is_number = isinstance(found, ast.Constant) and isinstance(found.value, int | float)
            return found if isinstance(found, ast.Constant) and is_number else None

        num_problems = len(self.problems)
        found = Folding(value_of, self.type, self.report).fold(value)
        if len(self.problems) > num_problems:
            return None
        if found is None or (isinstance(found.value, float) and not math.isfinite(found.value)):
            hint = "write its value, or compute it from numbers and constants by `+ - * /`, comparisons and `if`"
            self.report("the value is no constant", value.span, hint)
            return None
        return found

    def check_query(self, target: ast.Name | ast.Application) -> None:
        """Reports a query that names a predicate."""
        is_own = target.name in self.shadowed and not (isinstance(target, ast.Application) and target.parameters)
        if self.library.is_predicate(target.name) and not is_own:
            hint = f"query a relation: `rel r(…) = {target.name}(…)`, `query r`"
            self.report(f"the query is of the predicate `{target.name}`", target.span, hint)

    def report(self, message: str, span: Span, hint: str | None = None) -> None:
        diagnostic = Diagnostic(message, span, hint)
        if diagnostic not in self.problems:
            self.problems.append(diagnostic)
