"""From sources to a ground program: the stages in order."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np

from scallax.analysis.lower import check
from scallax.circuits.circuit import Circuit, Trained
from scallax.circuits.knowledge.compiler import compile_circuit
from scallax.circuits.layout import lay_out
from scallax.circuits.size_classes import Sizes
from scallax.errors import Diagnostic, Source, StratificationError, UnsupportedError, raise_together
from scallax.facts.fact_table import FactTable
from scallax.facts.parameters import NO_PARAMETERS, Parameters
from scallax.grounding.annotated_disjunctions import Choices
from scallax.grounding.conjunction import Weigh
from scallax.grounding.derivations import CERTAIN_PRIOR, ONE, Derivations, Literals, literal_operand
from scallax.grounding.fixpoint import FactSet, Grounding, SampleGrounder, ground
from scallax.grounding.limits import DEFAULT_LIMITS, Limits
from scallax.grounding.selected_literals import SelectionSet, SelectionStage, find_stages, pad_selections
from scallax.kernels.selections import Stage
from scallax.language import ir
from scallax.language.library import BUILT_IN, Library
from scallax.language.tag_domains import Domain
from scallax.language.tensors import TensorInputs
from scallax.language.values import Value, ValueType
from scallax.planner.algebra import Plan
from scallax.planner.plan import plan
from scallax.planner.strata import stratify
from scallax.provenance.traits import Gradient, Traits


def analyse_program(
    sources: Sequence[Source],
    given: Mapping[str, Sequence[tuple[Value, ...]]] | None = None,
    library: Library = BUILT_IN,
) -> ir.Program:
    """The checked program of all sources together; `given` are example tuples of relations with facts from Python.

    `library` are the functions and the like that it may use: `read_foreign` makes it of foreign ones. Raises the error
    of the first stage that refuses the program, with the problems of all stages, those of strata among them; a program
    that cannot be stratified, and has no other problem, is refused when it is planned.
    """
    program, problems = check(sources, given or {}, library)
    if problems:
        try:
            stratify(program)
        except StratificationError as error:
            problems += ((StratificationError, problem) for problem in error.diagnostics)
    raise_together(problems, sources)
    return program


def ground_program(
    program: ir.Program,
    traits: Traits,
    given: Sequence[FactTable],
    outputs: Sequence[str],
    *,
    parameters: Parameters = NO_PARAMETERS,
    uniform_choices: bool = False,
    iter_limit: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    collapse_certain: bool = True,
    weigh: Weigh | None = None,
    tensors: TensorInputs | None = None,
) -> Grounding:
    """All tuples of `outputs` and of what they depend on that can hold, with their derivations.

    `parameters` are those that `find_parameters` found for the same program and given facts. With `uniform_choices`
    each of n alternatives of a head has the probability 1/n, without it they only exclude each other. With
    `collapse_certain` tuples that hold whatever the facts have no derivations. `weigh` is asked for the weights that
    become values of tuples. `tensors` are those in facts, if some may be variables. Raises `StratificationError`,
    `GroundingError`, and `UnsupportedError` if there are no weights.
    """
    facts, literals = _read_facts(program, traits, given, parameters)
    return ground(
        _with_terms(compile_plan(program, traits, outputs, iter_limit, collapse_certain), program, facts),
        facts,
        literals,
        collapse_certain=collapse_certain,
        rule_tags=traits.uses_tags,
        choices=Choices(uniform_choices) if traits.uses_exclusion else None,
        rule_parameters=parameters.rules,
        iter_limit=iter_limit,
        limits=limits,
        weigh=weigh,
        is_certain=traits.is_certain,
        tensors=tensors,
        num_inputs=1 + max((int(part.inputs.max(initial=-1)) for part in given if part.inputs is not None), default=-1),
    )


def tag_facts(
    program: ir.Program, traits: Traits, given: Sequence[FactTable], parameters: Parameters = NO_PARAMETERS
) -> list[tuple[str, FactSet]]:
    """The facts of the program, then the given ones, with the operands that `ground_program` gives them."""
    table = _LiteralBuilder(traits, {name: iter(places) for name, places in parameters.facts.items()})
    return list(table.add_all(program, given))


def prepare_samples(
    program: ir.Program,
    traits: Traits,
    given: Sequence[FactTable],
    outputs: Sequence[str],
    sampled: Sequence[str],
    *,
    parameters: Parameters = NO_PARAMETERS,
    uniform_choices: bool = False,
    iter_limit: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    weigh: Weigh | None = None,
) -> SampleGrounder:
    """What grounds batches whose samples have facts of their own for the relations `sampled`.

    All that does not depend on them is grounded here. The other arguments are those of `ground_program`.
    """
    facts, literals = _read_facts(program, traits, given, parameters)
    planned = compile_plan(program, traits, outputs, iter_limit, sampled=sampled)
    choices = Choices(uniform_choices) if traits.uses_exclusion else None
    shared = frozenset(relation.name for relation in planned.relations) - planned.lifted
    planned = _with_terms(planned, program, facts)
    base = ground(
        planned.restrict(shared),
        facts,
        literals,
        rule_tags=traits.uses_tags,
        choices=choices,
        rule_parameters=parameters.rules,
        iter_limit=iter_limit,
        limits=limits,
        weigh=weigh,
        is_certain=traits.is_certain,
    )
    return SampleGrounder(
        planned,
        base,
        {name: facts for name, facts in facts.items() if name in planned.lifted},
        rule_tags=traits.uses_tags,
        choices=choices,
        rule_parameters=parameters.rules,
        iter_limit=iter_limit,
        limits=limits,
        weigh=weigh,
        is_certain=traits.is_certain,
    )


def _read_facts(
    program: ir.Program, traits: Traits, given: Sequence[FactTable], parameters: Parameters
) -> tuple[dict[str, FactSet], Literals]:
    """The facts of the program and the given ones, by relation, and their literals."""
    table = _LiteralBuilder(traits, {name: iter(places) for name, places in parameters.facts.items()})
    parts: dict[str, list[FactSet]] = {}
    for relation, part in table.add_all(program, given):
        parts.setdefault(relation, []).append(part)
    facts = {relation: _join_facts(of_relation) for relation, of_relation in parts.items()}
    return facts, table.literals()


def _join_facts(parts: Sequence[FactSet]) -> FactSet:
    """The facts of one relation, which come in parts."""
    # A part without facts may have no columns.
    filled = [part for part in parts if len(part.operands)]
    if len(filled) <= 1:
        return filled[0] if filled else parts[0]
    columns = [list(chain.from_iterable(column)) for column in zip(*(part.columns for part in filled), strict=True)]
    return FactSet(columns, np.concatenate([part.operands for part in filled]))


def compile_plan(
    program: ir.Program,
    traits: Traits,
    outputs: Sequence[str],
    iter_limit: int | None,
    collapse_certain: bool = True,
    sampled: Collection[str] = (),
) -> Plan:
    """The plan that `ground_program` follows.

    Demand and elimination would change the rounds that `iter_limit` counts; who keeps certain tuples apart wants all of
    them. Raises `UnsupportedError` where weights are shared that are no probabilities.
    """
    is_whole = iter_limit is not None or not collapse_certain
    planned = plan(
        program,
        outputs,
        uses_tags=traits.uses_tags,
        is_order_sensitive=traits.is_order_sensitive,
        demand=not is_whole,
        eliminate=traits.is_distributive and not is_whole,
        sampled=sampled,
    )
    if traits.uses_tags and traits.domain is not Domain.PROBABILITY:
        _check_shares(planned, traits.name)
    return planned


def _check_shares(plan: Plan, provenance: str) -> None:
    rules = [version.rule for stratum in plan.strata for version in (*stratum.once, *stratum.each_round)]
    for part in [part for rule in rules for part in rule.body]:
        if isinstance(part, ir.Reduce) and part.op in ("normalize", "softmax"):
            message = f"`{part.op}` shares probabilities, and tags of `{provenance}` are none"
            raise UnsupportedError(
                Diagnostic(message, part.span, "choose a provenance of probabilities, such as `topkproofs`")
            )


def _with_terms(plan: Plan, program: ir.Program, facts: Mapping[str, FactSet]) -> Plan:
    """The plan with the terms of all facts, in relations it leaves out as well, if it lists terms."""
    if all(relation.constructor is None for relation in plan.relations):
        return plan
    terms = dict.fromkeys(plan.terms)
    for relation in program.relations:
        places = [i for i, type in enumerate(relation.columns) if type is ValueType.ENTITY]
        if places and relation.name in facts:
            columns = facts[relation.name].columns
            rows = zip(*(columns[place] for place in places), strict=True) if columns else ()
            terms.update((str(value), None) for row in rows for value in row)
    return replace(plan, terms=tuple(terms))


def compile_outputs(
    grounding: Grounding,
    traits: Traits,
    operands: np.ndarray,
    parameters: Parameters = NO_PARAMETERS,
    *,
    num_inputs: int | None = None,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    """The arrays that evaluate the output operands (int64, as `Grounding.operands` gives them), in their order.

    `num_inputs` is the length of the flattened inputs if some after the last one in use are to count; `sizes` and
    `component_of` are those of `lay_out`, for programs without selections.
    """
    return compile_derivations(
        grounding.derivations,
        grounding.literals,
        grounding.selection_sets,
        traits,
        operands,
        parameters,
        num_inputs=num_inputs,
        by_content=grounding.by_content,
        sizes=sizes,
        component_of=component_of,
    )


def compile_derivations(
    derivations: Derivations,
    literals: Literals,
    selection_sets: Sequence[SelectionSet],
    traits: Traits,
    operands: np.ndarray,
    parameters: Parameters = NO_PARAMETERS,
    *,
    num_inputs: int | None = None,
    by_content: bool = False,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    """`compile_outputs` of the parts of a grounding."""
    if num_inputs is None:
        num_inputs = int(literals.source.max(initial=-1)) + 1
    stages = find_stages(derivations, selection_sets, operands)
    _check_stages(stages, traits)
    if not stages:
        groups = parameters.groups
        return _lay_out(derivations, literals, traits, operands, num_inputs, groups, by_content, sizes, component_of)
    # What is trained has the same places among the inputs of all stages.
    literals, slots = _with_trained_inputs(literals, num_inputs)
    num_inputs += len(slots)
    compiled = []
    for stage in stages:
        none = np.zeros(0, np.int64)
        program = _lay_out(derivations, literals, traits, stage.members, num_inputs, none, by_content)
        selections = pad_selections(stage.selections, len(program.outputs))
        compiled.append(Stage(program, selections))
        source = literals.source.copy()
        source[stage.literals] = num_inputs + np.arange(len(stage.literals))
        literals = replace(literals, source=source)
        num_inputs += len(selections.members)
    none = np.zeros(0, np.int64)
    program = _lay_out(derivations, literals, traits, operands, num_inputs, none, by_content)
    groups = parameters.groups.astype(np.int32)
    return replace(program, trained=Trained(groups, slots) if len(groups) else None, stages=tuple(compiled))


def _check_stages(stages: Sequence[SelectionStage], traits: Traits) -> None:
    """UnsupportedError if a provenance has no weights."""
    if stages and not traits.has_weights:
        message = f"aggregates that choose by weight need numbers, and tags of `{traits.name}` are none"
        hint = "choose a provenance of probabilities, such as `topkproofs`"
        raise UnsupportedError(Diagnostic(message, None, hint))


def _with_trained_inputs(literals: Literals, num_inputs: int) -> tuple[Literals, np.ndarray]:
    """The literals with an input, after the given ones, for each that is trained; and the slots of those inputs."""
    trained = np.flatnonzero(literals.parameter >= 0)
    source = literals.source.copy()
    source[trained] = num_inputs + np.arange(len(trained))
    slots = literals.parameter[trained].astype(np.int32)
    return replace(literals, source=source, parameter=np.full(len(literals), -1)), slots


def _lay_out(
    derivations: Derivations,
    literals: Literals,
    traits: Traits,
    operands: np.ndarray,
    num_inputs: int,
    logit_groups: np.ndarray,
    by_content: bool,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    if traits.is_compiled:
        derivations, operands = compile_circuit(derivations, literals, operands)
        # The circuit has the exclusions in it.
        literals = replace(literals, group=np.full(len(literals), -1))
    return lay_out(
        derivations,
        literals,
        operands,
        num_inputs,
        logit_groups,
        block_rows=traits.block_rows,
        derivation_cost=traits.derivation_cost,
        transposed=traits.gradient is Gradient.PRODUCT,
        by_content=by_content and traits.is_order_sensitive,
        has_columns=traits.uses_exclusion and not traits.is_compiled,
        sizes=sizes,
        component_of=component_of,
    )


def read_priors(traits: Traits, tags: Iterable[float | bool | None]) -> np.ndarray:
    """What a provenance makes of tags that are constants: float64 `[tags]`, NaN for certain."""
    read = traits.prior
    priors = [None if tag is None else read(tag if isinstance(tag, bool) else float(tag)) for tag in tags]
    # None becomes NaN, which no tag is.
    return np.array(priors, np.float64)


@dataclass(slots=True)
class _LiteralBuilder:
    """Gives facts their operands: ONE, or a literal of their own."""

    traits: Traits
    # For each trainable relation the parameters of its facts that are still to come.
    trained: dict[str, Iterator[int]]
    prior: list[np.ndarray] = field(default_factory=list)
    source: list[np.ndarray] = field(default_factory=list)
    group: list[np.ndarray] = field(default_factory=list)
    parameter: list[np.ndarray] = field(default_factory=list)
    num_literals: int = 0
    num_groups: int = 0

    def add_all(self, program: ir.Program, given: Sequence[FactTable]) -> Iterator[tuple[str, FactSet]]:
        """By relation the program's facts, then the given ones."""
        by_relation: dict[str, list[ir.Fact]] = {}
        for fact in program.facts:
            by_relation.setdefault(fact.relation, []).append(fact)
        self.num_groups = 1 + max((fact.group for fact in program.facts if fact.group is not None), default=-1)
        for relation, facts in by_relation.items():
            groups = np.array([-1 if fact.group is None else fact.group for fact in facts])
            operands = self._constants(relation, [fact.tag for fact in facts], groups)
            yield relation, FactSet(list(zip(*(fact.values for fact in facts), strict=True)), operands)
        for facts in given:
            yield facts.relation, FactSet(facts.columns, self._operands(facts))

    def literals(self) -> Literals:
        none = np.zeros(0, np.int64)
        return Literals(
            np.concatenate([np.zeros(0), *self.prior]),
            *(np.concatenate([none, *parts]) for parts in (self.source, self.group, self.parameter)),
        )

    def _operands(self, facts: FactTable) -> np.ndarray:
        count = facts.num_facts
        groups = np.full(count, -1)
        if facts.groups is not None:
            given = np.asarray(facts.groups)
            groups = np.where(given >= 0, given + self.num_groups, -1)
            self.num_groups = max(self.num_groups, 1 + int(groups.max(initial=-1)))
        if facts.inputs is not None and self.traits.uses_tags:
            return self._literals(np.full(count, np.nan), groups, source=facts.inputs)
        return self._constants(facts.relation, facts.tags, groups)

    def _constants(self, relation: str, tags: Sequence[float | bool | None], groups: np.ndarray) -> np.ndarray:
        """The operands of facts with constant tags."""
        count = len(tags)
        if not self.traits.uses_tags:
            return np.full(count, ONE)
        if relation in self.trained:
            parameter = np.fromiter(islice(self.trained[relation], count), np.int64, count)
            return self._literals(np.full(count, np.nan), groups, parameter=parameter)
        prior = read_priors(self.traits, tags)
        if self.traits.uses_exclusion:
            prior[np.isnan(prior) & (groups >= 0)] = 1.0
        if not self.traits.is_absorptive:
            prior[np.isnan(prior)] = CERTAIN_PRIOR
        operands, own = np.full(count, ONE), ~np.isnan(prior)
        operands[own] = self._literals(prior[own], groups[own])
        return operands

    def _literals(
        self,
        prior: np.ndarray,
        groups: np.ndarray,
        *,
        source: np.ndarray | None = None,
        parameter: np.ndarray | None = None,
    ) -> np.ndarray:
        """The operands of as many literals, which are added."""
        none = np.full(len(prior), -1)
        self.prior.append(prior)
        self.source.append(none if source is None else np.asarray(source))
        self.group.append(groups)
        self.parameter.append(none if parameter is None else parameter)
        first = self.num_literals
        self.num_literals += len(prior)
        return np.asarray(literal_operand(np.arange(first, self.num_literals)))
