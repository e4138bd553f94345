"""Semi-naive grounding: every tuple that can hold, and every derivation of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from scallax import ir
from scallax.errors import Diagnostic, GroundingError, InputError
from scallax.grounding.certainty import CannotFail, Unfailing, propagate_certainty, share_conjunctions
from scallax.grounding.choices import Choices
from scallax.grounding.conjunction import DerivationBuilder, Factor, Weigh, conjoin
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals, operand_literal
from scallax.grounding.foreign import ForeignCalls
from scallax.grounding.gates import GateSet
from scallax.grounding.limits import DEFAULT_LIMITS, Limits, raise_limit
from scallax.grounding.numbering import Bindings, RuleLiterals, number_by_content
from scallax.grounding.operators import UNIT, Database, Table, run_steps
from scallax.grounding.relation import GroundRelation
from scallax.grounding.symbols import (
    Symbols,
    decode,
    decode_values,
    encode,
    encode_values,
    find_values,
    sort_keys,
)
from scallax.planner.algebra import DeltaRule, Generate, Join, Pipeline, Plan, Stratum
from scallax.planner.joins import plan_joins
from scallax.planner.sharing import Beginning, find_beginnings
from scallax.values import Value


@dataclass(frozen=True, slots=True)
class FactSet:
    """The facts of one relation, program and Python together; the values fit the relation's columns.

    `operands` int64 `[tuples]`: ONE for a certain fact, or the operand code of its literal.
    """

    tuples: Sequence[tuple[Value, ...]]
    operands: np.ndarray


@dataclass(frozen=True, slots=True)
class FactColumns:
    """The facts of one relation as columns of codes; `operands` as those of a `FactSet`."""

    columns: Sequence[np.ndarray]
    operands: np.ndarray


Planned = Sequence[tuple[DeltaRule, Pipeline, Beginning | None]]


@dataclass(frozen=True, slots=True)
class PlannedStratum:
    """A stratum with the join orders of its rules, planned for the sizes of relations that were met first.

    `first_round` are the versions of the first round, `each_round` those of the others.
    """

    relations: tuple[str, ...]
    first_round: Planned
    each_round: Planned


@dataclass(frozen=True, slots=True)
class Grounding:
    """A ground program on the host: every possible tuple with its operand, and the derivations.

    `rules` int32 `[derivations]` is the index of the program's rule that made each derivation, -1 for a fact
    and for the projection of a negated relation. `num_rounds` is how many rounds found tuples, in the stratum with
    the most. `rule_rows` says, by index in the program, how many bindings of a rule's body were found in all rounds.
    `gate_sets` are the literals whose values follow from the weights of tuples, in topological order. `by_content` is
    that of the plan. `held_nodes` and `one_nodes` are masks of nodes that hold in every world and of those that weigh
    as much as ONE, empty for a program without aggregates.
    """

    literals: Literals
    derivations: Derivations
    rules: np.ndarray
    num_rounds: int
    rule_rows: Mapping[int, int]
    relations: Mapping[str, GroundRelation]
    symbols: Symbols
    gate_sets: tuple[GateSet, ...] = ()
    by_content: bool = False
    held_nodes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    one_nodes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))

    def tuples(self, relation: str) -> list[tuple[Value, ...]]:
        """All possible tuples of a relation in value order. Raises `InputError` for one that was not grounded."""
        ground_relation = self._relation(relation)
        order = self._order(ground_relation)
        if not ground_relation.columns:
            return [()] * len(order)
        columns = [
            decode_values(codes[order], type, self.symbols)
            for codes, type in zip(ground_relation.columns, ground_relation.schema.columns, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def operands(self, relation: str, tuples: Sequence[tuple[Value, ...]] | None = None) -> np.ndarray:
        """Operand codes int64 `[tuples]` of the given tuples, or of all as `tuples(relation)` lists them.

        ZERO for a tuple that cannot be derived, and for one whose arity or values do not fit the relation.
        """
        ground_relation = self._relation(relation)
        if tuples is None:
            return ground_relation.operands[self._order(ground_relation)]
        types = ground_relation.schema.columns
        fits = np.array([len(values) == len(types) for values in tuples], np.bool_)
        rows = [values for values in tuples if len(values) == len(types)]
        found = np.ones(len(rows), np.bool_)
        columns: list[np.ndarray] = []
        for i, type in enumerate(types):
            codes, known = find_values([values[i] for values in rows], type, self.symbols)
            columns.append(codes)
            found &= known
        ids = np.where(found, ground_relation.find(columns, len(rows)), -1)
        operands = np.full(len(tuples), ZERO)
        if ground_relation.size:
            operands[fits] = np.where(ids >= 0, ground_relation.operands[ids], ZERO)
        return operands

    def _relation(self, name: str) -> GroundRelation:
        if name not in self.relations:
            raise InputError(
                Diagnostic(
                    f"relation `{name}` was not grounded",
                    hint=f"grounded are: {', '.join(f'`{known}`' for known in self.relations) or 'none'}",
                )
            )
        return self.relations[name]

    def _order(self, relation: GroundRelation) -> np.ndarray:
        """Tuple ids in value order."""
        if not relation.columns:
            return np.arange(relation.size)
        keys = [
            sort_keys(decode(codes, type, self.symbols), type, self.symbols)
            for codes, type in zip(relation.columns, relation.schema.columns, strict=True)
        ]
        return np.lexsort(keys[::-1])


def ground(
    plan: Plan,
    facts: Mapping[str, FactSet],
    literals: Literals,
    *,
    collapse_certain: bool = True,
    rule_tags: bool = True,
    choices: Choices | None = None,
    rule_parameters: Mapping[int, int] | None = None,
    iter_limit: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    weigh: Weigh | None = None,
    cannot_fail: CannotFail | None = None,
) -> Grounding:
    """All tuples of the plan's relations that hold for some values of the literals, with all their derivations.

    With `collapse_certain`, tuples that hold whatever the literals have the operand ONE and no derivation;
    without, every tuple but a lone uncertain fact is a node. With `iter_limit` n, a stratum ends after n + 1
    rounds. Facts of relations outside the plan are ignored. `rule_parameters` gives, by index in the program, the rules
    whose tag is a trainable parameter. Without `choices` the alternatives of a head do not exclude each
    other. The operands of a body are conjoined in body order, whatever the order of joins; equal derivations by
    different rules stay apart. Nodes, literals and tuples are numbered in order of discovery; the literals of tagged
    rules and choices by rule and values if the plan is `by_content`. `weigh` is asked for the weights that become
    values of tuples; `cannot_fail` which facts with constant tags hold in every world, beside untagged ones.

    Raises `GroundingError` for a division by zero and for a passed limit.
    """
    relations = {schema.name: GroundRelation(schema) for schema in plan.relations}
    symbols = Symbols(plan.variants, limits.characters)
    builder = DerivationBuilder(literals, weigh=weigh)
    unfailing = Unfailing(cannot_fail)
    grounder = _Grounder(
        plan,
        relations,
        symbols,
        builder,
        collapse_certain,
        rule_tags,
        choices,
        rule_parameters or {},
        limits,
        unfailing,
    )
    symbols.intern_terms(plan.terms)
    num_rounds = 0
    for stratum in plan.strata:
        names = [name for name in stratum.relations if name in facts]
        columns = {name: _encode_facts(relations[name].schema, facts[name], symbols) for name in names}
        num_rounds = max(num_rounds, grounder.ground_stratum(grounder.plan_stratum(stratum), columns, iter_limit))
    for relation in relations.values():
        relation.drop_indexes()
    derivations, rules = builder.derivations()
    found, gate_sets = builder.literals(), tuple(builder.gate_sets)
    if plan.by_content:
        bindings = [*grounder.rule_literals.by_rule(), *([] if choices is None else choices.by_choice())]
        found, derivations, gate_sets = number_by_content(
            found, derivations, gate_sets, bindings, len(literals), symbols
        )
    return Grounding(
        found,
        derivations,
        rules,
        num_rounds,
        grounder.rule_rows,
        relations,
        symbols,
        gate_sets,
        plan.by_content,
        unfailing.nodes,
        unfailing.one_nodes,
    )


def _encode_facts(schema: ir.Relation, facts: FactSet, symbols: Symbols) -> FactColumns:
    values = zip(*facts.tuples, strict=True) if facts.tuples else [()] * len(schema.columns)
    columns = [encode_values(column, type, symbols) for column, type in zip(values, schema.columns, strict=True)]
    return FactColumns(columns, facts.operands)


class SampleGrounder:
    """Grounds the strata of samples side by side, again and again, on what all samples share.

    `plan` is of a lifted program; `base` is the grounding of its relations without a sample column. The join orders are
    planned once, at the first call.
    """

    def __init__(
        self,
        plan: Plan,
        base: Grounding,
        *,
        rule_tags: bool = True,
        choices: Choices | None = None,
        rule_parameters: Mapping[int, int] | None = None,
        iter_limit: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        weigh: Weigh | None = None,
        cannot_fail: CannotFail | None = None,
    ):
        self.base = base
        self._cannot_fail = cannot_fail
        self._plan = plan.restrict(plan.lifted)
        self._planned: list[PlannedStratum] = []
        self._rule_tags = rule_tags
        self._choices = choices
        self._rule_parameters = rule_parameters or {}
        self._iter_limit = iter_limit
        self._limits = limits
        self._weigh = None if weigh is None else partial(_weigh_on_base, weigh, base)
        # The sizes of relations, and the conjunctions, of the last batch: the next one is likely to be like it.
        self._sizes: Mapping[str, int] = {}
        self._num_conjunctions = 0

    @property
    def schemas(self) -> Mapping[str, ir.Relation]:
        """The relations with a sample column, by name."""
        return {schema.name: schema for schema in self._plan.relations}

    def ground(self, facts: Mapping[str, FactColumns], literals: Literals, symbols: Symbols) -> Grounding:
        """The grounding of a batch; `symbols` (a copy of the base's) and `literals` extend those of the base.

        Facts have a column of samples in front. Raises `GroundingError`, see `ground`.
        """
        base = self.base
        sizes = self._sizes
        own = {schema.name: GroundRelation(schema, sizes.get(schema.name, 0)) for schema in self._plan.relations}
        builder = DerivationBuilder(literals, base.derivations.num_nodes, self._weigh, self._num_conjunctions)
        choices = None if self._choices is None else self._choices.fresh()
        grounder = _Grounder(
            self._plan,
            {**base.relations, **own},
            symbols,
            builder,
            True,
            self._rule_tags,
            choices,
            self._rule_parameters,
            self._limits,
            Unfailing(self._cannot_fail, base.held_nodes, base.one_nodes, base.gate_sets),
        )
        num_rounds = 0
        for place, stratum in enumerate(self._plan.strata):
            if place == len(self._planned):
                self._planned.append(grounder.plan_stratum(stratum))
            rounds = grounder.ground_stratum(self._planned[place], facts, self._iter_limit)
            num_rounds = max(num_rounds, rounds)
        self._sizes = {name: relation.size for name, relation in own.items()}
        self._num_conjunctions = builder.num_conjunctions
        derivations, rules = builder.derivations()
        if len(base.derivations):
            derivations = base.derivations.join(derivations)
            rules = np.concatenate([base.rules, rules])
        return Grounding(
            builder.literals(),
            derivations,
            rules,
            num_rounds,
            grounder.rule_rows,
            own,
            symbols,
            (*base.gate_sets, *builder.gate_sets),
            self._plan.by_content,
        )


def _weigh_on_base(
    weigh: Weigh,
    base: Grounding,
    derivations: Derivations,
    literals: Literals,
    gate_sets: Sequence[GateSet],
    operands: np.ndarray,
) -> np.ndarray | None:
    """The weights of operands of a batch, whose derivations and gates go on from those that all samples share."""
    return weigh(base.derivations.join(derivations), literals, (*base.gate_sets, *gate_sets), operands)


class _Grounder:
    """The relations as they grow, stratum by stratum."""

    def __init__(
        self,
        plan: Plan,
        relations: dict[str, GroundRelation],
        symbols: Symbols,
        builder: DerivationBuilder,
        collapse_certain: bool,
        rule_tags: bool,
        choices: Choices | None,
        rule_parameters: Mapping[int, int],
        limits: Limits,
        unfailing: Unfailing,
    ):
        self.database = Database(
            relations=relations,
            symbols=symbols,
            builder=builder,
            certain_is_one=collapse_certain,
            has_tags=rule_tags,
            max_rows=limits.derivations,
            calls=ForeignCalls(plan.library),
            unfailing=unfailing,
        )
        self.rule_rows: dict[int, int] = {}
        self.rule_literals = RuleLiterals()
        self._derived = plan.derived
        self._rules = {
            version.index: version.rule for stratum in plan.strata for version in (*stratum.once, *stratum.each_round)
        }
        self._rule_tags = rule_tags
        self._choices = choices
        self._rule_parameters = rule_parameters
        self._aggregates = plan.aggregates
        if plan.aggregates:
            unfailing.find_literals(builder)
        self._limits = limits
        self._started = time.monotonic()
        self._num_tuples = 0
        # Nodes of this stratum found to be certain after they were made, in batches.
        self._late_certain: list[np.ndarray] = []
        # The tables of beginnings that several rules have, in this round.
        self._shared: dict[tuple, tuple[Beginning, Table]] = {}
        # Tuples and derivations that each rule found in this round.
        self._growth: dict[int, int] = {}

    def _add_facts(self, name: str, facts: FactColumns) -> None:
        """Puts the facts of a relation in front of its derived tuples."""
        relation = self.database.relations[name]
        ids = relation.insert(facts.columns, len(facts.operands))
        self._num_tuples += relation.size
        literal = facts.operands != ONE
        open_tuples = np.ones(relation.size, np.bool_)
        if self.database.certain_is_one:
            open_tuples[ids[~literal]] = False
        lone = np.bincount(ids, minlength=relation.size) == 1
        if name in self._derived:
            lone[:] = False
        else:
            lone[ids[~literal]] = False
        relation.operands[ids[lone[ids]]] = facts.operands[lone[ids]]
        self._open_nodes(relation, open_tuples & ~lone)
        relation.certain = not np.any(open_tuples)
        members = (open_tuples & ~lone)[ids]
        self.database.builder.add_single(relation.operands[ids[members]], facts.operands[members])

    def _open_nodes(self, relation: GroundRelation, tuples: np.ndarray) -> None:
        """Gives fresh nodes to the last tuples of a relation where the mask says so."""
        count = int(np.count_nonzero(tuples))
        if count:
            operands = relation.operands[relation.size - len(tuples) :]
            operands[tuples] = self.database.builder.add_nodes(count)
            relation.certain = False

    def plan_stratum(self, stratum: Stratum) -> PlannedStratum:
        """The join orders for the sizes of the strata below: relations that are still to grow have no size yet."""
        sizes = {
            literal.relation: self.database.relations[literal.relation].size
            for version in (*stratum.once, *stratum.each_round)
            for literal in version.rule.body
            if isinstance(literal, ir.Atom) and literal.relation not in stratum.relations
        }
        planned = [(version, plan_joins(version, sizes)) for version in (*stratum.once, *stratum.each_round)]
        each_round = _with_beginnings(planned[len(stratum.once) :])
        return PlannedStratum(stratum.relations, _with_beginnings(planned), each_round)

    def ground_stratum(self, stratum: PlannedStratum, facts: Mapping[str, FactColumns], iter_limit: int | None) -> int:
        """Runs a stratum to its fixpoint; returns the number of rounds that found tuples."""
        relations = [self.database.relations[name] for name in stratum.relations]
        builder = self.database.builder
        first_node, first_part = builder.num_nodes, builder.num_parts
        for name in stratum.relations:
            if name in facts:
                self._add_facts(name, facts[name])
        self._list_terms(relations)
        for relation in relations:
            relation.advance()
        versions = stratum.first_round
        num_rounds = 0
        while versions:
            self._growth.clear()
            for version, pipeline, beginning in versions:
                self._derive(version, pipeline, beginning)
                self._check_limits()
            self._shared.clear()
            self._list_terms(relations)
            grown = sum([relation.advance() for relation in relations])
            versions = stratum.each_round
            if grown == 0:
                break
            num_rounds += 1
            if iter_limit is not None and num_rounds > iter_limit:
                break
            if versions and num_rounds >= self._limits.rounds:
                raise self._exceeded("rounds", f"{num_rounds:,} rounds")
        self._settle(relations, first_node, first_part)
        if self._aggregates:
            self.database.unfailing.extend(builder, first_node, first_part)
        return num_rounds

    def _list_terms(self, relations: Sequence[GroundRelation]) -> None:
        """Adds the terms made since to the relations that list them; a term is certain, whatever made it."""
        for relation in relations:
            if relation.schema.constructor is not None:
                terms = self.database.symbols.terms
                relation.insert(*terms.listed(relation.schema.constructor, relation.size))

    def _derive(self, version: DeltaRule, pipeline: Pipeline, beginning: Beginning | None) -> None:
        """Adds what one version of a rule derives from the visible tuples."""
        self._growth.setdefault(version.index, 0)
        joins = [step for step in pipeline.steps if isinstance(step, Join)]
        for step in joins:
            first, end = self.database.relations[step.relation].bounds(step.version)
            if first == end:
                return
        table = self._run(version, pipeline, beginning)
        if table.num_rows == 0:
            return
        heads, prior, factors, table = self._project(table, version.rule)
        num_rows = table.num_rows
        self.rule_rows[version.index] = self.rule_rows.get(version.index, 0) + num_rows
        if prior is not None:
            parameter = self._rule_parameters.get(version.index, -1)
            operands = self.database.builder.add_literals(prior, parameter)
            factors.append(Factor(operands))
            columns, types = [table.columns[part.name] for part in version.label], [part.type for part in version.label]
            self.rule_literals.add(version.index, Bindings(operand_literal(operands), columns, types))
        # Two combinations of body tuples can have the same head and operands only where a tuple's operand is ONE,
        positive = [factor for factor in factors if not factor.negated]
        # and where a foreign predicate has several tuples.
        expands = any(isinstance(step, Generate) for step in pipeline.steps)
        repeatable = np.full(num_rows, expands or self._forgets_tuples(version.rule, joins, table))
        for factor in positive[: len(joins)]:
            repeatable |= factor.operands == ONE
        if prior is not None:
            repeatable[:] = False
        elif version.rule.choice is not None:
            # Bindings that differ in a wildcard only share their literals.
            repeatable[:] = True
        relation = self.database.relations[version.rule.relation]
        known = relation.size
        before = self.database.builder.num_derivations
        ids = relation.insert(heads, num_rows)
        self._record(relation, known, ids, factors, repeatable, version.index)
        self._num_tuples += relation.size - known
        grown = relation.size - known + self.database.builder.num_derivations - before
        self._growth[version.index] += grown

    def _forgets_tuples(self, rule: ir.Rule, joins: Sequence[Join], table: Table) -> bool:
        """Whether some tuple without an operand does not follow from the head and the tuples that have one."""
        known = {expression.name for expression in rule.head if isinstance(expression, ir.Variable)}
        for step in joins:
            if step.literal in table.factors:
                known |= step.variables
        return any(
            len(step.key) + len(step.fresh) + len(step.same) < len(self.database.relations[step.relation].columns)
            or not step.variables <= known
            for step in joins
            if step.literal not in table.factors
        )

    def _run(self, version: DeltaRule, pipeline: Pipeline, beginning: Beginning | None) -> Table:
        """All bindings of a rule's body; the beginning that other rules of this round have too is run once."""
        table, steps, span = UNIT, pipeline.steps, pipeline.rule.span
        if beginning is not None:
            if beginning.key not in self._shared:
                begun = run_steps(steps[: beginning.num_steps], table, self.database, version.index, span)
                self._shared[beginning.key] = beginning, begun
            first, begun = self._shared[beginning.key]
            names = dict(zip(first.names, beginning.names, strict=True))
            table = begun.rename(names, dict(zip(first.literals, beginning.literals, strict=True)))
            steps = steps[beginning.num_steps :]
        return run_steps(steps, table, self.database, version.index, span) if table.num_rows else table

    def _project(self, table: Table, rule: ir.Rule) -> tuple[list[np.ndarray], np.ndarray | None, list[Factor], Table]:
        """The head's columns, the tag of each row if the rule is tagged, the factors in body order, and these rows."""
        evaluation = self.database.evaluation(table, rule.span)
        heads = [
            encode(evaluation.native(expression), expression.type, self.database.symbols) for expression in rule.head
        ]
        prior = None
        if rule.tag is not None and self._rule_tags:
            # Tags are f32 numbers in the language; NaN is no tag.
            prior = evaluation.native(rule.tag).astype(np.float32).astype(np.float64)
        kept = None if evaluation.missing is None else ~evaluation.missing
        if prior is not None and np.any(np.isnan(prior)):
            kept = ~np.isnan(prior) if kept is None else kept & ~np.isnan(prior)
        factors = [] if rule.is_certain else [table.factors[position] for position in sorted(table.factors)]
        if rule.choice is not None and self._choices is not None:
            choice = rule.choice
            bindings = [encode(evaluation.native(part), part.type, self.database.symbols) for part in choice.bindings]
            operands = self._choices.operands(self.database.builder, choice, bindings, table.num_rows)
            factors.append(Factor(operands))
        if kept is not None:
            heads = [column[kept] for column in heads]
            prior = None if prior is None else prior[kept]
            factors = [Factor(factor.operands[kept], factor.negated) for factor in factors]
            table = table.take(kept, list(table.columns))
        return heads, prior, factors, table

    def _record(
        self,
        relation: GroundRelation,
        known: int,
        ids: np.ndarray,
        factors: Sequence[Factor],
        repeatable: np.ndarray,
        rule: int,
    ) -> None:
        """Gives the tuples of `ids` operands (those from `known` on are new) and records the derivations."""
        open_tuples = np.ones(relation.size - known, np.bool_)
        # What is asked for is certain even where certain tuples are nodes.
        if self.database.certain_is_one or self._rules[rule].is_certain:
            held = np.ones(len(ids), np.bool_)
            for factor in factors:
                held &= factor.operands == ONE
            certain = ids[held]
            open_tuples[certain[certain >= known] - known] = False
            self._close_nodes(relation, certain[certain < known])
        self._open_nodes(relation, open_tuples)
        if relation.certain:
            return
        rows = (relation.operands[ids] != ONE).nonzero()[0]
        if len(rows) < len(ids):
            ids, repeatable = ids[rows], repeatable[rows]
            factors = [Factor(factor.operands[rows], factor.negated) for factor in factors]
        pair = conjoin(self.database.builder, factors, len(ids), rule)
        self.database.builder.add(relation.operands[ids], pair, repeatable, rule)

    def _close_nodes(self, relation: GroundRelation, ids: np.ndarray) -> None:
        """Makes tuples certain that were possible so far."""
        if relation.certain or not len(ids):
            return
        nodes = relation.operands[ids]
        if np.any(nodes != ONE):
            self._late_certain.append(nodes[nodes != ONE])
            relation.operands[ids] = ONE

    def _settle(self, relations: Sequence[GroundRelation], first_node: int, first_part: int) -> None:
        """Completes a stratum: all tuples are old, and those that turned out certain have the operand ONE."""
        for relation in relations:
            relation.advance()
        if not self._late_certain:
            return
        builder = self.database.builder
        certain = np.zeros(builder.num_nodes - first_node, np.bool_)
        certain[np.concatenate(self._late_certain) - first_node] = True
        self._late_certain.clear()
        rows, certain = propagate_certainty(builder.take(first_part), certain, first_node)
        builder.put(share_conjunctions(rows, builder.conjunctions()))
        for relation in relations:
            operands = relation.operands
            inner = (operands >= first_node).nonzero()[0]
            operands[inner[certain[operands[inner] - first_node]]] = ONE
            relation.certain = not np.any(operands != ONE)

    def _check_limits(self) -> None:
        if self._num_tuples > self._limits.tuples:
            raise self._exceeded("tuples", f"{self._limits.tuples:,} tuples")
        if self.database.builder.num_derivations > self._limits.derivations:
            raise self._exceeded("derivations", f"{self._limits.derivations:,} derivations")
        if self.database.symbols.num_characters > self._limits.characters:
            raise self._exceeded("characters", f"{self._limits.characters:,} characters of text")
        if self._limits.seconds is not None and time.monotonic() - self._started > self._limits.seconds:
            raise self._exceeded("seconds", f"{self._limits.seconds:g} seconds")

    def _exceeded(self, name: str, limit: str) -> GroundingError:
        """Blames the rule that found most in this round."""
        index = max(self._growth, key=lambda rule: self._growth[rule])
        rule = self._rules[index]
        size = self.database.relations[rule.relation].size
        # A `#` is in names of parts of rules, such as the bodies of aggregates.
        is_part = "#" in rule.relation
        what = "this part of a rule" if is_part else f"this rule for `{rule.relation}`"
        tuples = f"it has {size:,} tuples; there are" if is_part else f"there are {size:,} tuples of `{rule.relation}`,"
        return GroundingError(
            Diagnostic(
                f"grounding passed its limit of {limit}: {what} grew by {self._growth[index]:,} in the last round;"
                f" {tuples} {self._num_tuples:,} tuples and {self.database.builder.num_derivations:,} derivations"
                " in all",
                rule.span,
                "if the recursion does not end, bound it with a constraint, or give `iter_limit`; if it does, bind more"
                f" variables of the rule, give fewer facts, or {raise_limit(name)}",
            )
        )


def _with_beginnings(
    planned: Sequence[tuple[DeltaRule, Pipeline]],
) -> list[tuple[DeltaRule, Pipeline, Beginning | None]]:
    beginnings = find_beginnings([pipeline for _, pipeline in planned]) if len(planned) > 1 else [None] * len(planned)
    return [(*version, beginning) for version, beginning in zip(planned, beginnings, strict=True)]
