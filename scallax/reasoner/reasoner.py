"""A compiled program as a pure, batched, differentiable function of input probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack, final

import numpy as np

from scallax.circuits.serialized import SerializedProgram
from scallax.errors import CheckpointError, ScallaxError, checks_calls, warn
from scallax.evaluation.batch import ArrayLike
from scallax.evaluation.batch_grounding import BatchArrays, BatchGrounding
from scallax.evaluation.compiled_program import CompiledProgram, check_custom, check_foreign, ground, restore
from scallax.evaluation.evaluator import Evaluator, Logits
from scallax.evaluation.grounding_cache import BatchFacts, check_outputs_per_sample
from scallax.evaluation.logits import logit_probabilities, order_logits, replace_logits
from scallax.evaluation.mapped_layout import MappedLayout
from scallax.evaluation.sample_layout import ArraysLayout, SampleLayout
from scallax.evaluation.seeds import Key, read_key
from scallax.facts.arguments import Outputs, check_count
from scallax.facts.outputs import AskedOutputs, check_named, read_asked
from scallax.facts.specification import Specification, from_json
from scallax.grounding.limits import Limits, check_limits
from scallax.kernels.bounded_cache import CacheInfo
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.reasoner.calls import call, compile_arguments, read_batch, read_inputs
from scallax.reasoner.explain_tuple import explain
from scallax.reasoner.program_arguments import ProgramArguments, takes_keywords
from scallax.reasoner.proofs import Explanation
from scallax.reasoner.worlds import Draws, Query, World, find_draws, find_most_probable

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree

# Reasoners with other outputs that are kept.
_MOST_VARIANTS = 16


@checks_calls
@final
class Reasoner:
    """A program as a function `reasoner(relation=probabilities, ...)` of arrays `[batch, *mapping.shape]`.

    The program is grounded once, at construction. The function is pure and works under `jax.jit`, `jax.grad` and
    `jax.vmap`.

    Inputs. A relation with an input mapping takes an array `[batch, *mapping.shape]` of probabilities. Any relation,
    with or without a mapping, may also be given as one list of facts per sample: `(tag, tuple)` pairs, with None as the
    tag of a certain fact; tuples alone for `non_probabilistic` relations and under `unit`; a plain value for a tuple of
    one column; or a `FactList`. Then `disjunctions` gives, by relation and for each sample, the lists of indices of
    facts that exclude each other. Relations that are not given are empty. Groundings of such batches are kept
    (`cache_info`), the last 512. Without inputs the batch is 1.

    Evidence. Where `evidence` names relations, `evidence={relation: array, ...}` is an input: by tuple 1 if it was seen
    to hold, 0 if not to, NaN (in lists None) if it was not looked at, and a probability for virtual evidence. Outputs
    are given this and the program's own evidence; proof sets approximate, to at most 1. Evidence of probability 0 is an
    InputError in eager calls; in a transformation, and with `on_impossible="zero"`, outputs given it are 0.

    Outputs. The result is `[batch, len(output mapping)]`; `[batch]` for an output mapping of one tuple; `(tuples,
    [batch, len(tuples)])` without an output mapping, with every possible tuple, sorted (for facts per sample, those
    that some sample can derive); and a dictionary of these with `output_mappings`. Without named outputs, the program's
    queries are the outputs; with `output_mappings={}` and no query, calls name theirs.

    Types. Float32 is computed in float32, float64 in float64 (where JAX has it enabled), and narrower floats in float32
    and cast back. Outputs of `unit` and `bool` are bool; these two also take bool arrays: `bool` reads inputs (true
    unless 0), `unit` ignores their values. `natural` and `tropical` give int32 outputs, saturating at 2,147,483,647,
    and take integers as well. `difftopkproofsdebug` returns each output's proofs beside its values.

    Checks. In eager calls, a NaN or an infinite value is an InputError, and a value outside [0, 1] is computed as it
    is, with one warning for each reasoner; on an accelerator only the first call is checked. With more than 10 proofs,
    an output whose proofs take too many decisions to count is an UnsupportedError in eager calls. Under a
    transformation nothing can be raised: such an output is NaN, and so may be the outputs after it in the batch.

    Randomness. A sampling provenance draws proofs by `seed`, the same in every call, or by the `key` of a call.

    Args:
        program: The text of the program; it may also come from `file` and `rules`.
        **arguments: The keywords of `scallax.reasoner.program_arguments.ProgramArguments`, which the constructor's
            docstring describes.

    Attributes:
        specification: Everything that defines the reasoner, as plain data.
        limits: The limits of grounding.
        compiled_program: The circuit, its outputs and parameters; shared by reasoners that differ in `k` alone.
        evaluator: Computes values, gradients and proofs of arrays in the order of `specification.input_mappings`.

    Raises:
        ScallaxError: The program is wrong; the kind of error says in which stage, and all problems are listed.
        InputError: An argument does not fit the program, or an option is unknown.
        GroundingError: The program passes a limit.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import scallax
        >>> wet = scallax.Reasoner("rel wet(d) = rain(d) or sprinkler(d)", provenance="difftopkproofs",
        ...     input_mappings={"rain": range(2), "sprinkler": range(2)}, output_mapping=("wet", range(2)))
        >>> rain, sprinkler = jnp.array([[0.5, 0.0]]), jnp.array([[0.5, 0.25]])
        >>> print(wet(rain=rain, sprinkler=sprinkler))
        [[0.75 0.25]]
        >>> print(jax.grad(lambda p: wet(rain=p, sprinkler=sprinkler)[0, 0])(rain))
        [[0.5 0. ]]
    """

    specification: Specification
    limits: Limits
    compiled_program: CompiledProgram
    evaluator: Evaluator[MappedLayout]
    _variants: dict[tuple[Outputs, bool], Reasoner]
    _modes: dict[bool, Reasoner]

    @takes_keywords()
    def __init__(self, program: str | None = None, **arguments: Unpack[ProgramArguments]):
        given = dict[str, Any](arguments)
        compiled = compile_arguments(program, given)
        self.__dict__.update(_fields(compiled))
        check_named(self.specification.outputs, is_later=given["output_mappings"] is not None)
        for text in compiled.warnings():
            warn(text)
        compiled.await_call()

    @classmethod
    def from_specification(
        cls,
        specification: Specification,
        foreign: Sequence[ForeignItem] = (),
        *,
        limits: Limits | None = None,
        custom_provenance: object = None,
    ) -> Reasoner:
        """Makes the reasoner of a specification; issues no warnings.

        Args:
            specification: The `specification` of a reasoner.
            foreign: The foreign items that the program uses.
            limits: The limits of grounding.
            custom_provenance: The provenance, if it is one of your own.

        Returns:
            The reasoner, with the written probabilities as parameters.

        Raises:
            CheckpointError: `foreign` lacks an item or has it with another signature, or the provenance is missing or
                of another class.
        """
        library = read_foreign(foreign)
        check_foreign(specification, library)
        check_custom(specification, custom_provenance)
        return _reasoner_of(ground(specification, library, custom=custom_provenance, limits=check_limits(limits)))

    @classmethod
    def from_json(
        cls,
        text: str,
        foreign: Sequence[ForeignItem] = (),
        *,
        limits: Limits | None = None,
        custom_provenance: object = None,
    ) -> Reasoner:
        """Makes the reasoner of a saved specification.

        Args:
            text: The result of `specification.to_json()`.
            foreign: The foreign items that the program uses.
            limits: The limits of grounding.
            custom_provenance: The provenance, if it is one of your own.

        Returns:
            The reasoner, with the written probabilities as parameters.

        Raises:
            CheckpointError: The text is damaged, no longer compiles to the same program, or lacks an item as in
                `from_specification`.
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
    ) -> Reasoner:
        """Makes the reasoner of a stored circuit, without grounding. No foreign item is called.

        Args:
            specification: The specification that was stored with it.
            stored: The stored circuit.
            foreign: The foreign items that the program uses. Without them, a program that uses some can answer only
                from what is stored.
            custom_provenance: The provenance, if it is one of your own.

        Returns:
            The reasoner, with the written probabilities as parameters.

        Raises:
            CheckpointError: The data are damaged, or an item is missing as in `from_specification`.
        """
        library = None if foreign is None and specification.foreign else read_foreign(foreign or ())
        if library is not None:
            check_foreign(specification, library)
        return _reasoner_of(restore(specification, stored, library, custom_provenance))

    def with_foreign(self, foreign: Sequence[ForeignItem]) -> Reasoner:
        """The same reasoner with the foreign items of its program; shares the grounding.

        CheckpointError if one is missing, or has another signature.
        """
        library = read_foreign(foreign)
        check_foreign(self.specification, library)
        return _changed(self, compiled=replace(self.compiled_program, library=library))

    @property
    def parameters(self) -> dict[str, ArrayLike]:
        """The logits of the trainable tags by name.

        `relation.facts` `[facts + residuals]`: one for each fact of the relation in written order, those of the program
        before those of the argument `facts`, then one for the residual outcome of each exclusive set whose
        probabilities add up to less than 1. A fact's probability is the sigmoid of its logit, that of a member of an
        exclusive set the softmax over the set and its residual. `relation.rules.n` `[]`: the tagged rule number n of
        the relation in written order, counted from 0; every grounding of the rule is a random variable of its own with
        that probability. `relation.choices.n` `[alternatives + residual]`: the trained rule number n whose head begins
        with the relation and has probabilities for its alternatives, which are the softmax. Written probabilities are
        clipped to [1e-6, 1 - 1e-6] first.
        """
        return dict(zip(self.compiled_program.parameter_names, self.evaluator.logits, strict=True))

    def with_parameters(self, parameters: Mapping[str, ArrayLike]) -> Reasoner:
        """The same reasoner with other logits for its own; shares the grounding.

        InputError, with every problem, for names, shapes and dtypes other than those of `parameters`.
        """
        return _changed(self, logits=replace_logits(self.compiled_program.parameters, parameters))

    def probabilities(self, parameters: Mapping[str, ArrayLike] | None = None) -> dict[str, Array]:
        """The probabilities for logits (by default the reasoner's own), by the names of the parameters.

        Probabilities of facts are `[facts]`, without residuals. They are differentiable in the logits.
        """
        compiled = self.compiled_program
        logits = self.evaluator.logits if parameters is None else order_logits(compiled.parameters, parameters)
        return logit_probabilities(compiled.parameters, compiled.logit_groups, logits)

    def with_k(self, k: int) -> Reasoner:
        """The same reasoner, but it keeps `k` proofs in training and in evaluation; shares the grounding.

        InputError unless `k` is a positive integer.
        """
        check_count("k", k, 1)
        return _changed(self, replace(self.specification, k=k, train_k=None, test_k=None))

    def in_mode(self, is_training: bool) -> Reasoner:
        """This reasoner with `train_k` or `test_k` proofs, if that was given."""
        found = self._modes.get(is_training)
        if found is None:
            specification = self.specification
            k = (specification.train_k if is_training else specification.test_k) or specification.k
            found = self._modes[is_training] = _changed(self, replace(specification, k=k))
        return found

    def with_seed(self, seed: int | Array) -> Reasoner:
        """The same reasoner, but it draws by another seed of 32 bits, which may be a traced array. Shares everything.

        Its specification is the same.
        """
        reasoner = Reasoner.__new__(Reasoner)
        reasoner.__dict__.update(self.__dict__, evaluator=self.evaluator.with_seed(seed), _modes={})
        return reasoner

    def with_outputs(self, asked: AskedOutputs) -> Reasoner:
        """The same reasoner with the outputs that a call asks for; the last ones asked for are kept.

        UnsupportedError for outputs that differ per sample if the provenance's outputs are more than numbers.
        """
        if asked.names is not None:
            check_outputs_per_sample(self.evaluator.provenance)
        check_named(asked.outputs)
        key = asked.outputs, asked.keyed
        if key == (self.specification.outputs, self.specification.keyed):
            return self
        if key not in self._variants:
            if len(self._variants) >= _MOST_VARIANTS:
                del self._variants[next(iter(self._variants))]
            compiled = self.compiled_program.with_outputs(*key)
            specification = replace(compiled.specification, k=self.specification.k)
            self._variants[key] = _reasoner_of(compiled, specification, self.evaluator.logits)
        variant, seed = self._variants[key], self.evaluator.seed
        return variant if variant.evaluator.seed is seed else variant.with_seed(seed)

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

        A `key` of JAX, or an integer below 2^32, takes the place of a seed; without one, it is an input like others.
        """
        if output_relations is None and output_mappings is None:
            return call(self.specification, self.evaluator, inputs, disjunctions, None, key)
        asked = read_asked(self.specification, output_relations, output_mappings)
        variant = self.with_outputs(asked)
        return call(variant.specification, variant.evaluator, inputs, disjunctions, None, key, asked)

    def apply(
        self,
        parameters: Mapping[str, ArrayLike],
        /,
        *,
        disjunctions: Mapping[str, Sequence] | None = None,
        key: Key = None,
        **inputs: Any,
    ) -> PyTree:
        """The outputs of a call for given logits; differentiable in them as well.

        Args:
            parameters: Logits with the names and shapes of the property `parameters`. Where no facts are given, they
                may also be `[batch, *shape]`, with others for each sample.
            disjunctions: As in a call.
            key: As in a call.
            **inputs: As in a call.

        Returns:
            The outputs, as the class describes them.
        """
        logits = order_logits(self.compiled_program.parameters, parameters)
        return call(self.specification, self.evaluator, inputs, disjunctions, logits, key)

    def log_evidence(
        self,
        parameters: Mapping[str, ArrayLike] | None = None,
        /,
        *,
        disjunctions: Mapping[str, Sequence] | None = None,
        key: Key = None,
        **inputs: Any,
    ) -> Array:
        """The logarithm of the probability of what was observed; differentiable as outputs are.

        Args:
            parameters: As in `apply`; by default the reasoner's own.
            disjunctions: As in a call.
            key: As in a call.
            **inputs: As in a call.

        Returns:
            An array `[batch]`; minus infinity, with the gradient 0, where `on_impossible="zero"` lets one be 0.
        """
        logits = None if parameters is None else order_logits(self.compiled_program.parameters, parameters)
        evaluator, arrays = read_inputs(self.evaluator, inputs, disjunctions, key)
        return evaluator.log_evidence(arrays, logits)

    def kept_proofs(self, /, **inputs: ArrayLike) -> Any:
        """The proofs of the outputs in the place of their values: for each sample and tuple a list of proofs.

        These are the proofs that the provenance keeps, if it keeps some; each is a tuple of `Literal`s. For a negation
        that `topbottomkclauses` keeps as clauses, they are the proofs that falsify it. Inputs cannot be traced.
        """
        evaluator = self.evaluator
        return evaluator.unpack(evaluator.proofs(evaluator.layout.order(inputs)))

    def ground(self, facts: Mapping[str, Any], *, disjunctions: Mapping[str, Sequence] | None = None) -> BatchGrounding:
        """Grounds a batch of facts ahead of the step. It does not touch JAX, so a data loader's worker may call it.

        Args:
            facts: The inputs of a call. Tags may be left out: then all facts of relations that have tags are uncertain.
                For a mapped relation only the number of samples of its array counts, so `np.zeros` will do.
            disjunctions: As in a call.

        Returns:
            The grounding, for `evaluate_grounded`.
        """
        return self.evaluator.layout.ground_facts(facts, disjunctions)

    def cache_info(self) -> CacheInfo:
        """The hits, misses and contents of the cache of groundings, which reasoners made by `with_k` share."""
        return self.compiled_program.samples.cache.info()

    def cache_clear(self) -> None:
        """Empties the cache of groundings."""
        self.compiled_program.samples.cache.clear()

    def evaluate_grounded(
        self,
        grounding: BatchGrounding | BatchArrays,
        tags: Mapping[str, ArrayLike] | ArrayLike,
        logits: Sequence[ArrayLike] | None = None,
        key: Key = None,
    ) -> PyTree:
        """The outputs of a grounded batch, differentiable in the tags.

        Args:
            grounding: The result of `ground`, or its `arrays`, which may be traced and passed to a jitted function.
            tags: By relation, tags `[facts]` of all samples in the order in which the facts were given, and the arrays
                of mapped relations; one array if there is one relation. Tags of certain facts are ignored. For
                `grounding.arrays` it is one array, at most as long as the padded tags of the grounding.
            logits: The logits of trainable tags in the order of `parameters`. Default: the reasoner's own.
            key: As in a call.

        Returns:
            The outputs, as the class describes them. For `grounding.arrays`, an array `[num_samples, outputs]` whose
            columns are those of `grounding.outputs`, padded if there is no output mapping.
        """
        evaluator = self.evaluator if key is None else self.evaluator.with_seed(read_key(key))
        if isinstance(grounding, BatchArrays):
            assert not isinstance(tags, Mapping)
            of_arrays = ArraysLayout(evaluator.layout, grounding)
            return evaluator.with_layout(of_arrays).results((of_arrays.pad(tags),), logits)
        layout = SampleLayout(evaluator.layout, grounding)
        return evaluator.with_layout(layout).results(layout.join_tags(tags), logits)

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
        """The likeliest proofs of a tuple of any relation, for one sample of the inputs.

        It searches on the host, apart from the evaluation: for people to read, not for training steps.

        Args:
            relation: The relation of the tuple.
            values: The tuple, or its value if it has one column.
            inputs: The inputs of a call.
            disjunctions: As in a call.
            sample: The number of the sample.
            k: The number of proofs. Default: the reasoner's own.

        Returns:
            The proofs as an `Explanation`, which prints as text and draws as a picture.

        Raises:
            InputError: The program has no such relation, the tuple does not fit it, or a call would refuse the inputs.
        """
        made_of = (self.specification, self.compiled_program, self.evaluator.logits, self.evaluator.seed)
        return explain(*made_of, relation, values, read_batch(self.evaluator, inputs, disjunctions), sample, k)

    def most_probable(
        self,
        inputs: Mapping[str, Any] | BatchFacts | None = None,
        *,
        holds: Query | None = None,
        fails: Query | None = None,
        decide: Sequence[str] | None = None,
        disjunctions: Mapping[str, Sequence] | None = None,
    ) -> list[World]:
        """The most probable world of each sample: which facts, and which random choices of rules, hold in it.

        All evidence holds in it. It is exact, whatever the provenance, and computed on the host.

        Args:
            inputs: The inputs of a call.
            holds: By relation the tuples that must hold: one tuple, or a list of them.
            fails: By relation those that must not hold.
            decide: Relations whose facts and choices alone are decided, whatever the others are; None: all, together.
            disjunctions: As in a call.

        Returns:
            A `World` for each sample.

        Raises:
            InputError: What is asked to hold has probability 0 in a sample, or a call would refuse the inputs.
            UnsupportedError: The program is too large for exact inference, or too many assignments are alike probable.
        """
        batch = read_batch(self.evaluator, inputs, disjunctions)
        return find_most_probable(self.compiled_program, self.evaluator.logits, batch, holds, fails, decide)

    def sample(
        self,
        inputs: Mapping[str, Any] | BatchFacts | None = None,
        n: int = 1,
        key: Key = 0,
        *,
        holds: Query | None = None,
        fails: Query | None = None,
        disjunctions: Mapping[str, Sequence] | None = None,
    ) -> list[Draws]:
        """Worlds drawn for each sample, in proportion to their probabilities among those where query and evidence hold.

        Args:
            inputs: As of `most_probable`, with its errors.
            n: How many worlds are drawn for each sample.
            key: A seed or a key of JAX; equal ones draw the same.
            holds: As of `most_probable`.
            fails: As of `most_probable`.
            disjunctions: As in a call.

        Returns:
            `Draws` for each sample.
        """
        batch = read_batch(self.evaluator, inputs, disjunctions)
        return find_draws(self.compiled_program, self.evaluator.logits, batch, holds, fails, n, key)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Reasoner) or self.specification != other.specification:
            return False
        return all(map(np.array_equal, self.evaluator.logits, other.evaluator.logits))

    def __hash__(self) -> int:
        return hash(self.specification.digest)

    def __deepcopy__(self, memo: dict) -> Reasoner:
        return self

    def __reduce__(self):
        parameters = {name: np.asarray(array) for name, array in self.parameters.items()}
        # A pickle holds no code: without functions of Python, what was grounded with them must be in it.
        stored = self.compiled_program.serialized() if self.specification.foreign else None
        custom = self.compiled_program.custom
        return _restore, (self.specification.to_json(), parameters, self.limits, stored, custom)

    def __repr__(self) -> str:
        outputs = ", ".join(f"`{name}`" for name, _ in self.specification.outputs)
        inputs = ", ".join(f"`{name}`" for name, _ in self.specification.input_mappings)
        return f"Reasoner({self.evaluator.provenance.name}, inputs {inputs}, outputs {outputs})"


def _fields(
    compiled: CompiledProgram,
    specification: Specification | None = None,
    logits: Logits | None = None,
    seed: int | Array | None = None,
) -> dict[str, Any]:
    """The fields of a reasoner; `specification` may differ from that of `compiled` in k."""
    specification = specification or compiled.specification
    logits = logits or tuple(parameter.initial for parameter in compiled.parameters)
    seed = specification.seed if seed is None else seed
    evaluator = Evaluator.of_program(compiled, compiled.provenance(specification), logits, seed, specification.executor)
    fields = {"specification": specification, "compiled_program": compiled, "limits": compiled.limits}
    return {**fields, "evaluator": evaluator, "_variants": {}, "_modes": {}}


def _reasoner_of(
    compiled: CompiledProgram,
    specification: Specification | None = None,
    logits: Logits | None = None,
    seed: int | Array | None = None,
) -> Reasoner:
    reasoner = Reasoner.__new__(Reasoner)
    reasoner.__dict__.update(_fields(compiled, specification, logits, seed))
    return reasoner


def _changed(
    reasoner: Reasoner,
    specification: Specification | None = None,
    compiled: CompiledProgram | None = None,
    logits: Logits | None = None,
) -> Reasoner:
    """The same reasoner, of the same seed, with other parts; the same one if nothing is another."""
    if specification == reasoner.specification:
        return reasoner
    evaluator = reasoner.evaluator
    return _reasoner_of(
        compiled or reasoner.compiled_program,
        specification or reasoner.specification,
        logits or evaluator.logits,
        evaluator.seed,
    )


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
