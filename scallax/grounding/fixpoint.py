"""Semi-naive grounding: every tuple that can hold, and every derivation of it."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import partial

import numpy as np

from scallax.errors import Diagnostic, InputError
from scallax.grounding.canonical_literals import number_by_content
from scallax.grounding.certainty import Unfailing
from scallax.grounding.conjunction import DerivationBuilder, Weigh
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals
from scallax.grounding.grounding_options import GroundingOptions
from scallax.grounding.known_terms import KnownTerms
from scallax.grounding.relation import GroundRelation
from scallax.grounding.rounds import FactColumns, PlannedStratum, StratumGrounder
from scallax.grounding.selected_literals import SelectionSet
from scallax.grounding.symbols import Symbols, decode, decode_column, encode_values, find_values, sort_keys
from scallax.kernels.runs import row_order
from scallax.language import ir
from scallax.language.columns import Rows
from scallax.language.records import record
from scallax.language.tensors import Comparison, TensorInputs
from scallax.language.values import Value, ValueType
from scallax.planner.algebra import Plan
from scallax.planner.samples import SAMPLES

_DEFAULT_OPTIONS = GroundingOptions()


@record
class FactSet:
    """The facts of one relation, program and Python together, in columns of values that fit the relation's types.

    There may be no columns if there are no facts. `operands` are those of `FactColumns`.
    """

    columns: Sequence[Sequence[Value]]
    operands: np.ndarray


@record
class Grounding:
    """A ground program on the host: every possible tuple with its operand, and the derivations.

    `rules` int32 `[derivations]` is the index of the program's rule that made each derivation, -1 for a fact and for
    the projection of a negated relation. `num_rounds` is how many rounds found tuples, in the stratum with the most.
    `rule_rows` says, by index in the program, how many bindings of a rule's body were found in all rounds.
    `selection_sets` are the literals whose values follow from the weights of tuples, in topological order. `by_content`
    is that of the plan. `comparisons` are what the inputs behind those of facts are computed of. `held_nodes` and
    `one_nodes` are masks of nodes that hold in every world and of those that weigh as much as ONE, empty for a program
    without aggregates.
    """

    literals: Literals
    derivations: Derivations
    rules: np.ndarray
    num_rounds: int
    rule_rows: Mapping[int, int]
    relations: Mapping[str, GroundRelation]
    symbols: Symbols
    selection_sets: tuple[SelectionSet, ...] = ()
    by_content: bool = False
    comparisons: tuple[Comparison, ...] = ()
    held_nodes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    one_nodes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    # Tuple ids in value order, by relation, once they were asked for.
    _orders: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def tuples(self, relation: str) -> Rows:
        """All possible tuples of a relation in value order. Raises `InputError` for one that was not grounded."""
        ground_relation = self._relation(relation)
        order = self._order(ground_relation)
        columns = [
            decode_column(codes[order], type, self.symbols)
            for codes, type in zip(ground_relation.columns, ground_relation.schema.columns, strict=True)
        ]
        return Rows(columns, len(order))

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
        name = relation.schema.name
        if name not in self._orders:
            keys = [
                sort_keys(decode(codes, type, self.symbols), type, self.symbols)
                for codes, type in zip(relation.columns, relation.schema.columns, strict=True)
            ]
            self._orders[name] = row_order(keys)
        return self._orders[name]


def ground(
    plan: Plan,
    facts: Mapping[str, FactSet],
    literals: Literals,
    options: GroundingOptions = _DEFAULT_OPTIONS,
    *,
    tensors: TensorInputs | None = None,
    num_inputs: int = 0,
) -> Grounding:
    """All tuples of the plan's relations that hold for some values of the literals, with all their derivations.

    Facts of relations outside the plan are ignored. The operands of a body are conjoined in body order, whatever the
    order of joins; equal derivations by different rules stay apart. Nodes, literals and tuples are numbered in order of
    discovery; the literals of tagged rules and choices by rule and values if the plan is `by_content`. `tensors` are
    those in facts, if some may be variables; then the inputs of facts are the first `num_inputs`.

    Raises `GroundingError` for a division by zero and for a passed limit.
    """
    relations = {schema.name: GroundRelation(schema) for schema in plan.relations}
    symbols = Symbols(plan.variants, options.limits.characters)
    symbols.tensors = tensors
    builder = DerivationBuilder(literals, weigh=options.weigh, num_inputs=num_inputs)
    unfailing = Unfailing(options.is_certain)
    grounder = StratumGrounder(plan, relations, symbols, builder, options, unfailing)
    symbols.intern_terms(plan.terms)
    num_rounds = 0
    for stratum in plan.strata:
        names = [name for name in stratum.relations if name in facts]
        columns = {name: _encode_facts(relations[name].schema.columns, facts[name], symbols) for name in names}
        num_rounds = max(num_rounds, grounder.ground_stratum(grounder.plan_stratum(stratum), columns))
    grounder.end()
    for relation in relations.values():
        relation.drop_indexes()
    derivations, rules = builder.derivations()
    found, selection_sets = builder.literals(), tuple(builder.selection_sets)
    if plan.by_content:
        bindings = [*grounder.rule_literals.by_rule(), *options.choices.by_choice()]
        found, derivations, selection_sets = number_by_content(
            found, derivations, selection_sets, bindings, len(literals), symbols
        )
    return Grounding(
        found,
        derivations,
        rules,
        num_rounds,
        grounder.rule_rows,
        relations,
        symbols,
        selection_sets,
        plan.by_content,
        tuple(builder.comparisons),
        unfailing.nodes,
        unfailing.one_nodes,
    )


def _encode_facts(types: Sequence[ValueType], facts: FactSet, symbols: Symbols) -> FactColumns:
    values = facts.columns or [()] * len(types)
    columns = [encode_values(*column, symbols) for column in zip(values, types, strict=True)]
    return FactColumns(columns, facts.operands)


class SampleGrounder:
    """Grounds the strata of samples side by side, again and again, on what all samples share.

    `plan` is of a lifted program; `base` is the grounding of its relations without a sample column; `shared` are the
    program's facts of the others, which hold in every sample. The join orders are planned once, at the first call.
    """

    def __init__(
        self,
        plan: Plan,
        base: Grounding,
        shared: Mapping[str, FactSet],
        options: GroundingOptions,
    ):
        self.base = base
        self._options = options
        self._plan = plan.restrict(plan.lifted)
        types = {name: schema.columns[1:] for name, schema in self.schemas.items()}
        self._shared = {name: _encode_facts(types[name], given, base.symbols) for name, given in shared.items()}
        self._planned: list[PlannedStratum] = []
        self._weigh = None if options.weigh is None else partial(_weigh_on_base, options.weigh, base)
        # The sizes of relations, and the conjunctions, of the last batch: the next one is likely to be like it.
        self._sizes: Mapping[str, int] = {}
        self._num_conjunctions = 0

    @property
    def listed(self) -> tuple[str, ...]:
        """The constructors whose terms are asked for, each sample knowing others."""
        constructors = (schema.constructor for schema in self._plan.relations)
        return tuple(constructor for constructor in constructors if constructor is not None)

    @property
    def schemas(self) -> Mapping[str, ir.Relation]:
        """The relations with a sample column, by name."""
        return {schema.name: schema for schema in self._plan.relations}

    def ground(
        self,
        facts: Mapping[str, FactColumns],
        num_samples: int,
        literals: Literals,
        samples: np.ndarray,
        symbols: Symbols,
        known: KnownTerms | None = None,
        num_inputs: int = 0,
    ) -> Grounding:
        """The grounding of a batch; `symbols` (a copy of the base's) and `literals` extend those of the base.

        Facts have a column of samples in front; `samples` int64 `[literals]` are those of the literals, -1 for what all
        of them share. `known` are the terms of the samples and their facts, if terms are `listed`. The first
        `num_inputs` inputs are those of facts. Raises `GroundingError`, see `ground`.
        """
        base = self.base
        sizes = self._sizes
        own = {schema.name: GroundRelation(schema, sizes.get(schema.name, 0)) for schema in self._plan.relations}
        first_node, capacity = base.derivations.num_nodes, self._num_conjunctions
        builder = DerivationBuilder(literals, first_node, self._weigh, capacity, num_inputs)
        options = replace(self._options, choices=self._options.choices.fresh())
        grounder = StratumGrounder(
            self._plan,
            {**base.relations, **own},
            symbols,
            builder,
            options,
            Unfailing(options.is_certain, base.held_nodes, base.one_nodes, base.selection_sets),
            known,
            base.derivations,
            samples,
        )
        facts = self._with_shared(facts, num_samples)
        num_rounds = 0
        for place, stratum in enumerate(self._plan.strata):
            if place == len(self._planned):
                self._planned.append(grounder.plan_stratum(stratum))
            rounds = grounder.ground_stratum(self._planned[place], facts)
            num_rounds = max(num_rounds, rounds)
        grounder.end()
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
            (*base.selection_sets, *builder.selection_sets),
            self._plan.by_content,
            tuple(builder.comparisons),
        )

    def _with_shared(self, facts: Mapping[str, FactColumns], num_samples: int) -> dict[str, FactColumns]:
        """The facts of samples and, in each of them, those of the program; and the samples themselves."""
        found = {SAMPLES: FactColumns([np.arange(num_samples)], np.full(num_samples, ONE)), **facts}
        for name, shared in self._shared.items():
            count = len(shared.operands)
            columns = [np.repeat(np.arange(num_samples), count), *(np.tile(c, num_samples) for c in shared.columns)]
            operands = np.tile(shared.operands, num_samples)
            if name in facts:
                columns = list(map(np.concatenate, zip(columns, facts[name].columns, strict=True)))
                operands = np.concatenate([operands, facts[name].operands])
            found[name] = FactColumns(columns, operands)
        return found


def _weigh_on_base(
    weigh: Weigh,
    base: Grounding,
    derivations: Derivations,
    literals: Literals,
    selection_sets: Sequence[SelectionSet],
    operands: np.ndarray,
) -> np.ndarray | None:
    """The weights of operands of a batch, whose derivations and selections go on from those that all samples share."""
    return weigh(base.derivations.join(derivations), literals, (*base.selection_sets, *selection_sets), operands)
