"""Join planning: the order of a body's literals; all but atoms come as soon as their variables are bound."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from scallax.language import ir
from scallax.language.bindings import atom_names, is_given, solve_equality, term_names, variable_names
from scallax.language.functions import FUNCTIONS
from scallax.language.predicates import expected_matches, makes_literals
from scallax.planner.algebra import (
    AntiJoin,
    Argument,
    DeltaRule,
    Destructure,
    Extend,
    Generate,
    Join,
    Pipeline,
    Reduce,
    Select,
    Step,
)
from scallax.planner.enumeration import makes_terms
from scallax.planner.samples import SAMPLE

# A relation of unknown size counts as having at least this many tuples.
_UNKNOWN_SIZE = 1000

_Key = tuple[tuple[int, Argument], ...]


def plan_joins(version: DeltaRule, sizes: Mapping[str, int]) -> Pipeline:
    """A left-deep pipeline: first the delta, then always the literal with the fewest expected matches per row.

    `sizes` are numbers of tuples; a relation without a size counts as large. Ties go by body order.
    """
    planner = _JoinPlanner(version, sizes)
    planner.settle()
    while planner.join_next():
        planner.settle()
    assert not planner.others, "analysis lets only rules through whose variables are all bound"
    return Pipeline(version.rule, _prune(version, planner.steps))


class _JoinPlanner:
    """The steps so far, the variables that they bind, and the remaining literals by body position."""

    def __init__(self, version: DeltaRule, sizes: Mapping[str, int]):
        body = version.rule.body
        self.version = version
        self.sizes = sizes
        self.largest = max(sizes.values(), default=0)
        self.atoms = {i: literal for i, literal in enumerate(body) if isinstance(literal, ir.Atom)}
        self.others = {i: literal for i, literal in enumerate(body) if not isinstance(literal, ir.Atom)}
        generators = [literal.outputs for literal in body if isinstance(literal, ir.ForeignAtom)]
        self.generated = set(atom_names(body)).union(*map(term_names, generators))
        self.bound: set[str] = set()
        self.steps: list[Step] = []
        # A new term belongs to the sample of its row, so the sample must be bound before.
        is_lifted = any(isinstance(part, ir.Variable) and part.name == SAMPLE for part in version.rule.head[:1])
        self.waiting = {i for i, literal in self.others.items() if is_lifted and makes_terms(literal)}

    def join_next(self) -> bool:
        """Joins the next atom, or the next foreign predicate whose inputs are bound; False if none is left."""
        if self.version.delta in self.atoms:
            self.join(self.version.delta)
            return True
        ready = {
            position: expected_matches(
                literal.predicate,
                [term.value if isinstance(term, ir.Constant) else None for term in literal.inputs],
                len(literal.outputs),
            )
            for position, literal in self.others.items()
            if isinstance(literal, ir.ForeignAtom)
            and not literal.is_negated
            and self._has_inputs(literal)
            and not self._waits(position)
        }
        position = min(
            [*self.atoms, *ready], key=lambda i: ready[i] if i in ready else self._expected_matches(i), default=None
        )
        if position in ready:
            literal = self.others.pop(position)
            assert isinstance(literal, ir.ForeignAtom)
            self.steps.append(self._generate(position, literal))
        elif position is not None:
            self.join(position)
        elif self.generated:
            # Only inputs of foreign predicates are unbound: equalities are solved for them.
            self.generated.clear()
        else:
            return False
        return True

    def _waits(self, position: int) -> bool:
        return position in self.waiting and SAMPLE not in self.bound

    def _has_inputs(self, literal: ir.ForeignAtom) -> bool:
        return term_names(literal.inputs) <= self.bound

    def _generate(self, position: int, literal: ir.ForeignAtom) -> Generate:
        bound, fresh, same = self._match(literal.outputs)
        inputs = tuple(term for term in literal.inputs if not isinstance(term, ir.Wildcard))
        types = tuple(term.type for term in literal.terms)
        return Generate(
            position,
            literal.predicate,
            literal.is_negated,
            types,
            inputs,
            bound,
            fresh,
            same,
            literal.computed,
            (),
            literal.span,
        )

    def _expected_matches(self, position: int) -> float:
        """Matches per row, if the columns of a relation are taken as independent and equally selective."""
        atom = self.atoms[position]
        if not atom.terms:
            return 0.0
        fixed = sum(is_given(term, self.bound) for term in atom.terms)
        return max(1, self.sizes.get(atom.relation, max(self.largest, _UNKNOWN_SIZE))) ** (1 - fixed / len(atom.terms))

    def join(self, position: int) -> None:
        atom = self.atoms.pop(position)
        key, fresh, same = self._match(atom.terms)
        version = self.version.versions[position]
        self.steps.append(Join(position, atom.relation, version, key, fresh, same, False, ()))

    def _match(self, terms: Sequence[ir.Term]) -> tuple[_Key, tuple[tuple[int, str], ...], tuple[tuple[int, int], ...]]:
        """The columns to look up, to bind and to compare with each other; the variables become bound."""
        key: list[tuple[int, Argument]] = []
        same: list[tuple[int, int]] = []
        fresh: dict[str, int] = {}
        for column, term in enumerate(terms):
            match term:
                case ir.Constant():
                    key.append((column, term))
                case ir.Variable(name=name) if name in self.bound:
                    key.append((column, term))
                case ir.Variable(name=name) if name in fresh:
                    same.append((fresh[name], column))
                case ir.Variable(name=name):
                    fresh[name] = column
                case ir.Wildcard():
                    pass
                case _:
                    assert_never(term)
        self.bound.update(fresh)
        return tuple(key), tuple((column, name) for name, column in fresh.items()), tuple(same)

    def settle(self) -> None:
        """Adds a step for every literal whose variables are bound; steps that may fail come after filters."""
        while (step := self._ready_step(risky=False) or self._ready_step(risky=True)) is not None:
            self.steps.append(step)

    def _ready_step(self, risky: bool) -> Step | None:
        # The arguments of a term are bound by the term first: equalities then filter them.
        for position, literal in sorted(self.others.items(), key=lambda item: not isinstance(item[1], ir.Case)):
            condition = literal.condition if isinstance(literal, ir.Constraint) else None
            if self._waits(position) or (condition is not None and can_fail(condition) and not risky):
                continue
            if _needed_names(literal) <= self.bound:
                del self.others[position]
                return self._step(position, literal)
            if isinstance(literal, ir.Constraint):
                step = self._binding_step(position, literal)
                if step is not None:
                    return step
        return None

    def _step(self, position: int, literal: ir.BodyLiteral) -> Step:
        """The step of a literal that is no atom and whose variables are bound."""
        match literal:
            case ir.NegatedAtom(relation=relation, terms=terms, computed=computed):
                key = tuple((i, term) for i, term in enumerate(terms) if not isinstance(term, ir.Wildcard))
                return AntiJoin(position, relation, key, computed, ())
            case ir.Case(subject=subject, constructor=constructor, terms=terms):
                return Destructure(subject, constructor, *self._match(terms), ())
            case ir.ForeignAtom():
                return self._generate(position, literal)
            case ir.Constraint(condition=condition):
                return Select(condition, literal.saturates, ())
            case ir.Reduce(groups=groups, results=results):
                self.bound |= term_names((*groups, *results))
                return Reduce(literal, ())
            case ir.Atom():
                raise AssertionError("atoms are joined")
            case _:
                assert_never(literal)

    def _binding_step(self, position: int, constraint: ir.Constraint) -> Step | None:
        solution = solve_equality(constraint, self.bound)
        if solution is None:
            return None
        variable, expression = solution
        condition = constraint.condition
        assert isinstance(condition, ir.Binary)
        given = any(
            isinstance(side, ir.Variable) and side.name == variable.name for side in (condition.left, condition.right)
        )
        if not given and variable.name in self.generated:
            # Solutions for floats are rounded, and those for months are not unique: so the atom's own values are
            # filtered.
            return None
        self.bound.add(variable.name)
        if given or variable.type.is_float:
            # A float's solution is rounded: a second check could fail without a reason that a user can see.
            del self.others[position]
        return Extend(variable, expression, constraint.saturates, ())


def can_fail(expression: ir.Expression) -> bool:
    """Whether an expression may raise an error: by a division of integers by zero, or in a Python function."""
    return any(
        (isinstance(part, ir.Binary) and part.op in "/%" and not part.type.is_float)
        or (isinstance(part, ir.Call) and part.function not in FUNCTIONS)
        for part in ir.parts(expression)
    )


def _needed_names(literal: ir.BodyLiteral) -> frozenset[str]:
    """The variables that must be bound before a literal can be a step that binds no value of theirs."""
    match literal:
        case ir.Atom(terms=terms) | ir.NegatedAtom(terms=terms) | ir.ForeignAtom(terms=terms):
            return term_names(terms)
        case ir.Case(subject=subject):
            return term_names([subject])
        case ir.Constraint(condition=condition):
            return variable_names(condition)
        case ir.Reduce():
            return frozenset()
        case _:
            assert_never(literal)


def _prune(version: DeltaRule, steps: list[Step]) -> tuple[Step, ...]:
    """The steps with `keep` and `project` filled in, from the end on, by the needs of the head, the tag and the label.

    Each row of a rule with a tag or a soft comparison is a literal of its own, so nothing is merged there.
    """
    rule = version.rule
    needed = {variable.name for variable in version.label}
    chosen = () if rule.choice is None else (*rule.choice.bindings, *rule.choice.probabilities)
    for expression in (*rule.head, *chosen, *(() if rule.tag is None else (rule.tag,))):
        needed |= variable_names(expression)
    has_literals = rule.tag is not None or any(
        isinstance(step, Generate) and makes_literals(step.predicate) for step in steps
    )
    pruned: list[Step] = []
    bound = [_binds(step) for step in steps]
    joined_later = False
    for i in reversed(range(len(steps))):
        step = replace(steps[i], keep=tuple(sorted(needed & {name for names in bound[: i + 1] for name in names})))
        needed |= _reads(step)
        if isinstance(step, Join):
            step = replace(step, project=joined_later and not has_literals and _drops_columns(rule, step))
            joined_later = True
        pruned.append(step)
    return tuple(reversed(pruned))


def _drops_columns(rule: ir.Rule, join: Join) -> bool:
    """Whether the atom has a column that the joined table lacks."""
    atom = rule.body[join.literal]
    assert isinstance(atom, ir.Atom)
    names = term_names(atom.terms)
    return not names.issubset(join.keep) or any(isinstance(term, ir.Wildcard) for term in atom.terms)


def _binds(step: Step) -> tuple[str, ...]:
    match step:
        case Join(fresh=fresh) | Generate(fresh=fresh) | Destructure(fresh=fresh):
            return tuple(name for _, name in fresh)
        case Extend(variable=variable):
            return (variable.name,)
        case Reduce(reduce=reduce):
            return tuple(variable.name for variable in (*reduce.groups, *reduce.results))
        case _:
            return ()


def _key_names(key: _Key) -> frozenset[str]:
    return term_names(term for _, term in key)


def _reads(step: Step) -> frozenset[str]:
    match step:
        case Join(key=key):
            return _key_names(key)
        case AntiJoin(key=key, computed=computed):
            return _key_names(key).union(*map(variable_names, computed))
        case Destructure(subject=subject, key=key):
            return term_names([subject]) | _key_names(key)
        case Generate(inputs=inputs, bound=bound, computed=computed):
            return (term_names(inputs) | _key_names(bound)).union(*map(variable_names, computed))
        case Select(condition=condition):
            return variable_names(condition)
        case Extend(expression=expression):
            return variable_names(expression)
        case Reduce():
            return frozenset()
        case _:
            assert_never(step)
