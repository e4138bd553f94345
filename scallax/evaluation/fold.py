"""Probabilities of output tuples from those of the facts: a provenance folded over a circuit.

The fold runs at once on NumPy arrays, or is traced by JAX; `differentiation` has its derivatives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import numpy as np

from scallax.circuits.circuit import ONE_ROW, ZERO_ROW, Circuit, Forward, LocalColumns, ProofColumns
from scallax.circuits.constant_program import list_tiles
from scallax.evaluation.log_numbers import log_probabilities
from scallax.evaluation.tag_rows import Rows, check_size, make_rows
from scallax.kernels.array_namespace import NUMPY, array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import LINEAR, LITERALS, NODES
from scallax.kernels.selection_values import open_selections
from scallax.kernels.tiles import MAX_ROUNDS, OperandRows, Tags, fold_at_once, fold_tiles
from scallax.kernels.wide_steps import wide_steps
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.traits import Gradient

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array

# Bytes of what the operands of one step are joined to, where NumPy folds at once.
_BYTES_AT_ONCE = 1 << 24


class Residuals(NamedTuple):
    """The tags that a gradient needs beside inputs and program: all if gradients pass through them, else the outputs'.

    `rounds` int32 `[batch]`, if steps are differentiated: how many times the longest loop was repeated. `values`
    `[outputs, batch]`, if outputs are given evidence: those before they were divided.
    """

    tags: Tags
    rounds: Array | None = None
    values: Array | None = None


def run(
    provenance: AbstractProvenance,
    program: Circuit,
    inputs: Float[Array, "inputs batch"],
    present: Bool[Array, "inputs batch"],
) -> tuple[Array, Residuals]:
    """The outputs' values `[outputs, batch]` of a circuit without stages, and what a gradient needs."""
    literals = literal_table(provenance, program, inputs, present)
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
        values = log_probabilities(values) if provenance.traits.is_log else values
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


def literal_table(provenance: AbstractProvenance, program: Circuit, inputs: Array, present: Array) -> LiteralTable:
    """Values of the literals: from the inputs, which the provenance computes with, or as written in the program."""
    xp = array_namespace(inputs)
    arrays, proofs = program.literals, program.proofs or _no_columns(program.num_literals)
    source = arrays.source
    prior, is_log = (
        arrays.prior[0].astype(inputs.dtype) + arrays.prior[1].astype(inputs.dtype),
        provenance.traits.is_log,
    )
    if is_log:
        prior = log_probabilities(prior)
    if inputs.shape[0]:
        given = (source >= 0)[:, None]
        place = xp.maximum(source, 0)
        values = xp.where(given, xp.take_clipped(inputs, place), prior[:, None])
        exists = xp.where(given, xp.take_clipped(present, place), True)
    else:
        values = xp.broadcast_to(prior[:, None], (prior.shape[0], inputs.shape[1]))
        exists = xp.ones(values.shape, bool)
    certain: Array = xp.isinf(arrays.prior).all(0)
    one = xp.zeros_like(values) if is_log else xp.ones_like(values)
    values = xp.where(certain[:, None], one, values)
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
        counts_choices=proofs.counts_choices,
        is_log=is_log,
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
    forward = program.forward
    if not forward.branches:
        return rows, xp.int32(0)
    run = _fold_at_once if xp.is_eager else _fold_compiled
    table, rounds = run(_Fold(provenance, program, literals, rows), forward)
    return rows._replace(table=table), rounds


