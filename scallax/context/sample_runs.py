"""Runs of a context whose samples have facts of their own: side by side in one ground program, evaluated at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, final

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from scallax.circuits.compile import read_priors
from scallax.circuits.literals import Part, number_parts, read_proofs
from scallax.context.answers import Options, file_facts, read_numbers
from scallax.context.collection import Collection
from scallax.context.draft import Batches, Draft, Inputs, Samples, TagKinds, given_facts
from scallax.context.framework_tags import Framework, collect, readable, tag_kinds
from scallax.errors import UnsupportedError
from scallax.evaluation.batch import Arguments, ArrayLike, Signature, evaluate_batch, forward_batch, pull_back_batch
from scallax.evaluation.batch_grounding import BatchGrounder, BatchGrounding
from scallax.evaluation.cache import Holder
from scallax.evaluation.derived_program import CheckedProgram
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.moves import to_device
from scallax.facts.fact_batch import FactBatch
from scallax.facts.fact_table import FactTable
from scallax.facts.tag_warnings import check_domain
from scallax.grounding.derivations import Literals
from scallax.kernels.packing import pack
from scallax.language import ir
from scallax.language.tensors import Comparison, TensorInputs
from scallax.language.values import Value
from scallax.provenance.base import AbstractProvenance


def shares_evaluation(options: Options) -> bool:
    """Whether samples may be evaluated side by side: tags are numbers of arrays, and none is drawn."""
    provenance = options.semantics()
    # How many proofs `probproofs` keeps is found when a program is grounded.
    return (
        isinstance(provenance, AbstractProvenance) and not provenance.traits.draws and provenance.name != "probproofs"
    )


@final
class SampleComputation:
    """The tags of some relation's possible tuples in each sample, as a function of the tags that are inputs.

    `relations` are that of each sample with its tuples in value order, `places` by sample where their tags stand among
    those of the evaluation.
    """

    def __init__(self, grounding: BatchGrounding, relations: Sequence[ir.Relation], provenance: AbstractProvenance):
        program = grounding.program
        self.relations: list[tuple[ir.Relation, list[tuple[Value, ...]]]] = []
        self.places: list[list[int]] = []
        order, samples, columns = grounding.derived
        bounds = np.searchsorted(samples, np.arange(len(relations) + 1))
        outputs = {output.relation: output for output in grounding.outputs}
        for sample, relation in enumerate(relations):
            rows = slice(bounds[sample], bounds[sample + 1])
            output = outputs[relation.name]
            column = columns[rows] - output.start
            is_wanted = (column >= 0) & (column < len(output.tuples))
            tuples = [output.tuples[place] for place in column[is_wanted].tolist()]
            self.relations.append((relation, tuples))
            self.places.append(order[rows][is_wanted].tolist())
        self.num_inputs = grounding.padded_tags
        # Samples with tensors that gradients pass through are computed one by one.
        self.comparisons: tuple[Comparison, ...] = ()
        self.tensors: TensorInputs | None = None
        self._grounding = grounding
        self._holder = Holder()
        self._program = pack(program)
        self._signature = Signature(
            provenance, (None,) * bool(self.num_inputs), (), len(program.outputs), is_union=True
        )

    def computed(self) -> None:
        """No input is computed."""

    def literals(self) -> Literals:
        """The literals whose tags are constants, of those that some output depends on."""
        literals = self._grounding.program.literals
        prior = literals.prior.astype(np.float64).sum(0)
        prior = prior[(literals.ids >= 0) & (literals.source < 0)]
        return Literals(prior, *(np.full(len(prior), -1) for _ in range(3)))

    def evaluate(self, tags: ArrayLike) -> Array:
        """The tags `[outputs]` for those of the inputs, float `[inputs]`; differentiable by JAX.

        UnsupportedError where the provenance refuses one; under tracing nothing is checked.
        """
        values = evaluate_batch(self._holder, self._signature, self._program, self._arguments(tags))
        self._check(values)
        return values

    def forward(self, tags: ArrayLike) -> tuple[Array, PyTree[Array]]:
        """`evaluate`'s values, and what `pull_back` needs to differentiate them."""
        values, residuals = forward_batch(self._holder, self._signature, self._program, self._arguments(tags))
        self._check(values)
        return values, residuals

    def pull_back(self, tags: ArrayLike, residuals: PyTree[Array], cotangent: ArrayLike) -> Array:
        """The gradient `[inputs]` for a cotangent `[outputs]`, with what `forward` gave for the same tags."""
        if not self.num_inputs:
            return to_device(np.zeros(tags.shape, tags.dtype))
        arguments = self._arguments(tags)
        (gradient,), _ = pull_back_batch(self._holder, self._signature, self._program, arguments, residuals, cotangent)
        assert gradient is not None, "tags are floats"
        return gradient

    def proofs(self, tags: Sequence[Any], ids: Sequence[int], number: Callable[[Any], float]) -> list[list[list[Part]]]:
        """The proofs that the provenance keeps of each output; see `Computation.proofs`."""
        if any(isinstance(tag, Tracer) for tag in tags):
            raise UnsupportedError("proofs are Python objects, which a transformed function cannot return")
        program = self._grounding.program
        _, residuals = self.forward(np.array([number(tag) for tag in tags], np.float32))
        numbers = [ids[source] if 0 <= source < len(ids) else 0 for source in program.literals.source.tolist()]
        (found,) = read_proofs(self._signature.provenance.proof_sets(residuals.tags), program)
        return [number_parts(proofs, numbers, self._grounding.names) for proofs in found]

    def _arguments(self, tags: ArrayLike) -> Arguments:
        check_process()
        return Arguments((tags,) if self.num_inputs else ())

    def _check(self, values: Array) -> None:
        refusal = self._signature.provenance.traits.refusal
        if refusal is not None and not isinstance(values, Tracer) and np.isnan(np.asarray(values)).any():
            raise UnsupportedError(refusal)


