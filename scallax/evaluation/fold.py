"""Probabilities of output tuples from those of the facts: a provenance folded over a circuit.

The fold runs at once on NumPy arrays, or is traced by JAX; `differentiation` has its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import numpy as np

from scallax.circuits.circuit import Circuit, LocalColumns, ProofColumns
from scallax.circuits.constant_program import list_tiles
from scallax.evaluation.tag_rows import Rows, make_rows
from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import LINEAR, LITERALS
from scallax.kernels.selection_values import open_selections
from scallax.kernels.tiles import MAX_ROUNDS, OperandRows, Tags, fold_tiles
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.traits import Gradient

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array


class Residuals(NamedTuple):
    """The tags that a gradient needs beside inputs and program: all if gradients pass through them, else the outputs'.

    `rounds` int32 `[batch]`, if steps are differentiated: how many times the longest loop was repeated.
    """

    tags: Tags
    rounds: Array | None = None


def run(
    provenance: AbstractProvenance,
    program: Circuit,
    inputs: Float[Array, "inputs batch"],
    present: Bool[Array, "inputs batch"],
) -> tuple[Array, Residuals]:
    """The outputs' values `[outputs, batch]` of a circuit without stages, and what a gradient needs."""
    literals = literal_table(program, inputs, present)
    if provenance.traits.gradient in (Gradient.NONE, Gradient.RECOVER):
        outputs, _ = output_tags(provenance, program, program.outputs, literals, all_present=False)
        return recover(provenance, program, outputs, literals), Residuals(outputs)
    rows, rounds = fold(provenance, program, literals)
    tags = rows.table
    values = recover(provenance, program, rows.read(tags, program.outputs), literals)
    match provenance.traits.gradient:
        case Gradient.PRODUCT:
            return values, Residuals(tags)
        case Gradient.STEP:
            if provenance.traits.may_diverge:
                values = literals.xp.where(rounds < MAX_ROUNDS, values, literals.xp.full_like(values, np.nan))
            return values, Residuals(tags, batch_constant(literals.probabilities, (), rounds, literals.xp.int32))
        case _:
            assert_never(provenance.traits.gradient)


def with_selections(
    provenance: AbstractProvenance,
    program: Circuit,
    inputs: Array,
    present: Array,
    evaluate: Callable[[AbstractProvenance, Array, Array, Circuit], Array],
) -> tuple[Float[Array, "inputs batch"], Bool[Array, "inputs batch"]]:
    """The inputs with the selections of all stages behind them; `evaluate` gives the outputs of a stage."""
    xp = array_namespace(inputs)
    for stage in program.stages:
        stage_program = replace(stage.program, seed=program.seed)
        weights = provenance.weigh(evaluate(provenance, inputs, present, stage_program)).astype(inputs.dtype)
        values, opened = open_selections(stage.selections, weights, xp.asarray(program.seed))
        inputs, present = xp.concatenate([inputs, values]), xp.concatenate([present, opened])
    return inputs, present


def output_tags(
    provenance: AbstractProvenance,
    program: Circuit,
    places: Int[Array, " outputs"],
    literals: LiteralTable,
    *,
    all_present: bool,
) -> tuple[Tags, Any]:
    """The tags of the rows at some places: at once where their proofs are known when code is compiled, or by steps.

    And what `recover_with_derivatives` may know of them; None if that is nothing.
    """
    forward = program.forward
    is_constant = isinstance(forward.left, np.ndarray) and not literals.xp.is_eager
    tiles = list_tiles(forward, (LITERALS, LINEAR)) if is_constant else None
    if tiles is not None:
        leaves, rows = provenance.leaf_tags(literals), np.asarray(places)
        found = provenance.flat_outputs(leaves, tiles, rows, literals, all_present=all_present)
        if found is not None:
            return found
    rows, _ = fold(provenance, program, literals)
    return rows.read(rows.table, places), None


def literal_table(program: Circuit, inputs: Array, present: Array) -> LiteralTable:
    """Values of the literals: from the inputs, or as written in the program."""
    xp = array_namespace(inputs)
    arrays, proofs = program.literals, program.proofs or _no_columns(program.num_literals)
    source = arrays.source
    prior = arrays.prior[0].astype(inputs.dtype) + arrays.prior[1].astype(inputs.dtype)
    if inputs.shape[0]:
        given = (source >= 0)[:, None]
        place = xp.maximum(source, 0)
        values = xp.where(given, xp.take_clipped(inputs, place), prior[:, None])
        exists = xp.where(given, xp.take_clipped(present, place), True)
    else:
        values = xp.broadcast_to(prior[:, None], (prior.shape[0], inputs.shape[1]))
        exists = xp.ones(values.shape, bool)
    certain: Array = xp.isinf(arrays.prior).all(0)
    values = xp.where(certain[:, None], xp.ones_like(values), values)
    return LiteralTable(
        probabilities=values,
        present=exists,
        exclusions=proofs.exclusions,
        group_end=arrays.group_end,
        columns=proofs.columns,
        column_of=proofs.column_of,
        negated=arrays.negated,
        words=proofs.words,
        certain=certain,
        seed=xp.asarray(program.seed),
        length=proofs.length,
        groups=proofs.groups,
    )


