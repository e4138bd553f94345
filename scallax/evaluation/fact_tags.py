"""The tags of a batch's facts as one vector."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.errors import InputError
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.grounding_cache import BatchFacts
from scallax.evaluation.jax_values import is_concrete, is_jax_array, is_traced, uses_float64
from scallax.evaluation.moves import computing_dtype, join, widest_dtype
from scallax.facts.fact_checks import check_tags, wrong_tag
from scallax.facts.fact_table import FactTable
from scallax.facts.sample_facts import is_array

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.batch import ArrayLike


class JaxTensors:
    """Traced arrays of JAX as variables in facts; others are constants."""

    def is_variable(self, value: Any) -> bool:
        return is_traced(value)

    def key(self, value: Any) -> Hashable:
        return id(value)

    def host(self, value: Any) -> np.ndarray:
        return np.asarray(value)

    def combine(self, op: str, left: Any, right: Any) -> Array:
        from scallax.evaluation import tensor_values  # there is a traced array

        return tensor_values.combine(op, left, right)

    def compare(self, pairs: Sequence[tuple[Any, Any]], negated: np.ndarray) -> Array:
        from scallax.evaluation import tensor_values  # as above

        return tensor_values.compare(pairs, negated)


def batch_tags(batch: BatchFacts, grounding: BatchGrounding) -> ArrayLike:
    """The vector of all tags of a batch, `[padded_tags]`: those of `collect_tags`, and behind them what is computed."""
    if not grounding.comparisons:
        return collect_tags(batch.facts, grounding.padded_tags)
    assert batch.tensors is not None, "tensors that are compared are in facts"
    parts = [collect_tags(batch.facts, grounding.num_tags), batch.tensors.compare(grounding.comparisons)]
    return join(parts, grounding.padded_tags, widest_dtype(parts))


def collect_tags(facts: Sequence[FactTable], length: int) -> ArrayLike:
    """The tags of all facts in order, `[length]`, 0 for certain facts and behind the last.

    Float32, or float64 if an array among them is. Tags may be Python or NumPy numbers, and JAX arrays, which may be
    traced and carry gradients. InputError for the first tag that is no scalar, or is not finite.
    """
    parts = [(part, tags) for part in facts if part.certain is not None for tags in _tags_of(part)]
    if all(is_host(tags) for _, tags in parts):
        return _on_host(facts, [tags for _, tags in parts], length)
    found = [tag for part, tags in parts for tag in _list_arrays(part, tags)]
    vector = join(found, length, _dtype_of(found))
    if is_concrete(vector):
        check_tags(facts, np.asarray(vector))
    return vector


def list_tags(facts: Sequence[FactTable]) -> list[Any]:
    """The tags of all facts of relations that have tags, in order, as they were given; of arrays their scalars."""
    tags: list[Any] = []
    for part in facts:
        if part.certain is None:
            continue
        for given in part.tag_parts or ((None,) * part.num_facts,):
            tags += given.tolist() if isinstance(given, np.ndarray) else list(given)
    return tags


def is_host(tags: Any) -> bool:
    """Whether tags are numbers of Python or NumPy."""
    if is_array(tags):
        return isinstance(tags, np.ndarray)
    return all(issubclass(kind, _HOST_KINDS) for kind in set(map(type, tags)))


_HOST_KINDS = (int, float, type(None), np.generic)


def _tags_of(part: FactTable) -> Sequence[Any]:
    """The parts of a relation's tags; zeros if they come later."""
    return part.tag_parts or (np.zeros(part.num_facts, np.float32),)


def _dtype_of(tags: Iterable[Any]) -> type[np.floating]:
    return computing_dtype(tags) if uses_float64() else np.float32


def _on_host(facts: Sequence[FactTable], parts: Sequence[Any], length: int) -> np.ndarray:
    vector = np.zeros(length, _dtype_of(parts))
    start = 0
    for part in parts:
        if not is_array(part) and type(None) in set(map(type, part)):
            part = [0.0 if tag is None else tag for tag in part]
        with np.errstate(over="ignore"):  # refused below, as infinite
            vector[start : start + len(part)] = part
        start += len(part)
    check_tags(facts, vector)
    return vector


def _list_arrays(part: FactTable, tags: Any) -> list[Any]:
    """The tags as arrays and numbers."""
    if is_array(tags):
        return [tags]
    for place, tag in enumerate(tags):
        if tag is not None and np.shape(tag) != ():
            raise InputError(wrong_tag(part, place, f"has a tag of shape {np.shape(tag)}; a tag is a scalar"))
        if not (isinstance(tag, _HOST_KINDS) or is_jax_array(tag)):
            raise InputError(wrong_tag(part, place, f"has the tag {tag!r}; a tag is a number"))
    return [0.0 if tag is None else tag for tag in tags]
