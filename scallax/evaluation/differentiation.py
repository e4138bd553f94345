"""The outputs of a circuit as a function that JAX transforms: compiles, differentiates, and maps over batches."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, assert_never

import jax
import jax.numpy as jnp
from jax import lax

from scallax.circuits.circuit import FIRST_LITERAL_ROW, Circuit, parts, static_fields
from scallax.circuits.constant_program import EmbeddedProgram
from scallax.evaluation.circuit_operations import Operation, refuse_third
from scallax.evaluation.fold import Residuals, literal_table, output_tags, recover, run, with_selections
from scallax.evaluation.jax_namespace import JAX, native_derivatives
from scallax.evaluation.reverse import (
    Fold,
    Operands,
    float_leaves,
    pull_back_tiles,
    row_cotangents,
    with_float_leaves,
)
from scallax.kernels.batches import batch_constant
from scallax.kernels.logarithms import is_none
from scallax.kernels.tiles import Tags, fold_tiles, take_block
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import Gradient

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

# The logarithm of the largest share in a rest: below the largest number of float32.
_LARGEST_SHARE = 88.0

# The least logarithm whose number, its inverse and their products with gradients float32 holds.
_LEAST_LOGARITHM = -40.0

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

    `present` False means that the fact does not exist in that sample. Pure; works under `jit`, `vmap` (which folds into
    the batch), `grad` and `jvp`, twice; a third derivative raises UnsupportedError.
    """
    if present is None:
        present = jnp.ones(inputs.shape, bool)
    inputs, present = with_selections(provenance, program, inputs, present, _evaluate)
    return _evaluate(provenance, inputs, present, replace(program, stages=()))


def _evaluate(provenance, inputs, present, program):
    return _VALUE(provenance, program, present, inputs)


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
    return _FORWARD(provenance, program, present, inputs)


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
    literals = literal_table(provenance, arrays, inputs, present)
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
    if isinstance(program, EmbeddedProgram) or not program.stages:
        return _PULL(provenance, program, present, inputs, residuals, cotangent)
    # The stages are evaluated again.
    inputs, pull, present = jax.vjp(
        lambda inputs: with_selections(provenance, program, inputs, present, _evaluate), inputs, has_aux=True
    )
    return pull(_PULL(provenance, replace(program, stages=()), present, inputs, residuals, cotangent))[0]


def arrays_of(program: Circuit | EmbeddedProgram) -> Circuit:
    """The program's arrays: of NumPy, if they are constants of the code."""
    return program.program if isinstance(program, EmbeddedProgram) else program


def _rows_at(tags: Tags, places) -> Tags:
    return jax.tree.map(lambda leaf: leaf.at[places].get(mode="promise_in_bounds"), tags)


def _pull_back(provenance, program, inputs, present, residuals, cotangent):
    match provenance.traits.gradient:
        case Gradient.NONE:
            return jnp.zeros_like(inputs)
        case Gradient.RECOVER:
            literals = literal_table(provenance, program, inputs, present)

            def outputs(values):
                return recover(provenance, program, residuals.tags, replace(literals, probabilities=values))

            (gradients,) = jax.vjp(outputs, literals.probabilities)[1](cotangent)
        case Gradient.PRODUCT:
            gradients = _pull_back_tags(provenance, program, residuals.tags, cotangent)
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


def _pull_back_tags(provenance, program, tags, cotangent):
    """Cotangents of the literals, from those of the outputs and the tags of all rows."""
    if not provenance.traits.is_log:
        return _pull_rows(provenance, program, tags, tags, cotangent)

    def by_probabilities():
        p, outputs = jnp.exp(tags), _rows_at(tags, program.outputs)
        # The derivative by a logarithm is the number times that by the number.
        inverse = jnp.where(is_none(outputs), jnp.zeros_like(outputs), jnp.exp(-outputs))
        found = _pull_rows(provenance, program, tags, p, cotangent * inverse)
        return found * lax.slice_in_dim(p, FIRST_LITERAL_ROW, FIRST_LITERAL_ROW + len(found))

    def by_shares():
        return _pull_rows(provenance, program, tags, None, cotangent)

    least = jnp.where(is_none(tags), jnp.zeros_like(tags), tags).min()
    return lax.cond(least > _LEAST_LOGARITHM, by_probabilities, by_shares)


