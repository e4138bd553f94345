"""The input layout of the tags of a program's own facts, as a context runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import Literal
from scallax.errors import InputError
from scallax.evaluation.batch import Arguments, ArrayLike
from scallax.evaluation.input_layout import AbstractProofLayout, Proof, T, arrange_rows, number_proofs
from scallax.evaluation.jax_values import is_concrete
from scallax.facts.outputs import AskedOutputs
from scallax.facts.tensor_facts import Retention

if TYPE_CHECKING:
    from scallax.evaluation.cache import Holder
    from scallax.evaluation.packing import Packed


@final
@dataclass(frozen=True, slots=True)
class TagsLayout(AbstractProofLayout):
    """The tags `[num_tags]` of facts of a program: those of all its outputs, `[size]`; no circuit without outputs.

    JAX evaluates it as one array if `is_packed`. `name` names the output at a place. In proofs, literals have the
    numbers `ids` of their facts, by row among the tags, or else the `names`.
    """

    on_host: Circuit | None
    size: int
    num_tags: int
    name: Callable[[int], str | None]
    names: Sequence[Literal]
    ids: Sequence[int] = ()
    is_packed: bool = False

    @property
    def retentions(self) -> tuple[Retention | None, ...]:
        return (None,) * bool(self.num_tags)

    @property
    def is_union(self) -> bool:
        return True

    @property
    def is_conditional(self) -> bool:
        return self.on_host is not None and self.on_host.evidence is not None

    @property
    def num_values(self) -> int:
        return self.size

    @property
    def circuit(self) -> Circuit:
        assert self.on_host is not None, "there are outputs"
        return self.on_host

    @property
    def draws(self) -> bool:
        # A run has no seed but the circuit's own.
        return False

    def place(self, arguments: Arguments) -> Circuit | Packed | None:
        if self.on_host is None or not self.is_packed:
            return self.on_host
        from scallax.evaluation.packing import pack  # it imports JAX

        return pack(self.on_host)

    def check(self, arguments: Arguments, *, are_logits_given: bool) -> None:
        (tags,) = arguments.arrays or (np.zeros(0),)
        assert tags.shape == (self.num_tags,)
        if is_concrete(tags) and not np.isfinite(np.asarray(tags)).all():
            raise InputError("a tag of a fact is not finite; a tag is a finite number")

    def check_finite(self, arguments: Arguments) -> None:
        """Nothing: all tags were looked at."""

    def name_output(self, place: int) -> str | None:
        return self.name(place)

    def unpack(self, holder: Holder, values: ArrayLike, asked: AskedOutputs | None) -> ArrayLike:
        return values

    def arrange(self, found: Sequence[Sequence[T]], absent: Callable[[], T]) -> np.ndarray:
        return arrange_rows(found, self.size)

    def proof_reader(self) -> Callable[[Sequence[Proof]], list]:
        return number_proofs(self.circuit, self.ids, self.names)
