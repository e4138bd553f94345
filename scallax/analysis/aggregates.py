"""Expands aggregates, quantifiers and closed negations into atoms of hidden relations."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from scallax.analysis.aggregators import UseChecks
from scallax.analysis.names import Names
from scallax.analysis.scopes import (
    Connective,
    Scope,
    conjunction_of,
    group_names,
    is_disjunctive,
    own_names,
    parts,
    signed,
)
from scallax.errors import Problem, Span, TypeInferenceError, UnboundVariableError, counted
from scallax.language import ir
from scallax.language.records import record
from scallax.language.values import Scalar
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind

# The prefix of hidden relations and variables, which no program can write.
HIDDEN = "#"


@record
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


@record
class _Place:
    """The surroundings of a formula.

    `named` are the variables by which aggregates are grouped: those of the head, and those that enclosing aggregates
    keep to themselves. `beside` are formulas without aggregates that also hold. `awaited` are variables that the rest
    of the body can bind only after it has been given others.
    """

    named: frozenset[str]
    beside: tuple[ast.Formula, ...] = ()
    awaited: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class _Operand:
    """An operand of a conjunction that still has to be expanded.

    `needs` are the variables whose values it takes from other operands, `binds` those to which it gives values, and
    `named` those of its place.
    """

    number: int
    formula: ast.Formula
    negated: bool
    needs: frozenset[str]
    binds: frozenset[str]
    named: frozenset[str]


def expand_aggregates(
    items: Sequence[ast.Item], names: Names
) -> tuple[list[ast.Item], list[CoreAggregate], list[Problem]]:
    """Replaces each aggregate by an atom of a hidden relation.

    Returns the items, the rules for the bodies, and the aggregates.

    Items with a problem are left out, and their problems come last.

    Without `where`, an aggregate is grouped by the variables that its body binds and the rule's head names. A
    quantifier is also grouped by the variables that the rest of the body binds: it holds or fails for each of their
    values, whether or not its own body has a tuple for them. If the rest of the body binds a variable, and no positive
    atom inside the aggregate does, the aggregate takes the values of the rest and is grouped by the variable too.

    A variable that only a negated atom or conjunction mentions, and nothing else in the body binds, stands for any
    value there: `not s(x, p, p)` and `not (s(x, p) and t(p))` say that there is no such `p`.
    """
    expansion = _Expansion(names, UseChecks(names))
    problems = expansion.checks.problems
    for item in items:
        expansion.note(item)
    for item in items:
        num_items, num_aggregates, num_problems = map(len, (expansion.items, expansion.aggregates, problems))
        expansion.add(item)
        if len(problems) > num_problems:
            del expansion.items[num_items:], expansion.aggregates[num_aggregates:]
    return expansion.items, expansion.aggregates, problems


@dataclass(slots=True)
class _Expansion:
    names: Names
    checks: UseChecks
    items: list[ast.Item] = field(default_factory=list)
    aggregates: list[CoreAggregate] = field(default_factory=list)
    num_bodies: int = 0
    # The relations that the rules of each relation read.
    reads: dict[str, set[str]] = field(default_factory=dict)
    # The relations in the heads of the current rule, and the variables of its tags.
    heads: tuple[str, ...] = ()
    tagged: frozenset[str] = frozenset()

    def note(self, item: ast.Item) -> None:
        """Records the relations that the rule of an item reads."""
        match item.declaration:
            case ast.Rule(heads=heads, body=body):
                for head in heads:
                    self.reads.setdefault(head.name, set()).update(_relations(body))
            case ast.ReduceRule(relation=relation, aggregate=aggregate):
                self.reads.setdefault(relation, set()).update(_relations(aggregate))

    def add(self, item: ast.Item) -> None:
        match item.declaration:
            case ast.ReduceRule(relation=relation, aggregate=aggregate, span=span):
                count = self.checks.num_results(aggregate)
                results = tuple(f"{HIDDEN}{i}" for i in range(count))
                head = ast.Application(relation, tuple(ast.Name(name, span) for name in results), (), span)
                self.heads, self.tagged = (relation,), frozenset()
                body = self.reduce(ast.Reduce(results, aggregate, aggregate.span), _Place(frozenset()))
                self.items.append(replace(item, declaration=ast.Rule((head,), body, None, False, span)))
            case ast.Rule(heads=heads, body=body, tag=tag, probabilities=probabilities) if _may_change(body):
                scope = Scope(self.names)
                self.heads = tuple(head.name for head in heads)
                self.tagged = frozenset(scope.variables((tag, probabilities)))
                body = self.formula(body, False, _Place(frozenset(scope.variables(heads))))
                self.items.append(replace(item, declaration=replace(item.declaration, body=body)))
            case _:
                self.items.append(item)

    # Formulas -------------------------------------------------------------------------------------------------------

    def formula(self, formula: ast.Formula, negated: bool, place: _Place) -> ast.Formula:
        """The formula, or its negation, without aggregates; parts that need no hidden relation stay as they are."""
        if not _may_change(formula, negated):
            return signed(formula, negated)
        before = len(self.items)
        expanded = self.expand(formula, negated, place)
        is_same = len(self.items) == before and not _has_aggregate(formula)
        return signed(formula, negated) if is_same else expanded

    def expand(self, formula: ast.Formula, negated: bool, place: _Place) -> ast.Formula:
        span = formula.span
        match formula:
            case ast.Reduce() if negated:
                message = "an aggregate cannot be negated"
                self.checks.report(TypeInferenceError, message, span, "compare its result instead, such as `n != 0`")
                return formula
            case ast.Reduce():
                return self.reduce(formula, place)
            case ast.Quantified(aggregate=aggregate):
                return self.quantifier(aggregate, negated, place)
            case ast.Not(operand=operand):
                return self.formula(operand, not negated, place)
            case ast.Or() if not negated:
                return ast.Or(tuple(self.formula(part, False, place) for part in formula.operands), span)
            case ast.And() | ast.Or() | ast.Implies() if not is_disjunctive(formula, negated):
                return self.conjunction(parts(formula, negated), place, span)
            case ast.And() | ast.Implies():
                refuted = parts(formula, not negated)
                if Scope(self.names, self.outer(place)).is_closed(refuted):
                    return self.closed(refuted, place, span)
                return ast.Or(tuple(self.formula(part, not sign, place) for part, sign in refuted), span)
            case ast.Application() if negated and self.is_closed_atom(formula, self.outer(place)):
                return self.closed([(formula, False)], place, span)
            case _:
                return signed(formula, negated)

    def conjunction(self, operands: Iterable[tuple[ast.Formula, bool]], place: _Place, span: Span) -> ast.Formula:
        """All operands, quantifiers last. An operand comes after the operands whose values it needs."""
        operands = _flat(operands)
        divided = self.divided(operands, place)
        if divided is not None:
            before, after = operands[:divided], operands[divided + 1 :]
            part, negated = operands[divided]
            assert isinstance(part, Connective)
            branches = [conjunction_of([*before, branch, *after], span) for branch in parts(part, negated)]
            return self.formula(ast.Or(tuple(branches), span), False, place)
        expanded = {i: signed(*each) for i, each in enumerate(operands) if not _may_change(*each)}
        present = [*place.beside, *expanded.values()]
        pending = self.pending(operands, place)
        while pending:
            known = self.bound(present)
            operand = next((each for each in pending if not _awaited(each, pending, known)), pending[0])
            stands = _Place(operand.named, tuple(present), _awaited(operand, pending, known))
            formula = self.formula(operand.formula, operand.negated, stands)
            pending.remove(operand)
            expanded[operand.number] = formula
            if not _has_quantifier(operand.formula) or not known.issuperset(operand.binds):
                present.append(formula)
        last = [number for number, (part, _) in enumerate(operands) if _has_quantifier(part)]
        first = [number for number in range(len(operands)) if number not in last]
        return ast.And(tuple(expanded[number] for number in (*first, *last)), span)

    def pending(self, operands: Sequence[tuple[ast.Formula, bool]], place: _Place) -> list[_Operand]:
        """The operands that have to be expanded, quantifiers last."""
        scope = Scope(self.names, place.named)
        everything = scope.bind(conjunction_of(operands), in_some_way=True)
        asking = Scope(self.names, place.named, valued=everything, lists_terms=False, asks=True)
        needs = [frozenset(asking.needs(part, negated=negated)) for part, negated in operands]
        found = []
        for number, (part, negated) in enumerate(operands):
            if not _may_change(part, negated):
                continue
            named = place.named
            if isinstance(part, ast.Quantified) and (part.aggregate.op == "exists") != negated:
                # It binds these variables for other operands.
                inner = scope.bind(part.aggregate.body, negated=part.aggregate.op == "forall")
                others = (names for other, names in enumerate(needs) if other != number)
                named = named.union(inner.intersection(frozenset[str]().union(*others)))
            binds = Scope(self.names, named).bind(part, negated=negated)
            mentioned = frozenset(scope.occurring(part)) if _has_quantifier(part) else frozenset()
            found.append(_Operand(number, part, negated, needs[number] | mentioned, binds, named))
        return sorted(found, key=lambda operand: _has_quantifier(operand.formula))

    def divided(self, operands: Sequence[tuple[ast.Formula, bool]], place: _Place) -> int | None:
        """The first disjunction in which only some operands bind a variable that another operand takes from it."""
        changing = [number for number, each in enumerate(operands) if _may_change(*each)]
        disjunctions = [number for number, each in enumerate(operands) if is_disjunctive(*each)]
        if not changing or not disjunctions:
            return None
        scope = Scope(self.names, place.named)
        known = scope.bind(conjunction_of(operands), self.bound(place.beside))
        for number in disjunctions:
            part, negated = operands[number]
            assert isinstance(part, Connective)
            partly = scope.bind(part, known, negated=negated, in_some_way=True) - known
            if not partly or (
                not isinstance(part, ast.Or) and Scope(self.names, known).is_closed(parts(part, not negated))
            ):
                continue
            taking = Scope(self.names, place.named, valued=partly, lists_terms=False)
            for other in changing:
                part, negated = operands[other]
                takes = scope.occurring(part) if _has_quantifier(part) else taking.needs(part, negated=negated)
                if other != number and partly.intersection(takes):
                    return number
        return None

    # Negations ------------------------------------------------------------------------------------------------------

    def is_closed_atom(self, atom: ast.Application, outer: Collection[str]) -> bool:
        """Whether a negated atom uses a variable of its own twice, so that wildcards cannot express it."""
        scope = Scope(self.names)
        predicate = self.names.predicate(atom)
        if predicate is not None:
            num_inputs = self.names.library.predicates[predicate].num_inputs
            if not set(scope.variables(atom.arguments[:num_inputs])).issubset(outer):
                return False
        if any(isinstance(part, ast.Application) for part in atom.arguments):
            # Patterns of terms get a hidden relation in any case.
            return False
        own = [name for name in scope.variables(atom) if name not in outer]
        return len(set(own)) < len(own)

    def closed(self, operands: Sequence[tuple[ast.Formula, bool]], place: _Place, span: Span) -> ast.Formula:
        """A negated hidden relation: a conjunction holds for no values of its own variables."""
        together, outer = conjunction_of(operands), self.outer(place)
        scope = Scope(self.names, place.named, around=outer, lists_terms=False, asks=True)
        shared = tuple(dict.fromkeys(name for name in scope.mentions(together) if name in outer))
        bound = scope.bind(together)
        needs = [*scope.needs(together), *(name for name in shared if name not in bound)]
        values = self.values(place, self.lacking("the negation", needs, place, span), span)
        body = self.formula(ast.And((*values, together), span), False, _Place(place.named))
        atom = self.atom(f"{HIDDEN}not{self.num_bodies}", shared, span=span)
        self.num_bodies += 1
        self.add_rule(atom.name, atom.arguments, body, span)
        return ast.Not(atom, span)

    # Aggregates -----------------------------------------------------------------------------------------------------

    def reduce(self, reduce: ast.Reduce, place: _Place) -> ast.Formula:
        """The atom that gives an aggregate's results for the groups."""
        aggregate, span = reduce.aggregate, reduce.span
        aggregator, parameters = self.checks.check(aggregate)
        if aggregator is None or parameters is None:
            return ast.And((), span)
        expected = self.checks.num_results(aggregate)
        if len(reduce.results) != expected:
            shown = "a variable" if expected == 1 else f"{expected} variables"
            message = f"`{aggregate.op}` gives {counted(expected, 'result')}"
            self.checks.report(
                TypeInferenceError, f"{message}, found {len(reduce.results)}", span, f"write {shown} before `:=`"
            )
            return ast.And((), span)
        results = tuple(
            ast.Wildcard(span) if name is None else self.names.constants.get(name, ast.Name(name, span))
            for name in reduce.results
        )
        relation, groups = self.grouped(aggregate, place, parameters)
        return self.atom(relation, groups, *results, span=span)

    def quantifier(self, aggregate: ast.Aggregate, negated: bool, place: _Place) -> ast.Formula:
        """A formula that is true where the quantifier, or its negation, is."""
        span = aggregate.span
        aggregator, parameters = self.checks.check(aggregate)
        if aggregator is None or parameters is None:
            return ast.And((), span)
        value = ast.Constant(not negated, ConstantKind.BOOL, span)
        if aggregate.grouping is not None:
            relation, groups = self.grouped(aggregate, place, ())
            return self.atom(relation, groups, value, span=span)
        known = self.bound(place.beside)
        scope = Scope(self.names, place.named | known)
        needs = replace(scope, around=known, lists_terms=False, asks=True).needs_in(aggregate)
        lacking = self.lacking(f"`{aggregate.op}`", needs, place, span)
        body = self.body(aggregate, self.values(place, lacking, span), scope.named)
        keys = scope.body_keys(aggregate, lacking)
        rule = self.body_rule(aggregate, body, keys)
        holds = self.atom(self.aggregate(aggregate, rule, keys, None, keys, ()), keys, value, span=span)
        if not keys or (aggregate.op == "exists") != negated:
            return holds
        # Its negation, or `forall`, holds where the body has no tuple in this world, and where it has none in any.
        absent = ast.Not(self.possible(aggregate, rule, keys), span)
        if known.issuperset(keys):
            return ast.Or((absent, holds), span)
        if isinstance(aggregate.body, ast.Implies):
            # Nothing beside a `forall` gives values: it ranges over those that satisfy its condition.
            condition = self.formula(aggregate.body.condition, False, _Place(frozenset(keys)))
            there = self.possible_values(condition, keys, span)
            return ast.Or((ast.And((there, absent), span), holds), span)
        return holds

    def grouped(
        self, aggregate: ast.Aggregate, place: _Place, parameters: tuple[tuple[str, Scalar], ...]
    ) -> tuple[str, tuple[str, ...]]:
        """The relation of an aggregate's results, and its group columns."""
        span, grouping = aggregate.span, aggregate.grouping
        scope = Scope(self.names, place.named, valued=self.bound(place.beside), lists_terms=False)
        lacking = self.lacking(f"`{aggregate.op}`", scope.needs_in(aggregate), place, span)
        values = self.values(place, lacking, span)
        domain = None
        if grouping is None:
            body = self.body(aggregate, values, place.named)
            groups = keys = replace(scope, valued=frozenset()).body_keys(aggregate, lacking)
            if lacking and set(keys) == set(lacking):
                # The groups are known from the rest of the rule: one may be empty.
                domain = self.domain(aggregate, groups, values[0])
        else:
            groups = (*group_names(aggregate), *lacking)
            named = place.named.union(groups)
            listed = self.formula(ast.And((*values, grouping.body), grouping.span), False, _Place(named))
            within = replace(scope, named=named, around=frozenset(groups))
            needed = [*within.needs(aggregate.body, negated=aggregate.op == "forall")]
            supplied = tuple(name for name in groups if name in needed)
            known = (self.possible_values(listed, supplied, span),) if supplied else ()
            body = self.body(aggregate, known, named)
            keys = tuple(name for name in within.body_keys(aggregate, supplied) if name in groups)
            domain = self.domain(aggregate, groups, listed)
        rule = self.body_rule(aggregate, body, keys)
        return self.aggregate(aggregate, rule, keys, domain, groups, parameters), groups

    # Parts of an aggregate ------------------------------------------------------------------------------------------

    def body(self, aggregate: ast.Aggregate, values: tuple[ast.Formula, ...], named: frozenset[str]) -> ast.Formula:
        """The formula whose tuples are aggregated, with formulas that give it values, and no aggregates inside."""
        place = _Place(named.union(own_names(aggregate), group_names(aggregate)))
        negated = aggregate.op == "forall"
        if not values:
            return self.formula(aggregate.body, negated, place)
        return self.formula(ast.And((*values, signed(aggregate.body, negated)), aggregate.span), False, place)

    def lacking(self, user: str, needs: Iterable[str], place: _Place, span: Span) -> tuple[str, ...]:
        """The needed variables that the formulas beside bind; reports those that they should bind but do not."""
        known = self.bound(place.beside)
        needs = dict.fromkeys(needs)
        for name in needs:
            if name not in known and (name in place.named or name in self.tagged or name in place.awaited):
                message = f"`{name}` is used by {user} but no positive atom in it or beside it binds it"
                hint = f"add an atom that mentions `{name}`"
                if name in place.awaited:
                    hint += f": what would bind it needs a value from {user} itself"
                self.checks.report(UnboundVariableError, message, span, hint)
        return tuple(name for name in needs if name in known)

    def values(self, place: _Place, names: tuple[str, ...], span: Span) -> tuple[ast.Formula, ...]:
        """An atom for the values of `names` that the formulas beside allow; nothing if there are no names."""
        return (self.possible_values(self.source(place.beside, names, span), names, span),) if names else ()

    def source(self, beside: tuple[ast.Formula, ...], names: Collection[str], span: Span) -> ast.Formula:
        """The smallest possible selection of the formulas beside that binds `names`.

        It leaves out predicates, formulas that share no variable with the others, and formulas that need the current
        relation, which would make a cycle.
        """
        positive = [each for each in beside if not isinstance(each, ast.Not)]
        acyclic = [each for each in positive if not self.needs_heads(each)]
        plain = [each for each in acyclic if not any(map(self.names.predicate, _atoms(each)))]
        for candidates in (plain, acyclic, positive):
            found = self.connected(candidates, names)
            known = self.bound(found)
            found = [each for each in found if not any(Scope(self.names).needs(each, known))]
            if self.bound(found).issuperset(names):
                return ast.And(tuple(found), span)
        return ast.And(beside, span)

    def connected(self, formulas: Sequence[ast.Formula], names: Collection[str]) -> list[ast.Formula]:
        """The formulas that share a variable with `names`, or with another such formula."""
        scope = Scope(self.names)
        reached, found = set(names), set[int]()
        grows = True
        while grows:
            grows = False
            for number, each in enumerate(formulas):
                if number not in found and not reached.isdisjoint(scope.variables(each)):
                    reached.update(scope.variables(each))
                    found.add(number)
                    grows = True
        return [formulas[number] for number in sorted(found)]

    def needs_heads(self, formula: ast.Formula) -> bool:
        """Whether a formula reads, directly or through other relations, a head of the current rule."""
        reached: set[str] = set()
        pending = {atom.name for atom in _atoms(formula)}
        while pending:
            reached |= pending
            pending = set().union(*(self.reads.get(name, ()) for name in pending)) - reached
        return not reached.isdisjoint(self.heads)

    def outer(self, place: _Place) -> frozenset[str]:
        """The variables that do not belong to a negation alone."""
        return place.named | self.tagged | self.bound(place.beside)

    def bound(self, beside: Iterable[ast.Formula]) -> frozenset[str]:
        """The variables to which formulas without aggregates give values."""
        return Scope(self.names).bind_all([(each, False) for each in beside])

    def possible_values(self, formula: ast.Formula, names: tuple[str, ...], span: Span) -> ast.Application:
        """An atom that holds, with certainty, for the values of `names` with which a formula can be true."""
        relation = ir.values_name(self.num_bodies)
        self.num_bodies += 1
        self.add_rule(relation, tuple(ast.Name(name, span) for name in names), formula, span)
        return self.possible(ast.Aggregate("exists", True, (), (), (), formula, None, span), relation, names)

    def domain(self, aggregate: ast.Aggregate, groups: tuple[str, ...], body: ast.Formula) -> str:
        """The relation of the groups for which a formula holds."""
        relation = f"{HIDDEN}{aggregate.op}{self.num_bodies}.where"
        self.num_bodies += 1
        bindings = {} if aggregate.grouping is None else {each.name: each.span for each in aggregate.grouping.bindings}
        arguments = tuple(ast.Name(name, bindings.get(name, aggregate.span)) for name in groups)
        self.add_rule(
            relation, arguments, body, aggregate.span if aggregate.grouping is None else aggregate.grouping.span
        )
        return relation

    def possible(self, aggregate: ast.Aggregate, rule: str, keys: tuple[str, ...]) -> ast.Application:
        """An atom that holds, with certainty, for the keys of every possible tuple."""
        exists = replace(aggregate, op="exists", is_discrete=True)
        true = ast.Constant(True, ConstantKind.BOOL, aggregate.span)
        return self.atom(self.aggregate(exists, rule, keys, None, keys, ()), keys, true, span=aggregate.span)

    def body_rule(self, aggregate: ast.Aggregate, body: ast.Formula, keys: Sequence[str]) -> str:
        """Adds the rule that projects a body to keys, arguments and bindings; returns its relation."""
        span = aggregate.span
        own = [(name, span) for name in aggregate.arguments]
        own += [(binding.name, binding.span) for binding in aggregate.bindings]
        occurring = set(Scope(self.names).variables(body))
        for name, place in own:
            if name not in occurring:
                message = f"`{name}` does not occur in the body of `{aggregate.op}`"
                self.checks.report(TypeInferenceError, message, place, f"mention `{name}` in an atom of the body")
        relation = f"{HIDDEN}{aggregate.op}{self.num_bodies}.body"
        self.num_bodies += 1
        arguments = tuple(ast.Name(name, place) for name, place in [*((key, span) for key in keys), *own])
        self.add_rule(relation, arguments, body, span)
        return relation

    def add_rule(self, relation: str, arguments: tuple[ast.Expression, ...], body: ast.Formula, span: Span) -> None:
        head = ast.Application(relation, arguments, (), span)
        # The nodes may be in other rules as well, where the variables may have other types.
        self.items.append(ast.Item(ast.renew(ast.Rule((head,), body, None, False, span)), ()))
        self.note(self.items[-1])

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
        self.reads[relation] = {body} if domain is None else {body, domain}
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


