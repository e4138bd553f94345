"""Variables of formulas: those that a formula binds, and those that need a value from elsewhere."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from scallax.analysis.names import Names
from scallax.errors import Span
from scallax.language.records import record
from scallax.syntax import ast

Connective = ast.Not | ast.Implies | ast.And | ast.Or


@record
class Scope:
    """The way in which variables are read at the place of a formula.

    `named` are the variables by which aggregates inside are grouped. `valued` variables have values from outside: an
    equality tests them and binds none of them. `around` are such variables inside an aggregate with results.
    `lists_terms`: the subject of a `case` that nothing else binds ranges over all terms. `asks`: the bound columns of a
    relation with a pattern bind nothing, because they ask for values. `closes`: a negated conjunction may have
    variables of its own (`is_closed`).
    """

    names: Names
    named: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    around: frozenset[str] = frozenset()
    lists_terms: bool = True
    asks: bool = False
    closes: bool = True

    def variables(self, node: object) -> Iterator[str]:
        """The variables that occur in a node, in the order of the text."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name | ast.Case | ast.RangeOver) and part.name not in self.names.constants:
                yield part.name

    def occurring(self, formula: ast.Formula) -> Iterator[str]:
        """The variables of a formula, in the order of the text, without those that an aggregate inside binds."""
        match formula:
            case ast.Not() | ast.Implies() | ast.And() | ast.Or():
                for part, _ in parts(formula):
                    yield from self.occurring(part)
            case ast.Reduce(aggregate=aggregate):
                yield from self.results(formula)
                yield from self.occurring_in(aggregate)
            case ast.Quantified(aggregate=aggregate):
                yield from self.occurring_in(aggregate)
            case _:
                yield from self.variables(formula)

    def occurring_in(self, aggregate: ast.Aggregate) -> Iterator[str]:
        """The variables that an aggregate mentions and does not bind itself, with the groups of its `where`."""
        own = own_names(aggregate)
        yield from (name for name in self.occurring(aggregate.body) if name not in own)
        if aggregate.grouping is not None:
            yield from group_names(aggregate)
            yield from self.occurring(aggregate.grouping.body)

    def mentions(self, formula: ast.Formula, *, negated: bool = False) -> Iterator[str]:
        """The variables that a formula shares with the formulas beside it, if those mention them.

        The variables that the body of an aggregate binds are its own, unless it is grouped by them.
        """
        match formula:
            case ast.Not() | ast.Implies() | ast.And() | ast.Or():
                for part, sign in parts(formula, negated):
                    yield from self.mentions(part, negated=sign)
            case ast.Reduce(aggregate=aggregate):
                scope = self._reducing()
                shared = {*scope.needs_in(aggregate), *scope.keys(aggregate)}
                yield from self.results(formula)
                yield from (name for name in self.occurring_in(aggregate) if name in shared)
            case _:
                yield from self.occurring(formula)

    def results(self, reduce: ast.Reduce) -> tuple[str, ...]:
        """The variables that hold the results of an aggregate."""
        return tuple(name for name in reduce.results if name is not None and name not in self.names.constants)

    # Bound variables ------------------------------------------------------------------------------------------------

    def bind(
        self, formula: ast.Formula, given: Collection[str] = (), *, negated: bool = False, in_some_way: bool = False
    ) -> frozenset[str]:
        """The variables that have values wherever a formula, or its negation, holds, with those in `given`.

        With `in_some_way`, a variable also counts if only some alternatives of a disjunction bind it.
        """
        given = frozenset(given)
        match formula:
            case ast.Not() | ast.Implies() | ast.And() | ast.Or():
                if self._closes(formula, negated, given):
                    return given
                if not is_disjunctive(formula, negated):
                    return self.bind_all(parts(formula, negated), given, in_some_way)
                found = [
                    self.bind(part, given, negated=sign, in_some_way=in_some_way)
                    for part, sign in parts(formula, negated)
                ]
                return frozenset.union(*found) if in_some_way else frozenset.intersection(*found)
            case ast.Reduce(aggregate=aggregate) if not negated:
                return given.union(self.results(formula), self._reducing().keys(aggregate))
            case ast.Quantified(aggregate=aggregate) if aggregate.grouping is not None or _holds(aggregate, negated):
                return given.union(self.keys(aggregate))
            case ast.Application() if not negated:
                return self._bind_atom(formula, given)
            case ast.RangeOver(start=start, stop=stop) if not negated:
                return (
                    given.union(self.variables(formula)) if given.issuperset(self.variables((start, stop))) else given
                )
            case ast.Case(pattern=pattern) if not negated:
                return given.union(self.variables(formula if self.lists_terms else pattern))
            case ast.Binary(op="==" | "!=" as op, left=left, right=right) if (op == "!=") == negated:
                for unknown, known in ((left, right), (right, left)):
                    if given.issuperset(self.variables(known)):
                        given |= self._solve(unknown, given) - self.valued
                return given
            case _:
                return given

    def bind_all(
        self,
        operands: list[tuple[ast.Formula, bool]],
        given: frozenset[str] = frozenset(),
        in_some_way: bool = False,
    ) -> frozenset[str]:
        """The variables that operands bind if all hold; an equality may wait for the bindings of another operand."""
        # Nested operands are read again only if one of their variables was bound since, because they may be deep.
        operands = sorted(operands, key=lambda operand: isinstance(operand[0], Connective))
        read: list[frozenset[str] | None] = [None] * len(operands)
        grows = True
        while grows:
            grows = False
            for place, (part, sign) in enumerate(operands):
                before = read[place]
                if before is None or (before != given and (given - before).intersection(self.occurring(part))):
                    read[place] = given
                    given = self.bind(part, given, negated=sign, in_some_way=in_some_way)
                    grows = True
        return given

    def _bind_atom(self, atom: ast.Application, given: frozenset[str]) -> frozenset[str]:
        arguments = atom.arguments
        predicate = self.names.predicate(atom)
        if predicate is not None:
            num_inputs = self.names.library.predicates[predicate].num_inputs
            if not given.issuperset(self.variables(arguments[:num_inputs])):
                return given
            arguments = arguments[num_inputs:]
        elif self.asks and atom.name in self.names.demands:
            pattern = self.names.demands[atom.name].pattern
            arguments = tuple(part for part, letter in zip(arguments, pattern, strict=False) if letter != "b")
        given = given.union(*(self.variables(part) for part in arguments if isinstance(part, _PATTERNS)))
        for argument in arguments:
            given |= self._solve(argument, given)
        return given

    def _solve(self, expression: ast.Expression, given: frozenset[str]) -> frozenset[str]:
        """The variable that an expression's value determines; none if several are unknown, or it cannot be solved."""
        unknown = frozenset(self.variables(expression)) - given
        return unknown if len(unknown) == 1 and unknown.issubset(self._solvable(expression)) else frozenset()

    def _solvable(self, expression: ast.Expression) -> Iterator[str]:
        match expression:
            case ast.Name():
                yield from self.variables(expression)
            case ast.Binary(op="+" | "-", left=left, right=right):
                yield from self._solvable(left)
                yield from self._solvable(right)

    def keys(self, aggregate: ast.Aggregate) -> tuple[str, ...]:
        """The variables by which an aggregate gives results: those of its `where`, or those that its body binds."""
        if aggregate.grouping is not None:
            return group_names(aggregate)
        return self.body_keys(aggregate)

    def body_keys(self, aggregate: ast.Aggregate, given: Collection[str] = ()) -> tuple[str, ...]:
        """The variables from outside an aggregate that its body binds, or that are `given` values beside it."""
        negated = aggregate.op == "forall"
        bound = self._inside(aggregate).bind(aggregate.body, given, negated=negated)
        named = (bound & self.named.union(given)).difference(own_names(aggregate))
        return tuple(dict.fromkeys(name for name in self.occurring(aggregate.body) if name in named))

    def _reducing(self) -> "Scope":
        return replace(self, valued=self.valued | self.around)

    def _inside(self, aggregate: ast.Aggregate) -> "Scope":
        own = {*own_names(aggregate), *group_names(aggregate)}
        return replace(self, named=self.named | own, valued=self.valued - own, around=self.around - own)

    def is_closed(self, operands: Sequence[tuple[ast.Formula, bool]]) -> bool:
        """Whether a negated conjunction says that it holds for no values of some variables of its own.

        These variables are not named, several operands share them, and the operands together bind them. If each of
        these operands also binds them when it is negated, it is enough that one operand fails for some values.
        """
        # Inner conjunctions are read as if they had no variables of their own: that is faster and changes no answer.
        scope, outer = replace(self, closes=False), self.named
        occurring = [frozenset(self.occurring(part)) - outer for part, _ in operands]
        shared = {name for names in occurring for name in names if sum(name in others for others in occurring) > 1}
        if not shared:
            return False
        bound = scope.bind(conjunction_of(operands), outer, in_some_way=True)
        scope = replace(scope, around=bound | outer)
        for name in shared & bound:
            sharing = [each for each in operands if name in scope.mentions(each[0], negated=each[1])]
            failures = [scope.bind(part, outer, negated=not negated) for part, negated in sharing]
            if len(sharing) > 1 and not all(name in bound for bound in failures):
                return True
        return False

    def _closes(self, formula: Connective, negated: bool, given: frozenset[str]) -> bool:
        if not self.closes or isinstance(formula, ast.Or) or not is_disjunctive(formula, negated):
            return False
        return replace(self, named=self.named | self.valued | given).is_closed(parts(formula, not negated))

    # Needed variables -----------------------------------------------------------------------------------------------

    def needs(self, formula: ast.Formula, given: Collection[str] = (), *, negated: bool = False) -> Iterator[str]:
        """The variables that a formula, or its negation, mentions where nothing binds them; some come twice."""
        given = frozenset(given)
        match formula:
            case ast.Not() | ast.Implies() | ast.And() | ast.Or():
                if not is_disjunctive(formula, negated):
                    given = self.bind(formula, given, negated=negated)
                if not self._closes(formula, negated, given):
                    for part, sign in parts(formula, negated):
                        yield from self.needs(part, given, negated=sign)
                    return
                found = self.mentions(formula, negated=not negated)
            case ast.Quantified(aggregate=aggregate) if aggregate.grouping is None and not _holds(aggregate, negated):
                # As for a negated atom, the rest must bind every mentioned variable.
                found = self.occurring_in(aggregate)
            case ast.Reduce(aggregate=aggregate):
                found = self._reducing().needs_in(aggregate)
            case ast.Quantified(aggregate=aggregate):
                found = self.needs_in(aggregate)
            case _:
                given = self.bind(formula, given, negated=negated)
                found = self.variables(formula)
        yield from (name for name in found if name not in given)

    def needs_in(self, aggregate: ast.Aggregate) -> Iterator[str]:
        """The variables in an aggregate's body and `where` that these do not bind themselves."""
        own = {*own_names(aggregate), *group_names(aggregate)}
        inside, negated = self._inside(aggregate), aggregate.op == "forall"
        found = [*inside.needs(aggregate.body, negated=negated)]
        # The variables of the groups have a value in every alternative.
        bound = inside.bind(aggregate.body, negated=negated)
        found += (name for name in self.occurring(aggregate.body) if name in self.named and name not in bound)
        if aggregate.grouping is not None:
            found += inside.needs(aggregate.grouping.body)
        yield from (name for name in found if name not in own)


