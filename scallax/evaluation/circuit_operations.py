"""A circuit's values and their derivatives as operations of JAX: mapped, and differentiated in both modes, twice.

`value` and `forward` compute the outputs `f(x)` of inputs `x`. Their derivative `J(x)` is two operations, each the
transpose of the other: `push`, the tangents `J(x) t` of the outputs (forward mode), and `pull`, the cotangents
`J(x)ᵀ c` of the inputs (reverse mode). The derivatives of these along `v` are `push_along`, `D²f(x)[t, v]`, and
`pull_along`, the gradient of `c · J(x) v`. Second derivatives are symmetric, so the transposes of these two are
themselves again, with their arguments exchanged: no loop is ever differentiated in reverse. Derivatives of a higher
order are refused.

A transformation of JAX sees one operation, not its loops. `vmap` folds the new axis into the batch axis, which is last
(the default rule would put it in front of the nodes, in the slow layout).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from scallax.errors import Diagnostic, UnsupportedError
from scallax.kernels.bounded_cache import BoundedCache

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree

# Traces of each operation that are kept.
_MOST_TRACES = 64


@dataclass(frozen=True, eq=False, slots=True)
class _Traced:
    """An operation traced for arguments of some shapes: `static` and those arguments name it, `compiled` runs it."""

    static: Any
    tree: Any
    jaxpr: ClosedJaxpr
    out_tree: Any
    compiled: Callable[..., list] = field(repr=False)

    def arguments(self, leaves: Sequence[Any]) -> tuple:
        """The arguments `(program, present, x, …)` of their leaves."""
        return jax.tree.unflatten(self.tree, leaves)


class Operation:
    """A function `function(static, program, present, x, …)` of arrays whose last axis is the batch, as one operation.

    No leaf of the program has a batch axis, and nothing is differentiated by it or by `present`. `set_jvp` and
    `set_transpose` say what JAX does to differentiate it.
    """

    def __init__(self, name: str, function: Callable[..., Any]):
        self._function = function
        self._primitive = primitive = Primitive(f"scallax_{name}")
        primitive.multiple_results = True
        primitive.def_impl(lambda *leaves, traced: traced.compiled(*leaves))
        primitive.def_abstract_eval(lambda *avals, traced: traced.jaxpr.out_avals)
        mlir.register_lowering(primitive, self._lower)
        batching.primitive_batchers[primitive] = self._fold_batch
        self._traces: BoundedCache[Any, _Traced] = BoundedCache(_MOST_TRACES, _MOST_TRACES, lambda key, traced: 1)

    def __call__(self, static: Any, program: PyTree, present: Array, x: Array, *operands: PyTree[Array]) -> Any:
        """The results, for hashable `static`."""
        return self._bind(static, (program, present, x, *operands))

    def set_jvp(self, rule: Callable[..., tuple[Any, Any]]) -> None:
        """`rule(static, program, present, x, operands, v, tangents)` gives the results and their tangents.

        `v` and each of the tangents of the operands is None for zero; so are the results' tangents.
        """

        def jvp(primals, tangents, *, traced: _Traced):
            program, present, x, *operands = traced.arguments(primals)
            _, _, v, *of_operands = _split(traced.tree, tangents)
            results, found = rule(traced.static, program, present, x, operands, v, of_operands)
            leaves = jax.tree.leaves(results)
            if found is None:
                return leaves, [ad.Zero(jax.typeof(leaf).to_tangent_aval()) for leaf in leaves]
            # Residuals, behind the outputs, have none.
            return leaves, [found, *(ad.Zero(jax.typeof(leaf).to_tangent_aval()) for leaf in leaves[1:])]

        ad.primitive_jvps[self._primitive] = jvp

    def set_transpose(self, rule: Callable[..., Any]) -> None:
        """`rule(static, program, present, x, operands, cotangent)` gives the cotangent of the operand that is None."""

        def transpose(cotangents, *leaves, traced: _Traced):
            (cotangent,) = cotangents
            unknown = [ad.is_undefined_primal(leaf) for leaf in leaves]
            assert sum(unknown) == 1, "linear in one operand at a time"
            if type(cotangent) is ad.Zero:
                return [None] * len(leaves)
            known = [None if missing else leaf for leaf, missing in zip(leaves, unknown, strict=True)]
            program, present, x, *operands = _split(traced.tree, known)
            found = rule(traced.static, program, present, x, operands, cotangent)
            return [found if missing else None for missing in unknown]

        ad.primitive_transposes[self._primitive] = transpose

    def _bind(self, static: Any, arguments: tuple) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        key = static, tree, tuple(map(jax.typeof, leaves)), jax.config.read("jax_enable_x64")
        traced = self._traces.find(key)
        if traced is None:
            traced = self._trace(static, tree, leaves)
            self._traces.add(key, traced)
        return jax.tree.unflatten(traced.out_tree, self._primitive.bind(*leaves, traced=traced))

    def _trace(self, static: Any, tree: Any, leaves: list[Array]) -> _Traced:
        out_tree = None

        def flat(*leaves):
            nonlocal out_tree
            found, out_tree = jax.tree.flatten(self._function(static, *jax.tree.unflatten(tree, leaves)))
            return found

        jaxpr = jax.make_jaxpr(flat)(*leaves)
        return _Traced(static, tree, jaxpr, out_tree, jax.jit(jaxpr_as_fun(jaxpr)))

    def _lower(self, context, *values, traced: _Traced):
        return mlir.lower_fun(jaxpr_as_fun(traced.jaxpr), multiple_results=True)(context, *values)

    def _fold_batch(self, leaves, axes, *, traced: _Traced):
        size = next(leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None)
        program, *_ = _split(traced.tree, axes)
        assert not jax.tree.leaves(program), "a program is one, not a batch"
        count = traced.tree.children()[0].num_leaves

        def to_batch(leaf, axis):
            spread = jnp.broadcast_to(leaf, (size, *leaf.shape)) if axis is None else jnp.moveaxis(leaf, axis, 0)
            return jnp.moveaxis(spread, 0, -2).reshape(*spread.shape[1:-1], -1)

        pairs = zip(leaves[count:], axes[count:], strict=True)
        folded = [*leaves[:count], *(to_batch(leaf, axis) for leaf, axis in pairs)]
        results = jax.tree.leaves(self._bind(traced.static, traced.arguments(folded)))
        split = [jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], size, -1), -2, 0) for leaf in results]
        return split, [0] * len(split)


def _split(tree: Any, leaves: Sequence[Any]) -> list[Any]:
    """The arguments with other leaves in the place of theirs, None for a zero."""
    parts, start = [], 0
    shown = [None if type(leaf) is ad.Zero else leaf for leaf in leaves]
    for child in tree.children():
        parts.append(jax.tree.unflatten(child, shown[start : start + child.num_leaves]))
        start += child.num_leaves
    return parts


def refuse_third(*_: Any) -> Any:
    """UnsupportedError for the derivative of a second derivative."""
    raise UnsupportedError(
        Diagnostic(
            "the second derivative of a program was differentiated again, and third derivatives are not available",
            hint="stop the gradient, for example with `jax.lax.stop_gradient`",
        )
    )
