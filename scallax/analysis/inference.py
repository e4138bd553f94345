"""Type inference: finds a type for every column, variable and expression by unifying sets of types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from scallax.analysis.aggregates import CoreAggregate
from scallax.analysis.aggregators import AGGREGATORS
from scallax.analysis.desugar import BodyAtom, BodyForeign, CoreFact, CoreProgram, CoreRule
from scallax.analysis.names import Names
from scallax.analysis.patterns import BodyCase
from scallax.analysis.type_sets import (
    ADDABLE,
    AGGREGATED,
    ENTITY,
    MIXED,
    MIXED_OPERATIONS,
    TAGS,
    USIZE,
    TypeSet,
    admitting,
    can_cast,
    cast_hint,
    choose_type,
    describe_types,
    literal_types,
)
from scallax.errors import Diagnostic, Span, counted
from scallax.language.functions import num_placeholders
from scallax.language.records import record
from scallax.language.signatures import ANY, BOOL, NUMBERS, Parameter, Signature
from scallax.language.values import Value, ValueType
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind

# The scope of expressions without variables.
_NO_SCOPE = -1


@dataclass(slots=True)
class _TypeVariable:
    """A class of columns, variables and expressions that have one type; `reason` is the last use that narrowed it."""

    types: TypeSet
    reason: Span | None = None
    forward: "_TypeVariable | None" = None


@record
class InferredRelation:
    """The columns of a relation; `span` is its declaration or first use, None if facts from Python named it.

    A column is among `settled` unless a left-out item of the program may give it another type.
    """

    columns: tuple[ValueType, ...]
    span: Span | None
    settled: tuple[bool, ...]


@dataclass(slots=True)
class Types:
    """The types of a program's relations, in order of first mention, and of its expressions."""

    relations: dict[str, InferredRelation]
    _expressions: dict[int, _TypeVariable]
    _wrong: set[int]
    _is_partial: bool

    def of(self, expression: ast.Expression) -> ValueType:
        """The type of an expression in a rule."""
        return choose_type(_find(self._expressions[id(expression)]).types)

    def is_settled(self, expression: ast.Expression) -> bool:
        """Whether an expression has this type no matter which items were left out of the program."""
        return not self._is_partial or len(_find(self._expressions[id(expression)]).types) == 1

    def is_wrong(self, part: CoreFact | CoreRule) -> bool:
        """Whether a fact or rule had a conflict; some of its expressions may then have no type."""
        return id(part) in self._wrong


def infer_types(
    program: CoreProgram,
    names: Names,
    given: Mapping[str, Sequence[tuple[Value, ...]]],
    aggregates: Sequence[CoreAggregate] = (),
    *,
    is_partial: bool = False,
) -> tuple[Types, list[Diagnostic]]:
    """Finds types for all columns and expressions, and every conflict of types or arities.

    Every use narrows a set of possible types, as in the reference. Where several remain, the type is i32, u32, f32 or
    String, the first of these that is possible. `given` are example tuples of relations, which count like facts. If the
    program `is_partial`, nothing is concluded from types that its left-out items may decide.
    """
    inference = _Inference(names)
    inference.add_declarations()
    for part in (*program.facts, *program.rules):
        inference.add(part)
    for aggregate in aggregates:
        inference.add_aggregate(aggregate)
    inference.add_queries(program.queries, given)
    for relation, tuples in given.items():
        if relation in inference.columns:
            for values in tuples:
                inference.add_given(relation, values)
    inference.settle_all(is_partial)
    inference.check_casts(is_partial)
    relations = {name: _as_inferred(columns, is_partial) for name, columns in inference.columns.items()}
    return Types(relations, inference.expressions, inference.wrong, is_partial), inference.problems


@dataclass(slots=True)
class _Columns:
    types: list[_TypeVariable]
    span: Span | None


def _as_inferred(columns: _Columns, is_partial: bool) -> InferredRelation:
    found = [_find(column).types for column in columns.types]
    settled = tuple(not is_partial or len(types) == 1 for types in found)
    return InferredRelation(tuple(map(choose_type, found)), columns.span, settled)


@record
class _Arithmetic:
    """An operation `+ - * / %`, with the types of its operands and its result."""

    expression: ast.Binary
    left: _TypeVariable
    right: _TypeVariable
    result: _TypeVariable


