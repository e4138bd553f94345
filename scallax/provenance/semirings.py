"""Provenances whose tags are Python objects: evaluated on the host, sample by sample."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.provenance.traits import AbstractSemantics, Traits

# Proofs of one tuple.
MAX_PROOFS = 100_000

# Literals that are true together, as pairs of a literal's number and its exclusive group (-1 for none).
Proof = frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact to be tagged: its number and exclusive group (-1 for none), and the number given for it, if any."""

    literal: int
    group: int
    value: Any


class AbstractSemiring(ABC):
    """An algebra of Python objects. Tuples that do not hold have no tag: `zero` is only for outputs."""

    @abstractmethod
    def tag(self, fact: Fact) -> Any:
        """The tag of a fact that exists."""

    @abstractmethod
    def zero(self) -> Any:
        """The tag of an output that does not hold."""

    @abstractmethod
    def one(self) -> Any:
        """The tag of what is certain."""

    @abstractmethod
    def add(self, a: Any, b: Any) -> Any:
        """The tag of alternatives."""

    @abstractmethod
    def mult(self, a: Any, b: Any) -> Any:
        """The tag of a conjunction."""

    @abstractmethod
    def negate(self, tag: Any) -> Any:
        """The tag of a negation."""

    @abstractmethod
    def saturated(self, old: Any, new: Any) -> bool:
        """Whether a tag on a cycle has settled."""

    @abstractmethod
    def discard(self, tag: Any) -> bool:
        """Whether a derived tuple with this tag does not hold."""

    @abstractmethod
    def recover(self, tag: Any) -> Any:
        """The output of a tag."""

    @abstractmethod
    def collate(self, batch: list[list[Any]]) -> Any:
        """The result of a call for one output relation, made of its outputs: a list for each sample."""

    @abstractmethod
    def proofs(self, tag: Any) -> list[Proof]:
        """The proofs that a tag holds, for an explanation."""


@dataclass(frozen=True)
class Proofs(AbstractSemiring):
    """All proofs: sets of facts that entail the tuple, without two of one exclusive group; none is absorbed.

    An output is whether there is a proof. Negation is not defined; `name` is the provenance that is refused.
    """

    name: str

    def tag(self, fact: Fact) -> frozenset[Proof]:
        return frozenset([frozenset([(fact.literal, fact.group)])])

    def zero(self) -> frozenset[Proof]:
        return frozenset()

    def one(self) -> frozenset[Proof]:
        return frozenset([frozenset()])

    def add(self, a, b):
        return _limited(a | b)

    def mult(self, a, b):
        unions = set()
        for left in a:
            unions |= {union for right in b if not _excludes(union := left | right)}
            _limited(unions)
        return frozenset(unions)

    def negate(self, tag):
        hint = "`topkproofs` and `topbottomkclauses` negate what they keep"
        message = f"`{self.name}` has no negation, and the program negates or aggregates"
        raise UnsupportedError(Diagnostic(message, hint=hint))

    def saturated(self, old, new) -> bool:
        return old == new

    def discard(self, tag) -> bool:
        return not tag

    def recover(self, tag) -> bool:
        return bool(tag)

    def collate(self, batch):
        return batch

    def proofs(self, tag) -> list[Proof]:
        return sorted(tag, key=lambda proof: (len(proof), sorted(proof)))


