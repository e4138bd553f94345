"""Relational operators over tables of codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from scallax.errors import Diagnostic, GroundingError, Span
from scallax.grounding.aggregation import reduce_groups
from scallax.grounding.certainty import Unfailing
from scallax.grounding.conjunction import DerivationBuilder, Factor
from scallax.grounding.derivations import ONE
from scallax.grounding.expressions import Evaluation
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.generation import generate_foreign, generate_rows
from scallax.grounding.known_terms import KnownTerms
from scallax.grounding.limits import raise_limit
from scallax.grounding.relation import GroundRelation
from scallax.grounding.symbols import Symbols, encode, encode_values
from scallax.kernels.row_sets import RowTable, unique_rows
from scallax.language import ir
from scallax.language.foreign import ForeignPredicate
from scallax.language.records import record
from scallax.planner.algebra import (
    AntiJoin,
    Argument,
    Destructure,
    Extend,
    Generate,
    Join,
    Reduce,
    Select,
    Step,
)
from scallax.planner.samples import SAMPLE


@record
class Table:
    """Bindings of variables to codes; `factors` are operands by position of the body literal they come from."""

    num_rows: int
    columns: Mapping[str, np.ndarray]
    factors: Mapping[int, Factor]

    def take(self, rows: np.ndarray | None, keep: Sequence[str]) -> "Table":
        """Some rows, by position or as a mask (None: all), and the columns `keep` of those there are."""
        names = [name for name in keep if name in self.columns]
        if rows is None:
            return Table(self.num_rows, {name: self.columns[name] for name in names}, self.factors)
        if rows.dtype == np.bool_:
            rows = rows.nonzero()[0]
        return Table(
            len(rows),
            {name: self.columns[name][rows] for name in names},
            {position: factor[rows] for position, factor in self.factors.items()},
        )

    def rename(self, names: Mapping[str, str], literals: Mapping[int, int]) -> "Table":
        """The same rows for another body, whose variables and literals are given by those of this one."""
        return Table(
            self.num_rows,
            {names[name]: column for name, column in self.columns.items()},
            {literals[position]: factor for position, factor in self.factors.items()},
        )


@record
class Projection:
    """Tuples of a relation projected onto some columns, with their operands."""

    rows: RowTable
    operands: np.ndarray


@dataclass(slots=True)
class Database:
    """The relations grounded so far, and what is shared between rules.

    `max_rows` bounds every intermediate table. `certain_is_one` says that tuples which hold whatever the
    literals have the operand ONE; then a possible tuple is one of another operand. `has_tags`: the tags of rules, of
    choices and of soft comparisons count. `unfailing` are operands of the strata below that hold in all worlds.
    `known` are the terms of each sample, if some are asked for and samples differ in them.
    """

    relations: dict[str, GroundRelation]
    symbols: Symbols
    builder: DerivationBuilder
    certain_is_one: bool
    has_tags: bool
    max_rows: int
    calls: ForeignCalls = field(default_factory=ForeignCalls)
    unfailing: Unfailing = field(default_factory=Unfailing)
    known: KnownTerms | None = None
    projections: dict[tuple[str, tuple[int, ...]], Projection] = field(default_factory=dict)

    def evaluation(self, table: Table, rule: Span | None) -> Evaluation:
        return Evaluation(table.columns, table.num_rows, self.symbols, rule, self.calls, self.known)


# The table that pipelines start from.
UNIT = Table(1, {}, {})


def run_steps(steps: Sequence[Step], table: Table, database: Database, rule: int, span: Span | None) -> Table:
    """The table after some steps of a pipeline; after all, a row for each combination of a rule's body tuples.

    Combinations of certain tuples that no later step tells apart may share a row.
    """
    for step in steps:
        match step:
            case Join():
                table = _join(table, step, database, span)
            case AntiJoin():
                table = _antijoin(table, step, database, span)
            case Generate():
                table = _generate(table, step, database, step.span or span)
            case Select(condition=condition, saturates=saturates, keep=keep):
                evaluation = database.evaluation(table, span)
                if isinstance(condition, ir.Binary) and condition.op in ("==", "!=") and not saturates:
                    holds = evaluation.matches(condition)
                else:
                    holds = evaluation.native(condition)
                table = table.take(holds if evaluation.missing is None else holds & ~evaluation.missing, keep)
            case Extend(variable=variable, keep=keep):
                values, gone = _extension(table, step, database, span)
                codes = encode(values, variable.type, database.symbols)
                table = Table(table.num_rows, {**table.columns, variable.name: codes}, table.factors)
                table = table.take(None if gone is None else ~gone, keep)
            case Destructure():
                table = _destructure(table, step, database)
            case Reduce(reduce=reduce):
                table = _reduce(reduce, database, rule)
            case _:
                assert_never(step)
        if table.num_rows == 0:
            break
    return table


def _extension(
    table: Table, step: Extend, database: Database, span: Span | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of the variable, and the rows without one (None: none)."""
    evaluation = database.evaluation(table, span)
    if step.saturates:
        return evaluation.native(step.expression), evaluation.missing
    values, outside = evaluation.exact(step.expression)
    if outside is None or evaluation.missing is None:
        return values, evaluation.missing if outside is None else outside
    return values, outside | evaluation.missing


