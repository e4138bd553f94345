"""A compiled program as a pure, batched, differentiable function of input probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar, Unpack, final

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from scallax.circuits.circuit import Circuit
from scallax.circuits.serialized import SerializedProgram
from scallax.errors import CheckpointError, ScallaxError, checks_calls, warn
from scallax.evaluation.array_evaluation import ArrayEvaluator
from scallax.evaluation.batch import Arguments, ArrayLike
from scallax.evaluation.batch_evaluation import BatchEvaluator, Logits
from scallax.evaluation.batch_grounding import BatchArrays, BatchGrounding, CacheInfo
from scallax.evaluation.checks import check_shapes, order_inputs
from scallax.evaluation.compiled_program import (
    CompiledProgram,
    check_custom,
    check_foreign,
    ground,
    restore,
    store,
    with_read,
)
from scallax.evaluation.derived_program import Output
from scallax.evaluation.fact_tags import batch_tags
from scallax.evaluation.grounding_cache import BatchFacts, check_outputs_per_sample, has_facts
from scallax.evaluation.input_checks import InputChecks
from scallax.evaluation.logits import logit_probabilities, order_logits, replace_logits
from scallax.evaluation.moves import to_device
from scallax.evaluation.seeds import Key, read_key
from scallax.evaluation.unpacking import pair_with_proofs, unpack, unpack_objects
from scallax.facts.arguments import Outputs, check_count, read_by_relation, read_file, specify
from scallax.facts.fact_table import FactTable
from scallax.facts.outputs import AskedOutputs, check_named, read_asked
from scallax.facts.specification import Specification, from_json
from scallax.facts.tables import Table
from scallax.grounding.limits import Limits, check_limits
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.custom import qualified_name
from scallax.provenance.semirings import ObjectProvenance
from scallax.provenance.table import name_provenance, resolve_provenance
from scallax.reasoner.explain_tuple import explain
from scallax.reasoner.program_arguments import ProgramArguments, takes_keywords
from scallax.reasoner.proofs import Explanation

# Reasoners with other outputs that are kept.
_MOST_VARIANTS = 16

T = TypeVar("T")


@checks_calls
@final
class Reasoner:
    """A program as a function `reasoner(relation=probabilities, ...)` of arrays `[batch, *mapping.shape]`.

    Of relations without an input mapping, and of any others, a list with the facts of each sample may be given instead:
    `(tag, tuple)`, None for the tag of a certain one; tuples alone for `non_probabilistic` relations and for `unit`; a
    value for a tuple of one column; or a `FactList`. Relations that are not given are empty. Then `disjunctions` names
    by relation, for each sample, the lists of indices of facts that exclude each other; without an output mapping the
    tuples are those that some sample can derive; and groundings are kept (`cache_info`), the last 512.

    The result is `[batch, len(output mapping)]`; `[batch]` for an output mapping of one tuple; `(tuples, [batch,
    len(tuples)])` without an output mapping (every possible tuple, sorted); a dictionary of these with
    `output_mappings`. Without outputs, the program's queries are the outputs; with `output_mappings={}` and no query,
    calls name theirs. Without inputs the batch is 1.

    The function is pure and works under `jax.jit`, `jax.grad` and `jax.vmap`. Float32 is computed in float32, float64
    in float64 (where JAX has it enabled), narrower floats in float32 and cast back. Outputs of `unit` and `bool` are
    bool; these two also take bool arrays: `bool` reads inputs (true unless 0), `unit` ignores their values.

    In eager calls a NaN or an infinite value raises InputError, and a value outside [0, 1] is computed as it is, with
    one warning for each reasoner; on an accelerator only the first call is checked.

    A proof that contains another one of its tuple says nothing more: it is dropped, unless `absorb=False` lets it take
    one of the `k` places, as the reference does.

    With more than 10 proofs, an output whose proofs take too many decisions to count raises UnsupportedError in eager
    calls. Under a transformation nothing can be raised: it is NaN, and so may be what comes after it in the batch.

    `facts` are lists of facts by relation, or a `scallax.Table` whose rows are the facts: a file or a database.

    `foreign` are the functions, predicates, aggregates and attributes of Python that the program may use: what
    `scallax.foreign_function` and its like make. They are called while the program is grounded, and never afterwards.

    The program is grounded once, at construction. `retain_topk` keeps the largest inputs of a relation;
    `early_discard` changes no value here and is kept with the specification. `limits` says when grounding gives up,
    with a GroundingError; it is no part of the specification.

    `natural` and `tropical` give int32 outputs, saturating at 2,147,483,647, and take integers as well. With a sampling
    provenance proofs are drawn by `seed`, the same in every call, or by the `key` of a call. `provenance` may also be
    an object of a subclass of `scallax.Provenance`, and `custom_provenance` such an object or any semiring of Python
    objects, which is evaluated on the host. `difftopkproofsdebug` returns each output's proofs beside its values.

    `trainable` names relations whose written probabilities, of facts and of rules, are parameters: logits with readable
    names (`parameters`), which `apply` takes. A call uses the reasoner's own, at first the written ones.
    """

    @takes_keywords()
    def __init__(self, program: str | None = None, **arguments: Unpack[ProgramArguments]):
        given = dict[str, Any](arguments)
        limits = check_limits(given["limits"])
        library = read_foreign(given["foreign"])
        source = read_file(given["file"])
        facts = read_by_relation(given["facts"], "`facts`")
        tables = {name: table for name, table in facts.items() if isinstance(table, Table)}
        given["facts"] = {name: listed for name, listed in facts.items() if name not in tables}
        name, custom = name_provenance(given["provenance"], given["custom_provenance"])
        specification = specify(
            program,
            None if source is None else source.text,
            given,
            provenance=name,
            custom=None if custom is None else qualified_name(custom),
            traits=resolve_provenance(name, custom=custom).traits,
        )
        file_name = "" if source is None else source.name
        specification, sources = with_read(specification, file_name, tables, library)
        self._start(ground(specification, library, sources, custom=custom, limits=limits))
        check_named(self.specification.outputs, is_later=given["output_mappings"] is not None)
        for text in self._grounded.warnings():
            warn(text)
        self._grounded.await_call()

    @classmethod
    def from_specification(
        cls,
        specification: Specification,
        foreign: Sequence[ForeignItem] = (),
        *,
        limits: Limits | None = None,
        custom_provenance: object = None,
    ) -> "Reasoner":
        """The reasoner of `reasoner.specification`; raises what the constructor raises, warns of nothing.

        CheckpointError if `foreign` lacks something that the program uses, or has it with another signature, and if the
        specification names a user's provenance and no object of that class is given.
        """
        library = read_foreign(foreign)
        check_foreign(specification, library)
        check_custom(specification, custom_provenance)
        return cls._of(ground(specification, library, custom=custom_provenance, limits=check_limits(limits)))

    @classmethod
    def from_json(
        cls,
        text: str,
        foreign: Sequence[ForeignItem] = (),
        *,
        limits: Limits | None = None,
        custom_provenance: object = None,
    ) -> "Reasoner":
        """The reasoner of `specification.to_json()`, with the functions of Python and the provenance that it uses.

        CheckpointError if the text is damaged or no longer compiles to the same.
        """
        specification = from_json(text)
        check_custom(specification, custom_provenance)
        try:
            reasoner = cls.from_specification(
                specification, foreign, limits=limits, custom_provenance=custom_provenance
            )
        except CheckpointError:
            raise
        except ScallaxError as error:  # a program that this version refuses
            raise CheckpointError(f"the saved program does not compile: {error}") from error
        differences = specification.differences(reasoner.specification)
        if differences:
            raise CheckpointError(*(f"the saved program compiles to something else: {line}" for line in differences))
        return reasoner

    @classmethod
    def from_stored(
        cls,
        specification: Specification,
        stored: SerializedProgram,
        foreign: Sequence[ForeignItem] | None = None,
        custom_provenance: object = None,
    ) -> "Reasoner":
        """The reasoner that gave `stored_ground`, without grounding. CheckpointError if the data are damaged.

        No function of Python is called. Without `foreign`, a program that uses some answers only what is stored.
        """
        library = None if foreign is None and specification.foreign else read_foreign(foreign or ())
        if library is not None:
            check_foreign(specification, library)
        return cls._of(restore(specification, stored, library, custom_provenance))

    def with_foreign(self, foreign: Sequence[ForeignItem]) -> "Reasoner":
        """The same reasoner with the functions of Python that its program uses; shares the grounding.

        CheckpointError if one is missing, or of another signature.
        """
        library = read_foreign(foreign)
        check_foreign(self._specification, library)
        return self._with(self._specification, replace(self._grounded, library=library), self._logits)

    def stored_ground(self) -> SerializedProgram:
        """The grounding as data, for a checkpoint: for k, `train_k` and `test_k`."""
        return store(self._grounded)

    @classmethod
    def _of(
        cls, grounded: CompiledProgram, specification: Specification | None = None, logits: Logits | None = None
    ) -> "Reasoner":
        reasoner = cls.__new__(cls)
        reasoner._start(grounded, specification, logits)
        return reasoner

    def _with(self, specification: Specification, grounded: CompiledProgram, logits: Logits) -> "Reasoner":
        """The same reasoner, of the same seed, with other parts."""
        return Reasoner._of(grounded, specification, logits).with_seed(self._seed)

    def _start(
        self, grounded: CompiledProgram, specification: Specification | None = None, logits: Logits | None = None
    ):
        """Fills in all fields; `specification` may differ from that of `grounded` in k."""
        self._grounded = grounded
        self._specification = specification or grounded.specification
        self._logits = logits or tuple(parameter.initial for parameter in grounded.parameters)
        self._provenance = grounded.provenance(self._specification)
        self._mappings = dict(self._specification.input_mappings)
        self._variants: dict[tuple[Outputs, bool], Reasoner] = {}
        self._seed: int | Array = self._specification.seed
        self._checks = InputChecks(self._mappings, grounded.parameters, self._provenance.traits, grounded.undeclared)
        given = (self._specification, self._provenance, self._logits, grounded, self._checks, self._seed)
        self._arrays = ArrayEvaluator(*given)
        self.batches = BatchEvaluator(*given)

    @property
    def specification(self) -> Specification:
        """Everything that defines this reasoner, as plain data."""
        return self._specification

    @property
    def limits(self) -> Limits:
        """When grounding gives up."""
        return self._grounded.limits

    @property
    def parameters(self) -> dict[str, ArrayLike]:
        """The logits of the trainable tags by name, in the order of `evaluate`'s logits.

        `relation.facts` `[facts + residuals]`: one for each fact of the relation in written order, those of the program
        before those of the argument `facts`, then one for the residual outcome of each exclusive set whose
        probabilities add up to less than 1. A fact's probability is the sigmoid of its logit, that of a member of an
        exclusive set the softmax over the set and its residual. `relation.rules.n` `[]`: the tagged rule number n of
        the relation in written order, counted from 0; every grounding of the rule is a random variable of its own with
        that probability. Written probabilities are clipped to [1e-6, 1 - 1e-6] first.
        """
        return dict(zip(self.parameter_names, self._logits, strict=True))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of `evaluate`'s logits."""
        return tuple(parameter.name for parameter in self._grounded.parameters)

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> "Reasoner":
        """The same reasoner with other logits for its own; shares the grounding.

        InputError, with every problem, for names, shapes and dtypes other than those of `parameters`.
        """
        return self._with(self._specification, self._grounded, replace_logits(self._grounded.parameters, parameters))

    def probabilities(self, parameters: Mapping[str, ArrayLike] | None = None) -> dict[str, Array]:
        """The probabilities that logits stand for (by default the reasoner's own), by the names of the parameters.

        Those of facts are `[facts]`, without residuals. Differentiable in the logits.
        """
        logits = self._logits if parameters is None else self.order_parameters(parameters)
        return logit_probabilities(self._grounded.parameters, self._grounded.logit_groups, logits)

    @property
    def input_relations(self) -> tuple[str, ...]:
        """The relations that calls must give, in the order of `evaluate`'s arrays."""
        return tuple(self._mappings)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The output relations in order."""
        return self._grounded.outputs

    @property
    def is_discrete(self) -> bool:
        """Whether outputs have no gradient: they are bool, integers or Python objects."""
        return self._provenance.traits.is_discrete

    @property
    def output_dtype(self) -> DTypeLike | None:
        """The dtype of the outputs if it is not that of the inputs: of arrays, not of Python objects."""
        return self._provenance.traits.output_dtype if isinstance(self._provenance, AbstractProvenance) else None

    @property
    def absent(self) -> float:
        """The output of a tuple that does not hold."""
        return self._provenance.absent

    def check_asked(self, asked: AskedOutputs) -> None:
        """UnsupportedError for outputs that differ per sample if the provenance's outputs are more than numbers."""
        if asked.names is not None:
            check_outputs_per_sample(self._provenance)

    def with_k(self, k: int) -> "Reasoner":
        """The same reasoner keeping `k` proofs, in training and in evaluation; shares the grounding.

        InputError unless `k` is a positive integer.
        """
        check_count("k", k, 1)
        return self._keeping(k=k, train_k=None, test_k=None)

    def _keeping(self, **proofs: int | None) -> "Reasoner":
        """This reasoner with other numbers of proofs: its grounding, and itself if they are the same."""
        specification = replace(self.specification, **proofs)
        same = specification == self.specification
        return self if same else self._with(specification, self._grounded, self._logits)

    @cached_property
    def for_training(self) -> "Reasoner":
        """This reasoner with `train_k` proofs, if that was given."""
        return self._keeping(k=self.specification.train_k or self.specification.k)

    @cached_property
    def for_testing(self) -> "Reasoner":
        """This reasoner with `test_k` proofs, if that was given."""
        return self._keeping(k=self.specification.test_k or self.specification.k)

    @property
    def draws(self) -> bool:
        """Whether outputs depend on a seed, so that calls take a `key`.

        The provenance draws, or an aggregator, or an input mapping its entries.
        """
        return self._arrays.draws

    def with_seed(self, seed: int | Array) -> "Reasoner":
        """The same reasoner drawing by another seed, of 32 bits; an array may be traced. Shares everything.

        Its specification is the same.
        """
        reasoner = Reasoner.__new__(Reasoner)
        reasoner.__dict__.update(self.__dict__)
        # What is cached of this reasoner is of its seed.
        for name in ("for_training", "for_testing"):
            reasoner.__dict__.pop(name, None)
        reasoner._seed = seed
        reasoner._arrays = self._arrays.with_seed(seed)
        reasoner.batches = self.batches.with_seed(seed)
        return reasoner

    def __call__(
        self,
        /,
        *,
        disjunctions: Mapping[str, Sequence] | None = None,
        output_relations: object = None,
        output_mappings: object = None,
        key: Key = None,
        **inputs: Any,
    ) -> PyTree:
        """The outputs for an array, or for facts per sample, for each input relation; see the class.

        If the reasoner `draws`, a `key` of JAX, or an integer below 2^32, may take the place of the seed. If it does
        not, `key` is an input like the others.
        """
        if output_relations is None and output_mappings is None:
            return self._call(inputs, disjunctions, None, key)
        asked = read_asked(self.specification, output_relations, output_mappings)
        self.check_asked(asked)
        return self.with_outputs(asked.outputs, asked.keyed)._call(inputs, disjunctions, None, key, asked)

    def apply(
        self,
        parameters: Mapping[str, ArrayLike],
        /,
        *,
        disjunctions: Mapping[str, Sequence] | None = None,
        key: Key = None,
        **inputs: Any,
    ) -> PyTree:
        """The outputs for logits named and shaped as `parameters` are; differentiable in them as well.

        Logits may also be `[batch, *shape]`, others for each sample, where no facts are given.
        """
        return self._call(inputs, disjunctions, self.order_parameters(parameters), key)

    def _call(
        self,
        inputs: dict[str, Any],
        disjunctions: Mapping[str, Sequence] | None,
        logits: Logits | None,
        key: Key,
        asked: AskedOutputs | None = None,
    ) -> Any:
        if key is not None:
            if self.draws:
                return self.with_seed(read_key(key))._call(inputs, disjunctions, logits, None, asked)
            inputs = {**inputs, "key": key}
        check_named(self.specification.outputs)
        if has_facts(inputs, disjunctions):
            batch = self.batches.read(inputs, disjunctions)
            grounding = self.batches.ground(batch)
            if self.is_interpreted:
                values = self.batches.interpret(grounding, batch)
                values = values if values.dtype == object else to_device(values)
                return self.batches.unpack(grounding, values, batch)
            tags, arrays = batch_tags(batch, grounding), tuple(batch.arrays.values())
            self.check_tags(batch.facts, tags)
            results = self.batches.results(grounding, tags, arrays, logits, asked, batch)
            return self.batches.with_proofs(results, grounding, batch, tags, arrays, logits)
        arrays = self.order(inputs)
        values = self.evaluate(arrays, logits)
        if isinstance(values, np.ndarray):
            return self.unpack_objects(values)
        results = self._arrays.unpack(values, asked)
        return self.with_proofs(results, arrays, logits) if self.returns_proofs else results

    def kept_proofs(self, /, **inputs: ArrayLike) -> Any:
        """The proofs of the outputs in place of their values: for each sample and tuple a list of proofs.

        Of the proofs that the provenance keeps, for provenances that keep some; each is a tuple of `Literal`s. Of a
        negation that `topbottomkclauses` keeps as clauses they are those that falsify it. Values cannot be traced.
        """
        return self.unpack_objects(self._arrays.proofs(self.order(inputs), None))

    @property
    def returns_proofs(self) -> bool:
        """Whether calls return the proofs beside the values of each output relation."""
        return self._provenance.traits.returns_proofs

    def with_proofs(self, values: Any, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None = None) -> Any:
        """What `unpack` gave, of any array type, as `(values, proofs)` or `(tuples, values, proofs)`."""
        proofs = self.unpack_objects(self._arrays.proofs(arrays, logits))
        return pair_with_proofs(values, proofs, self.specification.keyed)

    def with_outputs(self, outputs: Outputs, keyed: bool) -> "Reasoner":
        """The same reasoner with other outputs, in normal form; the last ones asked for are kept."""
        check_named(outputs)
        if (outputs, keyed) == (self.specification.outputs, self.specification.keyed):
            return self
        if (outputs, keyed) not in self._variants:
            if len(self._variants) >= _MOST_VARIANTS:
                del self._variants[next(iter(self._variants))]
            grounded = self._grounded.with_outputs(outputs, keyed)
            specification = replace(grounded.specification, k=self.specification.k)
            self._variants[outputs, keyed] = Reasoner._of(grounded, specification, self._logits)
        variant = self._variants[outputs, keyed]
        return variant if variant._seed is self._seed else variant.with_seed(self._seed)

    def ground(self, facts: Mapping[str, Any], *, disjunctions: Mapping[str, Sequence] | None = None) -> BatchGrounding:
        """The grounding of a batch of facts, for `evaluate_grounded`. Does not touch JAX: a data loader may call it.

        `facts` are given as to a call, with or without tags: without, all facts of relations that have tags are
        uncertain. For a mapped relation, the number of samples counts of its array; `np.zeros` will do.
        """
        return self.batches.ground_facts(facts, disjunctions)

    def cache_info(self) -> CacheInfo:
        """What the cache of groundings of facts per sample holds, and its hits and misses; shared by `with_k`'s."""
        return self._grounded.samples.cache.info()

    def cache_clear(self) -> None:
        """Empties the cache of groundings."""
        self._grounded.samples.cache.clear()

    def evaluate_grounded(
        self,
        grounding: BatchGrounding | BatchArrays,
        tags: Mapping[str, ArrayLike] | ArrayLike,
        logits: Sequence[ArrayLike] | None = None,
        key: Key = None,
    ) -> PyTree:
        """The outputs of a grounded batch, differentiable in the tags, by relation or as one array if there is one.

        Tags are `[facts]`, for all samples in the order in which the facts were given; those of certain facts are
        ignored; mapped relations have their arrays. For `grounding.arrays`, which may be traced and passed to a jitted
        function, the result is an array `[num_samples, outputs]`, whose columns are those of `grounding.outputs`, and
        more without an output mapping; then `tags` is one array, of at most the length of that of the grounding.
        """
        if key is not None:
            return self.with_seed(read_key(key)).evaluate_grounded(grounding, tags, logits)
        if isinstance(grounding, BatchArrays):
            assert not isinstance(tags, Mapping)
            return self.batches.evaluate_arrays(grounding, tags, logits)
        vector, arrays = self.batches.order_tags(grounding, tags)
        return self.batches.results(grounding, vector, arrays, logits)

    def explain(
        self,
        relation: str,
        values: object,
        inputs: Mapping[str, Any] | BatchFacts | None = None,
        *,
        disjunctions: Mapping[str, Sequence] | None = None,
        sample: int = 0,
        k: int | None = None,
    ) -> Explanation:
        """The `k` likeliest proofs of a tuple of any relation, for one sample of the inputs, given as to a call.

        `values` is the tuple, or the value of a relation of one column; `k` is by default the reasoner's. A search on
        the host, apart from the evaluation: for people, not for training steps. InputError for a relation that the
        program does not have, a tuple that does not fit it, and what a call refuses.
        """
        if not isinstance(inputs, BatchFacts):
            inputs = read_by_relation(inputs, "`inputs`")
            is_read = has_facts(inputs, disjunctions)
            inputs = self.batches.read(inputs, disjunctions) if is_read else self._arrays.read(self.order(inputs))
        made_of = (self._specification, self._grounded, self._logits, self._seed)
        return explain(*made_of, relation, values, inputs, sample, k)

    def order_parameters(self, parameters: Mapping[str, T]) -> tuple[T, ...]:
        """The values in the order of `parameter_names`. InputError with all names that are missing or unknown."""
        return order_logits(self._grounded.parameters, parameters)

    def order(self, inputs: Mapping[str, T]) -> tuple[T, ...]:
        """The inputs in the order of `input_relations`. InputError if one is missing or is no input relation."""
        ordered = order_inputs(self._mappings, inputs, lambda: self._grounded.samples.checked.program.relations)
        self._grounded.warn_of_empty(inputs)
        return ordered

    def evaluate(self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None = None) -> Array:
        """The values `[batch, outputs]` of all output tuples for arrays in the order of `input_relations`.

        `logits` are in the order of `parameter_names`; None: the reasoner's own.
        """
        return self._arrays.evaluate(arrays, logits)

    def forward(
        self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None = None
    ) -> tuple[Array, PyTree[Array]]:
        """`evaluate`'s values, and what `pull_back` needs to differentiate them."""
        return self._arrays.forward(arrays, logits)

    def linearize(self, arrays: Sequence[ArrayLike]) -> Array | None:
        """`evaluate`'s values and their derivatives `[batch, 1 + entries, outputs]`, in float32 or float64.

        Of a sample the values, then the derivatives by its entries, those of one array after those of the other. None
        unless program and batch are so small that this takes less time than `forward` and `pull_back`; raises nothing
        then.
        """
        linearizer = self._arrays.linearizer
        return None if linearizer is None else linearizer.linearize(arrays)

    def pull_back(
        self,
        arrays: Sequence[ArrayLike],
        residuals: PyTree[Array],
        cotangent: ArrayLike,
        logits: Sequence[ArrayLike] | None = None,
    ) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
        """Gradients of the arrays and of the logits for a cotangent `[batch, outputs]`, of their shapes and dtypes.

        None for a bool array. Must be called with arrays and logits equal to those of `forward`.
        """
        return self._arrays.pull_back(arrays, residuals, cotangent, logits)

    @property
    def ground_program(self) -> Circuit:
        """The arrays that are evaluated, on the host: its outputs in order are those of all relations."""
        return self._grounded.program(self._provenance)

    @property
    def is_interpreted(self) -> bool:
        """Whether tags are Python objects, evaluated on the host."""
        return isinstance(self._provenance, ObjectProvenance)

    def interpret_entries(self, arrays: Sequence[ArrayLike], entries: Sequence[Sequence[Any]]) -> np.ndarray:
        """`evaluate`, where the provenance tags `entries`, for each sample those of all arrays, instead of numbers.

        Outputs are objects, or of the provenance's dtype if it has one. Only if `is_interpreted`.
        """
        return self._arrays.interpret(arrays, entries)

    def unpack(self, packed: Any) -> Any:
        """The result of a call from values `[batch, outputs]`: only slices them, so any array type will do."""
        return unpack(self.outputs, self.specification.keyed, packed)

    def unpack_objects(self, objects: np.ndarray) -> Any:
        """The result of a call from objects `[batch, outputs]`: lists, which a user's provenance collates."""
        return unpack_objects(self.outputs, self.specification.keyed, objects, self._provenance)

    def check(self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None) -> Arguments:
        """The arguments, if their kinds and shapes, and the values of those that are not traced, fit."""
        return self._arrays.check(arrays, logits)

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """InputError if shapes, in the order of `input_relations`, do not fit their mappings or each other."""
        check_shapes({relation: mapping.shape for relation, mapping in self._mappings.items()}, shapes)

    def check_tags(self, facts: Sequence[FactTable], tags: ArrayLike) -> None:
        """What the provenance cannot read of a batch's tags is refused, and what is hardly meant warned of once.

        Those on an accelerator are not looked at.
        """
        self._checks.check_tags(facts, tags)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Reasoner) or self.specification != other.specification:
            return False
        return all(np.array_equal(a, b) for a, b in zip(self._logits, other._logits, strict=True))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.specification.digest)

    def __deepcopy__(self, memo: dict) -> "Reasoner":
        return self

    def __reduce__(self):
        parameters = {name: np.asarray(array) for name, array in self.parameters.items()}
        # A pickle holds no code: without functions of Python, what was grounded with them must be in it.
        stored = self.stored_ground() if self.specification.foreign else None
        return _restore, (self.specification.to_json(), parameters, self.limits, stored, self._grounded.custom)

    def __repr__(self) -> str:
        outputs = ", ".join(f"`{output.relation}`" for output in self.outputs)
        inputs = ", ".join(f"`{relation}`" for relation in self._mappings)
        return f"Reasoner({self._provenance.name}, inputs {inputs}, outputs {outputs})"


def _restore(
    text: str,
    parameters: Mapping[str, np.ndarray],
    limits: Limits | None = None,
    stored: SerializedProgram | None = None,
    custom: object = None,
) -> Reasoner:
    if stored is None:
        return Reasoner.from_json(text, limits=limits, custom_provenance=custom).with_parameters(parameters)
    return Reasoner.from_stored(from_json(text), stored, custom_provenance=custom).with_parameters(parameters)