@dataclass(frozen=True)
class RealTropicalProofs(AbstractSemiring):
    """The cheapest derivation, its cost and its facts; of equal costs the one of fewer facts, then of earlier ones.

    An output is the cost, without gradient; infinite for what does not hold. Negation is as in `realtropical`.
    """

    def tag(self, fact: Fact) -> tuple[float, Proof]:
        cost = fact.value
        # Torch warns of a tensor with gradients that becomes a float; JAX refuses what is traced.
        if hasattr(cost, "detach"):
            cost = cost.detach()
        return (0.0 if cost is None else float(cost), frozenset([(fact.literal, fact.group)]))

    def zero(self):
        return (float("inf"), frozenset())

    def one(self):
        return (0.0, frozenset())

    def add(self, a, b):
        return min(a, b, key=lambda tag: (tag[0], len(tag[1]), sorted(tag[1])))

    def mult(self, a, b):
        return (a[0] + b[0], a[1] | b[1])

    def negate(self, tag):
        return self.zero()

    def saturated(self, old, new) -> bool:
        return old == new

    def discard(self, tag) -> bool:
        return tag[0] == float("inf")

    def recover(self, tag) -> float:
        return tag[0]

    def collate(self, batch):
        return batch

    def proofs(self, tag) -> list[Proof]:
        return [] if self.discard(tag) else [tag[1]]


@dataclass(frozen=True)
class UserSemiring(AbstractSemiring):
    """An object with the methods of the reference's class: `zero, one, add, mult`, and where they are called others.

    `negate`; `tagging_fn` and `recover_fn` (the tag itself by default); `saturated(old, new)` (equality); `discard`
    (never); `collate` of the outputs of a batch (lists of lists).
    """

    semiring: Any

    @staticmethod
    def of(semiring: object) -> "UserSemiring":
        """Checks the methods that no program can do without."""
        missing = [name for name in ("zero", "one", "add", "mult") if not callable(getattr(semiring, name, None))]
        if isinstance(semiring, type):
            hint = f"give an object of it: `custom_provenance={semiring.__name__}()`"
            raise InputError(Diagnostic(f"the custom provenance {semiring!r} is a class", hint=hint))
        if missing:
            shown = ", ".join(f"`{name}`" for name in missing)
            hint = "subclass `scallax.Provenance`, or give an object with the methods of a semiring"
            raise InputError(Diagnostic(f"the custom provenance {semiring!r} has no method {shown}", hint=hint))
        return UserSemiring(semiring)

    def tag(self, fact: Fact):
        if fact.value is None:
            return self.one()
        return self._call("tagging_fn", fact.value, default=fact.value)

    def zero(self):
        return self.semiring.zero()

    def one(self):
        return self.semiring.one()

    def add(self, a, b):
        return self.semiring.add(a, b)

    def mult(self, a, b):
        return self.semiring.mult(a, b)

    def negate(self, tag):
        if not callable(getattr(self.semiring, "negate", None)):
            hint = "define its method `negate`"
            raise UnsupportedError(Diagnostic("the program negates, and its provenance has no negation", hint=hint))
        return self.semiring.negate(tag)

    def saturated(self, old, new) -> bool:
        if callable(getattr(self.semiring, "saturated", None)):
            return bool(self.semiring.saturated(old, new))
        return bool(old == new)

    def discard(self, tag) -> bool:
        return bool(self._call("discard", tag, default=False))

    def recover(self, tag):
        return self._call("recover_fn", tag, default=tag)

    def collate(self, batch):
        return self._call("collate", batch, default=batch)

    def proofs(self, tag):
        hint = "`recover_fn` decides what an output tells"
        raise UnsupportedError(Diagnostic("what the tags of a custom provenance prove is not known", hint=hint))

    def _call(self, name: str, argument, default):
        method = getattr(self.semiring, name, None)
        return method(argument) if callable(method) else default


@dataclass(frozen=True)
class ObjectProvenance(AbstractSemantics):
    """A semiring of Python objects as a provenance; its gradients are those of its objects, if they have any."""

    traits: Traits
    semiring: AbstractSemiring


def _excludes(proof: Proof) -> bool:
    """Whether two facts of a proof are of one exclusive group."""
    groups = [group for _, group in proof if group >= 0]
    return len(set(groups)) < len(groups)


def _limited(proofs):
    if len(proofs) > MAX_PROOFS:
        hint = "`topkproofs` keeps the most probable ones"
        raise UnsupportedError(Diagnostic(f"a tuple has more than {MAX_PROOFS:,} proofs", hint=hint))
    return proofs
