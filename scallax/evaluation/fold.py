"""Probabilities of output tuples from those of the facts: a provenance folded over a ground program."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from scallax.circuits.circuit import Circuit, LocalColumns, ProofColumns, parts, static_fields
from scallax.circuits.constant_program import EmbeddedProgram, list_tiles
from scallax.errors import Diagnostic, UnsupportedError
from scallax.evaluation.tag_rows import Rows, make_rows
from scallax.kernels.batches import batch_constant
from scallax.kernels.reverse import (
    Fold,
    Operands,
    float_leaves,
    pull_back_tiles,
    row_cotangents,
    with_float_leaves,
)
from scallax.kernels.schedule import LINEAR, LITERALS
from scallax.kernels.selection_values import open_selections
from scallax.kernels.tiles import MAX_ROUNDS, Tags, block_places, fold_tiles, take_block
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.traits import Gradient

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

for _part in parts(Circuit):
    _static = static_fields(_part)
    _arrays = [field.name for field in fields(_part) if field.name not in _static]
    jax.tree_util.register_dataclass(_part, data_fields=_arrays, meta_fields=_static)
jax.tree_util.register_static(EmbeddedProgram)


class Residuals(NamedTuple):
    """The tags that a gradient needs beside inputs and program: all if gradients pass through them, else the outputs'.

    `rounds` int32 `[batch]`, if steps are differentiated: how many times the longest loop was repeated.
    """

    tags: Tags
    rounds: Array | None = None


def evaluate(
    provenance: AbstractProvenance,
    program: Circuit,
    inputs: Float[Array, "inputs batch"],
    present: Bool[Array, "inputs batch"] | None = None,
) -> Array:
    """The outputs' values `[outputs, batch]` (padded length; float, for a discrete provenance bool or int32).

    `present` False means that the fact does not exist in that sample. Pure; works under `jit`, `grad` and `vmap` (which
    folds into the batch). A second derivative raises.
    """
    if present is None:
        present = jnp.ones(inputs.shape, bool)
    inputs, present = _with_selections(provenance, program, inputs, present)
    return _evaluate(provenance, inputs, present, replace(program, stages=()))


def _with_selections(
    provenance: AbstractProvenance, program: Circuit, inputs: Array, present: Array
) -> tuple[Float[Array, "inputs batch"], Bool[Array, "inputs batch"]]:
    """The inputs with the selections of all stages behind them."""
    for stage in program.stages:
        stage_program = replace(stage.program, seed=program.seed)
        weights = provenance.weigh(_evaluate(provenance, inputs, present, stage_program)).astype(inputs.dtype)
        values, opened = open_selections(stage.selections, weights, jnp.asarray(program.seed))
        inputs, present = jnp.concatenate([inputs, values]), jnp.concatenate([present, opened])
    return inputs, present


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _evaluate(provenance, inputs, present, program):
    return _batched(_run, provenance)(program, inputs, present)


def _evaluate_forward(provenance, inputs, present, program):
    def run(inputs):
        return forward(provenance, program, inputs, present)

    outputs, residuals = _first_order(run)(inputs)
    return outputs, (inputs, present, program, residuals)


def _evaluate_backward(provenance, saved, cotangent):
    inputs, present, program, residuals = saved
    if provenance.traits.is_discrete:
        return jnp.zeros_like(inputs), None, None

    def pull(inputs, cotangent):
        return backward(provenance, program, inputs, present, residuals, cotangent)

    return _first_order(pull)(inputs, cotangent), None, None


_evaluate.defvjp(_evaluate_forward, _evaluate_backward)


def _first_order(function):
    """The function, with one clear error for who differentiates it: JAX does so for second derivatives."""
    guarded = jax.custom_jvp(function)

    @guarded.defjvp
    def refuse(primals, tangents):
        raise UnsupportedError(
            Diagnostic(
                "the gradient of a program was differentiated again, and second derivatives are not available",
                hint="stop the gradient, for example with `jax.lax.stop_gradient`",
            )
        )

    return guarded


def forward(
    provenance: AbstractProvenance,
    program: Circuit | EmbeddedProgram,
    inputs: Float[Array, "inputs batch"],
    present: Bool[Array, "inputs batch"],
) -> tuple[Array, Residuals]:
    """The outputs `[outputs, batch]` and what `backward` needs; no index array is among the residuals."""
    if isinstance(program, Circuit):
        inputs, present = _with_selections(provenance, program, inputs, present)
        program = replace(program, stages=())
    return _batched(_run_keeping_tags, provenance)(program, inputs, present)


def linearize(
    provenance: AbstractProvenance,
    program: Circuit | EmbeddedProgram,
    inputs: Float[Array, "inputs batch"],
    present: Bool[Array, "inputs batch"],
    *,
    num_outputs: int,
    all_present: bool,
) -> tuple[Float[Array, "outputs batch"], Float[Array, "inputs outputs batch"]]:
    """The outputs and their derivatives by each input, for a provenance that `has_derivatives`.

    For programs without stages whose components do not number their literals apart. The first `num_outputs`
    outputs are no padding; `all_present` says that `present` is True everywhere.
    """
    arrays = arrays_of(program)
    literals = _literal_table(arrays, inputs, present)
    places = arrays.outputs[:num_outputs]
    outputs, known = _outputs(provenance, arrays, places, literals, all_present=all_present)
    values, derivatives = provenance.recover_with_derivatives(outputs, literals, known)
    return values, _by_input(arrays, present[:, None], jnp.moveaxis(derivatives, 1, 0))


def backward(
    provenance: AbstractProvenance,
    program: Circuit | EmbeddedProgram,
    inputs: Float[Array, "inputs batch"],
    present: Bool[Array, "inputs batch"],
    residuals: Residuals,
    cotangent: Float[Array, "outputs batch"],
) -> Float[Array, "inputs batch"]:
    """The gradient of the inputs for a cotangent of the outputs."""
    pull_back = _batched(_pull_back, provenance)
    if isinstance(program, EmbeddedProgram) or not program.stages:
        return pull_back(program, inputs, present, residuals, cotangent)
    # The stages are evaluated again.
    inputs, pull, present = jax.vjp(
        lambda inputs: _with_selections(provenance, program, inputs, present), inputs, has_aux=True
    )
    return pull(pull_back(replace(program, stages=()), inputs, present, residuals, cotangent))[0]


def arrays_of(program: Circuit | EmbeddedProgram) -> Circuit:
    """The program's arrays: of NumPy, if they are constants of the code."""
    return program.program if isinstance(program, EmbeddedProgram) else program


