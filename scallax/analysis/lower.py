"""From sources to core form: the passes of the analysis in order."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from scallax.analysis.aggregates import HIDDEN, CoreAggregate, expand_aggregates
from scallax.analysis.aggregators import AGGREGATORS
from scallax.analysis.attributes import is_built_in
from scallax.analysis.boundness import bind_variables, unbound_in_head
from scallax.analysis.constants import literal_fits
from scallax.analysis.desugar import (
    BodyAtom,
    BodyForeign,
    CoreFact,
    CoreProgram,
    CoreRule,
    FactValue,
    desugar,
    unmentioned_names,
)
from scallax.analysis.entity_predicates import predict_first
from scallax.analysis.foreign_attributes import apply_attributes
from scallax.analysis.inference import Types, infer_types
from scallax.analysis.names import DeclaredVariant, Names, resolve_names
from scallax.analysis.patterns import BodyCase, check_constructors
from scallax.analysis.recovery import has_problem, understood_items
from scallax.errors import (
    Diagnostic,
    InputError,
    NameResolutionError,
    ParseError,
    Problem,
    Source,
    Span,
    TypeInferenceError,
    UnboundVariableError,
    counted,
    near_name,
)
from scallax.language import ir
from scallax.language.bindings import may_overflow
from scallax.language.foreign import ForeignAggregate, ForeignAttribute, ForeignFunction, ForeignItem, ForeignPredicate
from scallax.language.library import Library
from scallax.language.values import Value, ValueType, canonical_time
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.parser import parse
from scallax.syntax.printer import print_formula

# A literal that does not fit its type gets the first of these that holds it.
_WIDER_TYPES = (ValueType.I64, ValueType.I128, ValueType.U128)


def check(
    sources: Sequence[Source], given: Mapping[str, Sequence[tuple[Value, ...]]], library: Library
) -> tuple[ir.Program, list[Problem]]:
    """The program of all sources together, with those that they import (`syntax.imports`), and its problems.

    `given` are example tuples of relations whose facts come from Python. They count in type inference like written
    facts with these values; relations that the program never mentions are ignored. `library` holds the functions and
    other foreign items that the program may use; foreign attributes may add to it.

    Each stage gets only the items in which the stages before found no problem. So all problems are found that do not
    follow from others, and the returned program is the remaining part. Raises `ParseError` for texts, and
    `ForeignError`.
    """
    _check_library(library)
    written = _parse_all(sources)
    foreign = _find_foreign(written, library)
    items, library = apply_attributes(written, library)
    items, evidence = _evidence_as_rules(items)
    names, problems = _resolve(items, library, given)
    unsure: frozenset[str] = frozenset()
    if problems:
        items, unsure = understood_items(items, [problem for _, problem in problems])
        names, _ = _resolve(items, library, given)
    items, aggregates, found = expand_aggregates(items, names)
    problems += found
    core, found = desugar(items, names)
    problems += found
    if problems:
        aggregates = _sound_aggregates(aggregates, core)
    types, conflicts = infer_types(core, names, given, aggregates, is_partial=len(problems) > 0)
    problems += ((TypeInferenceError, conflict) for conflict in conflicts)
    defined = [*given, *(aggregate.relation for aggregate in aggregates)]
    undefined = _find_undefined(core, names, defined)
    core, outlines, unbound = _without_conflicts(core, types, conflicts, unsure | names.demands.keys())
    program, found = _lower(core, aggregates, types, names, undefined, unsure)
    problems += [*found, *unbound]
    if problems:
        return replace(program, rules=(*program.rules, *outlines)), problems
    return replace(predict_first(program), foreign=foreign, evidence=evidence), []


def _evidence_as_rules(items: Sequence[ast.Item]) -> tuple[list[ast.Item], tuple[ir.Evidence, ...]]:
    """The items with rules of hidden relations in the places of evidence, and these relations."""
    changed: list[ast.Item] = []
    evidence: list[ir.Evidence] = []
    for item in items:
        match item.declaration:
            case ast.Evidence(formula=formula, span=span):
                name = f"{HIDDEN}evidence{len(evidence)}"
                evidence.append(ir.Evidence(name, print_formula(formula), span))
                head = ast.Application(name, (), (), span)
                item = replace(item, declaration=ast.Rule((head,), formula, None, False, span))
        changed.append(item)
    return changed, tuple(evidence)


def _resolve(items: Sequence[ast.Item], library: Library, given: Collection[str]) -> tuple[Names, list[Problem]]:
    """The declarations, and the problems of names and of constructors in constants."""
    names, unknown = resolve_names(items, library, given)
    problems: list[Problem] = [(NameResolutionError, problem) for problem in unknown]
    for value in names.constants.values():
        problems += check_constructors(value, names)
    return names, problems


def _sound_aggregates(aggregates: Sequence[CoreAggregate], core: CoreProgram) -> list[CoreAggregate]:
    """The aggregates over relations that are still in the program."""
    relations = {rule.relation for rule in core.rules}
    return [
        aggregate
        for aggregate in aggregates
        if aggregate.body in relations and (aggregate.domain is None or aggregate.domain in relations)
    ]


def _without_conflicts(
    core: CoreProgram, types: Types, conflicts: Sequence[Diagnostic], given: Collection[str]
) -> tuple[CoreProgram, list[ir.Rule], list[Problem]]:
    """Removes the facts and rules with conflicts of types, and keeps what they certainly contribute.

    This is, for each of them, a rule that reads the same relations, without terms, and a problem for each variable of
    its head that nothing can bind. Relations in `given` may be given the values.
    """
    if not conflicts:
        return core, [], []
    rules: list[CoreRule] = []
    outlines: list[ir.Rule] = []
    problems: list[Problem] = []
    for rule in core.rules:
        if not types.is_wrong(rule) and not any(has_problem(span, conflicts) for span in _places(rule)):
            rules.append(rule)
            continue
        atoms = [literal for literal in rule.body if isinstance(literal, BodyAtom)]
        body = [(ir.NegatedAtom if each.is_negated else ir.Atom)(each.atom.name, (), each.span) for each in atoms]
        outlines.append(ir.Rule(rule.relation, (), tuple(body), span=rule.span))
        for name in () if rule.relation in given else unmentioned_names(rule):
            problems.append((UnboundVariableError, unbound_in_head(name.name, rule.relation, name.span)))
    facts = [fact for fact in core.facts if not types.is_wrong(fact)]
    return replace(core, facts=facts, rules=rules), outlines, problems


def _places(rule: CoreRule) -> list[Span]:
    """The places of a rule and of the literals in its body, of which some may come from another rule."""
    return [rule.span, *(literal.span for literal in rule.body)]


def _check_library(library: Library) -> None:
    taken = [f"aggregate `{name}`" for name in library.aggregates if name in AGGREGATORS]
    taken += [f"attribute `@{name}`" for name in library.attributes if is_built_in(name)]
    if taken:
        hint = "give the foreign one another name with `name=`"
        raise InputError(*(Diagnostic(f"the {what} is built in", hint=hint) for what in taken))


def _find_foreign(items: Sequence[ast.Item], library: Library) -> tuple[str, ...]:
    """The signatures of the foreign items that a program names, sorted."""
    if not library.items:
        return ()
    named: set[str] = set()
    for node in ast.walk(tuple(items)):
        match node:
            case ast.Call(function=name) | ast.FunctionType(name=name):
                named.add(f"${name}")
            case ast.Application(name=name) | ast.RelationType(name=name):
                named.add(name)
            case ast.Aggregate(op=name):
                named.add(f"{name}(")
            case ast.Attribute(name=name):
                named.add(f"@{name}")
    return tuple(sorted(str(item) for item in library.items if _written_name(item) in named))


def _written_name(item: ForeignItem) -> str:
    """The name of an item in programs, with the sign of its kind."""
    match item:
        case ForeignFunction(signature=signature):
            return f"${signature.name}"
        case ForeignPredicate(signature=signature):
            return signature.name.partition("<")[0]
        case ForeignAggregate(signature=signature):
            return f"{signature.name}("
        case ForeignAttribute(name=name):
            return f"@{name}"
        case _:
            assert_never(item)


def _parse_all(sources: Sequence[Source]) -> list[ast.Item]:
    items: list[ast.Item] = []
    problems: list[Diagnostic] = []
    for source in sources:
        # Sources are independent: the errors of all of them are reported together.
        try:
            items.extend(parse(source).items)
        except ParseError as error:
            problems.extend(error.diagnostics)
    if problems:
        raise ParseError(*problems)
    return items


def _find_undefined(core: CoreProgram, names: Names, given: Iterable[str]) -> dict[str, Diagnostic]:
    """A warning, by name, for each relation that nothing declares or fills, at its first atom or its query."""
    # Relations of atom queries are named by the atom as printed.
    written = [part.relation for part in (*core.facts, *core.rules) if "(" not in part.relation]
    defined = dict.fromkeys([*names.relations, *written, *given])
    read: dict[str, Span] = {}
    asked = {name: span for name, span in core.queries.items() if "(" not in name}
    for rule in core.rules:
        found = asked if rule.relation in core.queries else read
        for literal in rule.body:
            if isinstance(literal, BodyAtom):
                found.setdefault(literal.atom.name, literal.atom.span)
    warnings: dict[str, Diagnostic] = {}
    for relation, span in (read | {name: span for name, span in asked.items() if name not in read}).items():
        if relation in defined:
            continue
        near = near_name(relation, defined)
        if relation in read:
            message = (
                f"`{relation}` is empty: no declaration, fact or rule of it, and no facts or input mapping from Python"
            )
            hint = near or f"if it is meant to be empty, declare it: `type {relation}(…)`"
        else:
            message = f"the query is of an unknown relation `{relation}`: it has no rows"
            hint = near or "declare it, or give it facts or rules"
        warnings[relation] = Diagnostic(message, span, hint)
    return warnings


def _lower(
    core: CoreProgram,
    aggregates: Sequence[CoreAggregate],
    types: Types,
    names: Names,
    undefined: dict[str, Diagnostic],
    unsure: Collection[str],
) -> tuple[ir.Program, list[Problem]]:
    """The program in core form, values that do not fit their types, and unbound variables of relations not `unsure`."""
    problems: list[Diagnostic] = []
    facts = tuple(_lower_fact(fact, types, problems) for fact in core.facts)
    rules = tuple(_RuleLowering(types, names.variants, names.library, problems).rule(rule) for rule in core.rules)
    rules += tuple(_lower_aggregate(aggregate, types) for aggregate in aggregates)
    constants = [value for value in names.constants.values() if isinstance(value, ast.Application)]
    terms = tuple(dict.fromkeys(_term_text(constant, types, problems) for constant in constants))
    patterns, unfit = _demand_patterns(types, names)
    problems += unfit.values()
    relations = tuple(_lower_relations(core, types, names, patterns))
    demands = {relation.name: relation.demand for relation in relations if relation.demand}
    queries = tuple(ir.Query(name, span) for name, span in core.queries.items())
    variants = tuple(ir.Variant(variant.name, variant.columns) for variant in names.variants.values())
    bound, unbound = bind_variables(rules, demands, {*unsure, *unfit})
    found: list[Problem] = [(TypeInferenceError, problem) for problem in problems]
    found += [(UnboundVariableError, problem) for problem in unbound]
    program = ir.Program(
        relations,
        bound,
        facts,
        queries,
        variants,
        terms,
        names.files,
        names.answer_files,
        (*names.warnings, *undefined.values()),
        undefined=tuple(undefined.items()),
        library=names.library,
    )
    return program, found


def _demand_patterns(types: Types, names: Names) -> tuple[dict[str, str], dict[str, Diagnostic]]:
    """The patterns of bound columns by relation, and by relation those that do not fit it."""
    patterns: dict[str, str] = {}
    unfit: dict[str, Diagnostic] = {}
    for name, relation in types.relations.items():
        demand = names.demands.get(name)
        if demand is None:
            continue
        patterns[name] = demand.pattern
        if len(demand.pattern) != len(relation.columns):
            letters = counted(len(demand.pattern), "letter")
            message = f"the pattern `{demand.pattern}` of `{name}` has {letters}"
            hint = f"`{name}` has {counted(len(relation.columns), 'column')}: write a letter for each"
            unfit[name] = Diagnostic(message, demand.span, hint)
    return {name: pattern for name, pattern in patterns.items() if name not in unfit}, unfit


def _lower_relations(
    core: CoreProgram, types: Types, names: Names, patterns: Mapping[str, str]
) -> Iterator[ir.Relation]:
    for name, relation in types.relations.items():
        declared = names.relations.get(name)
        column_names = (None,) * len(relation.columns) if declared is None else declared.names
        hidden = name in names.hidden or name in core.hidden or name.startswith(HIDDEN)
        pattern = patterns.get(name, "")
        yield ir.Relation(name, relation.columns, column_names, hidden, pattern, span=relation.span)


def _lower_aggregate(aggregate: CoreAggregate, types: Types) -> ir.Rule:
    """The rule of an aggregate's relation; its single literal gives groups and results."""
    span = aggregate.span
    names = (*aggregate.keys, *aggregate.arguments, *(binding.name for binding in aggregate.bindings))
    columns = types.relations[aggregate.body].columns
    variables = [ir.Variable(name, type, span) for name, type in zip(names, columns, strict=True)]
    end = len(aggregate.keys) + len(aggregate.arguments)
    keys, arguments, values = variables[: len(aggregate.keys)], variables[len(aggregate.keys) : end], variables[end:]
    columns = types.relations[aggregate.relation].columns
    names = (*aggregate.groups, *(f"{HIDDEN}{i}" for i in range(len(columns) - len(aggregate.groups))))
    head = tuple(ir.Variable(name, type, span) for name, type in zip(names, columns, strict=True))
    groups, results = head[: len(aggregate.groups)], head[len(aggregate.groups) :]
    reduce = ir.Reduce(
        aggregate.op,
        aggregate.body,
        tuple(keys),
        tuple(arguments),
        tuple(values),
        aggregate.domain,
        groups,
        results,
        aggregate.parameters,
        aggregate.is_discrete,
        span,
    )
    return ir.Rule(aggregate.relation, head, (reduce,), None, span=span)


