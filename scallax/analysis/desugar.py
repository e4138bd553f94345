"""From syntax tree to core form: constants are replaced, bodies become alternatives, queries become rules."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from scallax.analysis.constants import Folding
from scallax.analysis.names import Names
from scallax.analysis.patterns import BodyCase, check_constructors, is_ground, read_pattern
from scallax.errors import (
    Diagnostic,
    Problem,
    ScallaxError,
    Span,
    TypeInferenceError,
    UnboundVariableError,
    UnsupportedError,
)
from scallax.language.predicates import INCLUSIVE_RANGE
from scallax.language.records import record
from scallax.language.tag_domains import ROUNDING
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.query_names import name_query

# A body with more alternatives is refused, because each becomes a rule.
_MOST_ALTERNATIVES = 4096

# A value of a fact: a literal, or a term of such values.
FactValue = ast.Constant | ast.Application


@record
class BodyAtom:
    """An atom or its negation; `span` includes the `not`."""

    atom: ast.Application
    is_negated: bool
    span: Span


@record
class BodyForeign:
    """An atom of a built-in or foreign predicate, or its negation; `type` is its type argument, if given."""

    predicate: str
    type: ast.TypeName | None
    arguments: tuple[ast.Expression, ...]
    is_negated: bool
    span: Span


# A constraint is an expression that is true.
BodyLiteral = BodyAtom | BodyCase | BodyForeign | ast.Expression


@record
class Choice:
    """One of the `count` alternatives of a disjunctive head; one holds for each binding of the variables.

    With `probabilities`, which are those of all of them, none may hold as well.
    """

    number: int
    alternative: int
    count: int
    bindings: tuple[ast.Name, ...]
    probabilities: tuple[ast.Expression, ...] = ()


@record
class CoreRule:
    """One rule in core form. Rules with one `scope` come from one written rule, and share their variables' types."""

    relation: str
    head: tuple[ast.Expression, ...]
    body: tuple[BodyLiteral, ...]
    tag: ast.Expression | None
    scope: int
    span: Span
    choice: Choice | None = None

    @property
    def tags(self) -> tuple[ast.Expression, ...]:
        """The tag of the rule and those of its alternatives."""
        own = () if self.tag is None else (self.tag,)
        return own if self.choice is None else (*own, *self.choice.probabilities)


@record
class CoreFact:
    """A fact of literals. Facts with the same `group` exclude each other."""

    relation: str
    values: tuple[FactValue, ...]
    tag: float | bool | None
    group: int | None
    span: Span


@record
class CoreProgram:
    """Facts and rules in the order of the text, the queries by name, and the relations that desugaring adds."""

    facts: list[CoreFact]
    rules: list[CoreRule]
    queries: dict[str, Span]
    hidden: set[str] = field(default_factory=set)


def desugar(items: Sequence[ast.Item], names: Names) -> tuple[CoreProgram, list[Problem]]:
    """The program in core form, without the items that have a problem, and these problems."""
    desugarer = _Desugarer(names)
    program = desugarer.program
    for item in items:
        num_facts, num_rules, num_problems = map(len, (program.facts, program.rules, desugarer.problems))
        desugarer.add(item.declaration)
        if len(desugarer.problems) > num_problems:
            del program.facts[num_facts:], program.rules[num_rules:]
    return program, desugarer.problems


