"""The proofs of one tuple of a program in one sample, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scallax.errors import Diagnostic, InputError
from scallax.evaluation.batch import Arguments, Signature
from scallax.evaluation.compiled_program import CompiledProgram, ground
from scallax.evaluation.evaluator import Evaluator, Logits, evaluate_arrays
from scallax.evaluation.fact_tags import collect_tags
from scallax.evaluation.grounding_cache import BatchFacts
from scallax.evaluation.jax_values import is_concrete
from scallax.evaluation.logits import host_probabilities
from scallax.evaluation.seeds import as_words
from scallax.facts.fact_table import FactTable, exclusive_text, independent_facts
from scallax.facts.mappings import InputMapping, read_entries, show_value
from scallax.facts.specification import Specification, evidence_of
from scallax.grounding.derivations import CERTAIN_PRIOR
from scallax.grounding.fixpoint import Grounding
from scallax.language import ir
from scallax.language.tag_domains import Domain
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import AbstractSemantics
from scallax.reasoner.proofs import Explanation, explain_tuple

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def explain(
    specification: Specification,
    grounded: CompiledProgram,
    logits: Logits,
    seed: int | Array,
    relation: str,
    values: object,
    batch: BatchFacts,
    sample: int,
    k: int | None,
) -> Explanation:
    """See `Reasoner.explain`. Grounds the program again, for this tuple and the facts of the sample alone."""
    entries = read_entries(values if isinstance(values, tuple) else (values,), f"the tuple of `{relation}`")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise InputError(f"`k` is {k!r}, but it counts proofs: give an integer of at least 1")
    if isinstance(sample, bool) or not isinstance(sample, int | np.integer):
        raise InputError(f"`sample` is {sample!r}, but it is the number of a sample, counted from 0")
    if not 0 <= sample < batch.num_samples:
        raise InputError(f"there is no sample {sample}: the inputs have {batch.num_samples}")
    batch = batch.with_constants()
    mappings = tuple((name, mapping) for name, mapping in specification.input_mappings if name in batch.arrays)
    observed = {evidence_of(name): mapping for name, mapping in specification.evidence}
    given = [batch.arrays[name] for name in (*(name for name, _ in mappings), *observed)]
    arrays = [array[sample : sample + 1] if np.ndim(array) else array for array in given]
    # People read probabilities.
    for place, (_, mapping) in enumerate(mappings):
        if mapping.log and is_concrete(arrays[place]):
            arrays[place] = np.exp(np.asarray(arrays[place]))
    mappings = tuple((name, _as_probabilities(mapping)) for name, mapping in mappings)
    asked = replace(specification, input_mappings=mappings, outputs=((relation, entries),), keyed=False, log=False)
    schemas = {schema.name: schema for schema in grounded.samples.checked.program.relations}
    for facts in facts_of_sample(batch.facts, sample):
        asked = with_facts(asked, schemas[facts.relation], facts)
    again = ground(asked, grounded.require_library(), custom=grounded.custom, limits=grounded.limits)
    provenance = again.provenance(again.specification)
    # Sums of exclusive entries were warned of when the batch was read.
    again.undeclared.clear()
    # One tuple of one sample is mostly small.
    evaluator = Evaluator.of_program(again, provenance, logits, seed, executor=None)
    value = np.asarray(evaluator.evaluate(arrays))[0, 0]
    program, grounding = again.trace()
    ((_, fitted),) = again.specification.outputs
    assert fitted is not None
    # Costs may be natural numbers: then what does not hold is the largest of them.
    is_cost = provenance.traits.domain is Domain.NATURAL and provenance.absent > 0
    domain = Domain.COST if is_cost else provenance.traits.domain
    explanation = explain_tuple(
        program,
        grounding,
        relation,
        fitted.tuples[0],
        _literal_tags(again, grounding, provenance, domain, evaluator.check(arrays), seed),
        domain=domain,
        value=value.item() if isinstance(value, np.generic) else value,
        uses_exclusion=provenance.traits.uses_exclusion,
        k=k or specification.k,
    )
    formulas = [part.formula for part in program.evidence]
    for (name, mapping), array in zip(specification.evidence, arrays[len(mappings) :], strict=True):
        formulas += _observed_formulas(name, mapping, np.asarray(array).reshape(-1))
    return replace(explanation, given=tuple(formulas))


def _as_probabilities(mapping: InputMapping) -> InputMapping:
    """A mapping of logarithms as one of the probabilities."""
    threshold = mapping.retain_threshold
    if not mapping.log or threshold is None:
        return InputMapping(mapping, log=False)
    return InputMapping(mapping, log=False, retain_threshold=math.exp(threshold))


def _observed_formulas(relation: str, mapping: InputMapping, values: np.ndarray) -> Iterator[str]:
    """The tuples of a relation that one sample observed, as program text; `values` as a call gives them."""
    for row, value in zip(mapping.tuples, values.tolist(), strict=True):
        shown = f"{relation}({', '.join(map(show_value, row))})"
        if value in (0, 1):
            yield shown if value else f"not {shown}"
        elif value == value:  # NaN was not looked at
            yield f"{value:.6g}::{shown}"


def facts_of_sample(facts: Sequence[FactTable], sample: int) -> Iterator[FactTable]:
    """The facts of one sample, relation by relation, with numbers for tags. InputError for tags that are traced."""
    vector = collect_tags(facts, sum(part.num_facts for part in facts if part.certain is not None))
    if not is_concrete(vector):
        hint = "explain outside of `jit` and `grad`"
        raise InputError(Diagnostic("the tags are traced, and proofs are objects of Python", hint=hint))
    tags, start = np.asarray(vector).tolist(), 0
    for part in facts:
        first = sum(part.counts[:sample])
        rows = range(first, first + part.counts[sample])
        tuples = tuple(tuple(column[row] for column in part.columns) for row in rows)
        chosen: list[float | None] = [None] * len(rows)
        if part.certain is not None:
            chosen = [None if part.certain[row] else tags[start + row] for row in rows]
            start += part.num_facts
        groups = None if part.groups is None else part.groups[rows.start : rows.stop]
        yield FactTable.of(part.relation, tuples, chosen, groups=groups)


def with_facts(specification: Specification, schema: ir.Relation, batch: FactTable) -> Specification:
    """The specification with facts more: exclusive ones in the program's text."""
    facts = dict(specification.facts)
    facts[batch.relation] = (*facts.get(batch.relation, ()), *independent_facts(batch))
    program = "\n".join(filter(None, (specification.program, exclusive_text(schema, batch))))
    given = tuple(sorted((item for item in facts.items() if item[1]), key=lambda item: item[0]))
    return replace(specification, program=program, facts=given)