def _lower_fact(fact: CoreFact, types: Types, problems: list[Diagnostic]) -> ir.Fact:
    relation = types.relations[fact.relation]
    values = tuple(
        _value(value, type, is_settled, types, problems)
        for value, type, is_settled in zip(fact.values, relation.columns, relation.settled, strict=True)
    )
    return ir.Fact(fact.relation, values, fact.tag, fact.group, fact.span)


def _term_text(term: ast.Application, types: Types, problems: list[Diagnostic]) -> str:
    arguments = []
    for argument in term.arguments:
        assert isinstance(argument, FactValue)
        type = types.of(argument)
        value = _value(argument, type, types.is_settled(argument), types, problems)
        arguments.append(ir.print_value(value, type))
    return f"{term.name}({', '.join(arguments)})"


def _value(value: FactValue, type: ValueType, is_settled: bool, types: Types, problems: list[Diagnostic]) -> Value:
    """A literal as a value of its type, and a term as its text; reports a literal that does not fit a settled type."""
    if isinstance(value, ast.Application):
        return _term_text(value, types, problems)
    if is_settled and not literal_fits(value, type):
        low, high = type.bounds
        wider = next((f"`{t}`" for t in _WIDER_TYPES if literal_fits(value, t)), "`f64`, which rounds")
        hint = f"values of `{type}` go from {low} to {high}: declare another type, such as {wider}"
        problems.append(Diagnostic(f"{value.value} does not fit `{type}`", value.span, hint))
    if type.is_float and value.kind is ConstantKind.INTEGER:
        return float(value.value)
    if type.is_time:
        return canonical_time(str(value.value), type) or value.value
    return value.value


