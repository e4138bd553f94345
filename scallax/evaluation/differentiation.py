"""The outputs of a circuit as a function that JAX transforms: compiles, differentiates, and maps over batches."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import TYPE_CHECKING, assert_never

import jax
import jax.numpy as jnp
from jax import lax

from scallax.circuits.circuit import Circuit, parts, static_fields
from scallax.circuits.constant_program import EmbeddedProgram
from scallax.errors import Diagnostic, UnsupportedError
from scallax.evaluation.fold import Residuals, literal_table, output_tags, recover, run, with_selections
from scallax.evaluation.jax_namespace import JAX
from scallax.evaluation.reverse import (
    Fold,
    Operands,
    float_leaves,
    pull_back_tiles,
    row_cotangents,
    with_float_leaves,
)
from scallax.kernels.batches import batch_constant
from scallax.kernels.tiles import Tags, fold_tiles, take_block
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import Gradient

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

for _part in parts(Circuit):
    _static = static_fields(_part)
    _arrays = [field.name for field in fields(_part) if field.name not in _static]
    jax.tree_util.register_dataclass(_part, data_fields=_arrays, meta_fields=_static)
jax.tree_util.register_static(EmbeddedProgram)


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
    inputs, present = with_selections(provenance, program, inputs, present, _evaluate)
    return _evaluate(provenance, inputs, present, replace(program, stages=()))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _evaluate(provenance, inputs, present, program):
    return _batched(_values, provenance)(program, inputs, present)


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
        inputs, present = with_selections(provenance, program, inputs, present, _evaluate)
        program = replace(program, stages=())
    return _batched(run, provenance)(program, inputs, present)


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
    literals = literal_table(arrays, inputs, present)
    places = arrays.outputs[:num_outputs]
    outputs, known = output_tags(provenance, arrays, places, literals, all_present=all_present)
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
        lambda inputs: with_selections(provenance, program, inputs, present, _evaluate), inputs, has_aux=True
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


def _values(provenance, program, inputs, present):
    return run(provenance, program, inputs, present)[0]


def _rows_at(tags: Tags, places) -> Tags:
    return jax.tree.map(lambda leaf: leaf.at[places].get(mode="promise_in_bounds"), tags)


def _pull_back(provenance, program, inputs, present, residuals, cotangent):
    match provenance.traits.gradient:
        case Gradient.NONE:
            return jnp.zeros_like(inputs)
        case Gradient.RECOVER:
            literals = literal_table(program, inputs, present)

            def outputs(values):
                return recover(provenance, program, residuals.tags, replace(literals, probabilities=values))

            (gradients,) = jax.vjp(outputs, literals.probabilities)[1](cotangent)
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
            used = take_block(JAX, sums, transpose.uses, offset, width, count)
            others = take_block(JAX, tags, transpose.others, offset, width, count)
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
        JAX,
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
    literals = literal_table(program, inputs, present)
    tags, outputs = residuals.tags, _rows_at(residuals.tags, program.outputs)

    def values(floats):
        return provenance.recover(with_float_leaves(outputs, floats), literals)

    (parts,) = jax.vjp(values, float_leaves(outputs))[1](cotangent)
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
