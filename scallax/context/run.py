"""What a run of a context computes: the relations that something new reaches, and their tuples and tags."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.context.answers import DISCRETE, Options, answer, compute
from scallax.context.collection import Collection
from scallax.context.draft import Draft, Samples, changed_relations, computed_relations, given_facts
from scallax.context.fact_reading import TAGLESS
from scallax.context.framework_tags import Framework, collect, number_of, readable, tag_kinds
from scallax.context.object_tags import answer_objects, object_facts
from scallax.errors import Diagnostic, GroundingError, UnsupportedError
from scallax.facts.fact_batch import FactBatch
from scallax.facts.fact_table import FactTable
from scallax.facts.tag_warnings import find_overfull_facts, find_overfull_set, find_tag_outside
from scallax.planner.strata import needed_relations
from scallax.provenance.traits import Traits

if TYPE_CHECKING:  # a context without probabilities does not wait for JAX
    from scallax.context.sample_runs import KeptGrounder


def outdated_relations(draft: Draft, before: Draft | None, results: Mapping[str, Collection]) -> list[str]:
    """The relations that the results of a run of the draft `before`, with the same options, are not of."""
    outputs = computed_relations(draft.program)
    if before is None:
        return outputs
    program = draft.program
    # What is asked of a relation, and which terms there are, depends on all others.
    if before.program.variants != program.variants or any(relation.demand for relation in program.relations):
        return outputs if before is not draft else []
    changed = changed_relations(before, draft)
    if not changed:
        return []
    return [
        name for name in outputs if name not in results or not changed.isdisjoint(needed_relations(program, [name]))
    ]


def compute_collections(
    draft: Draft, outputs: Sequence[str], options: Options, framework: Framework
) -> list[Collection]:
    """The relations `outputs` of a draft."""
    tensors = framework.tensors if draft.holds_variables else None
    if options.takes_objects:
        given, objects = object_facts(draft)
        found = answer_objects(draft.program, outputs, options, given, objects, tensors)
        return [Collection(relation, readable(relation, tuples, framework), tags) for relation, tuples, tags in found]
    if tensors is not None and not options.traits().passes_gradients:
        return compute_collections(draft.with_constants(), outputs, options, framework)
    given, inputs = given_facts(draft, tag_kinds(options, framework))
    if not inputs.tags and tensors is None and not options.provenance.startswith("diff"):
        tagless = options.provenance in TAGLESS
        return [
            Collection(
                found.relation,
                readable(found.relation, found.tuples, framework),
                # The tuples that `bool` lists are true.
                found.tags if tagless or found.tags is not None else [True] * len(found.tuples),
            )
            for found in answer(draft.program, outputs, options, given)
        ]
    computation = compute(draft.program, outputs, options, given, tensors)
    places = [range(first, end) for first, end in pairwise(computation.starts)]
    return collect(computation, places, inputs, options, framework)


def compute_samples(
    samples: Samples, options: Options, framework: Framework, kept: "KeptGrounder | None"
) -> "tuple[list[Collection], KeptGrounder | None]":
    """The relation that is asked for in each sample: side by side where the provenance and the program allow it.

    `kept` is what samples were ground with before; it is made anew if it does not fit.
    """
    has_variables = any(draft.holds_variables for draft in samples.drafts)
    if options.provenance not in DISCRETE and not options.takes_objects and not has_variables:
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
    """What is new since the run of `before`, allowed, and hardly meant.

    `traits` are the provenance's if its tags are probabilities. Of arrays only sums over exclusive facts are looked at.
    """
    told = [] if before is None else before.warnings
    found: list[Diagnostic | None] = [warning for warning in draft.warnings if warning not in told]
    if traits is not None:
        new = draft.batches.since(0 if before is None else len(before.batches))
        given = [FactTable.of(batch.relation, batch.tuples, _numbers(batch, framework)) for batch in new]
        program = draft.program
        if before is not None:
            facts, rules = set(before.program.facts), set(before.program.rules)
            program = replace(
                program,
                facts=tuple(fact for fact in program.facts if fact not in facts),
                rules=tuple(rule for rule in program.rules if rule not in rules),
            )
        found.append(find_tag_outside(program, given))
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


def _numbers(batch: FactBatch, framework: Framework) -> Sequence[float | bool | None]:
    """The tags of a batch, None for arrays."""
    tags: Any = batch.tags
    return [None if framework.is_array(tag) else tag for tag in tags] if batch.has_tag(framework.is_array) else tags


def _probabilities(batch: FactBatch, framework: Framework, traits: Traits) -> np.ndarray:
    """float64 `[facts]`: 1 for certain facts, NaN for what is traced."""
    from jax.core import Tracer

    numbers = [np.nan if isinstance(tag, Tracer) else number_of(framework, tag) for tag in batch.tags]
    priors = [None if number is None else traits.prior(number) for number in numbers]
    return np.array([1.0 if prior is None else prior for prior in priors], np.float64)
