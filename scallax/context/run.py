"""Runs of a context: the relations that something new reaches, with their tuples and tags, and warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scallax.circuits.fact_literals import read_priors
from scallax.context.answers import derive, read_answers, semantics_for
from scallax.context.checked_programs import Inputs, TagKinds, check_facts
from scallax.context.collection import Collection
from scallax.context.draft import Draft, Samples, changed_relations, computed_relations
from scallax.context.framework_tags import Framework, collect, number_of, readable
from scallax.context.options import Options
from scallax.errors import Diagnostic, GroundingError, InputError, UnsupportedError
from scallax.evaluation.derived_program import CheckedProgram
from scallax.evaluation.jax_values import is_traced
from scallax.facts.fact_checks import find_overfull_facts, find_overfull_set, find_tag_outside
from scallax.facts.fact_table import FactTable
from scallax.language.columns import Column
from scallax.planner.strata import needed_relations
from scallax.provenance.traits import Traits

if TYPE_CHECKING:  # a context without probabilities does not wait for it
    from scallax.context.sample_runs import KeptProgram


def outdated_relations(draft: Draft, before: Draft | None, results: Mapping[str, Collection]) -> list[str]:
    """The relations whose cached results are stale: those of a run of the draft `before`, with the same options."""
    outputs = computed_relations(draft.program)
    if before is None:
        return outputs
    program = draft.program
    # The demand for a relation, and the known terms, depend on all other relations.
    if before.program.variants != program.variants or any(relation.demand for relation in program.relations):
        return outputs if before is not draft else []
    changed = changed_relations(before, draft)
    if before.program.evidence != program.evidence or (changed and program.evidence):
        # Every answer is given the evidence.
        return outputs
    if not changed:
        return []
    return [
        name for name in outputs if name not in results or not changed.isdisjoint(needed_relations(program, [name]))
    ]


def compute_collections(
    draft: Draft, outputs: Sequence[str], options: Options, framework: Framework
) -> list[Collection]:
    """The relations `outputs` of a draft, with their tuples and tags."""
    if draft.holds_variables and not options.traits().passes_gradients:
        draft = draft.with_constants()
    tensors = framework.tensors if draft.holds_variables else None
    kinds = TagKinds.of(options, framework.is_array)
    checked, inputs = check_facts(draft.program, draft.batches, options, kinds, tensors)
    has_arrays = bool(inputs.tags) or tensors is not None or options.has_array_tags
    if has_arrays and not options.takes_objects:
        return _collect_arrays(checked, outputs, options, inputs, framework)
    # The tuples that `bool` lists are true.
    return [
        Collection(
            found.relation,
            readable(found.relation, found.tuples, framework),
            Column(np.ones(len(found.tuples), np.bool_)) if found.tags is None and options.has_tags else found.tags,
        )
        for found in read_answers(derive(checked, outputs), options, inputs.tags)
    ]


def _collect_arrays(
    checked: CheckedProgram, outputs: Sequence[str], options: Options, inputs: Inputs, framework: Framework
) -> list[Collection]:
    """The relations `outputs` with arrays for tags, through which gradients pass."""
    # Contexts without probabilities do not wait for it.
    from scallax.context.computation import Computation
    from scallax.provenance.base import AbstractProvenance

    provenance = options.semantics()
    if not isinstance(provenance, AbstractProvenance):
        hint = "give numbers, or choose a provenance of probabilities, such as `difftopkproofs`"
        raise UnsupportedError(
            Diagnostic(f"`{provenance.name}` has no derivatives: it takes no arrays for tags", hint=hint)
        )
    derived = derive(checked, outputs)
    computation = Computation.of_run(derived, semantics_for(derived, options), options.executor)
    return collect(computation, inputs, framework, with_proofs=options.returns_proofs)


def compute_samples(
    samples: Samples, options: Options, framework: Framework, kept: "KeptProgram | None"
) -> "tuple[list[Collection], KeptProgram | None]":
    """The relation that is asked for in each sample: side by side where the provenance and the program allow it.

    `kept` is the program that ground samples before; it is made anew if it does not fit.
    """
    has_variables = any(draft.holds_variables for draft in samples.drafts)
    if not options.is_discrete and not options.takes_objects and not has_variables:
        # As above.
        from scallax.context.sample_runs import compute_together, shares_evaluation

        if shares_evaluation(options):
            try:
                return compute_together(samples, options, framework, kept)
            except (GroundingError, UnsupportedError):
                # Only all samples together exceed a limit, or their weights differ. Where it is the fault of one, its
                # own run says so.
                pass
    drafts = zip(samples.drafts, samples.outputs, strict=True)
    return [compute_collections(draft, [name], options, framework)[0] for draft, name in drafts], kept


def find_warnings(draft: Draft, before: Draft | None, framework: Framework, traits: Traits | None) -> list[Diagnostic]:
    """Warnings of additions since the run of `before` that are allowed, and unlikely to be meant.

    `traits` are the provenance's if its tags are probabilities. Tags that are arrays are checked for one thing alone:
    whether those of exclusive facts add up to more than 1.
    """
    told = [] if before is None else before.warnings
    found: list[Diagnostic | None] = [warning for warning in draft.warnings if warning not in told]
    if traits is not None:
        new = draft.batches.since(0 if before is None else len(before.batches))
        given = [_with_constants_only(batch, framework) for batch in new]
        program = draft.program
        if before is not None:
            facts, rules = set(before.program.facts), set(before.program.rules)
            program = replace(
                program,
                facts=tuple(fact for fact in program.facts if fact not in facts),
                rules=tuple(rule for rule in program.rules if rule not in rules),
            )
        outside = find_tag_outside(program, given)
        if traits.is_log and outside is not None:
            raise InputError(outside)
        found.append(outside)
        if traits.has_multivalued_variables:
            found.append(find_overfull_set(program, traits.prior))
            found += [
                find_overfull_facts(
                    batch.relation, batch.tuples, _probabilities(batch, framework, traits), batch.groups
                )
                for batch in new
                if batch.groups is not None
            ]
    return [warning for warning in found if warning is not None]


def _with_constants_only(batch: FactTable, framework: Framework) -> FactTable:
    """A batch without the tags that are arrays."""
    if not batch.has_tag(framework.is_array):
        return batch
    if batch.array_of_tags is not None:
        return replace(batch, tag_parts=())
    return replace(batch, tag_parts=(Column.of([None if framework.is_array(tag) else tag for tag in batch.tags]),))


def _probabilities(batch: FactTable, framework: Framework, traits: Traits) -> np.ndarray:
    """The probabilities of facts, float64 `[facts]`: 1 for a certain fact, NaN for a traced tag."""
    if not batch.has_tag(framework.is_array):
        priors = read_priors(traits, batch.tags)
        return np.where(np.isnan(priors), 1.0, priors)
    numbers = [np.nan if is_traced(tag) else number_of(framework, tag) for tag in batch.tags]
    priors = [None if number is None else traits.prior(number) for number in numbers]
    return np.array([1.0 if prior is None else prior for prior in priors], np.float64)
