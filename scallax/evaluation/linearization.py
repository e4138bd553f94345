"""The values of small programs and their derivatives, computed at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Array

from scallax.evaluation.batch import Arguments, ArrayLike, Shapes, Signature, linearize_batch, linearizer
from scallax.evaluation.cache import Holder
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.input_checks import InputChecks
from scallax.evaluation.placement import PlacedPrograms

# Derivatives of all outputs by all inputs, of all samples, up to which they are computed with the values.
_MAX_DERIVATIVES = 1 << 16

_COMPUTING_DTYPES = (np.float32, np.float64)


@final
class Linearizer:
    """Values and derivatives of one program that has no parameters and draws nothing; see `Reasoner.linearize`.

    `shapes` are those of the arrays of a sample.
    """

    def __init__(
        self, holder: Holder, signature: Signature, shapes: Shapes, programs: PlacedPrograms, checks: InputChecks
    ):
        self._holder = holder
        num_entries = sum(map(math.prod, shapes))
        size = signature.num_outputs * num_entries
        self._most_samples = _MAX_DERIVATIVES // size if size else 0
        is_whole = not any(signature.retentions)
        # Where all entries exist, they are one array.
        self._shapes = ((num_entries,),) if is_whole else shapes
        self._signature = replace(signature, retentions=(None,)) if is_whole else signature
        self._programs = programs
        self._checks = checks

    def linearize(self, arrays: Sequence[ArrayLike]) -> Array | None:
        """Values and derivatives `[batch, 1 + entries, outputs]`; None if the batch is too large, or empty."""
        if not arrays or not arrays[0].ndim or not 0 < arrays[0].shape[0] <= self._most_samples:
            return None
        self._checks.check_forms(arrays)
        check_process()
        flat = [np.asarray(array).reshape(len(array), -1) for array in arrays]
        if len(flat) > 1 or flat[0].dtype not in _COMPUTING_DTYPES:
            dtype = np.float64 if any(array.dtype == np.float64 for array in flat) else np.float32
            flat = [np.concatenate(flat, 1, dtype=dtype)]
        found = self._compiled(flat[0])
        # While it is computed.
        self._checks.check_entries(arrays, flat[0])
        return found

    @cached_property
    def _compiled(self) -> Callable[[np.ndarray], Array]:
        bound, programs = (self._holder, self._signature, self._shapes), self._programs
        if programs.embedded is not None:
            return linearizer(*bound, programs.embedded)
        return lambda entries: linearize_batch(*bound, programs.program(Arguments((entries,))), entries)