def _batched(function, provenance):
    """`function(provenance, program, *arrays)` whose `vmap` over the arrays folds the new axis into their batch axis.

    (The default rule would put the batch in front of the nodes, in the slow layout.)
    """

    @jax.custom_batching.custom_vmap
    def call(program, *arrays):
        return function(provenance, arrays_of(program), *arrays)

    @call.def_vmap
    def fold(axis_size, in_batched, program, *arrays):
        assert not any(jax.tree.leaves(in_batched[0])), "a program is one, not a batch"

        def to_batch(leaf, batched):
            leaf = leaf if batched else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))
            return jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], -1)

        results = _batched(function, provenance)(program, *jax.tree.map(to_batch, list(arrays), list(in_batched[1:])))
        split = jax.tree.map(lambda leaf: jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], axis_size, -1), -2, 0), results)
        return split, jax.tree.map(lambda _: True, results)

    return call


def _run(provenance, program, inputs, present):
    return _run_keeping_tags(provenance, program, inputs, present)[0]


def _run_keeping_tags(provenance, program, inputs, present):
    literals = _literal_table(program, inputs, present)
    if provenance.traits.gradient in (Gradient.NONE, Gradient.RECOVER):
        outputs, _ = _outputs(provenance, program, program.outputs, literals, all_present=False)
        return _recover(provenance, program, outputs, literals), Residuals(outputs)
    rows, rounds = _fold(provenance, program, literals)
    tags = rows.table
    values = _recover(provenance, program, rows.read(tags, program.outputs), literals)
    match provenance.traits.gradient:
        case Gradient.PRODUCT:
            return values, Residuals(tags)
        case Gradient.STEP:
            if provenance.traits.may_diverge:
                values = jnp.where(rounds < MAX_ROUNDS, values, jnp.full_like(values, jnp.nan))
            return values, Residuals(tags, batch_constant(literals.probabilities, (), rounds, jnp.int32))
        case _:
            assert_never(provenance.traits.gradient)