def _no_columns(num_literals: int) -> ProofColumns:
    """The columns of a circuit without proofs."""
    none = np.zeros(0, np.int32)
    exclusions = np.zeros((num_literals, 0), np.uint32)
    return ProofColumns((0, 0, 0, 0, 0), none, np.full((2, num_literals), -1, np.int32), exclusions)


def recover(provenance, program: Circuit, tags: Tags, literals: LiteralTable) -> Array:
    """Output values of tags; each output with the literals of its component, if these are numbered apart."""
    if program.local is None:
        return provenance.recover(tags, literals)
    xp = literals.xp
    table = _local_table(program.local, literals, xp.asarray(program.local.of_output))
    values = provenance.recover(xp.map(_to_columns, tags), table)
    return _from_columns(values, literals.probabilities.shape[1])


def _local_table(local: LocalColumns, literals: LiteralTable, components: Array) -> LiteralTable:
    """The literals of some components: a column of the batch for each component and column of the table."""
    xp = literals.xp
    places = xp.asarray(local.literals)
    rows = xp.take(places, components)
    batch = literals.probabilities.shape[1]

    def by_place(leaf, fill):
        return _to_columns(xp.take_filled(leaf, rows, fill))[0]

    def repeated(leaf, fill):
        return by_place(xp.broadcast_to(leaf[..., None], (*leaf.shape, batch)), fill)

    return replace(
        literals,
        probabilities=_to_columns(_take_places(literals.probabilities, places, components))[0],
        present=by_place(literals.present, False),
        exclusions=repeated(literals.exclusions, 0),
        group_end=repeated(literals.group_end, True),
        certain=repeated(literals.certain, False),
        column_of=xp.asarray(local.columns),
    )


def _take_places(values: Array, places: Array, components: Array) -> Array:
    """`[columns, places, batch]`: values `[literals, batch]` at the places of the components of some columns."""
    xp = array_namespace(values)

    def take(values, places, components):
        return xp.take_filled(values, xp.take(places, components), 0)

    def pull(saved, cotangent):
        values, places, components = saved
        # Summed up by component, row by row, before single numbers are scattered: each of these is an addition of its
        # own.
        sums = xp.segment_sum(cotangent, components, places.shape[0])
        return xp.add_at(xp.zeros_like(values), places, sums), None, None

    return xp.custom_vjp(take, lambda *arguments: (take(*arguments), arguments), pull)(values, places, components)


def _to_columns(leaf: Array) -> Array:
    """`[rows, ..., batch]` as `[1, ..., rows * batch]`: rows as samples."""
    leaf = array_namespace(leaf).moveaxis(leaf, 0, -2)
    return leaf.reshape(1, *leaf.shape[:-2], leaf.shape[-2] * leaf.shape[-1])


def _from_columns(leaf: Array, batch: int) -> Array:
    """The inverse of `_to_columns`."""
    return array_namespace(leaf).moveaxis(leaf.reshape(*leaf.shape[1:-1], leaf.shape[-1] // batch, batch), -2, 0)


def fold(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable) -> tuple[Rows, Array | int]:
    """The tags of all rows, and how many times the longest loop was repeated."""
    xp, rows = literals.xp, make_rows(provenance, program, literals)
    forward, local, width = program.forward, program.local, program.forward.width
    if not forward.branches:
        return rows, xp.int32(0)
    is_used: Any = np.asarray(forward.left).reshape(-1, width).any(axis=1).tolist() if xp.is_eager else []

    def branch(kind, count):
        def fold_block(table, total, offset, cyclic):
            # No step of a circuit takes a branch with more rows than there are.
            num_rows = min(count, len(forward.left) // width)
            if xp.is_eager:
                # Half of the rows are left out while they are nothing but padding.
                first = offset // width
                while num_rows > 1 and not any(is_used[first + num_rows // 2 : first + num_rows]):
                    num_rows //= 2

            def operands(read, *names):
                places = [xp.slice_rows(name, offset, num_rows * width) for name in names]
                return OperandRows(xp, width, places, read, arrange)

            def arrange(tags):
                return tags if local is None else xp.map(_to_columns, tags)

            def read(places):
                return rows.read(table, places)

            def read_first(places):
                return rows.read_first(table, places)

            left = operands(read_first if kind == LITERALS else read, forward.left)
            if kind in (LITERALS, LINEAR):
                right = operands(rows.read_leaf, forward.right, forward.third)
            else:
                right = operands(read, forward.right)
            if local is None:
                return provenance.step(kind, total, left, right, cyclic, literals)
            # Each head with the literals of its component: heads stand where samples do.
            components = xp.slice_rows(xp.asarray(local.of_operand), offset, width)
            own = _local_table(local, literals, components)
            folded = provenance.step(kind, arrange(total), left, right, cyclic, own)
            return xp.map(lambda leaf: _from_columns(leaf, literals.probabilities.shape[1]), folded)

        return fold_block

    table, rounds = fold_tiles(
        xp,
        rows.table,
        width,
        forward.tiles._replace(target=forward.tiles.target - rows.base),
        None if provenance.traits.is_idempotent else rows.repeated(width),
        [branch(kind, count) for kind, count in forward.branches],
        lambda total, step: total,
        provenance.differs,
    )
    return rows._replace(table=table), rounds