@dataclass(slots=True)
class _Desugarer:
    names: Names
    program: CoreProgram = field(default_factory=lambda: CoreProgram([], [], {}))
    problems: list[Problem] = field(default_factory=list)
    num_groups: int = 0
    num_scopes: int = 0
    num_patterns: int = 0
    num_choices: int = 0

    def add(self, declaration: ast.Declaration) -> None:
        match declaration:
            case ast.FactSet():
                self.add_fact_set(declaration)
            case ast.Fact(atom=atom, tag=tag, span=span):
                self.add_fact(atom.name, atom.arguments, tag, None, span)
            case ast.Rule():
                self.add_rule(declaration)
            case ast.Query(target=target, span=span):
                self.add_query(target, span)

    def report(self, kind: type[ScallaxError], message: str, span: Span, hint: str | None = None) -> None:
        self.problems.append((kind, Diagnostic(message, span, hint)))

    def add_fact_set(self, facts: ast.FactSet) -> None:
        group = None
        if facts.is_exclusive:
            group = self.num_groups
            self.num_groups += 1
            if not all(self.is_literal_element(element) for element in facts.elements):
                self.add_computed_alternatives(facts, group)
                return
        for element in facts.elements:
            self.add_fact(facts.relation, element.values, element.tag, group, element.span)

    def is_literal_element(self, element: ast.Element) -> bool:
        """Whether an element's values are constants."""
        return all(is_ground(value, self.names) for value in element.values)

    def add_computed_alternatives(self, facts: ast.FactSet, group: int) -> None:
        """Adds exclusive elements of which some must be computed: exclusive numbers stand for them."""
        relation = self.fresh_name().replace("#", "alternative#")
        self.program.hidden.add(relation)
        for number, element in enumerate(facts.elements):
            span = element.span
            literal = ast.Constant(number, ConstantKind.INTEGER, span)
            self.add_fact(relation, (literal,), element.tag, group, span)
            self.num_scopes += 1
            cases: list[BodyLiteral] = []
            values = tuple(
                self.expression(value if is_ground(value, self.names) else self.match_pattern(value, cases))
                for value in element.values
            )
            self.check_no_variables(values, cases)
            atom = BodyAtom(ast.Application(relation, (literal,), (), span), False, span)
            core_rule = CoreRule(facts.relation, values, (atom, *cases), None, self.num_scopes, span)
            self.program.rules.append(core_rule)

    def check_no_variables(self, values: Sequence[ast.Expression | None], cases: Sequence[BodyLiteral]) -> None:
        bound = {name.name for case in cases for name in _names(_case_parts(case))}
        for name in _names(values):
            if name.name not in bound:
                hint = f"declare `const {name.name} = …`, or give the rule a body that binds `{name.name}`"
                if name.name in ("True", "False"):
                    hint = f"write `{name.name.lower()}`"
                message = f"`{name.name}` is no constant: a fact has no variables"
                self.report(UnboundVariableError, message, name.span, hint)

    def add_fact(
        self,
        relation: str,
        arguments: Sequence[ast.Expression],
        tag: ast.Expression | None,
        group: int | None,
        span: Span,
    ) -> None:
        """Adds a fact of literals; a fact that must be computed becomes a rule with an empty body."""
        cases: list[BodyLiteral] = []
        if group is None:
            arguments = [
                argument if is_ground(argument, self.names) else self.match_pattern(argument, cases)
                for argument in arguments
            ]
        values = tuple(self.expression(argument) for argument in arguments)
        tag = None if tag is None else self.expression(tag)
        if group is not None and tag is not None:
            tag = self.constant_tag(tag)
        literals = tuple(value for value in values if isinstance(value, FactValue))
        self.check_no_variables((*values, tag), cases)
        if len(literals) == len(values) and not cases and (tag is None or isinstance(tag, ast.Constant)):
            self.program.facts.append(CoreFact(relation, literals, self.tag(tag), group, span))
        else:
            self.num_scopes += 1
            self.program.rules.append(CoreRule(relation, values, tuple(cases), tag, self.num_scopes, span))

    def constant_tag(self, tag: ast.Expression) -> ast.Constant:
        """The tag of an alternative, computed here from numbers and constants."""
        if isinstance(tag, ast.Constant):
            return tag
        num_problems = len(self.problems)

        def report(message: str, span: Span, hint: str | None) -> None:
            self.report(TypeInferenceError, message, span, hint)

        # Constants have been replaced before.
        found = Folding(lambda name: None, self.names.type, report).fold(tag)
        if found is not None and isinstance(found.value, int | float) and math.isfinite(found.value):
            return found
        if not isinstance(tag, ast.Wildcard) and len(self.problems) == num_problems:
            hint = "compute it from numbers and constants by `+ - * /`, comparisons and `if`"
            self.report(UnsupportedError, "the tag of an alternative is no constant number", tag.span, hint)
        return ast.Constant(1.0, ConstantKind.FLOAT, tag.span)

    def tag(self, literal: ast.Constant | None) -> float | bool | None:
        if literal is None or isinstance(literal.value, bool):
            return None if literal is None else bool(literal.value)
        if literal.kind not in (ConstantKind.INTEGER, ConstantKind.FLOAT):
            self.report(
                TypeInferenceError, "the tag is neither a number nor a bool", literal.span, "write it as in `0.5::p(1)`"
            )
            return None
        return float(literal.value)

    def add_rule(self, rule: ast.Rule) -> None:
        self.num_scopes += 1
        tag = None if rule.tag is None else self.expression(rule.tag)
        probabilities = tuple(map(self.expression, rule.probabilities))
        self.check_sum(probabilities)
        heads = []
        for head in rule.heads:
            cases: list[BodyLiteral] = []
            arguments = tuple(self.expression(self.match_pattern(argument, cases)) for argument in head.arguments)
            heads.append((head.name, arguments, tuple(cases)))
        bodies = self.alternatives(rule.body)
        is_chosen = len(probabilities) > 0
        if (tag is not None and (len(heads) > 1 or is_chosen)) or (is_chosen and len(bodies) > 1):
            bodies, tag = self.shared_body(bodies, tag, rule.span), None
        for number, body in enumerate(bodies, start=self.num_choices):
            bindings = tuple(ast.Name(name, span) for name, span in _bound_names(body).items())
            for alternative, (relation, head, cases) in enumerate(heads):
                choice = None
                if rule.is_disjunctive:
                    choice = Choice(number, alternative, len(heads), bindings, probabilities)
                core_rule = CoreRule(relation, head, (*body, *cases), tag, self.num_scopes, rule.span, choice)
                self.program.rules.append(core_rule)
        self.num_choices += len(bodies)

    def check_sum(self, probabilities: Sequence[ast.Expression]) -> None:
        """Reports probabilities of alternatives whose constants alone add up to more than 1."""
        folding = Folding(lambda name: None, self.names.type, lambda *_: None)
        found = [folding.fold(tag) for tag in probabilities]
        total = math.fsum(tag.value for tag in found if tag is not None and isinstance(tag.value, int | float))
        if total > 1 + ROUNDING:
            span = probabilities[0].span.to(probabilities[-1].span)
            message = f"the probabilities of the alternatives add up to {total:g}, more than 1"
            hint = "at most one alternative holds; heads of rules of their own do not exclude each other"
            self.report(UnsupportedError, message, span, hint)

    def shared_body(
        self, bodies: Sequence[tuple[BodyLiteral, ...]], tag: ast.Expression | None, span: Span
    ) -> list[tuple[BodyLiteral, ...]]:
        """An atom of a hidden relation in the place of a body: all heads then share one event for each tuple."""
        bound = [_bound_names(body) for body in bodies]
        first = bound[0] if bound else {}
        shared = {name: span for name, span in first.items() if all(name in names for names in bound)}
        relation = self.fresh_name().replace("#", "body#")
        self.program.hidden.add(relation)
        arguments = tuple(ast.Name(name, span) for name, span in shared.items())
        for body in bodies:
            self.program.rules.append(CoreRule(relation, arguments, body, tag, self.num_scopes, span))
        return [(BodyAtom(ast.Application(relation, arguments, (), span), False, span),)] if bodies else []

    def add_query(self, target: ast.Name | ast.Application, span: Span) -> None:
        """Adds a query. A query of an atom becomes a relation of the matching tuples, named by the printed atom."""
        name = name_query(target)
        if name in self.program.queries:
            return
        self.program.queries[name] = target.span
        if isinstance(target, ast.Application):
            self.num_scopes += 1
            cases: list[BodyLiteral] = []
            arguments = tuple(
                ast.Name(f"#{i}", argument.span)
                if isinstance(argument, ast.Wildcard)
                else self.expression(
                    argument if is_ground(argument, self.names) else self.match_pattern(argument, cases)
                )
                for i, argument in enumerate(target.arguments)
            )
            body = (BodyAtom(replace(target, arguments=arguments), False, target.span), *cases)
            self.program.rules.append(CoreRule(name, arguments, body, None, self.num_scopes, span))

    def alternatives(self, formula: ast.Formula, negated: bool = False) -> list[tuple[BodyLiteral, ...]]:
        """The disjunctive normal form of a formula, or of its negation: negation is pushed down to atoms."""
        match formula:
            case ast.Not(operand=ast.Application() as atom, span=span):
                return [self.atom(atom, not negated, span)]
            case ast.Not(operand=operand):
                return self.alternatives(operand, not negated)
            case ast.Implies(condition=condition, conclusion=conclusion, span=span):
                return self.alternatives(ast.Or((ast.Not(condition, span), conclusion), span), negated)
            case ast.And(operands=operands, span=span) | ast.Or(operands=operands, span=span):
                parts = [self.alternatives(operand, negated) for operand in operands]
                if isinstance(formula, ast.And) == negated:
                    return [alternative for part in parts for alternative in part]
                return self.conjunctions(parts, span)
            case ast.Application(span=span):
                return [self.atom(formula, negated, span)]
            case ast.Case(span=span):
                return [self.case(formula, negated, span)]
            case ast.RangeOver(name=name, start=start, stop=stop, is_inclusive=is_inclusive, span=span):
                bounds = (self.expression(start), self.expression(stop))
                variable = self.expression(ast.Name(name, Span(span.source, span.start, span.start + len(name))))
                predicate = INCLUSIVE_RANGE if is_inclusive else "range"
                return [(BodyForeign(predicate, None, (*bounds, variable), negated, span),)]
            case ast.Reduce() | ast.Quantified():
                raise AssertionError("rejected as unsupported before")
            case _:
                condition = self.expression(formula)
                return [(_complement(condition) if negated else condition,)]

    def atom(self, atom: ast.Application, negated: bool, span: Span) -> tuple[BodyLiteral, ...]:
        """The atom, with a case for each pattern in it."""
        cases: list[BodyLiteral] = []
        arguments = tuple(
            argument if isinstance(argument, ast.Wildcard) else self.expression(self.match_pattern(argument, cases))
            for argument in atom.arguments
        )
        body = BodyAtom(replace(atom, arguments=arguments), False, span)
        predicate = self.names.predicate(atom)
        if predicate is not None:
            # Type arguments that belong to the predicate's name have no further meaning.
            types = [parameter.value for parameter in atom.parameters if predicate == atom.name]
            type = (
                ast.TypeName(types[0].name, types[0].span) if types and not isinstance(types[0], ast.Constant) else None
            )
            body = BodyForeign(predicate, type, arguments, False, span)
        if not negated:
            return body, *cases
        return self.negation((body, *cases), span) if cases else (replace(body, is_negated=True),)

    def case(self, case: ast.Case, negated: bool, span: Span) -> tuple[BodyLiteral, ...]:
        """A case as cases of one constructor each, or as an equality if it matches a constant."""
        subject = self.expression(ast.Name(case.name, span))
        if not isinstance(case.pattern, ast.Application):
            equality = ast.Binary("==", subject, self.expression(case.pattern), span)
            return (_complement(equality) if negated else equality,)
        literals: list[BodyLiteral] = []
        variable = self.match_pattern(case.pattern, literals, subject)
        if isinstance(subject, ast.Application):
            literals.append(ast.Binary("==", variable, subject, span))
        return self.negation(tuple(literals), span) if negated else tuple(literals)

    def match_pattern(
        self, argument: ast.Expression, cases: list[BodyLiteral], subject: ast.Expression | None = None
    ) -> ast.Expression:
        """A variable in the place of a pattern, which `cases` then match; other expressions stay as they are."""
        if not isinstance(argument, ast.Application):
            return argument
        if not isinstance(subject, ast.Name):
            subject = ast.Name(self.fresh_name(), argument.span)
        if not self.check_constructors(argument):
            return subject
        for case in read_pattern(subject, argument, iter(self.fresh_name, None)):
            arguments = tuple(
                part if isinstance(part, ast.Wildcard) else self.expression(part) for part in case.arguments
            )
            cases.append(replace(case, arguments=arguments))
        return subject

    def negation(self, body: tuple[BodyLiteral, ...], span: Span) -> tuple[BodyLiteral, ...]:
        """A negated hidden relation: a conjunction holds for no values of its own variables."""
        parts = [part for literal in body for part in _case_parts(literal)]
        names = {name.name: name for name in _names(parts) if not name.name.startswith("#")}
        relation = self.fresh_name().replace("#", "not#")
        self.program.hidden.add(relation)
        head = tuple(names.values())
        self.program.rules.append(CoreRule(relation, head, body, None, self.num_scopes, span))
        arguments = tuple(ast.Name(name.name, name.span) for name in head)
        return (BodyAtom(ast.Application(relation, arguments, (), span), True, span),)

    def fresh_name(self) -> str:
        self.num_patterns += 1
        # The wildcards of a query are `#0`, `#1` and so on.
        return f"#p{self.num_patterns}"

    def check_constructors(self, expression: ast.Expression) -> bool:
        """Whether every constructor in an expression is known and has all its arguments; reports the others."""
        found = check_constructors(expression, self.names)
        self.problems += found
        return not found

    def conjunctions(
        self, parts: Sequence[Sequence[tuple[BodyLiteral, ...]]], span: Span
    ) -> list[tuple[BodyLiteral, ...]]:
        """Every selection of one alternative from each part."""
        count = 1
        for part in parts:
            count *= len(part)
        if count > _MOST_ALTERNATIVES:
            message = f"the body has {count} alternatives when multiplied out, more than {_MOST_ALTERNATIVES}"
            self.report(UnsupportedError, message, span, "give its parts names: rules with heads of their own")
            return []
        return [tuple(literal for part in choice for literal in part) for choice in product(*parts)]

    def expression(self, expression: ast.Expression) -> ast.Expression:
        """The expression with constants in the place of their names; reports relations and wildcards inside."""
        return _Constants(self.names.constants, self).put_in(expression)


