"""Input layouts: how the inputs of a call become those of a circuit, and the circuit's outputs the results.

Arrays of mapped relations are one input of the circuit for each entry, and one sample for each row. Facts per sample
are inputs side by side, of one sample: each sample has its own part of the circuit, and its own outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.constant_program import EmbeddedProgram
from scallax.circuits.literals import Literal, Part, number_parts
from scallax.evaluation.batch import Arguments, ArrayLike
from scallax.evaluation.compiled_program import Output
from scallax.facts.mappings import show_tuple
from scallax.facts.outputs import AskedOutputs
from scallax.facts.tensor_facts import Retention

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.cache import Holder
    from scallax.evaluation.packing import Packed

T = TypeVar("T")
# The entries of each array, for each sample.
Entries = Sequence[Sequence[Sequence[Any]]]
Proof = Sequence[tuple[int, bool]]


class AbstractLayout(ABC):
    """The inputs and outputs of a circuit as those of a call."""

    @property
    @abstractmethod
    def retentions(self) -> tuple[Retention | None, ...]:
        """The rule for the entries of each array that exist; None if all do."""

    @property
    @abstractmethod
    def is_union(self) -> bool:
        """Whether all samples lie side by side in one sample of the circuit."""

    @property
    def num_rows(self) -> int | None:
        """The rows of arrays behind the first that a circuit of all samples has inputs for; None for those given."""
        return None

    @property
    def given_logs(self) -> tuple[int, ...]:
        """The numbers of the arrays that are logarithms of probabilities."""
        return ()

    @property
    def num_observed(self) -> int:
        """The number of arrays, behind all others, that say what was observed."""
        return 0

    @property
    def is_conditional(self) -> bool:
        """Whether outputs are given evidence."""
        return self.circuit.evidence is not None

    def evidence_places(self, shape: tuple[int, ...]) -> np.ndarray:
        """The place of each sample's evidence, in order, among values of a shape that stand in row-major order."""
        places = np.asarray(self.circuit.evidence)
        return (places == np.arange(len(places))).nonzero()[0]

    @property
    @abstractmethod
    def num_values(self) -> int:
        """The number of values of a sample of the circuit."""

    @property
    @abstractmethod
    def circuit(self) -> Circuit:
        """The circuit as NumPy arrays."""

    @property
    def embedded(self) -> EmbeddedProgram | None:
        """The circuit as a constant of compiled code, if gradients are computed faster by it."""
        return None

    @property
    @abstractmethod
    def draws(self) -> bool:
        """Whether outputs depend on a seed."""

    @abstractmethod
    def place(self, arguments: Arguments) -> Circuit | Packed | None:
        """The circuit where it is evaluated, None if it has no outputs."""

    @abstractmethod
    def check(self, arguments: Arguments, *, are_logits_given: bool) -> None:
        """InputError for arguments that do not fit; values that are traced, or on an accelerator, may be left out."""

    @abstractmethod
    def check_finite(self, arguments: Arguments) -> None:
        """InputError for a value that is no finite number; all values are looked at."""

    @abstractmethod
    def name_output(self, place: int) -> str | None:
        """The output at a place among the values in row-major order, as errors name it; None if no one asks for it."""

    @abstractmethod
    def unpack(self, holder: Holder, values: ArrayLike, asked: AskedOutputs | None) -> Any:
        """The result of a call from the values; for each sample its own outputs if it `asked` for them."""


class AbstractProofLayout(AbstractLayout):
    """A layout that knows facts one by one, so that proofs can name them."""

    @abstractmethod
    def arrange(self, found: Sequence[Sequence[T]], absent: Callable[[], T]) -> np.ndarray:
        """Objects `[samples, outputs]` of those of the circuit's samples and outputs; `absent` for underivable ones."""

    @abstractmethod
    def proof_reader(self) -> Callable[[Sequence[Proof]], list]:
        """Reads proofs, of literals by row, as a call returns them."""


class AbstractNamedLayout(AbstractProofLayout):
    """A layout that knows inputs and outputs one by one, which may be Python objects."""

    @property
    @abstractmethod
    def outputs(self) -> Sequence[Output]:
        """The output relations in order, with their tuples."""

    @property
    @abstractmethod
    def keyed(self) -> bool:
        """Whether results are a dictionary by relation."""

    @abstractmethod
    def list_inputs(self, arguments: Arguments, seed: int | Array, entries: Entries | None) -> list[list[Any]]:
        """The inputs of each sample of the circuit, one by one: numbers, or `entries` in place of the arrays' numbers.

        ABSENT for entries that are not retained; `seed` is that of draws.
        """

    @abstractmethod
    def dtyped(self, arguments: Arguments) -> Sequence[Any]:
        """The inputs whose dtypes are those of the results."""


def arrange_rows(found: Sequence[Sequence[Any]], num_outputs: int) -> np.ndarray:
    """The first objects of each sample, `[samples, outputs]`."""
    arranged = np.empty((len(found), num_outputs), object)
    for sample, row in enumerate(found):
        for place in range(num_outputs):
            arranged[sample, place] = row[place]
    return arranged


def number_proofs(
    circuit: Circuit, ids: Sequence[int], names: Sequence[Literal]
) -> Callable[[Sequence[Proof]], list[list[Part]]]:
    """Names the literals of proofs by the number of their fact, `ids` by row among the tags, or else by `names`."""
    sources = np.asarray(circuit.literals.source).tolist()
    numbers = [ids[source] if 0 <= source < len(ids) else 0 for source in sources]
    return lambda proofs: number_parts(proofs, numbers, names)


def is_drawn(retentions: Sequence[Retention | None]) -> bool:
    """Whether entries of some array are drawn."""
    return any(retention is not None and retention.is_drawn for retention in retentions)


def name_output(outputs: Sequence[Any], sample: int, column: int) -> str:
    """The output of a sample in a column of the outputs, as errors name it."""
    output = next((output for output in reversed(outputs) if output.start <= column), None)
    if output is None or column - output.start >= len(output.tuples):
        return f"what was observed in sample {sample}"
    return f"`{output.relation}{show_tuple(output.tuples[column - output.start])}` in sample {sample}"
