"""The reference's base class of provenances of Python objects."""

from typing import Any


class ScallopProvenance:
    """A semiring of objects, to be subclassed: `ScallopContext(custom_provenance=MyProvenance())`, `Module(…)`.

    A subclass defines `zero()`, `one()`, `add(a, b)`, `mult(a, b)` and, for programs that negate or aggregate,
    `negate(tag)`. A tuple's tag is the `add` of its derivations, a derivation's the `mult` of its atoms; what is
    certain is `one`. Where tags go round a cycle, `saturated(old, new)` says whether they have settled; without it,
    they have when they are equal. `scallax.Provenance` is for arrays, which are compiled and batched.
    """

    def name(self) -> str:
        """The name of the provenance."""
        return type(self).__name__

    def tagging_fn(self, input_tag: Any) -> Any:
        """The tag of a fact that was given with `input_tag`, which is not None."""
        return input_tag

    def recover_fn(self, internal_tag: Any) -> Any:
        """What is told of a tag."""
        return internal_tag

    def discard(self, tag: Any) -> bool:
        """Whether a derived tuple with this tag does not hold."""
        return False

    def collate(self, batch_outputs: list[list[Any]]) -> Any:
        """What a module returns of its outputs: for each sample a list."""
        return batch_outputs