@record
class _Constants:
    values: Mapping[str, FactValue]
    desugarer: _Desugarer

    def put_in(self, expression: ast.Expression) -> ast.Expression:
        match expression:
            case ast.Name(name=name, span=span) if name in self.values:
                # A new literal at every use: without a type of its own, it takes the type that this use needs.
                return replace(self.values[name], span=span)
            case ast.Unary() | ast.Cast():
                return replace(expression, operand=self.put_in(expression.operand))
            case ast.Binary(left=left, right=right):
                return replace(expression, left=self.put_in(left), right=self.put_in(right))
            case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
                condition, then, otherwise = map(self.put_in, (condition, then, otherwise))
                return replace(expression, condition=condition, then=then, otherwise=otherwise)
            case ast.Call(arguments=arguments):
                return replace(expression, arguments=tuple(map(self.put_in, arguments)))
            case ast.Wildcard(span=span):
                hint = "give the value a name"
                self.desugarer.report(
                    UnboundVariableError, "`_` stands for no value: it is an argument of a body's atom only", span, hint
                )
                return expression
            case ast.Application(name=name, arguments=arguments) if name in self.desugarer.names.variants:
                if not is_ground(expression, self.desugarer.names):
                    hint = f"write `new {name}(…)` to make a term in a head, or `case … is {name}(…)` to match one"
                    self.desugarer.report(
                        TypeInferenceError, f"the arguments of `{name}` are not constants here", expression.span, hint
                    )
                elif self.desugarer.check_constructors(expression):
                    return replace(expression, arguments=tuple(map(self.put_in, arguments)))
                return ast.Wildcard(expression.span)
            case ast.New(arguments=arguments, span=span):
                if not self.desugarer.check_constructors(expression):
                    return ast.Wildcard(span)
                return replace(expression, arguments=tuple(self.put_in(_as_new(part)) for part in arguments))
            case ast.Application(name=name, span=span) if name[:1].isupper():
                self.desugarer.check_constructors(expression)
                return ast.Wildcard(span)
            case ast.Application(name=name, span=span):
                hint = f"bind its values in the body: `{name}(x)`, then use `x`"
                self.desugarer.report(
                    TypeInferenceError, f"relation `{name}` stands where a value is needed", span, hint
                )
                return ast.Wildcard(span)
            case _:
                return expression