def _outside(computed: Sequence[ir.Expression], table: Table, database: Database, span: Span | None) -> np.ndarray:
    """The rows in which one of the expressions leaves its integer type."""
    evaluation = database.evaluation(table, span)
    found = [outside for _, outside in map(evaluation.exact, computed) if outside is not None]
    return np.logical_or.reduce(found) if found else np.zeros(table.num_rows, np.bool_)


def _reduce(reduce: ir.Reduce, database: Database, rule: int) -> Table:
    domain = None if reduce.domain is None else database.relations[reduce.domain]
    reduced = reduce_groups(
        reduce,
        database.relations[reduce.body],
        domain,
        database.symbols,
        database.builder,
        rule,
        database.has_tags,
        database.calls,
        database.unfailing,
    )
    if database.known is not None:
        found = [reduced.columns[result.name] for result in reduce.results]
        database.known.add_columns(reduced.columns[SAMPLE], found, [result.type for result in reduce.results])
    return Table(reduced.num_rows, reduced.columns, dict(enumerate(reduced.factors)))


def _join(table: Table, step: Join, database: Database, span: Span | None) -> Table:
    relation = database.relations[step.relation]
    of_relation = relation.columns
    first, end = relation.bounds(step.version)
    if table is UNIT and not step.key and not step.same:
        return _scan(relation, first, end, step, database)
    key = _key_columns(step.key, table, database)
    if table.num_rows == 1 and not table.columns:
        rows, ids = _filter(relation, first, end, step, key)
    elif len(key) == len(of_relation):
        found = relation.find(key, table.num_rows)
        rows = ((found >= first) & (found < end)).nonzero()[0]
        ids = found[rows]
    else:
        rows, ids = _probe(relation, step, key, table.num_rows, database.max_rows, span)
    for left, right in step.same:
        equal = of_relation[left][ids] == of_relation[right][ids]
        rows, ids = rows[equal], ids[equal]
    joined = table.take(rows, step.keep)
    columns = {name: of_relation[column][ids] for column, name in step.fresh if name in step.keep}
    factors = dict(joined.factors)
    if not relation.certain:
        operands = relation.operands[ids]
        factors[step.literal] = Factor(operands, may_be_one=bool((operands == ONE).any()))
    return _projected(Table(len(ids), {**joined.columns, **columns}, factors), step, database)


def _projected(table: Table, step: Join, database: Database) -> Table:
    """The joined rows, each once where nothing tells repeats apart."""
    if step.project and not table.factors and database.certain_is_one:
        return table.take(unique_rows(list(table.columns.values()), table.num_rows), step.keep)
    return table


