"""The contract of a provenance: an algebra of tags that is folded over derivations."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt32

from scallax.errors import Diagnostic
from scallax.kernels.schedule import Tile
from scallax.language.tag_domains import Domain

# Arrays with the axes `rows, ..., batch`.
Tags = PyTree[Array]

# Of NumPy where they are known when code is compiled.
Indices = Array | np.ndarray


class Gradient(Enum):
    """How outputs are differentiated."""

    # Not at all: outputs are bool or integers.
    NONE = "none"
    # Through `recover` alone: the tags are found without gradients.
    RECOVER = "recover"
    # Through tags, floats `[rows, batch]` whose conjunction is the product and whose disjunction passes cotangents on.
    PRODUCT = "product"
    # Through tags, by differentiating `step`.
    STEP = "step"

    @property
    def is_product(self) -> bool:
        """Whether the transposed schedule is needed."""
        return self is Gradient.PRODUCT


@dataclass(frozen=True, slots=True)
class LiteralTable:
    """The literals of a program, for one evaluation.

    Proofs have a column for each polarity in which a literal may occur: `columns` is the literal of each (-1: padding),
    first `words[0]` words of positive columns, then `words[2]` of negated ones; in the first `words[1]` words of both,
    equal columns are one literal; the last two of `words` count the columns of each kind in use. `column_of` is the
    positive and the negated column of each literal, -1 for none.
    `negated` are the literals whose complements are leaves.

    `exclusions` are bit sets, over positive columns, of the other members of a literal's exclusive group (no words if
    there are no groups); members stand side by side, and `group_end` marks the last one (an independent literal is its
    own last). `certain` are untagged facts of a provenance that does not absorb certainty: their tag is one. `seed` is
    what provenances that draw depend on.

    Index arrays are of NumPy if the compiled code may depend on them. Of a program with `has_local_literals`,
    `leaf_tags` sees all literals; `step` and `recover` see, for each column of the batch, those of its component; then
    exclusions and group ends have a batch axis. Columns are numbered for each component alone, and equal columns of all
    components have one polarity.
    """

    probabilities: Float[Array, "literals batch"]
    present: Bool[Array, "literals batch"]
    exclusions: UInt32[Indices, "literals words"] | UInt32[Array, "literals words batch"]
    group_end: Bool[Indices, " literals"] | Bool[Array, "literals batch"]
    columns: Int[Indices, " columns"]
    column_of: Int[Indices, "2 literals"]
    negated: Int[Indices, " negated"]
    words: tuple[int, int, int, int, int]
    certain: Bool[Array, " literals"] | Bool[Array, "literals batch"]
    seed: UInt32[Array, ""]


class AbstractSemantics(ABC):
    """What grounding, layout and the doors ask of a provenance, whoever computes its tags."""

    # The name in the table of provenances.
    name: str

    # Whether facts and rules with a tag are uncertain; if not, every fact is certain.
    uses_tags: bool

    # Whether calls return the proofs beside the values.
    returns_proofs: bool = False

    @property
    @abstractmethod
    def uses_exclusion(self) -> bool:
        """Whether mutual exclusion matters; then an untagged member of a group has probability 1, not certainty."""

    @property
    def is_absorptive(self) -> bool:
        """Whether one joined with anything is one, so that what is certain needs no other derivation."""
        return True

    @property
    def takes_tagged_facts(self) -> bool:
        """Whether facts from Python are pairs of a tag and a tuple."""
        return self.uses_tags

    @property
    def takes_objects(self) -> bool:
        """Whether tags of facts may be any objects of Python."""
        return False

    @property
    def domain(self) -> Domain:
        """What the tags of facts are."""
        return Domain.PROBABILITY

    @property
    def has_multivalued_variables(self) -> bool:
        """Whether a group is one multi-valued variable; if not, its members are independent where they do not meet."""
        return False

    @property
    def has_weights(self) -> bool:
        """Whether evaluation can weigh tuples against each other."""
        return True

    @property
    def is_compiled(self) -> bool:
        """Whether derivations are compiled to a circuit of disjoint sums and independent products first."""
        return False

    @property
    @abstractmethod
    def gradient(self) -> Gradient:
        """How outputs are differentiated."""

    @property
    def is_discrete(self) -> bool:
        """Whether outputs have no derivatives: they are bool or integers."""
        return self.gradient is Gradient.NONE

    @property
    def passes_gradients(self) -> bool:
        """Whether gradients may pass through evaluation, those of a user's objects among them."""
        return not self.is_discrete

    @property
    def draws(self) -> bool:
        """Whether outputs depend on a seed."""
        return False

    @property
    def has_local_literals(self) -> bool:
        """Whether tags hold sets of literals, so that they are smaller if each component numbers its own."""
        return False

    @property
    def is_order_sensitive(self) -> bool:
        """Whether tags depend on the order of nodes and derivations, rounding aside, as where proofs are left out."""
        return True

    @property
    def is_distributive(self) -> bool:
        """Whether conjunction distributes over disjunction where the two sides have no literal and no group in common.

        Then tags that are disjunctions may be joined, instead of each of their derivations.
        """
        return False

    @property
    def absent(self) -> float:
        """The output of a tuple that does not hold."""
        return 0.0

    @abstractmethod
    def prior(self, tag: float | bool) -> float | None:
        """The literal's value for a tag written in the program, or None if such a tag means certain."""

    def is_certain(self, tags: np.ndarray) -> np.ndarray:
        """Which facts hold in every world for their constant tags, as literals with complements of tag zero.

        Float64 `[facts]`, NaN for no constant, infinite for untagged facts that are literals.
        """
        return np.zeros(len(tags), np.bool_)

    @property
    @abstractmethod
    def block_rows(self) -> Mapping[int, tuple[int, ...]]:
        """For each kind of tile that is told apart, how many rows of derivations `step` may take at once, ascending."""

    @property
    @abstractmethod
    def derivation_cost(self) -> float:
        """Estimated microseconds of `step` for one derivation and a batch of 64; a step as such takes about 20."""

    @property
    def refusal(self) -> Diagnostic | None:
        """What is wrong with the first output, by sample and then in their order, that `recover` makes NaN.

        Of probabilities that are all finite. None: it makes none NaN.
        """
        return None