def _pull_rows(provenance, program, tags, factors, cotangent):
    """Cotangents of the literals: each use of a row adds the cotangent of its head times the other operand's factor.

    Or, without factors, where tags are logarithms, times the share that the use has in its head.
    """
    transpose, width = program.transpose, program.forward.width
    assert transpose is not None
    zeros = [batch_constant(cotangent, (count,), 0) for count in (1, transpose.num_sums, width)]
    sums = jnp.concatenate([zeros[0], cotangent, zeros[1]])
    schedule, first_heads = jax.tree.map(jnp.asarray, (transpose.tiles, transpose.heads))

    def branch(count):
        def fold(sums, total, target, offset, cyclic):
            used = take_block(JAX, sums, transpose.uses, offset, width, count)
            others = take_block(JAX, factors, transpose.others, offset, width, count)
            return total + sum(c * other for c, other in zip(used, others, strict=True))

        def fold_shares(sums, total, target, offset, cyclic):
            of_sums = jnp.asarray(transpose.row)
            own = _rows_at(tags, lax.dynamic_slice_in_dim(of_sums, target, width))
            rows = take_block(JAX, of_sums, transpose.uses, offset, width, count)
            used = take_block(JAX, sums, transpose.uses, offset, width, count)
            others = take_block(JAX, tags, transpose.others, offset, width, count)
            shares = (_share(own, other, _rows_at(tags, row)) for row, other in zip(rows, others, strict=True))
            return total + sum(c * share for c, share in zip(used, shares, strict=True))

        return fold_shares if factors is None else fold

    def finish(total, step):
        first = first_heads[step]
        heads = lax.dynamic_slice_in_dim(tags, first, width)
        # Literals and partial sums have no heads: the rows at 0 are zero and one, and no clamp counts there.
        heads = jnp.where(first > 0, heads, jnp.full_like(heads, -jnp.inf if provenance.traits.is_log else 0))
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


def _share(own, other, head):
    """The derivative of a logarithm by that of an operand: its share in a sum, or in what is left of a complement.

    Nothing has a share in what is impossible: there it is 0, or, of a complement, that which meets only zeros. Shares
    in a rest are bounded, as a float is.
    """
    head = jnp.where(is_none(head), jnp.zeros_like(head), head)
    return jnp.exp(jnp.minimum(own + other - head, _LARGEST_SHARE))


def _pull_back_steps(provenance, program, inputs, present, residuals, cotangent):
    """Cotangents of the literals by differentiating `recover`, every step in reverse, and the tags of the literals."""
    literals = literal_table(provenance, program, inputs, present)
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


def _run(provenance, program, present, inputs):
    return run(provenance, arrays_of(program), inputs, present)


def _value(provenance, program, present, inputs):
    return _run(provenance, program, present, inputs)[0]


def _pull(provenance, program, present, inputs, residuals, cotangent):
    return _pull_back(provenance, arrays_of(program), inputs, present, residuals, cotangent)


def _push(provenance, program, present, inputs, residuals, tangent):
    """The tangents of the outputs for those of the inputs."""
    program = arrays_of(program)

    def outputs(inputs):
        if provenance.traits.gradient is Gradient.RECOVER:
            return recover(provenance, program, residuals.tags, literal_table(provenance, program, inputs, present))
        return run(provenance, program, inputs, present)[0]

    with native_derivatives():
        return jax.jvp(outputs, (inputs,), (jnp.where(present, tangent, 0),))[1]


def _push_along(provenance, program, present, inputs, residuals, tangent, direction):
    """The derivative of `_push` by the inputs, along a direction."""

    def push(inputs):
        return _push(provenance, program, present, inputs, residuals, tangent)

    return jax.jvp(push, (inputs,), (jnp.where(present, direction, 0),))[1]