def _may_change(formula: ast.Formula, negated: bool = False) -> bool:
    """Whether a formula, or its negation, has an aggregate or a negation that may need a relation of its own."""
    return (negated and _may_close(formula)) or any(
        isinstance(node, ast.Reduce | ast.Quantified | ast.Implies)
        or (isinstance(node, ast.Not) and _may_close(node.operand))
        for node in ast.walk(formula)
    )


def _may_close(formula: ast.Formula) -> bool:
    if not isinstance(formula, ast.Application):
        return isinstance(formula, Connective)
    names = [node.name for node in ast.walk(formula.arguments) if isinstance(node, ast.Name)]
    return len(set(names)) < len(names)


def _has_aggregate(formula: ast.Formula) -> bool:
    return any(isinstance(node, ast.Reduce | ast.Quantified) for node in ast.walk(formula))


def _has_quantifier(formula: ast.Formula) -> bool:
    """Whether a formula depends on bindings from beside it, other than through negation."""
    match formula:
        case ast.Quantified():
            return True
        case ast.Not() | ast.Implies() | ast.And() | ast.Or():
            return any(_has_quantifier(part) for part, _ in parts(formula))
        case _:
            return False


def _awaited(operand: _Operand, pending: Sequence[_Operand], known: frozenset[str]) -> frozenset[str]:
    """The variables that an operand needs and another pending one binds."""
    others = (other.binds for other in pending if other is not operand)
    return operand.needs.intersection(frozenset[str]().union(*others)) - known


def _flat(operands: Iterable[tuple[ast.Formula, bool]]) -> list[tuple[ast.Formula, bool]]:
    """The operands, with nested conjunctions replaced by their own operands."""
    found: list[tuple[ast.Formula, bool]] = []
    stack = [*operands][::-1]
    while stack:
        part, negated = stack.pop()
        if isinstance(part, Connective) and not is_disjunctive(part, negated):
            stack += parts(part, negated)[::-1]
        else:
            found.append((part, negated))
    return found


def _atoms(formula: object) -> Iterator[ast.Application]:
    return (node for node in ast.walk(formula) if isinstance(node, ast.Application))


def _relations(body: object) -> set[str]:
    return {atom.name for atom in _atoms(body)}