def _literal_tags(
    grounded: CompiledProgram,
    grounding: Grounding,
    provenance: AbstractSemantics,
    domain: Domain,
    arguments: Arguments,
    seed: int | Array,
) -> Float[np.ndarray, " literals"]:
    """The tags of the literals of a grounding of the program, for the arguments of one sample; NaN for certain ones.

    Selections, drawn by the seed, have the weights of their sets.
    """
    literals = grounding.literals
    found = literals.prior.copy()
    flat = np.concatenate([np.zeros(0), *(np.asarray(array, np.float64).reshape(-1) for array in arguments.arrays)])
    found[literals.source >= 0] = flat[literals.source[literals.source >= 0]]
    if arguments.logits:
        logits = np.concatenate([np.asarray(array, np.float32).reshape(-1) for array in arguments.logits])
        trained = host_probabilities(logits[:, None], grounded.logit_groups)[:, 0]
        found[literals.parameter >= 0] = trained[literals.parameter[literals.parameter >= 0]]
    found[found == CERTAIN_PRIOR] = np.nan
    if grounding.selection_sets:
        assert isinstance(provenance, AbstractProvenance), "what has selections is evaluated by arrays"
        selections, program = grounded.selections(grounding, provenance)
        specification = grounded.specification
        retentions = tuple(mapping.retention for mapping in specification.call_mappings.values())
        shapes = tuple(parameter.initial.shape for parameter in grounded.parameters)
        num_observed = len(specification.evidence)
        signature = Signature(provenance, retentions, shapes, len(selections), num_observed=num_observed)
        values = evaluate_arrays(None, signature, replace(program, seed=np.asarray(as_words(seed))), arguments)
        weights = np.asarray(provenance.weigh(values), np.float64)[0]
        # A tuple that holds in every world costs nothing more, and is one way.
        chosen = np.where(weights > 0, 0, np.inf) if domain is Domain.COST else (weights > 0).astype(float)
        found[selections] = weights if domain is Domain.PROBABILITY else chosen
    return found
