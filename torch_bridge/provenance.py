"""The reference's base class for provenances of Python objects."""

from typing import Any


class ScallopProvenance:
    """Base class for a semiring of Python objects of your own: `ScallopContext(custom_provenance=MyProvenance())`.

    A subclass defines `zero()`, `one()`, `add(a, b)` and `mult(a, b)`, and `negate(tag)` for programs that negate or
    aggregate. A tuple's tag is the `add` of its derivations; a derivation's tag is the `mult` of its atoms; certain
    tuples have the tag `one`. On a cycle, `saturated(old, new)` says whether a tag has settled; without this method,
    equal tags have. `scallax.Provenance` is the base class for arrays, which are compiled and batched.

    Example:
        >>> import torch_bridge
        >>> class Words(torch_bridge.ScallopProvenance):
        ...     def zero(self): return frozenset()
        ...     def one(self): return frozenset([""])
        ...     def add(self, a, b): return a | b
        ...     def mult(self, a, b): return frozenset(x + y for x in a for y in b)
        >>> context = torch_bridge.ScallopContext(custom_provenance=Words())
        >>> context.add_relation("letter", (int,))
        >>> context.add_facts("letter", [(frozenset("a"), (0,)), (frozenset("b"), (1,))])
        >>> context.add_rule("word(2) = letter(0), letter(1)")
        >>> context.run()
        >>> list(context.relation("word"))
        [(frozenset({'ab'}), (2,))]
    """

    def name(self) -> str:
        """The name of the provenance."""
        return type(self).__name__

    def tagging_fn(self, input_tag: Any) -> Any:
        """The tag of a fact that was given with `input_tag`, which is never None."""
        return input_tag

    def recover_fn(self, internal_tag: Any) -> Any:
        """The value that results show for a tag."""
        return internal_tag

    def discard(self, tag: Any) -> bool:
        """Whether derived tuples with this tag are dropped."""
        return False

    def collate(self, batch_outputs: list[list[Any]]) -> Any:
        """The result of a module, made from its outputs: a list for each sample."""
        return batch_outputs
