"""A grounded batch of facts per sample, evaluated: the samples side by side, as one sample of a larger program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, final
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.backend import get_default_device
from jaxtyping import Array, PyTree

from scallax.arguments import unknown_name
from scallax.batch import (
    Arguments,
    ArrayLike,
    Signature,
    evaluate_batch,
    forward_batch,
    pull_back_batch,
    take_outputs,
)
from scallax.checks import check_given, check_kind, check_mapped, is_concrete, is_on_host, not_mapped, show_shape
from scallax.errors import InputError
from scallax.grounded import Grounded
from scallax.grounding.layout import GroundProgram
from scallax.per_sample import BatchFacts
from scallax.process import check_process
from scallax.specification import Specification
from scallax.union import BatchArrays, BatchGrounding

T = TypeVar("T")
Logits = tuple[ArrayLike, ...]
# What draws depend on: a seed, a JAX key, or its data; None is the reasoner's own seed.
Key = int | ArrayLike | None


@final
class BatchEvaluator:
    """Grounds batches of one program and evaluates them.

    `draw_key` gives the data of a call's key, and `check_probabilities` refuses, or warns of, a relation's values.

    Tags are vectors `[padded_tags]`, arrays those of the grounding's mapped relations, in its order; logits are in the
    order of the parameters, None for the reasoner's own.
    """

    def __init__(
        self,
        specification: Specification,
        signature: Signature,
        logits: Logits,
        grounded: Grounded,
        draw_key: Callable[[Key], ArrayLike | None],
        check_probabilities: Callable[[str, np.ndarray], None],
    ):
        self._outputs = tuple(
            (name, None if listed is None else listed.tuples) for name, listed in specification.outputs
        )
        self._mappings = dict(specification.input_mappings)
        self._signature = signature
        self._logits = logits
        self._grounded = grounded
        self._draw_key = draw_key
        self._check_probabilities = check_probabilities
        # The arrays of each grounding, by device.
        self._kept: WeakKeyDictionary[BatchGrounding, dict] = WeakKeyDictionary()

    def read(
        self, inputs: Mapping[str, Any], disjunctions: Mapping[str, Sequence] | None = None, later: bool = False
    ) -> BatchFacts:
        """The inputs of a call with facts per sample, by kind; `later`: their tags come later.

        InputError for what does not fit the program.
        """
        provenance = self._signature.provenance
        batch = self._grounded.samples.read(inputs, disjunctions or {}, provenance, tags_come_later=later)
        for relation, array in batch.arrays.items():
            if relation not in self._mappings:
                raise not_mapped(relation, array)
        check_given(self._mappings, {*batch.arrays, *(part.relation for part in batch.facts)})
        return batch

    def ground(self, batch: BatchFacts) -> BatchGrounding:
        """The grounding of what `read` read, from the cache if the facts were met before."""
        return self._grounded.samples.ground(batch, self._signature.provenance, self._outputs)

    def evaluate(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits,
        logits: Sequence[ArrayLike] | None,
        key: Key,
    ) -> Array:
        """Results `[num_samples, num_outputs]` for checked tags `[padded_tags]` and the arrays of mapped relations."""
        device_arrays = self._on_device(grounding)
        sources = grounding.arrays.sources[:, : grounding.num_outputs]
        self._check_mapped(grounding, arrays)
        signature, arguments = self._union(device_arrays.program, tags, grounding.mapped, arrays, logits, key)
        values = evaluate_batch(signature, device_arrays.program, arguments)
        # Without the columns that are padding, what stands behind them moves up.
        rows, columns = np.divmod(device_arrays.places, device_arrays.sources.shape[1] or 1)
        return take_outputs(values, sources, rows * sources.shape[1] + columns)

    def forward(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits = (),
        logits: Sequence[ArrayLike] | None = None,
        key: Key = None,
        keep: bool = True,
    ) -> tuple[Array, PyTree[Array]]:
        """The values of `grounding.arrays.program`'s outputs, and what `pull_back_batch` needs if it is to be kept."""
        self._check_mapped(grounding, arrays)
        program = self._on_device(grounding).program
        signature, arguments = self._union(program, tags, grounding.mapped, arrays, logits, key)
        if not keep:
            return evaluate_batch(signature, program, arguments), None
        return forward_batch(signature, program, arguments)

    def pull_back(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits,
        residuals: PyTree[Array],
        cotangent: ArrayLike,
        logits: Sequence[ArrayLike] | None = None,
        key: Key = None,
    ) -> tuple[Array, tuple[Array | None, ...], tuple[Array, ...]]:
        """Gradients of the tags, of the arrays and of the logits for a cotangent of `forward_batch`'s values."""
        program = self._on_device(grounding).program
        signature, arguments = self._union(program, tags, grounding.mapped, arrays, logits, key)
        gradients, trained = pull_back_batch(signature, program, arguments, residuals, cotangent)
        assert gradients[0] is not None
        return gradients[0], gradients[1:], trained

    def evaluate_arrays(self, arrays: BatchArrays, tags: ArrayLike, logits: Sequence[ArrayLike] | None) -> Array:
        length = arrays.program.input_literal.shape[0] - arrays.program.slots.shape[0]
        if tags.ndim != 1 or tags.shape[0] > length:
            raise InputError(f"the tags have shape {tags.shape}; the grounding has a vector of at most {length}")
        if tags.shape[0] < length:
            tags = jnp.pad(tags, (0, length - tags.shape[0]))
        signature, arguments = self._union(arrays.program, tags, (), (), logits, None)
        values = evaluate_batch(signature, arrays.program, arguments)
        return take_outputs(values, arrays.sources, arrays.places)

    def name_tags(self, grounding: BatchGrounding, tags: Mapping[str, T] | T) -> dict[str, T]:
        """The tags of a grounded batch by relation, then the arrays of mapped relations.

        InputError, with every problem, if they do not fit.
        """
        known = dict(grounding.tag_relations)
        names = [*known, *grounding.mapped]
        by_relation: Mapping[str, T]
        if isinstance(tags, Mapping):
            by_relation = tags
        else:
            if len(names) != 1:
                raise InputError(f"give the tags by relation: {', '.join(f'`{name}`' for name in names) or 'none'}")
            by_relation = {names[0]: tags}
        problems = [f"no tags for `{name}`" for name in names if name not in by_relation]
        problems += [
            str(unknown_name(f"`{name}` takes no tags here", name, names)) for name in by_relation if name not in names
        ]
        for name, count in known.items():
            shape = tuple(getattr(by_relation[name], "shape", ())) if name in by_relation else (count,)
            if shape != (count,):
                problems.append(f"the tags of `{name}` have shape {shape}; the batch has {count} facts of it")
        if problems:
            raise InputError(*problems)
        return {name: by_relation[name] for name in names}

    def order_tags(
        self, grounding: BatchGrounding, tags: Mapping[str, ArrayLike] | ArrayLike
    ) -> tuple[ArrayLike, Logits]:
        """The vector of all tags, padded, and the arrays of mapped relations."""
        named = self.name_tags(grounding, tags)
        parts = [jnp.asarray(named[name]) for name, _ in grounding.tag_relations]
        missing = grounding.padded_tags - sum(len(part) for part in parts)
        vector = jnp.concatenate([*parts, jnp.zeros(missing, parts[0].dtype if parts else jnp.float32)])
        return vector, tuple(named[name] for name in grounding.mapped)

    def _check_mapped(self, grounding: BatchGrounding, arrays: Logits) -> None:
        """InputError for arrays of mapped relations that do not fit the batch."""
        for relation, array in zip(grounding.mapped, arrays, strict=True):
            shape = self._mappings[relation].shape
            check_kind(relation, array, show_shape(shape), self._signature.provenance.is_discrete)
            check_mapped(relation, array.shape, grounding.num_samples, shape)
            if is_concrete(array) and is_on_host(array) and array.dtype != np.bool_ and array.size:
                self._check_probabilities(relation, np.asarray(array))

    def _union(
        self,
        program: GroundProgram,
        tags: ArrayLike,
        mapped: Sequence[str],
        inputs: Logits,
        logits: Sequence[ArrayLike] | None,
        key: Key,
    ) -> tuple[Signature, Arguments]:
        """The samples of a batch side by side, as one sample."""
        check_process()
        signature = replace(
            self._signature,
            retentions=(None, *(self._mappings[name].retention for name in mapped)),
            num_outputs=program.outputs.shape[0],
            is_union=True,
        )
        own = self._logits if logits is None else tuple(logits)
        return signature, Arguments((tags, *inputs), own, self._draw_key(key))

    def _on_device(self, grounding: BatchGrounding) -> BatchArrays:
        """The arrays of a batch, with the program on JAX's default device."""
        if grounding.owner != self._grounded.samples.digest:
            raise InputError("the grounding is of another program; ground the batch with this reasoner")
        key = get_default_device()
        kept = self._kept.setdefault(grounding, {})
        if key not in kept:
            check_process()
            with jax.ensure_compile_time_eval():
                program = jax.device_put(grounding.arrays.program)
            if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(program)):
                return grounding.arrays
            kept[key] = grounding.arrays._replace(program=program)
        return kept[key]


def key_data(key: Key, seed: int) -> ArrayLike:
    """The data of a key, uint32 `[2]`; InputError for what is none."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    if key is None or (isinstance(key, int) and not isinstance(key, bool)):
        number = seed if key is None else key
        return np.array([number >> 32 & 0xFFFFFFFF, number & 0xFFFFFFFF], np.uint32)
    if not isinstance(key, jax.Array | np.ndarray) or key.shape != (2,) or key.dtype != np.uint32:
        raise InputError(f"`key` is {key!r}; give an integer or a key of `jax.random.key`")
    return key


def take_or_zero(values: Array, places: Sequence[int]) -> Array:
    """The values at some places, 0 at -1."""
    return (
        jnp.asarray(values).at[np.array(places, np.int32)].get(mode="fill", fill_value=0, wrap_negative_indices=False)
    )
