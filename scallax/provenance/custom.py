"""Provenances of users: an algebra over arrays, folded, batched and differentiated like the built-in ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.kernels.array_namespace import compiling_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable, Tags
from scallax.provenance.noisy_or import moved
from scallax.provenance.traits import CUSTOM_ALGEBRA, Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Shaped

    from scallax.kernels.array_namespace import Array


class Provenance(ABC):
    """Base class for an algebra of tags of your own: `Reasoner(program, provenance=MyProvenance())`.

    A tag is an array, or a tuple (or other pytree) of arrays. Each of these arrays has the shape of the numbers that
    `tag` is given, and every method works element by element, in JAX. A tuple's tag is the `add` of its derivations in
    a fixed order, starting from `zero`; a derivation's tag is the `mult` of its atoms. Facts without a tag have the tag
    `one`.

    The algebra should be a semiring: `add` and `mult` associative, `add` commutative, `mult` distributive over `add`,
    `zero` and `one` their neutral elements, and `mult` with `zero` equal to `zero`. Otherwise results depend on the
    layout of the program.

    On a cycle, tags are computed again from `zero` until none `differs` from the round before. If that does not happen
    within 10,000 rounds, the outputs are NaN: the algebra does not converge there.

    The gradient is that of JAX for each step, at the tags that were found. Around a cycle it solves the linear
    equations at the fixpoint, in as many rounds as the tags took. It is finite where the derivatives of the methods
    are: guard them at 0 and 1.

    Equal objects share compiled code: make the class a frozen dataclass if it has fields.

    Example:
        >>> import jax.numpy as jnp
        >>> import scallax
        >>> class Cost(scallax.Provenance):  # the least total cost of a proof
        ...     def zero(self): return jnp.inf
        ...     def one(self): return 0.0
        ...     def tag(self, probability, /): return probability
        ...     def add(self, a, b, /): return jnp.minimum(a, b)
        ...     def mult(self, a, b, /): return a + b
        >>> cheapest = scallax.Reasoner("rel total(0) = (a(0) and b(0)) or c(0)", provenance=Cost(),
        ...     input_mappings={"a": [0], "b": [0], "c": [0]}, output_mapping=("total", [0]))
        >>> print(cheapest(a=jnp.array([[2.0]]), b=jnp.array([[3.0]]), c=jnp.array([[4.0]])))
        [[4.]]
    """

    @abstractmethod
    def zero(self) -> Any:
        """The tag of tuples that do not hold: a number for each array of a tag."""

    @abstractmethod
    def one(self) -> Any:
        """The tag of tuples that are certain: a number for each array of a tag."""

    @abstractmethod
    def tag(self, probability: Any, /) -> Any:
        """The tags of facts that were given with these numbers, an array `[facts, batch]`."""

    @abstractmethod
    def add(self, a: Any, b: Any, /) -> Any:
        """The tags of disjunctions, element by element.

        Args:
            a: Tags so far.
            b: Tags of further derivations, of the same shape.

        Returns:
            Tags of the same shape and dtype.
        """

    @abstractmethod
    def mult(self, a: Any, b: Any, /) -> Any:
        """The tags of conjunctions, element by element.

        Args:
            a: Tags of the left parts.
            b: Tags of the right parts, of the same shape.

        Returns:
            Tags of the same shape and dtype.
        """

    def negate(self, tag: Any, /) -> Any:
        """The tags of negations. Without it, a program that negates uncertain tuples is an UnsupportedError."""
        raise UnsupportedError(
            Diagnostic(
                f"the program negates, and `{type(self).__qualname__}` has no negation",
                hint="define its method `negate`",
            )
        )

    def recover(self, tag: Any, /) -> Any:
        """The output, one array, for tags. By default the tag itself, which must then be one array."""
        return tag

    def differs(self, old: Any, new: Any, /) -> Any:
        """Tells which tags on a cycle have changed; by default, those that moved by more than 8 epsilon.

        Args:
            old: The tags of the round before.
            new: The tags of this round, of the same shape.

        Returns:
            An array of bool, of any shape; the fixpoint is reached when it is all False.
        """
        xp = compiling_namespace()
        parts = zip(xp.leaves(old), xp.leaves(new), strict=True)
        return xp.stack([moved(a, b) if xp.is_float(a) else (a != b).any() for a, b in parts])


def qualified_name(provenance: object) -> str:
    """The name of a user's provenance in a checkpoint."""
    kind = type(provenance)
    return f"{kind.__module__}.{kind.__qualname__}"


