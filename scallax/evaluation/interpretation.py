"""Evaluation on the host, one Python object for each tag: what arrays cannot hold."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from scallax.circuits.circuit import FIRST_LITERAL_ROW, ONE_ROW, ZERO_ROW, Circuit, Forward, LiteralArrays
from scallax.errors import Diagnostic, UnsupportedError
from scallax.kernels.schedule import COMPLEMENT
from scallax.kernels.selection_values import open_selections
from scallax.kernels.selections import Stage
from scallax.provenance.semirings import AbstractSemiring, Fact, ObjectProvenance, Proofs, RealTropicalProofs
from scallax.provenance.traits import AbstractSemantics

# The tag of what does not hold, of inputs too.
ABSENT = object()

# JAX's errors where Python needs the value of a traced array: as a bool or a number, an array, an index.
_ASKS_FOR_VALUE = ("ConcretizationTypeError", "TracerArrayConversionError", "TracerIntegerConversionError")

# A cycle whose tags go on changing.
_MAX_ROUNDS = 10_000

# Proofs of one tuple that arrays hold.
_MAX_COUNTED = 256


def most_proofs(program: Circuit) -> int:
    """The largest number of proofs of a node, at least 1. UnsupportedError if it is over 256, or for a negation."""
    tags = _interpret_rows(Proofs("probproofs"), program, [None] * program.num_inputs)
    most = max(len(tag) for tag in tags if tag is not ABSENT)
    if most > _MAX_COUNTED:
        hint = f"`topkproofs` counts the {_MAX_COUNTED} most probable ones"
        raise UnsupportedError(
            Diagnostic(f"a tuple has {most:,} proofs; `probproofs` counts {_MAX_COUNTED}", hint=hint)
        )
    return most


@contextmanager
def refuse_traced(provenance: AbstractSemantics) -> Iterator[None]:
    """UnsupportedError where the semiring asks for the value of a traced number."""
    try:
        yield
    except TypeError as error:
        if not _asks_for_value(error):
            raise
        hint = "call it outside of `jit`, `grad` and `vmap`, or take a provenance of arrays"
        if isinstance(provenance, ObjectProvenance) and isinstance(provenance.semiring, RealTropicalProofs):
            hint = f"{hint}: `realtropical`"
        raise UnsupportedError(
            Diagnostic(f"`{provenance.name}` is evaluated on the host, where a traced input has no value", hint=hint)
        ) from error


def _asks_for_value(error: TypeError) -> bool:
    # Where JAX was not imported nothing is traced.
    errors = sys.modules.get("jax.errors")
    return errors is not None and isinstance(error, tuple(getattr(errors, name) for name in _ASKS_FOR_VALUE))


def as_outputs(provenance: ObjectProvenance, values: np.ndarray, given: Sequence[Any]) -> np.ndarray:
    """Objects as they are, or in the provenance's dtype if it has one: of floats, float64 if some tag given is."""
    dtype = provenance.traits.output_dtype
    if dtype is object:
        return values
    # Tags may be tensors, whose dtypes have the same names.
    is_double = any(str(getattr(tag, "dtype", "")).endswith("float64") for tag in given)
    return values.astype(np.float64 if is_double and dtype is np.float32 else dtype)


def interpret(semiring: AbstractSemiring, program: Circuit, values: Sequence[Any]) -> list[Any]:
    """The tags of the outputs (padded; ABSENT for what does not hold) for one value for each input.

    A value may be ABSENT, or None for one without a number. Derivations are added up in the order of the program.
    UnsupportedError if the tags on a cycle do not settle in 10,000 rounds. Errors of the semiring are passed on.
    """
    for stage in program.stages:
        values = [*values, *_open_selections(semiring, stage, values, program.seed)]
    rows = _interpret_rows(semiring, program, values)
    return [rows[row] for row in np.asarray(program.outputs)]


def _open_selections(semiring: AbstractSemiring, stage: Stage, values: Sequence[Any], seed: Any) -> list[Any]:
    """The tags of a stage's selections: certain or ABSENT. A tuple that holds weighs 1."""
    members = interpret(semiring, stage.program, values)
    weights = np.array([[0.0 if tag is ABSENT else 1.0] for tag in members], np.float32)
    # Random numbers wrap.
    with np.errstate(all="ignore"):
        _, opened = open_selections(stage.selections, weights, np.asarray(seed, np.uint32))
    return [None if is_open else ABSENT for is_open in np.asarray(opened)[:, 0]]