# Arguments that take the value, or that are matched against it.
_PATTERNS = ast.Name | ast.Application


def signed(formula: ast.Formula, negated: bool) -> ast.Formula:
    """A formula, or its negation."""
    return ast.Not(formula, formula.span) if negated else formula


def conjunction_of(operands: Sequence[tuple[ast.Formula, bool]], span: Span | None = None) -> ast.And:
    """The conjunction of operands, each as it is or negated."""
    return ast.And(tuple(signed(*each) for each in operands), span or operands[0][0].span)


def parts(formula: Connective, negated: bool = False) -> list[tuple[ast.Formula, bool]]:
    """The operands of a connective, or of its negation, and whether each of them is then negated."""
    match formula:
        case ast.Not(operand=operand):
            return [(operand, not negated)]
        case ast.Implies(condition=condition, conclusion=conclusion):
            return [(condition, not negated), (conclusion, negated)]
        case ast.And(operands=operands) | ast.Or(operands=operands):
            return [(operand, negated) for operand in operands]


def is_disjunctive(formula: ast.Formula, negated: bool) -> bool:
    """Whether a formula, or its negation, holds if any one of its operands does."""
    match formula:
        case ast.And(operands=operands):
            return negated and len(operands) > 0
        case ast.Or() | ast.Implies():
            return not negated
        case _:
            return False


def _holds(aggregate: ast.Aggregate, negated: bool) -> bool:
    """Whether a quantifier, or its negation, holds because its body has a tuple."""
    return (aggregate.op == "exists") != negated


def own_names(aggregate: ast.Aggregate) -> tuple[str, ...]:
    """The variables that belong to an aggregate alone: its arguments and bindings."""
    return (*aggregate.arguments, *(binding.name for binding in aggregate.bindings))


def group_names(aggregate: ast.Aggregate) -> tuple[str, ...]:
    """The variables of an aggregate's `where`."""
    return () if aggregate.grouping is None else tuple(binding.name for binding in aggregate.grouping.bindings)
