"""Questions about a module that are answered on the host, without gradients: proofs, likely worlds, draws of worlds."""

from collections.abc import Mapping, Sequence
from typing import Any

from scallax import Reasoner
from scallax.evaluation import has_facts
from scallax.facts import read_by_relation
from scallax.reasoner import Draws, Explanation, World
from torch_bridge.observations import OBSERVED
from torch_bridge.sample_calls import host_inputs, on_host
from torch_bridge.variables import TorchTensors


class HostQuestions:
    """The questions that a module hands to its reasoner, with its parameters and the numbers of tensors as arrays."""

    reasoner: Reasoner
    training: bool

    def _logits(self) -> Sequence[Any]:
        raise NotImplementedError

    def _on_host(
        self, inputs: Mapping[str, Any] | None, disjunctions: Mapping[str, Sequence] | None
    ) -> tuple[Any, Any]:
        """The reasoner with the module's parameters, and the inputs of a call as arrays."""
        reasoner = self.reasoner.in_mode(self.training)
        logits = {
            name: logits.detach().float().cpu().numpy()
            for name, logits in zip(reasoner.compiled_program.parameter_names, self._logits(), strict=True)
        }
        given: Any = read_by_relation(inputs, "`inputs`")
        if has_facts(given, disjunctions):
            given = on_host(
                reasoner.evaluator.layout.read(given, disjunctions, framework=TorchTensors(), arrays=OBSERVED)
            )
        else:
            given = host_inputs(reasoner.evaluator.layout, given)
        return reasoner.with_parameters(logits), given

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
        reasoner, given = self._on_host(inputs, disjunctions)
        return reasoner.explain(relation, values, given, sample=sample, k=k)

    def most_probable(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        holds: Mapping[str, Any] | None = None,
        fails: Mapping[str, Any] | None = None,
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
        reasoner, given = self._on_host(inputs, disjunctions)
        return reasoner.most_probable(given, holds=holds, fails=fails, decide=decide)

    def sample(
        self,
        inputs: Mapping[str, Any] | None = None,
        n: int = 1,
        seed: int = 0,
        *,
        holds: Mapping[str, Any] | None = None,
        fails: Mapping[str, Any] | None = None,
        disjunctions: Mapping[str, Sequence] | None = None,
    ) -> list[Draws]:
        """Worlds drawn for each sample from those in which query and evidence hold; see `scallax.Reasoner.sample`.

        Args:
            inputs: By relation, what a call is given.
            n: How many worlds are drawn for each sample.
            seed: Equal seeds draw the same.
            holds: By relation, the tuples that must hold.
            fails: By relation, the tuples that must not hold.
            disjunctions: By relation, the exclusive facts of each sample, as in a call.

        Returns:
            The draws of each sample.
        """
        reasoner, given = self._on_host(inputs, disjunctions)
        return reasoner.sample(given, n, seed, holds=holds, fails=fails)
