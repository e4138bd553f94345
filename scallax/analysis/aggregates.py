"""Aggregates and quantifiers as atoms of relations of their own: what each aggregator takes, and its groups."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from scallax.analysis.names import Names
from scallax.errors import Diagnostic, NameResolutionError, Problem, ScallaxError, TypeInferenceError, near_name
from scallax.source import Span
from scallax.syntax import ast
from scallax.syntax.ast import LiteralKind
from scallax.values import Scalar

# Names that start with it are of relations and variables that no program can write.
HIDDEN = "#"


@dataclass(frozen=True, slots=True)
class Aggregator:
    """What an aggregator takes and gives.

    `results` are, in order, of the kinds `usize`, `bool`, `arguments` and `values` (all those, with their types), or
    `result`, one of a foreign aggregate's own types.
    `values` says what the bound values are: `any`, `number`, `float` or `String`; all but `any` take one. The types of
    `parameters` are by name, those of the first places positional; `needs` are those without a default.
    """

    results: tuple[str, ...]
    values: str = "any"
    least_values: int = 1
    most_values: int | None = None
    least_arguments: int = 0
    most_arguments: int | None = None
    may_be_discrete: bool = False
    parameters: tuple[tuple[str, type], ...] = ()
    needs: tuple[str, ...] = ()


_BEST = Aggregator(("arguments", "values"), may_be_discrete=True)
_WHERE_BEST = Aggregator(("arguments",), least_arguments=1, may_be_discrete=True)
_FOLD = Aggregator(("values",), "number", may_be_discrete=True)
_WEIGHTED = Aggregator(("values",), "float", may_be_discrete=True)
_TRUTH = Aggregator(("bool",), least_values=0, most_arguments=0, may_be_discrete=True)
_CHOICE = Aggregator(("values",), most_arguments=0, parameters=(("k", int),))
_RETAGGED = Aggregator(("values",), most_arguments=0)
_DIRECTION = (("desc", bool), ("asc", bool))

AGGREGATORS = {
    "count": Aggregator(("usize",), most_arguments=0, may_be_discrete=True),
    "sum": _FOLD,
    "prod": _FOLD,
    "avg": _FOLD,
    "weighted_sum": _WEIGHTED,
    "weighted_avg": _WEIGHTED,
    "min": _BEST,
    "max": _BEST,
    "argmin": _WHERE_BEST,
    "argmax": _WHERE_BEST,
    "exists": _TRUTH,
    "forall": replace(_TRUTH, may_be_discrete=False),
    "string_join": Aggregator(
        ("values",), "String", may_be_discrete=True, parameters=(("separator", str), ("all", bool))
    ),
    "sort": Aggregator(("usize", "arguments", "values"), parameters=_DIRECTION),
    "argsort": Aggregator(("usize", "arguments"), least_arguments=1, parameters=_DIRECTION),
    "enumerate": Aggregator(("usize", "values"), most_arguments=0),
    "rank": Aggregator(("usize", "values"), most_arguments=0, parameters=_DIRECTION),
    "unique": _RETAGGED,
    "top": _CHOICE,
    "uniform": replace(_CHOICE, needs=("k",)),
    "categorical": replace(_CHOICE, needs=("k",)),
    "normalize": _RETAGGED,
    "softmax": _RETAGGED,
    "disjunct": Aggregator(("arguments", "values")),
}


@dataclass(frozen=True, slots=True)
class CoreAggregate:
    """An aggregate over the tuples of a hidden relation.

    The columns of `body` are named `keys`, `arguments`, `bindings`; those of `domain`, the relation of the groups,
    `groups` (the keys if there is none). The columns of `relation` are groups and results.
    """

    relation: str
    op: str
    body: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    bindings: tuple[ast.Binding, ...]
    domain: str | None
    groups: tuple[str, ...]
    parameters: tuple[tuple[str, Scalar], ...]
    is_discrete: bool
    span: Span


def expand_aggregates(
    items: Sequence[ast.Item], names: Names
) -> tuple[list[ast.Item], list[CoreAggregate], list[Problem]]:
    """The items with an atom of a hidden relation for each aggregate, rules for their bodies, and the aggregates.

    Items with a problem are left out, and their problems come last.
    Without `where`, an aggregate is grouped by the variables that its body binds and the rule's head names. A
    quantifier is also grouped by those that the rest of the body binds: it holds or fails for each of their values,
    whether its own body has a tuple for them or not.
    """
    expansion = _Expansion(names)
    for item in items:
        num_items, num_aggregates, num_problems = map(len, (expansion.items, expansion.aggregates, expansion.problems))
        expansion.add(item)
        if len(expansion.problems) > num_problems:
            del expansion.items[num_items:], expansion.aggregates[num_aggregates:]
    return expansion.items, expansion.aggregates, expansion.problems


@dataclass(slots=True)
class _Expansion:
    names: Names
    items: list[ast.Item] = field(default_factory=list)
    aggregates: list[CoreAggregate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    num_bodies: int = 0

    def add(self, item: ast.Item) -> None:
        match item.declaration:
            case ast.ReduceRule(relation=relation, aggregate=aggregate, span=span):
                count = self.num_results(aggregate)
                results = tuple(f"{HIDDEN}{i}" for i in range(count))
                head = ast.Application(relation, tuple(ast.Name(name, span) for name in results), (), span)
                body = self.reduce(ast.Reduce(results, aggregate, aggregate.span), ())
                self.items.append(replace(item, declaration=ast.Rule((head,), body, None, False, span)))
            case ast.Rule(heads=heads, body=body) if _has_aggregate(body):
                body = self.formula(body, False, frozenset(self.variables(heads)), ())
                self.items.append(replace(item, declaration=replace(item.declaration, body=body)))
            case _:
                self.items.append(item)

    def report(self, kind: type[ScallaxError], message: str, span: Span, hint: str | None = None) -> None:
        problem = (kind, Diagnostic(message, span, hint))
        if problem not in self.problems:
            self.problems.append(problem)

    # Formulas -------------------------------------------------------------------------------------------------------

    def formula(
        self, formula: ast.Formula, negated: bool, heads: Collection[str], beside: tuple[ast.Formula, ...]
    ) -> ast.Formula:
        """The formula, or its negation, without aggregates; `beside` holds as well, and has none."""
        if not _has_aggregate(formula):
            return ast.Not(formula, formula.span) if negated else formula
        match formula:
            case ast.Reduce(span=span) if negated:
                message = "an aggregate cannot be negated"
                self.report(TypeInferenceError, message, span, "compare its result instead, such as `n != 0`")
                return formula
            case ast.Reduce():
                return self.reduce(formula, heads)
            case ast.Quantified(aggregate=aggregate):
                return self.quantifier(aggregate, negated, heads, beside)
            case ast.Not(operand=operand):
                return self.formula(operand, not negated, heads, beside)
            case ast.Implies(condition=condition, conclusion=conclusion, span=span):
                return self.formula(ast.Or((ast.Not(condition, span), conclusion), span), negated, heads, beside)
            case ast.And(operands=operands, span=span) | ast.Or(operands=operands, span=span):
                if isinstance(formula, ast.And) == negated:
                    return ast.Or(tuple(self.formula(o, negated, heads, beside) for o in operands), span)
                parts = [self.formula(o, negated, heads, beside) for o in operands if not _has_quantifier(o)]
                beside = (*beside, *parts)
                quantified = [self.formula(o, negated, heads, beside) for o in operands if _has_quantifier(o)]
                return ast.And((*parts, *quantified), span)
            case _:
                raise AssertionError("no other formula holds one")

    def reduce(self, reduce: ast.Reduce, heads: Collection[str]) -> ast.Formula:
        """The atom that gives an aggregate's results for the groups."""
        aggregate, span = reduce.aggregate, reduce.span
        aggregator, parameters = self.check(aggregate)
        if aggregator is None or parameters is None:
            return ast.And((), span)
        expected = self.num_results(aggregate)
        if len(reduce.results) != expected:
            shown = "a variable" if expected == 1 else f"{expected} variables"
            message = f"`{aggregate.op}` gives {expected} result{'' if expected == 1 else 's'}"
            self.report(
                TypeInferenceError, f"{message}, found {len(reduce.results)}", span, f"write {shown} before `:=`"
            )
            return ast.And((), span)
        results = tuple(
            ast.Wildcard(span) if name is None else self.names.constants.get(name, ast.Name(name, span))
            for name in reduce.results
        )
        body = self.body(aggregate, heads)
        if aggregate.grouping is not None:
            body = self.supply_groups(aggregate, aggregate.grouping, body, heads)
        keys = self.keys(aggregate, body, heads)
        relation, groups = self.grouped(aggregate, body, keys, heads, parameters)
        return self.atom(relation, groups, *results, span=span)

    def quantifier(
        self, aggregate: ast.Aggregate, negated: bool, heads: Collection[str], beside: tuple[ast.Formula, ...]
    ) -> ast.Formula:
        """A formula that holds where the quantifier, or its negation, does."""
        span = aggregate.span
        aggregator, parameters = self.check(aggregate)
        if aggregator is None or parameters is None:
            return ast.And((), span)
        value = ast.Literal(not negated, LiteralKind.BOOL, span)
        bound = self.bound(ast.And(beside, span))
        body = self.body(aggregate, {*heads, *bound})
        if aggregate.grouping is not None:
            body = self.supply_groups(aggregate, aggregate.grouping, body, heads)
            relation, groups = self.grouped(aggregate, body, self.keys(aggregate, body, heads), heads, ())
            return self.atom(relation, groups, value, span=span)
        body = self.supply(aggregate, body, bound, beside)
        keys = self.keys(aggregate, body, {*heads, *bound})
        rule = self.body_rule(aggregate, body, keys)
        holds = self.atom(self.aggregate(aggregate, rule, keys, None, keys, ()), keys, value, span=span)
        if not keys or (aggregate.op == "exists") != negated:
            return holds
        # Its negation, or `forall`, holds where the body has no tuple in this world, and where it has none in any.
        absent = ast.Not(self.possible(aggregate, rule, keys), span)
        if set(keys) <= bound:
            return ast.Or((absent, holds), span)
        if isinstance(aggregate.body, ast.Implies):
            # Nothing beside a `forall` says for which values: those that satisfy its condition.
            condition = self.formula(aggregate.body.condition, False, keys, ())
            there = self.possible_values(aggregate, condition, keys)
            return ast.Or((ast.And((there, absent), span), holds), span)
        return holds

    # Parts of an aggregate ------------------------------------------------------------------------------------------

    def body(self, aggregate: ast.Aggregate, outer: Collection[str]) -> ast.Formula:
        """The formula whose tuples are aggregated, without aggregates inside."""
        named = {*outer, *_own_names(aggregate), *_group_names(aggregate)}
        return self.formula(aggregate.body, aggregate.op == "forall", named, ())

    def keys(self, aggregate: ast.Aggregate, body: ast.Formula, outer: Collection[str]) -> tuple[str, ...]:
        """The variables that a body binds of those outside: by them it is grouped."""
        bound = self.bound(body)
        named = {*outer, *_group_names(aggregate)} - set(_own_names(aggregate))
        return tuple(name for name in dict.fromkeys(self.variables(body)) if name in bound and name in named)

    def supply(
        self, aggregate: ast.Aggregate, body: ast.Formula, names: Collection[str], source: tuple[ast.Formula, ...]
    ) -> ast.Formula:
        """The body with an atom for those of `names` that it uses and does not bind: of their possible values."""
        used = set(self.variables(body)) - self.bound(body, lists_terms=False) - set(_own_names(aggregate))
        lacking = tuple(name for name in names if name in used)
        if not lacking:
            return body
        values = self.possible_values(aggregate, ast.And(source, aggregate.span), lacking)
        return ast.And((values, body), aggregate.span)

    def supply_groups(
        self, aggregate: ast.Aggregate, grouping: ast.Grouping, body: ast.Formula, heads: Collection[str]
    ) -> ast.Formula:
        """The body with an atom for the groups of `where` that it uses and does not bind."""
        return self.supply(aggregate, body, _group_names(aggregate), (self.groups(aggregate, grouping, heads),))

    def groups(self, aggregate: ast.Aggregate, grouping: ast.Grouping, heads: Collection[str]) -> ast.Formula:
        """The formula that lists the groups of `where`, without aggregates inside."""
        return self.formula(grouping.body, False, {*heads, *_group_names(aggregate)}, ())

    def possible_values(
        self, aggregate: ast.Aggregate, formula: ast.Formula, names: tuple[str, ...]
    ) -> ast.Application:
        """An atom that holds, with certainty, for the values of `names` with which a formula can be true."""
        exists = replace(aggregate, op="exists", arguments=(), bindings=())
        return self.possible(exists, self.body_rule(exists, formula, names), names)

    def grouped(
        self,
        aggregate: ast.Aggregate,
        body: ast.Formula,
        keys: tuple[str, ...],
        heads: Collection[str],
        parameters: tuple[tuple[str, Scalar], ...],
    ) -> tuple[str, tuple[str, ...]]:
        """The relation of an aggregate's results, and its group columns: those of `where`, or else the keys."""
        domain, groups = None, keys
        if aggregate.grouping is not None:
            domain, groups = self.domain(aggregate, aggregate.grouping, heads)
            keys = tuple(key for key in keys if key in groups)
        rule = self.body_rule(aggregate, body, keys)
        return self.aggregate(aggregate, rule, keys, domain, groups, parameters), groups

    def domain(
        self, aggregate: ast.Aggregate, grouping: ast.Grouping, heads: Collection[str]
    ) -> tuple[str, tuple[str, ...]]:
        """The relation of the groups that `where` lists, with its columns."""
        relation = f"{HIDDEN}{aggregate.op}{self.num_bodies}.where"
        self.num_bodies += 1
        groups = _group_names(aggregate)
        body = self.groups(aggregate, grouping, heads)
        arguments = tuple(ast.Name(binding.name, binding.span) for binding in grouping.bindings)
        self.add_rule(relation, arguments, body, grouping.span)
        return relation, groups

    def possible(self, aggregate: ast.Aggregate, rule: str, keys: tuple[str, ...]) -> ast.Application:
        """An atom that holds, with certainty, for the keys of every tuple that can be."""
        exists = replace(aggregate, op="exists", is_discrete=True)
        true = ast.Literal(True, LiteralKind.BOOL, aggregate.span)
        return self.atom(self.aggregate(exists, rule, keys, None, keys, ()), keys, true, span=aggregate.span)

    def body_rule(
        self,
        aggregate: ast.Aggregate,
        body: ast.Formula,
        keys: Sequence[str],
    ) -> str:
        """Adds the rule that projects a body to keys, arguments and bindings; returns its relation."""
        span = aggregate.span
        own = [(name, span) for name in aggregate.arguments]
        own += [(binding.name, binding.span) for binding in aggregate.bindings]
        occurring = set(self.variables(body))
        for name, place in own:
            if name not in occurring:
                message = f"`{name}` does not occur in the body of `{aggregate.op}`"
                self.report(TypeInferenceError, message, place, f"mention `{name}` in an atom of the body")
        relation = f"{HIDDEN}{aggregate.op}{self.num_bodies}.body"
        self.num_bodies += 1
        arguments = tuple(ast.Name(name, place) for name, place in [*((key, span) for key in keys), *own])
        self.add_rule(relation, arguments, body, span)
        return relation

    def add_rule(self, relation: str, arguments: tuple[ast.Expression, ...], body: ast.Formula, span: Span) -> None:
        head = ast.Application(relation, arguments, (), span)
        self.items.append(ast.Item(ast.Rule((head,), body, None, False, span), ()))

    def aggregate(
        self,
        aggregate: ast.Aggregate,
        body: str,
        keys: tuple[str, ...],
        domain: str | None,
        groups: tuple[str, ...],
        parameters: tuple[tuple[str, Scalar], ...],
    ) -> str:
        relation = f"{HIDDEN}{aggregate.op}{len(self.aggregates)}{'!' if aggregate.is_discrete else ''}"
        self.aggregates.append(
            CoreAggregate(
                relation,
                aggregate.op,
                body,
                keys,
                aggregate.arguments,
                aggregate.bindings,
                domain,
                groups,
                parameters,
                aggregate.is_discrete,
                aggregate.span,
            )
        )
        return relation

    def atom(self, relation: str, groups: Sequence[str], *results: ast.Expression, span: Span) -> ast.Application:
        return ast.Application(relation, (*(ast.Name(name, span) for name in groups), *results), (), span)

    # Checks ---------------------------------------------------------------------------------------------------------

    def check(self, aggregate: ast.Aggregate) -> tuple[Aggregator, tuple[tuple[str, Scalar], ...]] | tuple[None, None]:
        """The aggregator and its parameters; None, with the problems reported, if it is none or does not fit."""
        op, span = aggregate.op, aggregate.span
        aggregator = self.aggregator(op)
        if aggregator is None:
            known = [*AGGREGATORS, *self.names.library.aggregates]
            hint = near_name(op, known) or f"there are {', '.join(f'`{name}`' for name in known)}"
            self.report(NameResolutionError, f"unknown aggregate `{op}`", span, hint)
            return None, None
        before = len(self.problems)
        if aggregate.is_discrete and not aggregator.may_be_discrete:
            self.report(TypeInferenceError, f"`{op}` has no form with `!`", span, f"write `{op}` without the `!`")
        count = len(aggregate.arguments)
        if count < aggregator.least_arguments:
            message = f"`{op}` needs an argument in brackets"
            self.report(TypeInferenceError, message, span, f"name what to return: `{op}[a](…)`")
        if aggregator.most_arguments is not None and count > aggregator.most_arguments:
            self.report(TypeInferenceError, f"`{op}` takes no arguments in brackets", span, "leave them out")
        values = len(aggregate.bindings)
        if values < aggregator.least_values:
            wanted = "a binding" if aggregator.least_values == 1 else f"{aggregator.least_values} bindings"
            self.report(TypeInferenceError, f"`{op}` needs {wanted}", span, f"name what to aggregate: `{op}(x: …)`")
        elif aggregator.most_values is not None and values > aggregator.most_values:
            wanted = f"{aggregator.most_values} binding{'' if aggregator.most_values == 1 else 's'}"
            hint = f"it is `{self.names.library.aggregates[op].signature.text}`"
            self.report(TypeInferenceError, f"`{op}` takes {wanted}, found {values}", span, hint)
        elif aggregator.values != "any" and values != 1:
            hint = "put what only tells tuples apart in brackets: " + f"`{op}[a](x: …)`"
            self.report(TypeInferenceError, f"`{op}` takes one binding, found {values}", span, hint)
        if op == "forall" and not isinstance(aggregate.body, ast.Implies):
            hint = "write what it is for and what shall hold: `forall(x: a(x) implies b(x))`"
            self.report(TypeInferenceError, "the body of `forall` is no implication", span, hint)
        parameters = self.parameters(aggregate, aggregator)
        return (aggregator, parameters) if len(self.problems) == before else (None, None)

    def aggregator(self, op: str) -> Aggregator | None:
        """The aggregator of a name; a foreign one as it declares itself."""
        foreign = self.names.library.aggregates.get(op)
        if foreign is None:
            return AGGREGATORS.get(op)
        count = len(foreign.signature.parameters)
        return Aggregator(
            ("result",) * len(foreign.results),
            least_values=count,
            most_values=count,
            most_arguments=0,
            may_be_discrete=True,
            parameters=tuple((name, type(default)) for name, default in foreign.options),
        )

    def parameters(self, aggregate: ast.Aggregate, aggregator: Aggregator) -> tuple[tuple[str, Scalar], ...]:
        kinds = dict(aggregator.parameters)
        free = [name for name, kind in aggregator.parameters if kind is not bool]
        found: dict[str, Scalar] = {}
        for parameter in aggregate.parameters:
            value, name, span = parameter.value, parameter.keyword, parameter.span
            if name is None and isinstance(value, ast.Name) and value.name not in self.names.constants:
                name, value = value.name, ast.Literal(True, LiteralKind.BOOL, span)
            elif name is None:
                name = free.pop(0) if free else None
                if name is None:
                    message = f"`{aggregate.op}` takes no such parameter"
                    self.report(TypeInferenceError, message, span, _known_parameters(kinds))
                    continue
            if name not in kinds:
                message = f"`{aggregate.op}` has no parameter `{name}`"
                self.report(NameResolutionError, message, span, near_name(name, kinds) or _known_parameters(kinds))
                continue
            if isinstance(value, ast.Name):
                value = self.names.constants.get(value.name, value)
            kind = kinds[name]
            if not isinstance(value, ast.Literal) or type(value.value) is not kind:
                wanted = {int: "an integer", float: "a float", str: "a string", bool: "`true` or `false`"}[kind]
                self.report(TypeInferenceError, f"the parameter `{name}` of `{aggregate.op}` is {wanted}", span)
                continue
            if aggregate.op in AGGREGATORS and isinstance(value.value, int) and value.value < 0:
                self.report(TypeInferenceError, f"the parameter `{name}` of `{aggregate.op}` is negative", span)
                continue
            found[name] = value.value
        for name in aggregator.needs:
            if name not in found:
                message = f"`{aggregate.op}` needs the parameter `{name}`"
                self.report(TypeInferenceError, message, aggregate.span, f"write `{aggregate.op}<3>(…)`")
        return tuple(found.items())

    def num_results(self, aggregate: ast.Aggregate) -> int:
        aggregator = self.aggregator(aggregate.op)
        if aggregator is None:
            return 1
        sizes = {"arguments": len(aggregate.arguments), "values": len(aggregate.bindings)}
        return sum(sizes.get(kind, 1) for kind in aggregator.results)

    # Variables ------------------------------------------------------------------------------------------------------

    def variables(self, node: object) -> Iterator[str]:
        """The variables that occur in a node, in the order of the text."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name | ast.Case | ast.RangeOver) and part.name not in self.names.constants:
                yield part.name

    def bound(self, formula: ast.Formula, *, lists_terms: bool = True) -> frozenset[str]:
        """The variables that a formula without aggregates binds in some way of making it true.

        `lists_terms`: the subject of a `case` counts, which ranges over all terms if nothing else binds it.
        """
        atoms: set[str] = set()
        equalities: list[ast.Binary] = []
        self._collect(formula, False, atoms, equalities)
        if lists_terms:
            atoms.update(node.name for node in ast.walk(formula) if isinstance(node, ast.Case))
            atoms.difference_update(self.names.constants)
        grows = True
        while grows:
            grows = False
            for equality in equalities:
                for left, right in ((equality.left, equality.right), (equality.right, equality.left)):
                    if set(self.variables(right)) <= atoms:
                        unknown = set(self._solvable(left)) - atoms
                        if len(unknown) == 1:
                            atoms |= unknown
                            grows = True
        return frozenset(atoms)

    def _collect(self, formula: ast.Formula, negated: bool, atoms: set[str], equalities: list[ast.Binary]) -> None:
        match formula:
            case ast.Application(arguments=arguments) if not negated:
                for argument in arguments:
                    if isinstance(argument, ast.Name | ast.Application):
                        atoms.update(self.variables(argument))
                    else:
                        equalities.append(ast.Binary("==", argument, ast.Wildcard(formula.span), formula.span))
            case ast.Not(operand=operand):
                self._collect(operand, not negated, atoms, equalities)
            case ast.Implies(condition=condition, conclusion=conclusion):
                self._collect(condition, not negated, atoms, equalities)
                self._collect(conclusion, negated, atoms, equalities)
            case ast.And(operands=operands) | ast.Or(operands=operands):
                for operand in operands:
                    self._collect(operand, negated, atoms, equalities)
            case ast.RangeOver(name=name) if not negated:
                atoms.add(name)
            case ast.Case(pattern=pattern) if not negated:
                atoms.update(self.variables(pattern))
            case ast.Binary(op="==" | "!=" as op) if (op == "!=") == negated:
                equalities.append(formula)

    def _solvable(self, expression: ast.Expression) -> Iterator[str]:
        """The variables that an equality can be solved for."""
        match expression:
            case ast.Name():
                yield from self.variables(expression)
            case ast.Binary(op="+" | "-", left=left, right=right):
                yield from self._solvable(left)
                yield from self._solvable(right)


def _known_parameters(kinds: Collection[str]) -> str:
    return f"it has {', '.join(f'`{name}`' for name in kinds)}" if kinds else "it has none"


def _has_aggregate(formula: ast.Formula) -> bool:
    return any(isinstance(node, ast.Reduce | ast.Quantified) for node in ast.walk(formula))


def _has_quantifier(formula: ast.Formula) -> bool:
    """Whether a formula depends on what is bound beside it."""
    match formula:
        case ast.Quantified():
            return True
        case ast.Not(operand=operand):
            return _has_quantifier(operand)
        case ast.Implies(condition=condition, conclusion=conclusion):
            return _has_quantifier(condition) or _has_quantifier(conclusion)
        case ast.And(operands=operands) | ast.Or(operands=operands):
            return any(map(_has_quantifier, operands))
        case _:
            return False


def _own_names(aggregate: ast.Aggregate) -> tuple[str, ...]:
    return (*aggregate.arguments, *(binding.name for binding in aggregate.bindings))


def _group_names(aggregate: ast.Aggregate) -> tuple[str, ...]:
    return () if aggregate.grouping is None else tuple(binding.name for binding in aggregate.grouping.bindings)
