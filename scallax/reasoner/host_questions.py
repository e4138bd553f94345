"""Questions about a module that are answered on the host, without gradients: proofs, likely worlds, draws of worlds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from scallax.errors import checks_calls

if TYPE_CHECKING:
    from scallax.evaluation.seeds import Key
    from scallax.reasoner.proofs import Explanation
    from scallax.reasoner.reasoner import Reasoner
    from scallax.reasoner.worlds import Draws, Query, World

Exclusive: TypeAlias = "Mapping[str, Sequence] | None"


@checks_calls
class HostQuestions:
    """The questions that a module of any framework hands to its reasoner, with its parameters as arrays."""

    @abstractmethod
    def _on_host(self, inputs: Mapping[str, Any] | None, disjunctions: Exclusive) -> tuple[Reasoner, Any, Exclusive]:
        """The reasoner with the module's parameters, and the inputs and disjunctions of a call as it takes them."""

    def explain(
        self,
        relation: str,
        values: object,
        inputs: Mapping[str, Any] | None = None,
        *,
        disjunctions: Mapping[str, Sequence] | None = None,
        sample: int = 0,
        k: int | None = None,
    ) -> Explanation:
        """The likeliest proofs of a tuple for one sample of the inputs; see `scallax.Reasoner.explain`.

        Args:
            relation: Any relation of the program.
            values: The tuple, or its value if the relation has one column.
            inputs: By relation, what a call is given.
            disjunctions: By relation, the exclusive facts of each sample, as in a call.
            sample: The number of the sample.
            k: The number of proofs; by default the one that is kept.

        Returns:
            The tuple's value and its proofs, the likeliest first.
        """
        reasoner, given, exclusive = self._on_host(inputs, disjunctions)
        return reasoner.explain(relation, values, given, disjunctions=exclusive, sample=sample, k=k)

    def most_probable(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        holds: Query | None = None,
        fails: Query | None = None,
        decide: Sequence[str] | None = None,
        disjunctions: Mapping[str, Sequence] | None = None,
    ) -> list[World]:
        """The most probable world of each sample; see `scallax.Reasoner.most_probable`.

        Args:
            inputs: By relation, what a call is given.
            holds: By relation, the tuples that must hold.
            fails: By relation, the tuples that must not hold.
            decide: The relations that are decided, whatever the others are; None: all.
            disjunctions: By relation, the exclusive facts of each sample, as in a call.

        Returns:
            A world for each sample.
        """
        reasoner, given, exclusive = self._on_host(inputs, disjunctions)
        return reasoner.most_probable(given, holds=holds, fails=fails, decide=decide, disjunctions=exclusive)

    def sample(
        self,
        inputs: Mapping[str, Any] | None = None,
        n: int = 1,
        key: Key = 0,
        *,
        holds: Query | None = None,
        fails: Query | None = None,
        disjunctions: Mapping[str, Sequence] | None = None,
    ) -> list[Draws]:
        """Worlds drawn for each sample from those in which query and evidence hold; see `scallax.Reasoner.sample`.

        Args:
            inputs: By relation, what a call is given.
            n: How many worlds are drawn for each sample.
            key: A seed or a key of JAX; equal ones draw the same.
            holds: By relation, the tuples that must hold.
            fails: By relation, the tuples that must not hold.
            disjunctions: By relation, the exclusive facts of each sample, as in a call.

        Returns:
            The draws of each sample.
        """
        reasoner, given, exclusive = self._on_host(inputs, disjunctions)
        return reasoner.sample(given, n, key, holds=holds, fails=fails, disjunctions=exclusive)