def _outputs(
    provenance: AbstractProvenance,
    program: Circuit,
    places: Int[Array | np.ndarray, " outputs"],
    literals: LiteralTable,
    *,
    all_present: bool,
) -> tuple[Tags, Any]:
    """The tags of the rows at some places: at once where their proofs are known when code is compiled, or by steps.

    And what `recover_with_derivatives` may know of them; None if that is nothing.
    """
    forward = program.forward
    tiles = list_tiles(forward, (LITERALS, LINEAR)) if isinstance(forward.left, np.ndarray) else None
    if tiles is not None:
        leaves, rows = provenance.leaf_tags(literals), np.asarray(places)
        found = provenance.flat_outputs(leaves, tiles, rows, literals, all_present=all_present)
        if found is not None:
            return found
    rows, _ = _fold(provenance, program, literals)
    return rows.read(rows.table, places), None


def _rows_at(tags: Tags, places) -> Tags:
    return jax.tree.map(lambda leaf: leaf.at[places].get(mode="promise_in_bounds"), tags)


def _literal_table(program: Circuit, inputs: Array, present: Array) -> LiteralTable:
    """Values of the literals: from the inputs, or as written in the program."""
    arrays, proofs = program.literals, program.proofs or _no_columns(program.num_literals)
    source = arrays.source
    prior = arrays.prior[0].astype(inputs.dtype) + arrays.prior[1].astype(inputs.dtype)
    if inputs.shape[0]:
        given = (source >= 0)[:, None]
        place = jnp.maximum(source, 0)
        values = jnp.where(given, inputs.at[place].get(mode="clip"), prior[:, None])
        exists = jnp.where(given, present.at[place].get(mode="clip"), True)
    else:
        values = jnp.broadcast_to(prior[:, None], (prior.shape[0], inputs.shape[1]))
        exists = jnp.ones(values.shape, bool)
    certain = jnp.isinf(arrays.prior).all(0)
    values = jnp.where(certain[:, None], jnp.ones_like(values), values)
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
        seed=jnp.asarray(program.seed),
    )


def _no_columns(num_literals: int) -> ProofColumns:
    """The columns of a circuit without proofs."""
    none = np.zeros(0, np.int32)
    exclusions = np.zeros((num_literals, 0), np.uint32)
    return ProofColumns((0, 0, 0, 0, 0), none, np.full((2, num_literals), -1, np.int32), exclusions)


def _recover(provenance, program: Circuit, tags: Tags, literals: LiteralTable) -> Array:
    """Output values of tags; each output with the literals of its component, if these are numbered apart."""
    if program.local is None:
        return provenance.recover(tags, literals)
    table = _local_table(program.local, literals, jnp.asarray(program.local.of_output))
    values = provenance.recover(jax.tree.map(_to_columns, tags), table)
    return _from_columns(values, literals.probabilities.shape[1])