@dataclass(frozen=True)
class CustomProvenance(AbstractProvenance):
    """A user's algebra as a provenance. InputError if one of its methods returns tags of another form."""

    algebra: Provenance
    traits: Traits = CUSTOM_ALGEBRA

    @cached_property
    def absent(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        xp = compiling_namespace()
        with xp.at_once():
            tags = xp.map(xp.asarray, self.algebra.tag(xp.ones((1, 1), xp.float32)))
            zero = xp.map(lambda number, leaf: xp.full_like(leaf, number), self._constant("zero", tags), tags)
            return float(np.asarray(self.algebra.recover(zero)).item())

    def leaf_tags(self, literals: LiteralTable) -> Tags:
        xp, p = literals.xp, literals.probabilities
        tags = xp.map(xp.asarray, self.algebra.tag(p))
        for leaf in xp.leaves(tags):
            if leaf.shape != p.shape:
                raise self._wrong("tag", f"gives an array of shape {leaf.shape} for numbers of shape {p.shape}")
        zero, one = self._constant("zero", tags), self._constant("one", tags)
        certain = xp.broadcast_to(literals.certain[:, None], p.shape)

        def rows(tag, zero, one):
            tag = xp.where(literals.present, xp.where(certain, one, tag), zero)
            return xp.concatenate([batch_constant(tag, (1,), zero), batch_constant(tag, (1,), one), tag])

        return xp.map(rows, tags, zero, one)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return self._like("negate", self.algebra.negate(left[0]), total)
        for a, b in zip(left, right, strict=True):
            product = self._like("mult", self.algebra.mult(a, b), total)
            total = self._like("add", self.algebra.add(total, product), total)
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        return compiling_namespace().asarray(self.algebra.differs(old, new)).any()

    def recover(self, tags, literals) -> Shaped[Array, "outputs batch"]:
        values = self.algebra.recover(tags)
        xp = literals.xp
        if not xp.is_array(values) or values.shape != xp.leaves(tags)[0].shape:
            raise self._wrong("recover", f"gives {_form(values)}, not one array of the tags' shape")
        return values

    def _constant(self, name: str, tags: Tags) -> Tags:
        xp = compiling_namespace()
        constant = self.algebra.zero() if name == "zero" else self.algebra.one()
        if xp.structure(constant) != xp.structure(tags):
            raise self._wrong(name, f"gives {_form(constant)}, where `tag` gives {_form(tags)}")
        if any(not _is_number(leaf) for leaf in xp.leaves(constant)):
            raise self._wrong(name, f"gives {constant!r}, where a number is needed for each array of a tag")
        return xp.map(lambda number, leaf: xp.asarray(number, leaf.dtype), constant, tags)

    def _like(self, name: str, result: Tags, like: Tags) -> Tags:
        xp = compiling_namespace()
        if xp.structure(result) != xp.structure(like) or any(
            a.shape != b.shape for a, b in zip(xp.leaves(result), xp.leaves(like), strict=True)
        ):
            raise self._wrong(name, f"gives {_form(result)}, where tags are {_form(like)}")
        return xp.map(lambda a, b: xp.asarray(a, b.dtype), result, like)

    def _wrong(self, name: str, what: str) -> InputError:
        message = f"`{type(self.algebra).__qualname__}.{name}` {what}"
        hint = "a tag is an array, or a pytree of arrays, of the shape of the numbers that `tag` is given"
        return InputError(Diagnostic(message, hint=hint))


def _is_number(leaf: Any) -> bool:
    is_number = isinstance(leaf, bool | int | float | np.generic | np.ndarray) or compiling_namespace().is_array(leaf)
    return is_number and np.shape(leaf) == ()


def _form(tags: Any) -> str:
    forms = compiling_namespace().map(lambda leaf: f"[{', '.join(map(str, np.shape(leaf)))}]", tags)
    return str(forms).replace("'", "")