def unmentioned_names(rule: CoreRule) -> list[ast.Name]:
    """The variables of a rule's head that its body does not mention, each at its first place."""
    mentioned = {name.name for name in _names([part for literal in rule.body for part in _case_parts(literal)])}
    found = {name.name: name for name in reversed(list(_names(rule.head)))}
    return [name for name in reversed(found.values()) if name.name not in mentioned and not name.name.startswith("#")]


def _complement(condition: ast.Expression) -> ast.Expression:
    if isinstance(condition, ast.Binary) and condition.op in ("==", "!="):
        return replace(condition, op="!=" if condition.op == "==" else "==")
    return ast.Unary("!", condition, condition.span)


def _as_new(expression: ast.Expression) -> ast.Expression:
    """The argument of a `new`: a constructor inside makes a term as well."""
    if isinstance(expression, ast.Application):
        return ast.New(expression.name, expression.arguments, expression.span)
    return expression


def _case_parts(literal: BodyLiteral) -> tuple[ast.Expression, ...]:
    match literal:
        case BodyAtom(atom=atom):
            return atom.arguments
        case BodyForeign(arguments=arguments):
            return arguments
        case BodyCase(subject=subject, arguments=arguments):
            return subject, *arguments
        case _:
            return (literal,)


def _bound_names(body: Sequence[BodyLiteral]) -> dict[str, Span]:
    """The variables of a body that occur outside of negations, with the place of each."""
    positive = [part for part in body if not (isinstance(part, BodyAtom | BodyForeign) and part.is_negated)]
    return {name.name: name.span for name in _names([part for literal in positive for part in _case_parts(literal)])}


def _names(expressions: Sequence[ast.Expression | None]) -> Iterator[ast.Name]:
    for node in ast.walk(tuple(expressions)):
        if isinstance(node, ast.Name):
            yield node