def _local_table(local: LocalColumns, literals: LiteralTable, components: Array) -> LiteralTable:
    """The literals of some components: a column of the batch for each component and column of the table."""
    places = jnp.asarray(local.literals)
    rows = places.at[components].get(mode="promise_in_bounds")
    batch = literals.probabilities.shape[1]

    def by_place(leaf, fill):
        return _to_columns(leaf.at[rows].get(mode="fill", fill_value=fill))[0]

    def repeated(leaf, fill):
        return by_place(jnp.broadcast_to(leaf[..., None], (*leaf.shape, batch)), fill)

    return replace(
        literals,
        probabilities=_to_columns(_take_places(literals.probabilities, places, components))[0],
        present=by_place(literals.present, False),
        exclusions=repeated(literals.exclusions, 0),
        group_end=repeated(literals.group_end, True),
        certain=repeated(literals.certain, False),
        column_of=jnp.asarray(local.columns),
    )


@jax.custom_vjp
def _take_places(values: Array, places: Array, components: Array) -> Array:
    """`[columns, places, batch]`: values `[literals, batch]` at the places of the components of some columns."""
    rows = places.at[components].get(mode="promise_in_bounds")
    return values.at[rows].get(mode="fill", fill_value=0)


def _pull_places(saved, cotangent):
    values, places, components = saved
    # Summed up by component, row by row, before single numbers are scattered: each of these is an addition of its own.
    sums = jax.ops.segment_sum(cotangent, components, places.shape[0])
    return jnp.zeros_like(values).at[places].add(sums, mode="drop"), None, None


_take_places.defvjp(
    lambda values, places, components: (_take_places(values, places, components), (values, places, components)),
    _pull_places,
)


def _to_columns(leaf: Array) -> Array:
    """`[rows, ..., batch]` as `[1, ..., rows * batch]`: rows as samples."""
    leaf = jnp.moveaxis(leaf, 0, -2)
    return leaf.reshape(1, *leaf.shape[:-2], leaf.shape[-2] * leaf.shape[-1])