@dataclass(frozen=True, slots=True)
class _Fold:
    """The arguments that all steps of a fold share."""

    provenance: AbstractProvenance
    program: Circuit
    literals: LiteralTable
    rows: Rows

    @property
    def initial(self) -> Callable[[int], Tags] | None:
        """Tags that so many heads begin with; None for those that they have."""
        return None if self.provenance.traits.is_idempotent else self.rows.repeated

    def step(
        self,
        table: Tags,
        total: Tags,
        kind: int,
        width: int,
        places: Sequence[Array],
        cyclic: Bool[Array, ""],
        of_heads: Callable[[Array], Array],
    ) -> Tags:
        """The total of `width` heads with the operands at `places`, one array `[rows * width]` for each operand.

        `of_heads` takes what the heads have from an array of what operands have.
        """
        xp, literals, rows, local = self.literals.xp, self.literals, self.rows, self.program.local

        def operands(read, *places, table=None):
            return OperandRows(xp, width, places, read, arrange, table)

        def arrange(tags):
            return tags if local is None else xp.map(_to_columns, tags)

        def read(places):
            return rows.read(table, places)

        def read_first(places):
            return rows.read_first(table, places)

        is_plain = rows.base == 0 and local is None and kind != LITERALS
        left = operands(read_first if kind == LITERALS else read, places[0], table=table if is_plain else None)
        right = operands(rows.read_leaf, *places[1:]) if kind in (LITERALS, LINEAR) else operands(read, places[1])
        if local is None:
            return self.provenance.step(kind, total, left, right, cyclic, literals)
        # Each head with the literals of its component: heads stand where samples do.
        own = _local_table(local, literals, of_heads(xp.asarray(local.of_operand)))
        folded = self.provenance.step(kind, arrange(total), left, right, cyclic, own)
        return xp.map(lambda leaf: _from_columns(leaf, literals.probabilities.shape[1]), folded)


def operands_of(forward: Forward) -> list[Array]:
    """The operands of derivations: two or three arrays."""
    return [each for each in (forward.left, forward.right, forward.third) if each is not None]


def _fold_compiled(every: _Fold, forward: Forward) -> tuple[Tags, Array]:
    xp, width = every.literals.xp, forward.width

    def branch(kind, count):
        def fold_block(table, total, target, offset, cyclic):
            # No step of a circuit takes a branch with more rows than there are.
            num_rows = min(count, len(forward.left) // width)
            places = [xp.slice_rows(each, offset, num_rows * width) for each in operands_of(forward)]
            of_heads = functools.partial(xp.slice_rows, start=offset, size=width)
            return every.step(table, total, kind, width, places, cyclic, of_heads)

        return fold_block

    return fold_tiles(
        xp,
        every.rows.table,
        width,
        forward.tiles._replace(target=forward.tiles.target - every.rows.base),
        every.initial and every.initial(width),
        [branch(kind, count) for kind, count in forward.branches],
        lambda total, step: total,
        every.provenance.differs,
    )


def _fold_at_once(every: _Fold, forward: Forward) -> tuple[Tags, int]:
    """`_fold_compiled`, where values may be looked at: tiles that do not depend on each other are one step."""
    provenance = every.provenance
    row, proofs = _row_bytes(every.rows.table), max(provenance.traits.num_proofs, 1)
    # A join is there for each pair of proofs.
    most = {kind: _BYTES_AT_ONCE // (row * (proofs if kind == NODES else 1)) for kind, _ in forward.branches}
    operands = operands_of(forward)
    padding = (ZERO_ROW, ZERO_ROW, ONE_ROW)[: len(operands)]
    steps = wide_steps(forward.tiles, forward.width, forward.branches, operands, padding, most)

    def fold_step(table, total, step):
        places = [each.reshape(-1) for each in step.places]
        of_heads = functools.partial(np.take, indices=step.lanes)
        return every.step(table, total, step.kind, step.width, places, np.bool_(step.cyclic), of_heads)

    def alike(table, settled):
        longer, settled = provenance.alike(table, settled)
        if longer is not table:
            row, batch = _row_bytes(longer), every.literals.probabilities.shape[1]
            check_size(provenance, every.program, row, batch, keeps_leaves=not every.rows.base)
        return longer, settled

    return fold_at_once(
        every.literals.xp,
        every.rows.table,
        [step._replace(target=step.target - every.rows.base) for step in steps],
        every.initial,
        fold_step,
        alike,
        provenance.differs,
        every.rows.base,
    )


def _row_bytes(table: Tags) -> int:
    return sum(leaf[:1].nbytes for leaf in NUMPY.leaves(table))