@dataclass(frozen=True, slots=True)
class SampleInputs:
    """The facts of samples, by relation, with the tags that are inputs and the numbers of their facts."""

    facts: tuple[FactTable, ...]
    inputs: Inputs


def collect_inputs(
    samples: Samples, sampled: Sequence[str], provenance: AbstractProvenance, kinds: TagKinds
) -> SampleInputs:
    """What samples have for relations beside the facts that all share."""
    base = samples.base
    own = [batch for batch in base.batches if batch.has_tag(kinds.is_input)]
    batches = [[*own, *draft.batches.since(len(base.batches))] for draft in samples.drafts]
    facts, inputs = [], Inputs([], [])
    for relation in sampled:
        given = [[batch for batch in each if batch.relation == relation] for each in batches]
        facts.append(_join(base.schemas[relation], given, provenance, kinds, inputs))
    return SampleInputs(tuple(facts), inputs)


def _join(
    schema: ir.Relation,
    samples: Sequence[Sequence[FactBatch]],
    provenance: AbstractProvenance,
    kinds: TagKinds,
    inputs: Inputs,
) -> FactTable:
    """The facts of a relation in all samples; adds the tags to the inputs if some are, else they are constants."""
    batches = list(chain.from_iterable(samples))
    rows = list(chain.from_iterable(batch.tuples for batch in batches))
    groups, num_groups = [np.zeros(0, np.int64)], 0
    for batch in batches:
        given = np.full(len(batch.tags), -1) if batch.groups is None else batch.groups
        groups.append(np.where(given >= 0, given + num_groups, -1))
        num_groups += int(given.max(initial=-1)) + 1
    found: list[Any] = list(chain.from_iterable(batch.tags for batch in batches))
    priors = None
    if any(batch.has_tag(kinds.is_input) for batch in batches):
        certain = np.array([tag is None for tag in found])
        inputs.tags.extend(1.0 if tag is None else tag if kinds.is_input(tag) else float(tag) for tag in found)
        inputs.ids.extend(chain.from_iterable(batch.ids or (0,) * len(batch.tags) for batch in batches))
    else:
        numbers: Any = chain.from_iterable(batch.with_numbers(kinds.is_array).tags for batch in batches)
        priors = read_priors(provenance.traits, numbers)
        certain = np.isnan(priors)
    return FactTable(
        schema.name,
        tuple(zip(*rows, strict=True)) if rows else ((),) * len(schema.columns),
        tuple(sum(len(batch.tags) for batch in batches) for batches in samples),
        (),
        certain,
        np.concatenate(groups) if num_groups else None,
        priors=priors,
    )


