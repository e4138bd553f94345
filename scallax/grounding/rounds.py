"""Semi-naive rounds: the tuples of the relations of a stratum, and their derivations, until nothing grows."""

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np

from scallax.errors import Diagnostic, GroundingError
from scallax.grounding.canonical_literals import Bindings, RuleLiterals
from scallax.grounding.certainty import Unfailing, propagate_certainty, share_conjunctions
from scallax.grounding.conjunction import DerivationBuilder, Factor, conjoin
from scallax.grounding.derivations import ONE, Derivations, operand_literal
from scallax.grounding.environments import Environments, number_by_sample
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.grounding_options import GroundingOptions
from scallax.grounding.known_terms import KnownTerms
from scallax.grounding.limits import raise_limit
from scallax.grounding.operators import UNIT, Database, Table, run_steps
from scallax.grounding.relation import GroundRelation
from scallax.grounding.symbols import Symbols
from scallax.kernels.long_work import LongWork
from scallax.language import ir
from scallax.language.foreign import ForeignPredicate
from scallax.language.records import record
from scallax.planner.algebra import DeltaRule, Generate, Growth, Join, Pipeline, Plan, Stratum
from scallax.planner.common_prefixes import Beginning, find_beginnings
from scallax.planner.joins import plan_joins


@record
class FactColumns:
    """The facts of one relation as columns of codes.

    `operands` int64 `[tuples]`: ONE for a certain fact, or the operand code of its literal.
    """

    columns: Sequence[np.ndarray]
    operands: np.ndarray


_LOGGER = logging.getLogger("scallax")

# Seconds after which a recursion that makes values is told of: it may never end.
_SILENT_SECONDS = 2.0

# After how many rounds, or with how many tuples of a sample, a recursion is suspected to be one that only exclusive
# facts bound.
_SUSPECT = {Growth.COMPARED: (512, 1 << 22), Growth.OPEN: (8, 1 << 14)}

Planned = Sequence[tuple[DeltaRule, Pipeline, Beginning | None]]


@record
class PlannedStratum:
    """A stratum with the join orders of its rules, planned for the sizes of relations that were met first.

    `first_round` are the versions of the first round, `each_round` those of the others. `growth` is that of the
    stratum.
    """

    relations: tuple[str, ...]
    first_round: Planned
    each_round: Planned
    growth: Growth


@record
class Found:
    """The rows that a version of a rule gave: for each a head, the tag of a tagged rule, and operands in body order.

    `labels` are columns of the values by which the literals of a tagged rule are numbered; `repeatable` is that of
    `Rows`.
    """

    version: DeltaRule
    heads: list[np.ndarray]
    prior: np.ndarray | None
    factors: list[Factor]
    labels: list[np.ndarray]
    repeatable: np.ndarray

    def __len__(self) -> int:
        return len(self.repeatable)

    def __getitem__(self, rows: np.ndarray) -> "Found":
        return Found(
            self.version,
            [column[rows] for column in self.heads],
            None if self.prior is None else self.prior[rows],
            [factor[rows] for factor in self.factors],
            [column[rows] for column in self.labels],
            self.repeatable[rows],
        )