@dataclass(slots=True)
class _RuleLowering:
    """Lowers one rule: arguments that are expressions become variables with equalities."""

    types: Types
    variants: Mapping[str, DeclaredVariant]
    library: Library
    problems: list[Diagnostic]
    num_fresh: int = 0
    body: list[ir.BodyLiteral] = field(default_factory=list)

    def rule(self, rule: CoreRule) -> ir.Rule:
        for literal in rule.body:
            match literal:
                case BodyAtom(atom=atom, is_negated=is_negated, span=span):
                    self.atom(atom, ir.NegatedAtom if is_negated else ir.Atom, span)
                case BodyCase():
                    self.case(literal)
                case BodyForeign():
                    self.foreign(literal)
                case _:
                    self.body.append(ir.Constraint(self.expression(literal), literal.span))
        head = tuple(map(self.expression, rule.head))
        tag = None if rule.tag is None else self.expression(rule.tag)
        choice = None
        if rule.choice is not None:
            bindings = tuple(map(self.expression, rule.choice.bindings))
            probabilities = tuple(map(self.expression, rule.choice.probabilities))
            choice = ir.Choice(rule.choice.number, rule.choice.alternative, rule.choice.count, bindings, probabilities)
        return ir.Rule(rule.relation, head, tuple(self.body), tag, span=rule.span, choice=choice)

    def atom(self, atom: ast.Application, kind: Callable[..., ir.BodyLiteral], span: Span) -> None:
        columns = self.types.relations[atom.name].columns
        terms, equalities = self.terms(atom.name, atom.arguments, columns)
        literal = kind(atom.name, terms, span)
        if isinstance(literal, ir.NegatedAtom):
            literal = replace(literal, computed=_computed(terms, equalities))
        self.body += [literal, *equalities]

    def case(self, case: BodyCase) -> None:
        subject = self.expression(case.subject)
        assert isinstance(subject, ir.Variable | ir.Constant)
        terms, equalities = self.terms(case.constructor, case.arguments, self.variants[case.constructor].columns)
        self.body.append(ir.Case(subject, case.constructor, terms, case.span))
        self.body.extend(equalities)

    def foreign(self, literal: BodyForeign) -> None:
        name, num_inputs = literal.predicate, self.library.predicates[literal.predicate].num_inputs
        columns = [self.types.of(argument) for argument in literal.arguments]
        terms, equalities = self.terms(name, literal.arguments, columns)
        inputs, outputs = terms[:num_inputs], terms[num_inputs:]
        computed = _computed(outputs, equalities) if literal.is_negated else ()
        self.body.append(ir.ForeignAtom(name, inputs, outputs, literal.is_negated, literal.span, computed))
        self.body.extend(equalities)

    def terms(
        self, name: str, arguments: Sequence[ast.Expression], columns: Sequence[ValueType]
    ) -> tuple[tuple[ir.Term, ...], list[ir.Constraint]]:
        """The arguments of an atom, and the equalities of the variables that stand for expressions."""
        equalities: list[ir.Constraint] = []
        terms: list[ir.Term] = []
        for argument, type in zip(arguments, columns, strict=True):
            term = ir.Wildcard(type, argument.span)
            if not isinstance(argument, ast.Wildcard):
                term = self.expression(argument)
            if not isinstance(term, ir.Term):
                variable = ir.Variable(f"{name}#{self.num_fresh}", type, argument.span)
                self.num_fresh += 1
                equality = ir.Binary("==", variable, term, ValueType.BOOL, argument.span)
                equalities.append(ir.Constraint(equality, argument.span))
                term = variable
            terms.append(term)
        return tuple(terms), equalities

    def constant(self, value: FactValue, type: ValueType) -> ir.Constant:
        is_settled = self.types.is_settled(value)
        return ir.Constant(_value(value, type, is_settled, self.types, self.problems), type, value.span)

    def expression(self, expression: ast.Expression) -> ir.Expression:
        type = self.types.of(expression)
        span = expression.span
        match expression:
            case ast.Constant():
                return self.constant(expression, type)
            case ast.Name(name=name):
                return ir.Variable(name, type, span)
            case ast.Unary(op="+", operand=operand):
                return self.expression(operand)
            case ast.Unary(op=op, operand=operand):
                return ir.Unary(op, self.expression(operand), type, span)
            case ast.Binary(op=op, left=left, right=right):
                return ir.Binary(op, self.expression(left), self.expression(right), type, span)
            case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
                first, second, third = map(self.expression, (condition, then, otherwise))
                return ir.Conditional(first, second, third, type, span)
            case ast.Application():
                return self.constant(expression, type)
            case ast.New(constructor=constructor, arguments=arguments):
                return ir.New(constructor, tuple(map(self.expression, arguments)), type, span)
            case ast.Cast(operand=operand):
                return ir.Cast(self.expression(operand), type, span)
            case ast.Call(function=function, arguments=arguments):
                return ir.Call(function, tuple(map(self.expression, arguments)), type, span)
            case ast.Wildcard():
                raise AssertionError("refused before")
            case _:
                assert_never(expression)


def _computed(terms: Sequence[ir.Term], equalities: Sequence[ir.Constraint]) -> tuple[ir.Expression, ...]:
    """The expressions behind some terms, as far as they may leave their integer types."""
    sides = [part.condition for part in equalities if isinstance(part.condition, ir.Binary)]
    return tuple(side.right for side in sides if side.left in terms and may_overflow(side.right))