@dataclass(slots=True)
class _Inference:
    names: Names
    columns: dict[str, _Columns] = field(default_factory=dict)
    variables: dict[tuple[int, str], _TypeVariable] = field(default_factory=dict)
    expressions: dict[int, _TypeVariable] = field(default_factory=dict)
    casts: list[tuple[ast.Cast, _TypeVariable]] = field(default_factory=list)
    unsettled: list[_Arithmetic] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    wrong: set[int] = field(default_factory=set)
    is_wrong: bool = False

    def add_declarations(self) -> None:
        """Gives declared relations, and the arguments of terms that are constants, their types."""
        for relation in self.names.relations.values():
            columns = [_TypeVariable(TypeSet({type}), relation.span) for type in relation.columns]
            self.columns[relation.name] = _Columns(columns, relation.span)
        for value in self.names.constants.values():
            if isinstance(value, ast.Application):
                self.infer(value, _NO_SCOPE)

    def add_queries(self, queries: Mapping[str, Span], given: Mapping[str, Sequence[tuple[Value, ...]]]) -> None:
        """Adds relations that only a query mentions; without facts from Python they are empty, of any columns."""
        for name, span in queries.items():
            if name not in self.columns:
                self.columns_of(name, len(next(iter(given.get(name, ())), ())), span)

    def add(self, part: CoreFact | CoreRule) -> None:
        """Infers a fact or rule, and notes whether it has a problem, also one that another rule has reported before."""
        self.is_wrong = False
        if isinstance(part, CoreRule):
            self.add_rule(part)
        else:
            self.add_fact(part)
        if self.is_wrong:
            self.wrong.add(id(part))

    def add_fact(self, fact: CoreFact) -> None:
        columns = self.columns_of(fact.relation, len(fact.values), fact.span)
        for value, column in zip(fact.values, columns, strict=False):
            if isinstance(value, ast.Application):
                self.unify(self.infer(value, _NO_SCOPE), column, value.span)
                continue
            types = literal_types(value)
            if not _find(column).types <= types:
                self.unify(_TypeVariable(types, value.span), column, value.span)

    def add_rule(self, rule: CoreRule) -> None:
        for literal in rule.body:
            if isinstance(literal, BodyAtom):
                self.add_atom(literal.atom.name, literal.atom.arguments, rule.scope, literal.atom.span)
            elif isinstance(literal, BodyCase):
                self.narrow(self.infer(literal.subject, rule.scope), ENTITY, literal.subject.span)
                self.add_arguments(literal.constructor, literal.arguments, rule.scope)
            elif isinstance(literal, BodyForeign):
                self.add_foreign(literal, rule.scope)
            else:
                self.narrow(self.infer(literal, rule.scope), BOOL, literal.span)
        self.add_atom(rule.relation, rule.head, rule.scope, rule.span)
        for name in () if rule.choice is None else rule.choice.bindings:
            self.infer(name, rule.scope)
        for tag in rule.tags:
            self.narrow(self.infer(tag, rule.scope), TAGS, tag.span)

    def add_aggregate(self, aggregate: CoreAggregate) -> None:
        """Applies the types that an aggregate gives to its groups and results and requires of its bindings."""
        span = aggregate.span
        num_keys, num_arguments = len(aggregate.keys), len(aggregate.arguments)
        body = self.columns[aggregate.body].types
        keys, arguments, values = (
            body[:num_keys],
            body[num_keys : num_keys + num_arguments],
            body[num_keys + num_arguments :],
        )
        groups = keys if aggregate.domain is None else self.columns[aggregate.domain].types
        for name, key in zip(aggregate.keys, keys, strict=True):
            self.unify(key, groups[aggregate.groups.index(name)], span)
        foreign = self.names.library.aggregates.get(aggregate.op)
        if foreign is not None:
            generics = [_TypeVariable(family) for family in foreign.signature.generics]
            for parameter, binding, value in zip(foreign.signature.parameters, aggregate.bindings, values, strict=True):
                if binding.type is not None:
                    self.narrow(value, TypeSet({self.names.type(binding.type)}), binding.span)
                self.fit(value, parameter, foreign.signature, generics, binding.span)
            results = [generics[r] if isinstance(r, int) else _TypeVariable(r, span) for r in foreign.results]
            self.add_results(aggregate, groups, results)
            return
        aggregator = AGGREGATORS[aggregate.op]
        for binding, value in zip(aggregate.bindings, values, strict=True):
            if binding.type is not None:
                self.narrow(value, TypeSet({self.names.type(binding.type)}), binding.span)
            self.narrow(value, AGGREGATED[aggregator.values], binding.span)
        results: list[_TypeVariable] = []
        for kind in aggregator.results:
            match kind:
                case "arguments":
                    results += arguments
                case "values":
                    results += values
                case _:
                    results.append(_TypeVariable(USIZE if kind == "usize" else BOOL, span))
        self.add_results(aggregate, groups, results)

    def add_results(
        self, aggregate: CoreAggregate, groups: Sequence[_TypeVariable], results: Sequence[_TypeVariable]
    ) -> None:
        columns = self.columns_of(aggregate.relation, len(groups) + len(results), aggregate.span)
        for given, column in zip([*groups, *results], columns, strict=True):
            self.unify(given, column, aggregate.span)

    def add_given(self, relation: str, values: tuple[Value, ...]) -> None:
        columns = self.columns[relation].types
        if len(values) != len(columns):
            self.report(
                f"`{relation}` has {counted(len(columns), 'column')}, but a given fact has {len(values)}: {values}"
            )
            return
        for i, (value, column) in enumerate(zip(values, columns, strict=True)):
            target = _find(column)
            possible = admitting(target.types, value)
            if not possible:
                self.report(
                    f"column {i + 1} of `{relation}` is {describe_types(target.types)}, but a given fact has {value!r}",
                    None,
                    _because(target.reason),
                )
                return
            target.types = possible

    def add_atom(self, relation: str, arguments: Sequence[ast.Expression], scope: int, span: Span) -> None:
        columns = self.columns_of(relation, len(arguments), span)
        for argument, column in zip(arguments, columns, strict=False):
            if not isinstance(argument, ast.Wildcard):
                self.unify(self.infer(argument, scope), column, argument.span)

    def add_arguments(self, constructor: str, arguments: Sequence[ast.Expression], scope: int) -> None:
        """Gives the arguments of a constructor their declared types."""
        variant = self.names.variants[constructor]
        for argument, type in zip(arguments, variant.columns, strict=True):
            if not isinstance(argument, ast.Wildcard):
                self.unify(self.infer(argument, scope), _TypeVariable(TypeSet({type}), variant.span), argument.span)

    def add_foreign(self, literal: BodyForeign, scope: int) -> None:
        signature = self.names.library.predicates[literal.predicate].signature
        inferred = []
        for argument in literal.arguments:
            if isinstance(argument, ast.Wildcard):
                self.expressions[id(argument)] = _TypeVariable(ANY)
            inferred.append(self.infer(argument, scope))
        generics = [_TypeVariable(family) for family in signature.generics]
        if literal.type is not None:
            if not signature.is_generic:
                self.report(f"`{signature.name}` has no type parameter", literal.type.span, f"it is `{signature.text}`")
            elif len(signature.generics) != 1:
                self.report(f"`{signature.name}` has several type parameters", literal.type.span, "leave them out")
            elif self.names.type(literal.type) not in signature.generics[0]:
                known = describe_types(signature.generics[0])
                message = f"`{signature.name}` is of {known}, not of `{literal.type.name}`"
                self.report(message, literal.type.span, f"it is `{signature.text}`")
                return
            else:
                self.narrow(generics[0], TypeSet({self.names.type(literal.type)}), literal.type.span)
        self.apply(signature, signature.text, literal.arguments, inferred, generics, literal.span)

    def columns_of(self, relation: str, arity: int, span: Span) -> list[_TypeVariable]:
        """The columns of a relation; empty, with an error reported, if their number is wrong."""
        if relation not in self.columns:
            self.columns[relation] = _Columns([_TypeVariable(ANY) for _ in range(arity)], span)
        columns = self.columns[relation]
        if len(columns.types) == arity:
            return columns.types
        message = f"`{relation}` has {counted(len(columns.types), 'column')}, found {counted(arity, 'argument')}"
        hint = None if columns.span is None else f"it is first used, or declared, at {columns.span.place}"
        self.report(message, span, hint)
        return []

    def infer(self, expression: ast.Expression, scope: int) -> _TypeVariable:
        """The type variable of an expression; its parts are inferred with it, each once."""
        if id(expression) not in self.expressions:
            self.expressions[id(expression)] = self.infer_parts(expression, scope)
        return self.expressions[id(expression)]

    def infer_parts(self, expression: ast.Expression, scope: int) -> _TypeVariable:
        match expression:
            case ast.Constant(span=span):
                return _TypeVariable(literal_types(expression), span)
            case ast.Name(name=name):
                return self.variables.setdefault((scope, name), _TypeVariable(ANY))
            case ast.Unary(op=op, operand=operand):
                variable = self.infer(operand, scope)
                self.narrow(variable, BOOL if op == "!" else NUMBERS, operand.span)
                return variable
            case ast.Binary():
                return self.infer_binary(expression, scope)
            case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
                self.narrow(self.infer(condition, scope), BOOL, condition.span)
                variable = self.infer(then, scope)
                self.unify(self.infer(otherwise, scope), variable, otherwise.span)
                return variable
            case ast.Cast(operand=operand, type=type, span=span):
                inferred, target = self.infer(operand, scope), self.names.type(type)
                if _is_large(operand) and target.is_number:
                    # A number that is too large for the default type has the type to which it is cast.
                    self.narrow(inferred, TypeSet({target}), operand.span)
                self.casts.append((expression, inferred))
                return _TypeVariable(TypeSet({target}), span)
            case ast.Application(name=name, arguments=arguments, span=span):
                self.add_arguments(name, arguments, scope)
                return _TypeVariable(ENTITY, span)
            case ast.New(constructor=name, arguments=arguments, span=span):
                self.add_arguments(name, arguments, scope)
                return _TypeVariable(ENTITY, span)
            case ast.Call(function=function, arguments=arguments, span=span):
                inferred = [self.infer(argument, scope) for argument in arguments]
                if function == "format":
                    self.check_format(expression)
                signature = self.names.library.functions[function].signature
                generics = [_TypeVariable(family) for family in signature.generics]
                return self.apply(signature, f"${signature.text}", arguments, inferred, generics, span)
            case ast.Wildcard():
                raise AssertionError("refused before")
            case _:
                assert_never(expression)

    def apply(
        self,
        signature: Signature,
        shown: str,
        arguments: Sequence[ast.Expression],
        inferred: Sequence[_TypeVariable],
        generics: Sequence[_TypeVariable],
        span: Span,
    ) -> _TypeVariable:
        """The type of a call's result; `generics` are those of the type parameters, `shown` the signature in errors."""
        parameters = signature.parameters_of(len(arguments))
        if parameters is None:
            name = shown.partition("(")[0].partition("<")[0]
            message = f"`{name}` does not take {counted(len(arguments), 'argument')}"
            self.report(message, span, f"it is `{shown}`")
            parameters = ()
        for argument, variable, parameter in zip(arguments, inferred, parameters, strict=False):
            self.fit(variable, parameter, signature, generics, argument.span)
        return (
            generics[signature.result] if isinstance(signature.result, int) else _TypeVariable(signature.result, span)
        )

    def fit(
        self,
        variable: _TypeVariable,
        parameter: Parameter,
        signature: Signature,
        generics: Sequence[_TypeVariable],
        span: Span,
    ) -> None:
        """Makes the expression at `span` have the type of a parameter."""
        if not isinstance(parameter, int):
            self.narrow(variable, parameter, span)
        elif self.narrow(variable, signature.generics[parameter], span):
            self.unify(variable, generics[parameter], span)

    def check_format(self, call: ast.Call) -> None:
        """Reports a template that takes another number of values than it is given."""
        template = call.arguments[0] if call.arguments else None
        if isinstance(template, ast.Constant) and isinstance(template.value, str):
            places, given = num_placeholders(template.value), len(call.arguments) - 1
            if places != given:
                values = f"{counted(given, 'value')} {'is' if given == 1 else 'are'} given"
                message = f"the template has {places} `{{}}`, but {values}"
                self.report(message, call.span, "give one value for each `{}`")

    def infer_binary(self, expression: ast.Binary, scope: int) -> _TypeVariable:
        left, right = self.infer(expression.left, scope), self.infer(expression.right, scope)
        match expression.op:
            case "+" | "-" | "*" | "/" | "%":
                arithmetic = _Arithmetic(expression, left, right, _TypeVariable(ANY, None))
                if not self.settle(arithmetic):
                    self.unsettled.append(arithmetic)
                return arithmetic.result
            case "&&" | "||" | "^":
                self.narrow(left, BOOL, expression.left.span)
                self.narrow(right, BOOL, expression.right.span)
            case _:
                self.unify(right, left, expression.right.span)
        return _TypeVariable(BOOL, expression.span)

    def settle(self, arithmetic: _Arithmetic, *, is_last: bool = False) -> bool:
        """Infers an arithmetic operation once its kind is known (numbers, times or tensors); False while that is open.

        An operation on times or tensors has one on the left and gives one, and one on the right decides. If it
        `is_last`, an open operation is not one of times or tensors.
        """
        expression, left, right, result = arithmetic.expression, arithmetic.left, arithmetic.right, arithmetic.result
        sets = [_find(variable).types for variable in (left, right, result)]
        decided = any(types <= MIXED for types in sets)
        if expression.op == "%" or not sets[0] & MIXED or not sets[2] & MIXED or (is_last and not decided):
            allowed = ADDABLE if expression.op == "+" else NUMBERS
            if self.narrow(left, allowed, expression.left.span):
                self.unify(right, left, expression.right.span)
                self.unify(left, result, expression.span)
            return True
        if not decided:
            return False
        return self.settle_mixed(arithmetic, is_last)

    def settle_mixed(self, arithmetic: _Arithmetic, is_last: bool) -> bool:
        """Infers an operation on times or tensors; False while several combinations of types are possible."""
        expression = arithmetic.expression
        variables = arithmetic.left, arithmetic.right, arithmetic.result
        spans = expression.left.span, expression.right.span, expression.span
        possible = MIXED_OPERATIONS[expression.op]
        for i, (variable, span) in enumerate(zip(variables, spans, strict=True)):
            if not self.narrow(variable, TypeSet().union(*(types[i] for types in possible)), span):
                return True
            possible = [types for types in possible if types[i] & _find(variable).types]
        if len(possible) > 1 and not is_last:
            return False
        for variable, types, span in zip(variables, possible[0], spans, strict=True):
            self.narrow(variable, types, span)
        return True

    def settle_all(self, is_partial: bool) -> None:
        """Infers the open arithmetic operations: repeatedly while one settles others, then as numbers or texts."""
        while self.unsettled:
            waiting = [arithmetic for arithmetic in self.unsettled if not self.settle(arithmetic)]
            if len(waiting) == len(self.unsettled):
                if is_partial:
                    return
                first, *waiting = waiting
                self.settle(first, is_last=True)
            self.unsettled = waiting

    def narrow(self, variable: _TypeVariable, types: TypeSet, span: Span) -> bool:
        """Intersects the types of the expression at `span` with `types`; reports a conflict, and keeps them then."""
        target = _find(variable)
        if target.types <= types:
            return True
        common = target.types & types
        if not common:
            hint = None if target.reason == span else _because(target.reason)
            self.report_conflict(target.types, types, span, hint)
            return False
        target.types, target.reason = common, span
        return True

    def unify(self, variable: _TypeVariable, expected: _TypeVariable, span: Span) -> None:
        """Makes two variables one; reports a conflict at `span`, whose expression is `variable`."""
        left, right = _find(variable), _find(expected)
        if left is right:
            return
        common = left.types & right.types
        if not common:
            hint = _because(right.reason)
            if left.types <= NUMBERS and right.types <= NUMBERS and len(left.types) == len(right.types) == 1:
                wanted = f"convert one of the two with `as`: `({span.text}) as {choose_type(right.types)}`"
                hint = wanted if hint is None else f"{hint}; {wanted}"
            self.report_conflict(left.types, right.types, span, hint)
            return
        if common != right.types:
            right.reason = left.reason or span
        elif right.reason is None:
            right.reason = span
        left.forward, right.types = right, common

    def check_casts(self, is_partial: bool) -> None:
        for cast, variable in self.casts:
            types = _find(variable).types
            source, target = choose_type(types), self.names.type(cast.type)
            if not can_cast(source, target) and (len(types) == 1 or not is_partial):
                self.report(f"cannot cast `{source}` to `{target}`", cast.span, cast_hint(source, target))

    def report_conflict(self, found: TypeSet, needed: TypeSet, span: Span, hint: str | None) -> None:
        self.report(
            f"{_text(span)} is {describe_types(found)}, but {describe_types(needed)} is needed here", span, hint
        )

    def report(self, message: str, span: Span | None = None, hint: str | None = None) -> None:
        self.is_wrong = True
        diagnostic = Diagnostic(message, span, hint)
        if diagnostic not in self.problems:
            self.problems.append(diagnostic)


def _find(variable: _TypeVariable) -> _TypeVariable:
    while variable.forward is not None:
        # Path halving keeps chains of equal variables short.
        if variable.forward.forward is not None:
            variable.forward = variable.forward.forward
        variable = variable.forward
    return variable


def _is_large(expression: ast.Expression) -> bool:
    """Whether an expression is an integer beyond the bounds of the default type."""
    match expression:
        case ast.Constant(value=value, kind=ConstantKind.INTEGER, type=None):
            return not ValueType.I32.admits(value)
        case _:
            return False


def _text(span: Span) -> str:
    text = span.text
    return f"`{text}`" if "\n" not in text and len(text) <= 60 else "this"


def _because(reason: Span | None) -> str | None:
    return None if reason is None else f"the type comes from {_text(reason)} at {reason.place}"