def _pull_along(provenance, program, present, inputs, residuals, cotangent, direction):
    """The derivative of `_pull` by the inputs, along a direction."""

    def pull(inputs):
        found = residuals
        if provenance.traits.gradient is not Gradient.RECOVER:
            found = _run(provenance, program, present, inputs)[1]
        return _pull(provenance, program, present, inputs, found, cotangent)

    with native_derivatives():
        return jax.jvp(pull, (inputs,), (jnp.where(present, direction, 0),))[1]


_VALUE, _FORWARD = Operation("value", _value), Operation("forward", _run)
_PUSH, _PULL = Operation("push", _push), Operation("pull", _pull)
_PUSH_ALONG, _PULL_ALONG = Operation("push_along", _push_along), Operation("pull_along", _pull_along)


def _has_gradient(provenance: AbstractProvenance) -> bool:
    return not provenance.traits.is_discrete and provenance.traits.gradient is not Gradient.NONE


def _differentiate_value(provenance, program, present, inputs, operands, direction, tangents):
    if direction is None or not _has_gradient(provenance):
        return _VALUE(provenance, program, present, inputs), None
    (outputs, _), found = _differentiate_forward(provenance, program, present, inputs, operands, direction, tangents)
    return outputs, found


def _differentiate_forward(provenance, program, present, inputs, operands, direction, tangents):
    outputs, residuals = _FORWARD(provenance, program, present, inputs)
    if direction is None or not _has_gradient(provenance):
        return (outputs, residuals), None
    return (outputs, residuals), _PUSH(provenance, program, present, inputs, residuals, direction)


def _differentiate_linear(operation: Operation, along: Operation):
    """The rule of an operation that is linear in its last operand; residuals follow from the inputs."""

    def rule(provenance, program, present, inputs, operands, direction, tangents):
        residuals, given = operands
        arguments = provenance, program, present, inputs, residuals
        parts = []
        if tangents[1] is not None:
            parts.append(operation(*arguments, tangents[1]))
        if direction is not None:
            parts.append(along(*arguments, given, direction))
        return operation(*arguments, given), sum(parts[1:], parts[0]) if parts else None

    return rule


def _differentiate_along(operation: Operation):
    """The rule of an operation that is linear in its last two operands."""

    def rule(provenance, program, present, inputs, operands, direction, tangents):
        if direction is not None:
            refuse_third()
        residuals, *given = operands
        arguments = provenance, program, present, inputs, residuals
        parts = []
        if tangents[1] is not None:
            parts.append(operation(*arguments, tangents[1], given[1]))
        if tangents[2] is not None:
            parts.append(operation(*arguments, given[0], tangents[2]))
        return operation(*arguments, *given), sum(parts[1:], parts[0]) if parts else None

    return rule


def _transpose_linear(transposed: Operation):
    def rule(provenance, program, present, inputs, operands, cotangent):
        return transposed(provenance, program, present, inputs, operands[0], cotangent)

    return rule


def _transpose_push_along(provenance, program, present, inputs, operands, cotangent):
    residuals, tangent, direction = operands
    other = direction if tangent is None else tangent
    return _PULL_ALONG(provenance, program, present, inputs, residuals, cotangent, other)


def _transpose_pull_along(provenance, program, present, inputs, operands, cotangent):
    residuals, given, direction = operands
    if given is None:
        return _PUSH_ALONG(provenance, program, present, inputs, residuals, cotangent, direction)
    return _PULL_ALONG(provenance, program, present, inputs, residuals, given, cotangent)


_VALUE.set_jvp(_differentiate_value)
_FORWARD.set_jvp(_differentiate_forward)
_PUSH.set_jvp(_differentiate_linear(_PUSH, _PUSH_ALONG))
_PULL.set_jvp(_differentiate_linear(_PULL, _PULL_ALONG))
_PUSH_ALONG.set_jvp(_differentiate_along(_PUSH_ALONG))
_PULL_ALONG.set_jvp(_differentiate_along(_PULL_ALONG))
_PUSH.set_transpose(_transpose_linear(_PULL))
_PULL.set_transpose(_transpose_linear(_PUSH))
_PUSH_ALONG.set_transpose(_transpose_push_along)
_PULL_ALONG.set_transpose(_transpose_pull_along)
