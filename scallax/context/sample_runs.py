"""Runs of a context whose samples have facts of their own: side by side in one ground program, evaluated at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, final

import numpy as np

from scallax.circuits.fact_literals import read_priors
from scallax.context.checked_programs import Inputs, TagKinds, check_facts
from scallax.context.collection import Collection
from scallax.context.computation import Computation
from scallax.context.draft import Draft, Samples
from scallax.context.framework_tags import Framework, collect, readable
from scallax.context.options import Options
from scallax.context.tag_values import NumberTags
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.grounding_cache import BatchFacts, SampleProgram
from scallax.facts.fact_checks import check_domain
from scallax.facts.fact_table import FactTable
from scallax.grounding.derivations import Literals
from scallax.language import ir
from scallax.provenance.base import AbstractProvenance


def shares_evaluation(options: Options) -> bool:
    """Whether samples may be evaluated side by side: tags are numbers in arrays, and no proof is drawn."""
    provenance = options.semantics()
    # How many proofs `probproofs` keeps is found when a program is grounded.
    return (
        isinstance(provenance, AbstractProvenance) and not provenance.traits.draws and provenance.name != "probproofs"
    )


@final
@dataclass(frozen=True, slots=True)
class KeptProgram:
    """A draft's program as it grounds samples that add facts to the draft, kept for others that add to it.

    `own` are the batches of the draft that have inputs for tags: they count as facts of each sample.
    """

    base: Draft
    options: Options
    kinds: TagKinds
    own: Sequence[FactTable]
    program: SampleProgram

    @staticmethod
    def of(base: Draft, options: Options, kinds: TagKinds) -> "KeptProgram":
        """The program of a draft with the facts that all samples share."""
        batches = list(base.batches)
        own = [batch for batch in batches if batch.has_tag(kinds.is_input)]
        shared = [batch for batch in batches if not batch.has_tag(kinds.is_input)]
        checked, _ = check_facts(base.program, shared, options, kinds)
        return KeptProgram(base, options, kinds, own, SampleProgram(checked, {}, base.untagged, ""))

    def fits(self, base: Draft, options: Options) -> bool:
        """Whether it grounds samples that add to a draft; files may have changed since."""
        is_same = base.program is self.base.program and base.batches is self.base.batches
        return is_same and not base.program.files and options == self.options

    def ground(self, samples: Samples, provenance: AbstractProvenance) -> tuple[BatchGrounding, Inputs]:
        """The grounding of samples, for the relations that they are asked for, and the tags that are its inputs."""
        batches = [[*self.own, *draft.batches.since(len(self.base.batches))] for draft in samples.drafts]
        facts, inputs = [], Inputs([], [])
        for relation in dict.fromkeys([*(batch.relation for batch in self.own), *samples.sampled]):
            given = [[batch for batch in each if batch.relation == relation] for each in batches]
            facts.append(_join(self.base.schemas[relation], given, provenance, self.kinds, inputs))
        outputs = tuple((name, None) for name in dict.fromkeys(samples.outputs))
        grounding = self.program.ground(BatchFacts(tuple(facts), {}, len(batches)), provenance, outputs)
        missing = grounding.padded_tags - len(inputs.tags)
        return grounding, Inputs([*inputs.tags, *[0.0] * missing], [*inputs.ids, *[0] * missing])


def _join(
    schema: ir.Relation,
    samples: Sequence[Sequence[FactTable]],
    provenance: AbstractProvenance,
    kinds: TagKinds,
    inputs: Inputs,
) -> FactTable:
    """The facts of a relation in all samples; adds the tags to the inputs if some are, else they are constants."""
    batches = list(chain.from_iterable(samples))
    rows = list(chain.from_iterable(batch.tuples for batch in batches))
    groups, num_groups = [np.zeros(0, np.int64)], 0
    for batch in batches:
        given = np.full(batch.num_facts, -1) if batch.groups is None else batch.groups
        groups.append(np.where(given >= 0, given + num_groups, -1))
        num_groups += int(given.max(initial=-1)) + 1
    found: list[Any] = list(chain.from_iterable(batch.tags for batch in batches))
    priors = None
    if any(batch.has_tag(kinds.is_input) for batch in batches):
        certain = np.array([tag is None for tag in found])
        ids = ([0] * batch.num_facts if batch.ids is None else batch.ids.tolist() for batch in batches)
        inputs.add(found, chain.from_iterable(ids), kinds)
    else:
        numbers: Any = chain.from_iterable(batch.with_numbers(kinds.is_array).tags for batch in batches)
        priors = read_priors(provenance.traits, numbers)
        certain = np.isnan(priors)
    return FactTable(
        schema.name,
        tuple(zip(*rows, strict=True)) if rows else ((),) * len(schema.columns),
        tuple(sum(batch.num_facts for batch in batches) for batches in samples),
        (),
        certain,
        np.concatenate(groups) if num_groups else None,
        priors=priors,
    )


def compute_together(
    samples: Samples, options: Options, framework: Framework, kept: KeptProgram | None
) -> tuple[list[Collection], KeptProgram]:
    """The relation that is asked for in each sample, and the program to keep for further samples.

    `kept` is the program that ground samples before; it is made anew if it does not fit. GroundingError and
    UnsupportedError may be raised for all samples together where each alone is right.
    """
    provenance, base = options.semantics(), samples.base
    assert isinstance(provenance, AbstractProvenance)
    if kept is None or not kept.fits(base, options):
        kept = KeptProgram.of(base, options, TagKinds.of(options, framework.is_array))
    grounding, inputs = kept.ground(samples, provenance)
    computation = Computation.of_samples(
        grounding, [base.schemas[name] for name in samples.outputs], provenance, options.executor
    )
    if grounding.num_tags or options.has_array_tags:
        return collect(computation, inputs, framework, with_proofs=options.returns_proofs), kept
    check_domain(provenance.traits.domain, base.program, _constants(grounding))
    values = np.asarray(computation.evaluate(np.zeros(computation.num_inputs, np.float32)))
    found = [
        Collection(relation, readable(relation, tuples, framework), NumberTags(values[np.asarray(places, np.int64)]))
        for (relation, tuples), places in zip(computation.relations, computation.places, strict=True)
    ]
    return found, kept


def _constants(grounding: BatchGrounding) -> Literals:
    """The literals with constant tags on which some output depends."""
    literals = grounding.program.literals
    prior = literals.prior.astype(np.float64).sum(0)
    prior = prior[(literals.ids >= 0) & (literals.source < 0)]
    return Literals(prior, *(np.full(len(prior), -1) for _ in range(3)))