class AbstractProvenance(AbstractSemantics):
    """Tags as arrays, how derivations combine them, and how a probability is recovered from them.

    A final class is a frozen dataclass, so that equal provenances share a compilation. Operations see arrays only.
    `kind` is one of the operand kinds of `scallax.kernels.schedule`.
    """

    @property
    @abstractmethod
    def is_idempotent(self) -> bool:
        """Whether a tag joined with itself is itself, so that a cycle may add to the tags of the round before."""

    @property
    def may_diverge(self) -> bool:
        """Whether tags on a cycle may go on changing for ever, so that outputs are NaN after the most rounds."""
        return False

    @property
    def output_dtype(self) -> DTypeLike | None:
        """The dtype of outputs; None: the float dtype of the inputs."""
        return jnp.bool_ if self.is_discrete else None

    @abstractmethod
    def leaf_tags(self, literals: LiteralTable) -> Tags:
        """Tags of zero, one, every literal and the complement of every literal in `negated`, in this order.

        An absent literal is zero.
        """

    def compact_leaves(self, literals: LiteralTable) -> Any:
        """What `read_leaves` makes the tags of leaves from, where these are much larger; None if they are not."""
        return None

    def read_leaves(self, leaves: Any, places: Int[Array, " rows"], literals: LiteralTable) -> Tags:
        """Those of `leaf_tags` at some places, from `compact_leaves`."""
        raise NotImplementedError

    def widen(self, leaves: Tags) -> Tags:
        """Tags of leaves as tags of nodes, where these have axes of another length."""
        return leaves

    @abstractmethod
    def step(
        self,
        kind: int,
        total: Tags,
        left: Sequence[Tags],
        right: Sequence[Tags],
        cyclic: Bool[Array, ""],
        literals: LiteralTable,
    ) -> Tags:
        """`total` `[width, ..., batch]` joined with the conjunctions of each row of `left` and `right`.

        For the kinds `LITERALS` and `LINEAR` each row has two operands in `right`, leaves as `leaf_tags` gives them.
        For the kind `COMPLEMENT`: the negation of `left[0]`, or of the sum of `left` if `block_rows` has more than one.
        With `Gradient.STEP` all derivations of a head are given at once, and the floats among the tags are
        differentiated.
        """

    def flat_outputs(
        self, leaves: Tags, tiles: Sequence[Tile], outputs: np.ndarray, literals: LiteralTable, *, all_present: bool
    ) -> tuple[Tags, Any] | None:
        """The tags of outputs from those of the leaves alone, if index arrays are of NumPy; None if it cannot.

        `tiles` are all steps of the program; with `all_present` no fact is missing in any sample. Beside the tags is
        what `recover_with_derivatives` may know of them.
        """
        return None

    def head_cotangent(
        self,
        total: Float[Array, "width batch"],
        heads: Float[Array, "width batch"],
        complement: Bool[Array, ""],
        cyclic: Bool[Array, ""],
    ) -> Float[Array, "width batch"]:
        """The cotangent of the derivations of heads with the tags `heads` and the cotangent `total`.

        Only with `Gradient.PRODUCT`. For literals and partial sums, which have no heads, `heads` are 0 and `cyclic` is
        False.
        """
        raise NotImplementedError

    @abstractmethod
    def differs(self, old: Tags, new: Tags) -> Bool[Array, ""]:
        """Whether a cycle has to go on: some tag changed by more than rounding."""

    @abstractmethod
    def recover(self, tags: Tags, literals: LiteralTable) -> Shaped[Array, "outputs batch"]:
        """Output values of tags; differentiable in the literals' probabilities with `Gradient.RECOVER`."""

    @property
    def has_derivatives(self) -> bool:
        """Whether `recover_with_derivatives` is there."""
        return False

    def recover_with_derivatives(
        self, tags: Tags, literals: LiteralTable, known: Any
    ) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs literals batch"]]:
        """What `recover` gives, none of it NaN for finite probabilities, and its derivatives by those of the literals.

        `known` is what `flat_outputs` gave beside the tags; None if that is nothing, or if it gave no tags.
        """
        raise NotImplementedError

    def weigh(self, outputs: Shaped[Array, "outputs batch"]) -> Shaped[Array, "outputs batch"]:
        """The weights by which aggregators choose among tuples with these outputs; 0 for what does not hold.

        Probabilities, exponentials of negative costs, and 1 for what has only a number of derivations.
        """
        match self.domain:
            case Domain.PROBABILITY:
                return outputs
            case Domain.COST:
                return jnp.exp(-outputs)
            case _:
                return outputs != jnp.asarray(self.absent, outputs.dtype)
