"""The context whose tags are numbers or JAX scalars, `scallax.Context`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from scallax.context.abstract_context import AbstractContext
from scallax.context.building import ContextState
from scallax.context.options import read_options
from scallax.errors import checks_calls
from scallax.evaluation.jax_values import is_jax_array
from scallax.grounding.limits import Limits
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.language.tensors import TensorFramework, TensorValue

if TYPE_CHECKING:  # a context without probabilities does not wait for it
    from scallax.context.computation import Computation
    from scallax.provenance.custom import Provenance


@checks_calls
@final
class Context(AbstractContext):
    """A program with facts: add to it, `run()` it, read its relations; then add more and run it again.

    A provenance without tags (`unit`, `proofs`) takes tuples for facts and gives tuples; the others take and give pairs
    `(tag, tuple)`, where None for a tag means certain. Tags may be JAX scalars, traced ones too: then the tags of
    tuples are JAX scalars, and `jax.grad` goes through. Under `diff…` provenances they are scalars of NumPy otherwise.
    Under a semiring of Python objects the tags are the objects that it reads and recovers, and tuples that it discards
    are not listed. `reasoner` makes a compiled function of the context. A step that raises leaves the context as it
    was.

    Args:
        provenance: How tags are computed: the name of a provenance, or an object of a subclass of `scallax.Provenance`.
        k: The number of proofs kept of each tuple, for provenances that keep some; at least 1.
        custom_provenance: A semiring of Python objects, or an object of a subclass of `scallax.Provenance`.
        train_k: The `k` of functions made of the context while they are trained; None: `k`.
        test_k: The `k` of such functions while they are evaluated; None: `k`.
        wmc_with_disjunctions: Whether a group of facts that exclude each other counts as one random variable.
        iter_limit: The number of rounds, less one, after which a recursion ends; None: no limit.
        early_discard: An option of functions made of the context; it changes no value.
        limits: The limits of grounding, beyond which a run raises `GroundingError`.
        foreign: Functions, predicates, aggregates and attributes of Python that the program may use.
        executor: Who computes tags: `numpy`, at once, or `jax`, which compiles the program first. None chooses NumPy
            for what is small, and JAX beyond, as `docs/performance.md` says. Gradients and a provenance of your own
            are always JAX's. Functions made of the context are JAX's unless it is `numpy`.
        log: Whether tags of tuples are logarithms of probabilities, as with `Reasoner`; those of facts are not.

    Example:
        >>> import scallax
        >>> context = scallax.Context("minmaxprob")
        >>> context.add_relation("edge", (int, int))
        >>> context.add_facts("edge", [(0.9, (0, 1)), (0.8, (1, 2))])
        >>> context.add_rule("path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
        >>> context.run()
        >>> list(context.relation("path"))
        [(0.9, (0, 1)), (0.8, (0, 2)), (0.8, (1, 2))]
    """

    def __init__(
        self,
        provenance: "str | Provenance" = "unit",
        k: int = 3,
        *,
        custom_provenance: object = None,
        train_k: int | None = None,
        test_k: int | None = None,
        wmc_with_disjunctions: bool = False,
        iter_limit: int | None = None,
        early_discard: bool | None = None,
        limits: Limits | None = None,
        foreign: Sequence[ForeignItem] = (),
        executor: str | None = None,
        log: bool = False,
    ):
        options = read_options(provenance, custom_provenance, k, wmc_with_disjunctions, limits, executor, log=log)
        self.state = ContextState(options, train_k, test_k, early_discard)
        self.set_iter_limit(iter_limit)
        self.state.foreign = read_foreign(foreign).items
        self.state.draft = self.state.draft.with_foreign(*self.state.foreign)

    def is_array(self, tag: object) -> bool:
        """Whether a tag is a JAX array."""
        return is_jax_array(tag)

    def evaluate(self, computation: "Computation", tags: Sequence[Any]) -> Any:
        """The tags of all tuples of a run, as one array.

        Args:
            computation: The function from the tags of facts to those of tuples.
            tags: The tags of facts that are its inputs: floats, scalar arrays, and arrays of several.

        Returns:
            An array `[outputs]`, float64 if a tag is, else float32; of JAX if a tag is, else of NumPy.
        """
        # Loaded by now: there is a computation.
        from scallax.evaluation.moves import computing_dtype, join

        computed = computation.computed()
        parts = tags if computed is None else [*tags, computed]
        found = computation.evaluate(join(parts, computation.num_inputs, computing_dtype(parts)))
        if computed is None and not any(map(self.is_array, tags)):
            return np.asarray(found)
        from scallax.evaluation.jax_moves import to_device  # there are arrays of JAX

        return found if self.is_array(found) else to_device(found, parts)

    def clone(
        self,
        provenance: str | None = None,
        k: int | None = None,
        wmc_with_disjunctions: bool | None = None,
        *,
        custom_provenance: object = None,
    ) -> "Context":
        """A context with the same program and facts, perhaps under another provenance; the two change apart.

        Facts without tags are certain; a provenance without tags leaves those that there are aside.

        Args:
            provenance: The name of the other provenance; None: the same.
            k: The number of proofs kept; None: as many as here.
            wmc_with_disjunctions: Whether an exclusive group counts as one variable; None: as here.
            custom_provenance: An object of a user's provenance; then the name does not count.

        Returns:
            The other context.

        Raises:
            InputError: There is no such provenance, or it does not read the tag of a fact.
        """
        return self.copied(provenance, k, wmc_with_disjunctions, custom_provenance)

    def scalars(self, values: Any) -> list[Any]:
        """The scalars of an array `[tuples]`."""
        from scallax.evaluation.moves import split  # as above

        return list(split(values))

    def adapted(self, item: ForeignItem) -> ForeignItem:
        """The foreign item itself."""
        return item

    def tensor(self, value: TensorValue) -> TensorValue:
        """The constant itself."""
        return value

    def tensor_framework(self) -> TensorFramework | None:
        """JAX, if it is loaded."""
        if "jax" not in sys.modules:
            return None
        from scallax.evaluation.fact_tags import JaxTensors  # as above

        return JaxTensors()
