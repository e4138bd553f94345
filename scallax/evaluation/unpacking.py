"""The results of calls from the packed values of all outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.evaluation.derived_program import Output
from scallax.evaluation.moves import take
from scallax.facts.outputs import AskedOutputs, choose
from scallax.provenance.semirings import ObjectProvenance
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.batch import ArrayLike
    from scallax.evaluation.cache import Holder


def unpack(outputs: Sequence[Output], keyed: bool, packed: Any) -> Any:
    """The result of a call from values `[batch, outputs]`: only slices them, so any array type will do."""
    results = {output.relation: _unpack_one(output, packed) for output in outputs}
    return results if keyed else results[outputs[0].relation]


def _unpack_one(output: Output, packed):
    if output.is_single:
        return packed[:, output.start]
    whole = len(output.tuples) == packed.shape[1]
    values = packed if whole else packed[:, output.start : output.start + len(output.tuples)]
    return (list(output.tuples), values) if output.is_listed else values


def unpack_array(holder: Holder, outputs: Sequence[Output], keyed: bool, packed: ArrayLike) -> Any:
    """`unpack`, of arrays of JAX by one compiled function."""
    if isinstance(packed, np.ndarray):
        return unpack(outputs, keyed, packed)
    from scallax.evaluation.cache import call  # there is an array of JAX

    bounds = tuple(
        output.start if output.is_single else (output.start, output.start + len(output.tuples)) for output in outputs
    )
    parts = [packed] if bounds == ((0, packed.shape[1]),) else call(holder, _take_columns, (bounds,), packed)
    results = {
        output.relation: (list(output.tuples), part) if output.is_listed else part
        for output, part in zip(outputs, parts, strict=True)
    }
    return results if keyed else results[outputs[0].relation]


def _take_columns(bounds: tuple[tuple[int, int] | int, ...], packed: Array) -> list[Array]:
    return [packed[:, bound] if isinstance(bound, int) else packed[:, slice(*bound)] for bound in bounds]


def unpack_places(
    outputs: Sequence[Output],
    keyed: bool,
    values: ArrayLike,
    sources: np.ndarray | None,
    absent: float,
    asked: AskedOutputs | None = None,
) -> Any:
    """The result of a call whose outputs are values at the places `sources` `[batch, outputs]`; see `moves.take`.

    None for all values as they stand. With `asked`, each sample has the outputs that it asks for.
    """
    if sources is None:
        sources = np.arange(values.size, dtype=np.int32).reshape(values.shape)

    def take_array(places: np.ndarray) -> ArrayLike:
        return take(values, places, absent)

    def take_row(row: np.ndarray, places: Sequence[int]) -> np.ndarray:
        return np.append(row, values.size)[np.array(places, np.int64)]

    if asked is not None and asked.names is not None:
        results = unpack(outputs, True, sources)
        return choose(results, asked.names, asked.is_flat, lambda rows: take_array(np.stack(rows)), take_row)
    return map_results(take_array, unpack(outputs, keyed, sources), keyed)


def map_results(function: Callable[[Any], Any], results: Any, keyed: bool) -> Any:
    """The result of `unpack` with the function's results in the places of its arrays."""
    if keyed:
        return {name: _map_one(function, part) for name, part in results.items()}
    return _map_one(function, results)


def _map_one(function: Callable[[Any], Any], part: Any) -> Any:
    """The function's result in the place of the array in a result, which may be listed."""
    return (part[0], function(part[1])) if isinstance(part, tuple) else function(part)


def unpack_objects(outputs: Sequence[Output], keyed: bool, objects: np.ndarray, provenance: AbstractSemantics) -> Any:
    """The result of a call from objects `[batch, outputs]`: lists, which a user's provenance collates."""
    semiring = provenance.semiring if isinstance(provenance, ObjectProvenance) else None
    results = {}
    for output in outputs:
        columns = range(output.start, output.start + len(output.tuples))
        values = [row[output.start] if output.is_single else [row[i] for i in columns] for row in objects]
        values = values if semiring is None else semiring.collate(values)
        results[output.relation] = (list(output.tuples), values) if output.is_listed else values
    return results if keyed else results[outputs[0].relation]


def pair_with_proofs(values: Any, proofs: Any, keyed: bool) -> Any:
    """The result of `unpack`, of any array type, as `(values, proofs)` or `(tuples, values, proofs)`."""
    if keyed:
        return {name: _pair_one(value, proofs[name]) for name, value in values.items()}
    return _pair_one(values, proofs)


def _pair_one(values: Any, proofs: Any) -> Any:
    """Values with or without tuples, and the same of proofs."""
    return (*values, proofs[1]) if isinstance(values, tuple) else (values, proofs)
