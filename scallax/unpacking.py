"""The results of calls from the packed values of all outputs."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from scallax.mappings import Tuples
from scallax.provenance import AbstractSemantics, ObjectProvenance


class PackedOutput(Protocol):
    """One output relation and its place among all output tuples: `scallax.grounded.Output`."""

    @property
    def relation(self) -> str: ...

    @property
    def tuples(self) -> Tuples: ...

    @property
    def start(self) -> int: ...

    @property
    def is_single(self) -> bool: ...

    @property
    def is_listed(self) -> bool: ...


def unpack(outputs: Sequence[PackedOutput], keyed: bool, packed: Any) -> Any:
    """The result of a call from values `[batch, outputs]`: only slices them, so any array type will do."""
    results = {output.relation: _unpack_one(output, packed) for output in outputs}
    return results if keyed else results[outputs[0].relation]


def _unpack_one(output: PackedOutput, packed):
    if output.is_single:
        return packed[:, output.start]
    whole = len(output.tuples) == packed.shape[1]
    values = packed if whole else packed[:, output.start : output.start + len(output.tuples)]
    return (list(output.tuples), values) if output.is_listed else values


def unpack_objects(
    outputs: Sequence[PackedOutput], keyed: bool, objects: np.ndarray, provenance: AbstractSemantics
) -> Any:
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
    """What `unpack` gave, of any array type, as `(values, proofs)` or `(tuples, values, proofs)`."""
    if keyed:
        return {name: _pair_one(value, proofs[name]) for name, value in values.items()}
    return _pair_one(values, proofs)


def _pair_one(values: Any, proofs: Any) -> Any:
    """Values with or without tuples, and the same of proofs."""
    return (*values, proofs[1]) if isinstance(values, tuple) else (values, proofs)