def _interpret_rows(semiring: AbstractSemiring, program: Circuit, values: Sequence[Any]) -> list[Any]:
    """The tags of all rows."""
    forward, literals = program.forward, program.literals
    rows = [ABSENT] * program.num_rows
    rows[ONE_ROW] = semiring.one()
    for literal in np.flatnonzero(np.asarray(literals.ids) >= 0).tolist():
        value = _value(literals, literal, values)
        if value is not ABSENT:
            fact = Fact(literal, _group(program, literal), value)
            rows[FIRST_LITERAL_ROW + literal] = semiring.tag(fact)
    tiles = forward.tiles
    total: list[Any] = []
    index, rounds, changed = 0, 0, False
    while index < int(tiles.count):
        if tiles.begins[index]:
            total = [ABSENT] * forward.width
        _add_rows(semiring, forward, index, rows, total)
        if tiles.ends[index]:
            moved = _settle(semiring, rows, int(tiles.target[index]), total)
            changed |= moved and bool(tiles.cyclic[index])
        loop = int(tiles.loop[index])
        if loop >= 0 and changed:
            index, rounds, changed = loop, rounds + 1, False
            if rounds > _MAX_ROUNDS:
                raise _unsettled()
        else:
            index, rounds = index + 1, 0 if loop >= 0 else rounds
    return rows


def _value(literals: LiteralArrays, literal: int, values: Sequence[Any]) -> Any:
    """The value for a literal: an input, or the number in the program; None without one."""
    source = int(literals.source[literal])
    if source >= 0:
        return values[source]
    high, low = literals.prior[:, literal]
    return None if np.isinf(high) and np.isinf(low) else float(np.float64(high) + np.float64(low))


def _group(program: Circuit, literal: int) -> int:
    """The number of a literal's exclusive group among those of the program, -1 for none."""
    exclusions = None if program.proofs is None else program.proofs.exclusions
    if exclusions is None or not exclusions[literal].any():
        return -1
    return int(np.count_nonzero(program.literals.group_end[:literal]))


def _add_rows(semiring: AbstractSemiring, forward: Forward, index: int, rows: list, total: list) -> None:
    """Adds the derivations of a step to the tags of its tile."""
    kind, count = forward.branches[int(forward.tiles.branch[index])]
    start, width = int(forward.tiles.offset[index]), forward.width
    for place in range(start, start + count * width):
        left, right = int(forward.left[place]), int(forward.right[place])
        lane = (place - start) % width
        if kind == COMPLEMENT:
            total[lane] = semiring.one() if rows[left] is ABSENT else semiring.negate(rows[left])
            continue
        if left == ZERO_ROW or rows[left] is ABSENT or rows[right] is ABSENT:
            continue
        tag = _conjoin(semiring, rows, left, right)
        total[lane] = tag if total[lane] is ABSENT else semiring.add(total[lane], tag)


def _conjoin(semiring: AbstractSemiring, rows: list, left: int, right: int) -> Any:
    if left == ONE_ROW or right == ONE_ROW:
        return rows[right if left == ONE_ROW else left]
    return semiring.mult(rows[left], rows[right])


def _settle(semiring: AbstractSemiring, rows: list, target: int, total: list) -> bool:
    """Writes the tags of a tile; whether one of them is not what it was."""
    changed = False
    for row, tag in enumerate(total, start=target):
        tag = ABSENT if tag is ABSENT or semiring.discard(tag) else tag
        old = rows[row]
        if old is not ABSENT and tag is not ABSENT:
            changed |= not semiring.saturated(old, tag)
        else:
            changed |= old is not tag
        rows[row] = tag
    return changed


def _unsettled() -> UnsupportedError:
    hint = "its method `saturated` decides when a tag has settled"
    return UnsupportedError(
        Diagnostic(f"the tags on a cycle still change after {_MAX_ROUNDS:,} rounds of the provenance", hint=hint)
    )