@dataclass(frozen=True, slots=True)
class KeptGrounder:
    """What samples were ground with, for others that add to the same draft."""

    base: Draft
    outputs: tuple[str, ...]
    sampled: tuple[str, ...]
    options: Options
    grounder: BatchGrounder

    @staticmethod
    def prepare(samples: Samples, options: Options, kinds: TagKinds) -> "KeptGrounder":
        """Grounds what samples share; facts of the draft with inputs for tags are each sample's."""
        base, provenance = samples.base, options.semantics()
        shared = [batch for batch in base.batches if not batch.has_tag(kinds.is_input)]
        with_inputs = (batch.relation for batch in base.batches if batch.has_tag(kinds.is_input))
        given, _ = given_facts(replace(base, batches=Batches.of(shared)), kinds)
        outputs = tuple(dict.fromkeys(samples.outputs))
        sampled = tuple(dict.fromkeys([*with_inputs, *samples.sampled]))
        grounder = BatchGrounder.prepare(
            CheckedProgram(
                base.program,
                [*file_facts(base.program), *given],
                provenance,
                iter_limit=options.iter_limit,
                limits=options.limits,
            ),
            provenance,
            {},
            [(name, None) for name in outputs],
            sampled,
            "",
        )
        return KeptGrounder(base, outputs, sampled, options, grounder)

    def fits(self, samples: Samples, options: Options) -> bool:
        """Whether it grounds such samples; files may have changed since."""
        base = samples.base
        if base.program is not self.base.program or base.batches is not self.base.batches or base.program.files:
            return False
        is_asked = {*self.outputs} >= {*samples.outputs} and {*self.sampled} >= {*samples.sampled}
        return is_asked and options == self.options


def compute_together(
    samples: Samples, options: Options, framework: Framework, kept: KeptGrounder | None
) -> tuple[list[Collection], KeptGrounder]:
    """The relation that is asked for in each sample. GroundingError and UnsupportedError also where one is right alone.

    `kept` is what samples were ground with before; it is made anew if it does not fit.
    """
    provenance, kinds = options.semantics(), tag_kinds(options, framework)
    assert isinstance(provenance, AbstractProvenance)
    if kept is None or not kept.fits(samples, options):
        kept = KeptGrounder.prepare(samples, options, kinds)
    given = collect_inputs(samples, kept.sampled, provenance, kinds)
    grounding = kept.grounder.ground(given.facts, len(samples.drafts))
    program = samples.base.program
    computation = SampleComputation(grounding, [samples.base.schemas[name] for name in samples.outputs], provenance)
    tags, ids = given.inputs.tags, given.inputs.ids
    if tags or options.provenance.startswith("diff"):
        missing = computation.num_inputs - len(tags)
        inputs = Inputs([*tags, *[0.0] * missing], [*ids, *[0] * missing])
        return collect(computation, computation.places, inputs, options, framework), kept
    check_domain(provenance.traits.domain, program, computation.literals())
    numbers = read_numbers(np.asarray(computation.evaluate(np.zeros(computation.num_inputs, np.float32))))
    found = [
        Collection(relation, readable(relation, tuples, framework), [numbers[place] for place in places])
        for (relation, tuples), places in zip(computation.relations, computation.places, strict=True)
    ]
    return found, kept