def _from_columns(leaf: Array, batch: int) -> Array:
    """The inverse of `_to_columns`."""
    return jnp.moveaxis(leaf.reshape(*leaf.shape[1:-1], leaf.shape[-1] // batch, batch), -2, 0)


def _fold(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable) -> tuple[Rows, Array]:
    """The tags of all rows, and how many times the longest loop was repeated."""
    rows = make_rows(provenance, program, literals)
    forward, local, width = program.forward, program.local, program.forward.width
    if not forward.branches:
        return rows, jnp.int32(0)

    def branch(kind, count):
        def fold(table, total, offset, cyclic):
            def places(operands):
                return block_places(operands, offset, width, count)

            take = rows.read_first if kind == LITERALS else rows.read
            left = [take(table, place) for place in places(forward.left)]
            if kind in (LITERALS, LINEAR):
                pairs = zip(places(forward.right), places(forward.third), strict=True)
                right = [rows.read_leaf(place) for pair in pairs for place in pair]
            else:
                right = [rows.read(table, place) for place in places(forward.right)]
            if local is None:
                return provenance.step(kind, total, left, right, cyclic, literals)
            # Each head with the literals of its component: heads stand where samples do.
            components = lax.dynamic_slice_in_dim(jnp.asarray(local.of_operand), offset, width)
            own = _local_table(local, literals, components)
            total, left, right = jax.tree.map(_to_columns, (total, left, right))
            folded = provenance.step(kind, total, left, right, cyclic, own)
            return jax.tree.map(lambda leaf: _from_columns(leaf, literals.probabilities.shape[1]), folded)

        return fold

    table, rounds = fold_tiles(
        rows.table,
        width,
        forward.tiles._replace(target=forward.tiles.target - rows.base),
        None if provenance.traits.is_idempotent else rows.repeated(width),
        [branch(kind, count) for kind, count in forward.branches],
        lambda total, step: total,
        provenance.differs,
    )
    return rows._replace(table=table), rounds


def _pull_back(provenance, program, inputs, present, residuals, cotangent):
    match provenance.traits.gradient:
        case Gradient.NONE:
            return jnp.zeros_like(inputs)
        case Gradient.RECOVER:
            literals = _literal_table(program, inputs, present)

            def recover(values):
                return _recover(provenance, program, residuals.tags, replace(literals, probabilities=values))

            (gradients,) = jax.vjp(recover, literals.probabilities)[1](cotangent)
        case Gradient.PRODUCT:
            gradients = _pull_back_tags(provenance, program, inputs, present, residuals.tags, cotangent)
        case Gradient.STEP:
            gradients = _pull_back_steps(provenance, program, inputs, present, residuals, cotangent)
        case _:
            assert_never(provenance.traits.gradient)
    return _by_input(program, present, gradients)


def _by_input(program: Circuit, present: Array, gradients: Array) -> Array:
    """The gradients `[inputs, ...]` of the inputs from those of the literals; 0 for what is not present."""
    gradients = jnp.concatenate([gradients, jnp.zeros_like(gradients[:1])])
    by_input = gradients.at[program.literals.of_input].get(mode="clip")
    return jnp.where(present, by_input, jnp.zeros_like(by_input))


def _pull_back_tags(provenance, program, inputs, present, tags, cotangent):
    """Cotangents of the literals: each use of a row adds the cotangent of its head times the other operand's tag."""
    transpose, width = program.transpose, program.forward.width
    assert transpose is not None
    zeros = [batch_constant(cotangent, (count,), 0) for count in (1, transpose.num_sums, width)]
    sums = jnp.concatenate([zeros[0], cotangent, zeros[1]])
    schedule, first_heads = jax.tree.map(jnp.asarray, (transpose.tiles, transpose.heads))

    def branch(count):
        def fold(sums, total, offset, cyclic):
            used = take_block(sums, transpose.uses, offset, width, count)
            others = take_block(tags, transpose.others, offset, width, count)
            return total + sum(c * other for c, other in zip(used, others, strict=True))

        return fold

    def finish(total, step):
        first = first_heads[step]
        heads = lax.dynamic_slice_in_dim(tags, first, width)
        # Literals and partial sums have no heads: the rows at 0 are zero and one, and no clamp counts there.
        heads = jnp.where(first > 0, heads, jnp.zeros_like(heads))
        cyclic = schedule.cyclic[step] & (first > 0)
        return provenance.head_cotangent(total, heads, schedule.complement[step], cyclic)

    sums, _ = fold_tiles(
        sums,
        width,
        schedule,
        zeros[2],
        [branch(count) for count in transpose.use_rows],
        finish,
        provenance.differs,
    )
    return sums.at[transpose.literal_row].get(mode="promise_in_bounds")


def _pull_back_steps(provenance, program, inputs, present, residuals, cotangent):
    """Cotangents of the literals by differentiating `recover`, every step in reverse, and the tags of the literals."""
    literals = _literal_table(program, inputs, present)
    tags, outputs = residuals.tags, _rows_at(residuals.tags, program.outputs)

    def recover(floats):
        return provenance.recover(with_float_leaves(outputs, floats), literals)

    (parts,) = jax.vjp(recover, float_leaves(outputs))[1](cotangent)
    forward = program.forward
    zero = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], (forward.width, *leaf.shape[1:])), tags)

    def fold(kind, count):
        def step(left, right, cyclic):
            return provenance.step(kind, zero, left, right, cyclic, literals)

        return Fold(count, step)

    pulled = pull_back_tiles(
        tags,
        row_cotangents(tags, jnp.asarray(program.outputs), parts),
        forward.width,
        forward.tiles,
        Operands(jnp.asarray(forward.left), jnp.asarray(forward.right)),
        [fold(kind, count) for kind, count in forward.branches],
        residuals.rounds.max(),
    )

    def leaves(p):
        return float_leaves(provenance.leaf_tags(replace(literals, probabilities=p)))

    made, pull_back = jax.vjp(leaves, literals.probabilities)
    return pull_back([cot[: leaf.shape[0]] for cot, leaf in zip(pulled, made, strict=True)])[0]