class StratumGrounder:
    """The relations as they grow, stratum by stratum."""

    def __init__(
        self,
        plan: Plan,
        relations: dict[str, GroundRelation],
        symbols: Symbols,
        builder: DerivationBuilder,
        options: GroundingOptions,
        unfailing: Unfailing,
        known: KnownTerms | None = None,
        below: Derivations | None = None,
        samples: np.ndarray | None = None,
    ):
        """`below` are derivations that those of the builder go on from, `samples` the samples of its literals."""
        self.database = Database(
            relations=relations,
            symbols=symbols,
            builder=builder,
            certain_is_one=options.collapse_certain,
            has_tags=options.rule_tags,
            max_rows=options.limits.derivations,
            calls=ForeignCalls(plan.library),
            unfailing=unfailing,
            known=known,
        )
        self.rule_rows: dict[int, int] = {}
        self.rule_literals = RuleLiterals()
        self._derived = plan.derived
        self._rules = {
            version.index: version.rule for stratum in plan.strata for version in (*stratum.once, *stratum.each_round)
        }
        self._options = options
        self._aggregates = plan.aggregates
        if plan.aggregates:
            unfailing.find_literals(builder)
        self._started = time.monotonic()
        self._work = LongWork(_LOGGER, "grounding")
        self._num_strata, self._stratum = len(plan.strata), 0
        self._num_tuples = 0
        # Nodes of this stratum found to be certain after they were made, in batches.
        self._late_certain: list[np.ndarray] = []
        # The tables of beginnings that several rules have, in this round.
        self._shared: dict[int, tuple[Beginning, Table]] = {}
        # Tuples and derivations that each rule found in this round.
        self._growth: dict[int, int] = {}
        # The relations of the strata that were told to grow for long.
        self._told: set[tuple[str, ...]] = set()
        self._below = below
        self._samples = samples
        self._num_samples = 1 if samples is None else int(samples.max(initial=0)) + 1
        # The choices that derivations of this stratum need, if they are followed, and derivations that no choice allows
        # so far.
        self._environments: Environments | None = None
        self._waiting: list[Found] = []
        # The relations whose tuples have too many environments.
        self._unbounded: tuple[str, ...] = ()

    def _add_facts(self, name: str, facts: FactColumns) -> None:
        """Puts the facts of a relation in front of its derived tuples."""
        relation = self.database.relations[name]
        # Few facts are given twice.
        relation.expect(len(facts.operands))
        ids = relation.insert(facts.columns, len(facts.operands))
        self._num_tuples += relation.size
        literal = facts.operands != ONE
        if self.database.certain_is_one and not literal.any():
            return
        open_tuples = np.ones(relation.size, np.bool_)
        if self.database.certain_is_one:
            open_tuples[ids[~literal]] = False
        lone = (np.bincount(ids, minlength=relation.size) == 1) & (name not in self._derived)
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
        return PlannedStratum(stratum.relations, _with_beginnings(planned), each_round, stratum.growth)

    def ground_stratum(self, stratum: PlannedStratum, facts: Mapping[str, FactColumns]) -> int:
        """Runs a stratum to its fixpoint; returns the number of rounds that found tuples.

        A recursion that makes values may be one that only exclusive facts bound. Once it goes on for long, it begins
        again, and it is followed which choices its derivations need.
        """
        self._stratum += 1
        relations = [self.database.relations[name] for name in stratum.relations]
        builder = self.database.builder
        first_node, first_part, num_tuples = builder.num_nodes, builder.num_parts, self._num_tuples
        self._fill(relations, facts)
        versions, num_rounds = stratum.first_round, 0
        is_trusted = not self._options.choices.are_exclusive or stratum.growth is Growth.FINITE
        while versions:
            failed = self._run_round(versions, relations)
            versions = stratum.each_round
            if failed is None:
                if not any(relation.old < relation.visible for relation in relations):
                    break
                num_rounds += 1
                self._tell_of_growth(stratum, num_rounds)
                if self._options.iter_limit is not None and num_rounds > self._options.iter_limit:
                    break
                if versions and num_rounds >= self._options.limits.rounds:
                    failed = self._exceeded("rounds", f"{num_rounds:,} rounds")
            if not is_trusted and (failed is not None or self._is_suspect(stratum, num_rounds)):
                is_trusted = True
                environments = self._follow(stratum, facts, first_node, first_part)
                if environments is not None:
                    self._forget(stratum, relations, first_part, num_tuples)
                    self._fill(relations, facts)
                    self._environments = environments
                    self._try_again(relations)
                    versions, num_rounds, failed = stratum.first_round, 0, None
            if failed is not None:
                raise failed
        self._environments = None
        self._waiting.clear()
        self._settle(relations, first_node, first_part)
        if self._aggregates:
            self.database.unfailing.extend(builder, first_node, first_part)
        return num_rounds

    def _tell_of_growth(self, stratum: PlannedStratum, num_rounds: int) -> None:
        """Logs, once for a stratum, that a recursion without a visible bound has taken long, and which rule grows."""
        if stratum.growth is not Growth.OPEN or stratum.relations in self._told or not self._growth:
            return
        seconds = time.monotonic() - self._started
        if seconds < _SILENT_SECONDS:
            return
        self._told.add(stratum.relations)
        rule, size = self._fastest()
        place = ""
        if rule.span is not None:
            line, column = rule.span.source.position(rule.span.start)
            place = f" at {rule.span.source.name}:{line}:{column}"
        _LOGGER.warning(
            "grounding goes on after %.1f s: a recursion makes new values, and the rule%s for `%s` grew most in the "
            "last round; there are %s tuples of it after %s rounds. If it does not end, bound it with a constraint, "
            "or give `iter_limit` or `limits`",
            seconds,
            place,
            rule.relation,
            f"{size:,}",
            f"{num_rounds:,}",
        )

    def _fastest(self) -> tuple[ir.Rule, int]:
        """The rule that found most in this round, and the number of tuples of its relation."""
        rule = self._rules[max(self._growth, key=lambda index: self._growth[index])]
        return rule, self.database.relations[rule.relation].size

    def _fill(self, relations: Sequence[GroundRelation], facts: Mapping[str, FactColumns]) -> None:
        """Adds the facts of a stratum, and the terms that there are."""
        for relation in relations:
            if relation.schema.name in facts:
                self._add_facts(relation.schema.name, facts[relation.schema.name])
        self._list_terms(relations)
        for relation in relations:
            relation.advance()

    def _run_round(self, versions: Planned, relations: Sequence[GroundRelation]) -> GroundingError | None:
        """Adds what some versions of rules derive; the error of a derivation, or of a limit."""
        self._growth.clear()
        failed = None
        try:
            for version, pipeline, beginning in versions:
                self._derive(version, pipeline, beginning)
                self._check_limits()
        except GroundingError as error:  # perhaps of derivations that no choice allows
            failed = error
        self._shared.clear()
        self._try_again(relations)
        self._list_terms(relations)
        for relation in relations:
            relation.advance()
        return failed

    def _is_suspect(self, stratum: PlannedStratum, num_rounds: int) -> bool:
        """Whether a recursion goes on for so long that maybe only exclusive facts bound it."""
        most_rounds, most_tuples = _SUSPECT[stratum.growth]
        num_tuples = sum(self.database.relations[name].size for name in stratum.relations)
        return num_rounds >= most_rounds or num_tuples > most_tuples * self._num_samples

    def _follow(
        self, stratum: PlannedStratum, facts: Mapping[str, FactColumns], first_node: int, first_part: int
    ) -> Environments | None:
        """The choices that the derivations below a stratum need; None if its own derivations need no choices."""
        builder = self.database.builder
        rules = [version.rule for version, _, _ in stratum.first_round]
        makes_groups = any(map(self._makes_groups, rules))
        if not makes_groups and not np.any(builder.groups >= 0):
            return None
        numbers = None
        if self._samples is not None:
            numbers = number_by_sample(builder.groups[: len(self._samples)], self._samples)
        limit = self._options.limits.environments
        environments = Environments(builder, self._below, first_node, numbers, limit, self._num_samples)
        environments.update(np.zeros(0, np.int64), first_part)
        read = {literal.relation for rule in rules for literal in rule.body if isinstance(literal, ir.Atom)}
        operands = [facts[name].operands for name in stratum.relations if name in facts]
        operands += [self.database.relations[name].operands for name in sorted(read.difference(stratum.relations))]
        if not makes_groups and all(map(environments.are_free, operands)):
            return None
        return environments

    def _makes_groups(self, rule: ir.Rule) -> bool:
        """Whether a rule makes literals that exclude each other."""
        predicates = [part.predicate for part in rule.body if isinstance(part, ir.ForeignAtom)]
        found = [self.database.calls.library.predicates[name] for name in predicates]
        return rule.choice is not None or any(
            isinstance(predicate, ForeignPredicate) and predicate.tags == "exclusive" for predicate in found
        )

    def _forget(
        self, stratum: PlannedStratum, relations: Sequence[GroundRelation], first_part: int, num_tuples: int
    ) -> None:
        """Forgets the tuples of a stratum and their derivations; `num_tuples` are those of the strata below."""
        builder = self.database.builder
        nodes = np.concatenate([self._found_certain(), *(relation.operands for relation in relations)])
        is_gone = np.zeros(builder.num_nodes, np.bool_)
        is_gone[nodes[nodes >= 0]] = True
        rows, num_rows = builder.take(first_part), -1
        # Conjunctions and projections of what is below are used again, those of what is gone are not.
        while len(rows) != num_rows:
            num_rows = len(rows)
            operands = np.stack([rows.head, rows.pair.left, rows.pair.right])
            uses_gone = np.any((operands >= 0) & is_gone[np.maximum(operands, 0)], axis=0)
            is_gone[rows.head[uses_gone]] = True
            rows = rows[~uses_gone]
        builder.put(rows)
        for relation in relations:
            relation.clear()
        for version, _, _ in stratum.first_round:
            self.rule_rows.pop(version.index, None)
            self.rule_literals.forget(version.index)
        self._environments = None
        self._num_tuples = num_tuples
        self._late_certain.clear()
        self._waiting.clear()

    def _found_certain(self) -> np.ndarray:
        """The nodes of this stratum that were found to be certain after they were made."""
        return np.concatenate([np.zeros(0, np.int64), *self._late_certain])

    def _try_again(self, relations: Sequence[GroundRelation]) -> None:
        """Adds the derivations that some choice allows by now, since their parts have other derivations.

        Where tuples need too many sets of choices, all that wait are added, and nothing is followed any longer.
        """
        has_added = True
        while has_added and self._environments is not None:
            self._environments.update(self._found_certain())
            if self._environments.is_over:
                self._environments = None
                self._unbounded += tuple(relation.schema.name for relation in relations)
            waiting, self._waiting = self._waiting, []
            has_added = sum(map(self._admit, waiting)) > 0

    def _list_terms(self, relations: Sequence[GroundRelation]) -> None:
        """Adds the terms made since to the relations that list them; a term is certain, whatever made it."""
        terms = self.database.known or self.database.symbols.terms
        for relation in relations:
            if relation.schema.constructor is not None:
                relation.insert(*terms.listed(relation.schema.constructor, relation.size))

    def _derive(self, version: DeltaRule, pipeline: Pipeline, beginning: Beginning | None) -> None:
        """Adds what one version of a rule derives from the visible tuples."""
        self._growth.setdefault(version.index, 0)
        joins = [step for step in pipeline.steps if type(step) is Join]
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
        # Two combinations of body tuples can have the same head and operands only where a tuple's operand is ONE,
        positive = [factor for factor in factors if not factor.negated]
        # and where a foreign predicate has several tuples.
        # Without operands all is certain, and no derivation is kept.
        is_kept = len(factors) > 0 or not self.database.certain_is_one
        forgets = is_kept and self._forgets_tuples(version.rule, joins, table)
        repeatable = np.full(num_rows, forgets or Generate in map(type, pipeline.steps))
        for operands in [factor.operands for factor in positive[: len(joins)] if factor.may_be_one]:
            repeatable |= operands == ONE
        if prior is not None:
            repeatable[:] = False
        elif version.rule.choice is not None:
            # Bindings that differ in a wildcard only share their literals.
            repeatable[:] = True
        labels = [] if prior is None else [table.columns[part.name] for part in version.label]
        self._admit(Found(version, heads, prior, factors, labels, repeatable))

    def _admit(self, found: Found) -> bool:
        """Adds derivations but for those that no choice allows, which wait; whether there were any to add."""
        if self._environments is not None:
            allowed = self._environments.allow(found.factors, len(found))
            if not allowed.all():
                self._waiting.append(found[~allowed])
                found = found[allowed]
        if len(found):
            self._add(found)
        return len(found) > 0

    def _add(self, found: Found) -> None:
        version, builder = found.version, self.database.builder
        factors = found.factors
        if found.prior is not None:
            operands = builder.add_literals(found.prior, self._options.rule_parameters.get(version.index, -1))
            factors = [*factors, Factor(operands, may_be_one=False)]
            types = [part.type for part in version.label]
            self.rule_literals.add(version.index, Bindings(operand_literal(operands), found.labels, types))
        relation = self.database.relations[version.rule.relation]
        known = relation.size
        before = builder.num_derivations
        ids = relation.insert(found.heads, len(found))
        self._record(relation, known, ids, factors, found.repeatable, version.index)
        self._num_tuples += relation.size - known
        grown = relation.size - known + builder.num_derivations - before
        self._growth[version.index] = self._growth.get(version.index, 0) + grown

    def _forgets_tuples(self, rule: ir.Rule, joins: Sequence[Join], table: Table) -> bool:
        """Whether some tuple without an operand does not follow from the head and the tuples that have one."""
        known = {expression.name for expression in rule.head if isinstance(expression, ir.Variable)}
        known.update(*(step.variables for step in joins if step.literal in table.factors))
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
            if id(beginning.key) not in self._shared:
                begun = run_steps(steps[: beginning.num_steps], table, self.database, version.index, span)
                self._shared[id(beginning.key)] = beginning, begun
            first, begun = self._shared[id(beginning.key)]
            names = dict(zip(first.names, beginning.names, strict=True))
            table = begun.rename(names, dict(zip(first.literals, beginning.literals, strict=True)))
            steps = steps[beginning.num_steps :]
        return run_steps(steps, table, self.database, version.index, span) if table.num_rows else table

    def _project(self, table: Table, rule: ir.Rule) -> tuple[list[np.ndarray], np.ndarray | None, list[Factor], Table]:
        """The head's columns, the tag of each row if the rule is tagged, the factors in body order, and these rows."""
        evaluation = self.database.evaluation(table, rule.span)
        choices, symbols = self._options.choices, self.database.symbols
        alternative, has_tag = choices.operands(self.database.builder, rule, evaluation, symbols)
        heads = [evaluation.codes(expression) for expression in rule.head]
        prior = None
        if rule.tag is not None and self._options.rule_tags:
            # Tags are f32 numbers in the language; NaN is no tag.
            prior = evaluation.native(rule.tag).astype(np.float32).astype(np.float64)
        kept = None if evaluation.missing is None else ~evaluation.missing
        if prior is not None and np.any(np.isnan(prior)):
            kept = ~np.isnan(prior) if kept is None else kept & ~np.isnan(prior)
        if has_tag is not None:
            kept = has_tag if kept is None else kept & has_tag
        factors = [] if rule.is_certain else [table.factors[position] for position in sorted(table.factors)]
        if alternative is not None:
            factors.append(Factor(alternative))
        if kept is not None:
            heads, prior = [column[kept] for column in heads], None if prior is None else prior[kept]
            factors = [factor[kept] for factor in factors]
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
        # Demanded values are certain even where certain tuples are nodes.
        is_one = self.database.certain_is_one or self._rules[rule].is_certain
        if is_one and not factors and relation.certain:
            return
        open_tuples = np.ones(relation.size - known, np.bool_)
        if is_one and all(part.may_be_one for part in factors):
            held = np.ones(len(ids), np.bool_)
            for factor in factors:
                held &= factor.operands == ONE
            certain = ids[held]
            open_tuples[certain[certain >= known] - known] = False
            self._close_nodes(relation, certain[certain < known])
        self._open_nodes(relation, open_tuples)
        if relation.certain:
            return
        heads = relation.operands[ids]
        rows = (heads != ONE).nonzero()[0]
        if len(rows) < len(heads):
            heads, repeatable = heads[rows], repeatable[rows]
            factors = [factor[rows] for factor in factors]
        pair = conjoin(self.database.builder, factors, len(heads), rule)
        self.database.builder.add(heads, pair, repeatable, rule)

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

    def end(self) -> None:
        """Tells the log that the last stratum has been grounded, if that took long."""
        self._work.end(lambda: f"grounded {self._sizes()}")

    def _sizes(self) -> str:
        return f"{self._num_tuples:,} tuples and {self.database.builder.num_derivations:,} derivations"

    def _tell_how_far(self) -> str:
        return f"grounding: stratum {self._stratum} of {self._num_strata}, {self._sizes()} so far"

    def _check_limits(self) -> None:
        self._work.tell(self._tell_how_far)
        limits = self._options.limits
        if self._num_tuples > limits.tuples:
            raise self._exceeded("tuples", f"{limits.tuples:,} tuples")
        if self.database.builder.num_derivations + sum(map(len, self._waiting)) > limits.derivations:
            raise self._exceeded("derivations", f"{limits.derivations:,} derivations")
        if self.database.symbols.num_characters > limits.characters:
            raise self._exceeded("characters", f"{limits.characters:,} characters of text")
        if limits.seconds is not None and time.monotonic() - self._started > limits.seconds:
            raise self._exceeded("seconds", f"{limits.seconds:g} seconds")

    def _exceeded(self, name: str, limit: str) -> GroundingError:
        """Blames the rule that found most in this round."""
        rule, size = self._fastest()
        unbounded = ""
        if rule.relation in self._unbounded:
            unbounded = (
                f"; if only facts that exclude each other bound it, too many sets of choices lead to tuples of"
                f" `{rule.relation}`: {raise_limit('environments')}"
            )
        # A `#` is in names of parts of rules, such as the bodies of aggregates.
        is_part = "#" in rule.relation
        what = "this part of a rule" if is_part else f"this rule for `{rule.relation}`"
        tuples = f"it has {size:,} tuples; there are" if is_part else f"there are {size:,} tuples of `{rule.relation}`,"
        return GroundingError(
            Diagnostic(
                f"grounding passed its limit of {limit}: {what} grew by {max(self._growth.values()):,} in the last"
                " round;"
                f" {tuples} {self._num_tuples:,} tuples and {self.database.builder.num_derivations:,} derivations"
                " in all",
                rule.span,
                "if the recursion does not end, bound it with a constraint, or give `iter_limit`; if it does, bind more"
                f" variables of the rule, give fewer facts, or {raise_limit(name)}{unbounded}",
            )
        )


def _with_beginnings(planned: Sequence[tuple[DeltaRule, Pipeline]]) -> Planned:
    beginnings = find_beginnings([pipeline for _, pipeline in planned])
    return [(*version, beginning) for version, beginning in zip(planned, beginnings, strict=True)]