def _scan(relation: GroundRelation, first: int, end: int, step: Join, database: Database) -> Table:
    """The tuples `first` to `end`; the columns are those of the relation, whose tuples stay."""
    columns = {name: relation.columns[column][first:end] for column, name in step.fresh if name in step.keep}
    factors = {}
    if not relation.certain:
        # A tuple that turns out certain changes its operand.
        operands = relation.operands[first:end].copy()
        factors[step.literal] = Factor(operands, may_be_one=bool((operands == ONE).any()))
    return _projected(Table(end - first, columns, factors), step, database)


def _filter(
    relation: GroundRelation, first: int, end: int, step: Join, key: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The tuples of a version with the constants of `key`, all for the one row 0."""
    ids = np.arange(first, end)
    columns = relation.columns
    for (column, _), constant in zip(step.key, key, strict=True):
        ids = ids[columns[column][ids] == constant]
    return np.zeros(len(ids), np.int64), ids


def _probe(
    relation: GroundRelation, step: Join, key: Sequence[np.ndarray], num_rows: int, max_rows: int, span: Span | None
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (row, tuple id) that agree on the key."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    total = 0
    for index in relation.indexes(step.version, tuple(column for column, _ in step.key)):
        groups, counts = index.count(key, num_rows)
        total += int(counts.sum())
        if total > max_rows:
            raise GroundingError(
                Diagnostic(
                    f"joining `{step.relation}` in this rule gives over {max_rows:,} rows",
                    span,
                    f"join on more columns, constrain the variables further, or {raise_limit('derivations')}",
                )
            )
        parts.append(index.expand(groups, counts))
    if len(parts) == 1:
        return parts[0]
    none = np.zeros(0, np.int64)
    rows, ids = (
        np.concatenate([none, *arrays]) for arrays in ([part[0] for part in parts], [part[1] for part in parts])
    )
    return rows, ids


def _destructure(table: Table, step: Destructure, database: Database) -> Table:
    terms = database.symbols.terms
    (codes,) = _key_columns([(0, step.subject)], table, database)
    rows = terms.is_of(codes, step.constructor).nonzero()[0]
    arguments = terms.arguments(codes[rows], step.constructor)
    holds = np.ones(len(rows), np.bool_)
    for (column, _), key in zip(step.key, _key_columns(step.key, table, database), strict=True):
        holds &= arguments[column] == key[rows]
    for left, right in step.same:
        holds &= arguments[left] == arguments[right]
    taken = table.take(rows[holds], step.keep)
    fresh = {name: arguments[column][holds] for column, name in step.fresh if name in step.keep}
    return Table(taken.num_rows, {**taken.columns, **fresh}, taken.factors)


def _antijoin(table: Table, step: AntiJoin, database: Database, span: Span | None) -> Table:
    relation = database.relations[step.relation]
    key = _key_columns(step.key, table, database)
    if len(key) == len(relation.columns):
        found, operands = relation.find(key, table.num_rows), relation.operands
    else:
        projection = _project(relation, tuple(column for column, _ in step.key), database)
        found, operands = projection.rows.find(key, table.num_rows), projection.operands
    matched = found >= 0
    if step.computed:
        matched &= ~_outside(step.computed, table, database, span)
    if relation.certain:
        return table.take(~matched, step.keep)
    values = np.full(table.num_rows, ONE)
    values[matched] = operands[found[matched]]
    factors = {**table.factors, step.literal: Factor(values, negated=True)}
    return Table(table.num_rows, table.columns, factors).take(~matched | (values != ONE), step.keep)


def _generate(table: Table, step: Generate, database: Database, span: Span | None) -> Table:
    inputs = _key_columns(list(enumerate(step.inputs)), table, database)
    predicate = database.calls.library.predicates[step.predicate]
    probability, operands = None, None
    if isinstance(predicate, ForeignPredicate):
        rows, outputs, operands = generate_foreign(
            predicate,
            inputs,
            step.types,
            table.num_rows,
            database.symbols,
            database.calls,
            database.builder if database.has_tags else None,
            database.max_rows,
            span,
        )
        if database.known is not None:
            database.known.add_columns(table.columns[SAMPLE][rows], outputs, step.types[len(inputs) :])
    else:
        rows, outputs, probability = generate_rows(
            step.predicate, inputs, step.types, table.num_rows, database.symbols, database.max_rows, span
        )
    for (position, _), values in zip(step.bound, _key_columns(step.bound, table, database), strict=True):
        equal = outputs[position] == values[rows]
        rows, outputs = rows[equal], [column[equal] for column in outputs]
        operands = None if operands is None else operands[equal]
    for left, right in step.same:
        equal = outputs[left] == outputs[right]
        rows, outputs = rows[equal], [column[equal] for column in outputs]
        operands = None if operands is None else operands[equal]
    if step.computed:
        inside = ~_outside(step.computed, table, database, span)[rows]
        rows, operands = rows[inside], None if operands is None else operands[inside]
    if probability is not None and database.has_tags:
        if isinstance(probability, np.ndarray):
            operands = database.builder.add_literals(probability)
        else:
            operands = database.builder.add_compared(probability)
        chosen = table.take(rows, step.keep)
        factors = {**chosen.factors, step.literal: Factor(operands, step.is_negated)}
        return Table(chosen.num_rows, chosen.columns, factors)
    if step.is_negated and operands is not None:
        values = _any_of(rows, operands, table.num_rows, database.builder)
        factors = {**table.factors, step.literal: Factor(np.where(values == _NONE, ONE, values), negated=True)}
        # The complement of ONE is that no row is left.
        return Table(table.num_rows, table.columns, factors).take(values != ONE, step.keep)
    if step.is_negated:
        unmatched = np.ones(table.num_rows, np.bool_)
        unmatched[rows] = False
        return table.take(unmatched, step.keep)
    joined = table.take(rows, step.keep)
    columns = {name: outputs[position] for position, name in step.fresh if name in step.keep}
    factors = joined.factors if operands is None else {**joined.factors, step.literal: Factor(operands)}
    return Table(joined.num_rows, {**joined.columns, **columns}, factors)


# Stands for the operand of a row that nothing matches; no operand has this code.
_NONE = np.iinfo(np.int64).min


def _any_of(rows: np.ndarray, operands: np.ndarray, num_rows: int, builder: DerivationBuilder) -> np.ndarray:
    """For each row the operand that one of its matches holds: a node if there are several; _NONE without any."""
    result = np.full(num_rows, _NONE)
    pairs = unique_rows([rows, operands], len(rows))
    rows, operands = rows[pairs], operands[pairs]
    counts = np.bincount(rows, minlength=num_rows)
    certain = np.zeros(num_rows, np.bool_)
    certain[rows[operands == ONE]] = True
    result[rows] = operands
    result[certain] = ONE
    several = ((counts > 1) & ~certain).nonzero()[0]
    result[several] = builder.add_nodes(len(several))
    members = np.isin(rows, several)
    builder.add_single(result[rows[members]], operands[members])
    return result


def _project(relation: GroundRelation, columns: tuple[int, ...], database: Database) -> Projection:
    """The relation projected onto columns: a node per possible tuple, with a derivation per tuple behind it."""
    name = (relation.schema.name, columns)
    if name not in database.projections:
        rows = RowTable(len(columns))
        groups = rows.insert([relation.columns[column] for column in columns], relation.size)
        operands = np.full(rows.size, ONE)
        if not relation.certain:
            possible = np.ones(rows.size, np.bool_)
            if database.certain_is_one:
                possible[groups[relation.operands == ONE]] = False
            operands[possible] = database.builder.add_nodes(int(np.count_nonzero(possible)))
            members = possible[groups]
            database.builder.add_single(operands[groups[members]], relation.operands[members])
        database.projections[name] = Projection(rows, operands)
    return database.projections[name]


def _key_columns(key: Sequence[tuple[int, Argument]], table: Table, database: Database) -> list[np.ndarray]:
    """The values to look up, a column per key position."""
    columns: list[np.ndarray] = []
    for _, argument in key:
        match argument:
            case ir.Variable(name=name):
                columns.append(table.columns[name])
            case ir.Constant(value=value, type=type):
                code = encode_values([value], type, database.symbols)
                columns.append(code.repeat(table.num_rows))
            case _:
                assert_never(argument)
    return columns
