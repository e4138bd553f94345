"""From sources to a circuit: the stages in order.

1. `analyse_program`: texts to one checked program (`syntax`, `analysis`).
2. `compile_plan`: the program to relational algebra for the outputs asked for (`planner`).
3. `ground_program`: facts to literals (`fact_literals`), then the plan to tuples and their derivations (`grounding`);
   or `prepare_samples`, once for batches whose samples have facts of their own.
4. `compile_outputs`: derivations to a circuit, or to several in stages (`stages`, `layout`).
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scallax.analysis.lower import check
from scallax.circuits.circuit import Circuit
from scallax.circuits.conditioning import MoreNodes
from scallax.circuits.fact_literals import read_facts
from scallax.circuits.size_classes import Sizes, padded_with
from scallax.circuits.stages import compile_derivations
from scallax.errors import Diagnostic, Source, StratificationError, UnsupportedError, raise_together
from scallax.facts.fact_table import FactTable
from scallax.facts.parameters import NO_PARAMETERS, Parameters
from scallax.grounding.annotated_disjunctions import ChoiceReading, Choices
from scallax.grounding.conjunction import Weigh
from scallax.grounding.fixpoint import FactSet, Grounding, SampleGrounder, ground
from scallax.grounding.grounding_options import GroundingOptions
from scallax.grounding.limits import DEFAULT_LIMITS, Limits
from scallax.kernels.long_work import LongWork
from scallax.language import ir
from scallax.language.library import BUILT_IN, Library
from scallax.language.tag_domains import Domain
from scallax.language.tensors import TensorInputs
from scallax.language.values import Value, ValueType
from scallax.planner.algebra import Plan
from scallax.planner.plan import plan
from scallax.planner.strata import stratify
from scallax.provenance.traits import Traits

_LOGGER = logging.getLogger(__name__)


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


def _choices(traits: Traits, parameters: Parameters, uniform: bool) -> Choices:
    """The choices of heads with alternatives, as a provenance reads them."""
    return Choices(ChoiceReading(traits.uses_tags, traits.uses_exclusion, uniform, parameters.choices))


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
    each of n alternatives of a head without probabilities has 1/n, without it they only exclude each other. With
    `collapse_certain` tuples that hold whatever the facts have no derivations. `weigh` is asked for the weights that
    become values of tuples. `tensors` are those in facts, if some may be variables. Raises `StratificationError`,
    `GroundingError`, and `UnsupportedError` if there are no weights.
    """
    facts, literals = read_facts(program, traits, given, parameters)
    planned = _with_terms(compile_plan(program, traits, outputs, iter_limit, collapse_certain), program, facts)
    options = GroundingOptions(
        collapse_certain=collapse_certain,
        rule_tags=traits.uses_tags,
        choices=_choices(traits, parameters, uniform_choices),
        rule_parameters=parameters.rules,
        iter_limit=iter_limit,
        limits=limits,
        weigh=weigh,
        is_certain=traits.is_certain,
    )
    num_inputs = 1 + max((int(part.inputs.max(initial=-1)) for part in given if part.inputs is not None), default=-1)
    return ground(planned, facts, literals, options, tensors=tensors, num_inputs=num_inputs)


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
    """A grounder of batches whose samples have facts of their own for the relations `sampled`.

    All that does not depend on them is grounded here. The other arguments are those of `ground_program`.
    """
    facts, literals = read_facts(program, traits, given, parameters)
    planned = compile_plan(program, traits, outputs, iter_limit, sampled=sampled)
    shared = frozenset(relation.name for relation in planned.relations) - planned.lifted
    planned = _with_terms(planned, program, facts)
    options = GroundingOptions(
        rule_tags=traits.uses_tags,
        choices=_choices(traits, parameters, uniform_choices),
        rule_parameters=parameters.rules,
        iter_limit=iter_limit,
        limits=limits,
        weigh=weigh,
        is_certain=traits.is_certain,
    )
    base = ground(planned.restrict(shared), facts, literals, options)
    lifted = {name: given for name, given in facts.items() if name in planned.lifted}
    return SampleGrounder(planned, base, lifted, options)


def compile_outputs(
    grounding: Grounding,
    traits: Traits,
    operands: np.ndarray,
    parameters: Parameters = NO_PARAMETERS,
    *,
    num_inputs: int | None = None,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
    evidence: np.ndarray | None = None,
) -> Circuit:
    """The arrays that evaluate the output operands (int64, as `Grounding.operands` gives them), in their order.

    `evidence` int64 `[outputs]` has the place, among the outputs, of what was observed of each, its own for that.
    `num_inputs` is the length of the flattened inputs if some after the last one in use are to count; `sizes` and
    `component_of` are those of `lay_out`, for programs without selections.
    """
    work = LongWork(_LOGGER, f"laying out {len(grounding.derivations):,} derivations")
    derivations = grounding.derivations
    if evidence is not None:
        more = MoreNodes(derivations)
        operands = more.condition(operands, evidence)
        derivations = more.derivations()
    circuit = compile_derivations(
        derivations,
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
    work.end(lambda: f"laid out {len(grounding.derivations):,} derivations")
    if evidence is not None:
        circuit = replace(circuit, evidence=padded_with(evidence.astype(np.int32), len(circuit.outputs), -1))
    return circuit
