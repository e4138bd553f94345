"""The contract of a provenance: an algebra of tags that is folded over derivations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scallax.errors import Diagnostic, UnsupportedError
from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.kernels.logarithms import log1mexp
from scallax.kernels.schedule import Tile
from scallax.language.tag_domains import Domain
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, PyTree, Shaped, UInt32

    from scallax.kernels.array_namespace import Array
    from scallax.provenance.proofs.dnf import ProofSets

# Arrays with the axes `rows, ..., batch`.
Tags: TypeAlias = "PyTree[Array]"


@dataclass(frozen=True, slots=True)
class LiteralTable:
    """The literals of a program, for one evaluation.

    Where the provenance `is_log`, `probabilities` are logarithms: minus infinity for what is impossible.

    Proofs have a column for each polarity in which a literal may occur: `columns` is the literal of each (-1: padding),
    first `words[0]` words of positive columns, then `words[2]` of negated ones; in the first `words[1]` words of both,
    equal columns are one literal; the last two of `words` count the columns of each kind in use. `column_of` is the
    positive and the negated column of each literal, -1 for none.
    `negated` are the literals whose complements are leaves.

    `exclusions` are bit sets, over positive columns, of the other members of a literal's exclusive group (no words if
    there are no groups); members stand side by side, and `group_end` marks the last one (an independent literal is its
    own last). `certain` are untagged facts of a provenance that does not absorb certainty: their tag is one. `seed` is
    what provenances that draw depend on.

    With a `length`, proofs are lists of at most so many columns; `exclusions` have no words then, and `groups` is the
    exclusive group of each positive column, whose members stand side by side, -1 for none and for negated columns
    (empty if there are no groups). With `counts_choices`, the groups that `group_end` tells apart are random choices,
    which count as one variable each, while members of other groups are independent where they do not meet.

    Index arrays are of NumPy if the compiled code may depend on them. If a program has literals by component
    (`has_local_literals`), `leaf_tags` sees all literals; `step` and `recover` see, for each column of the batch, those
    of its component; then exclusions and group ends have a batch axis. Columns are numbered for each component alone,
    and equal columns of all components have one polarity.
    """

    probabilities: Float[Array, "literals batch"]
    present: Bool[Array, "literals batch"]
    exclusions: UInt32[Array, "literals words"] | UInt32[Array, "literals words batch"]
    group_end: Bool[Array, " literals"] | Bool[Array, "literals batch"]
    columns: Int[Array, " columns"]
    column_of: Int[Array, "2 literals"]
    negated: Int[Array, " negated"]
    words: tuple[int, int, int, int, int]
    certain: Bool[Array, " literals"] | Bool[Array, "literals batch"]
    seed: UInt32[Array, ""]
    length: int
    groups: Int[Array, " columns"]
    counts_choices: int = 0
    is_log: bool = False

    @property
    def xp(self) -> Namespace:
        """The operations by which tags of these literals are computed."""
        return array_namespace(self.probabilities)

    def complement(self, p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The probabilities of what fails, of those of what holds; logarithms, if these are."""
        return log1mexp(p) if self.is_log else 1 - p

    def of_samples(self, samples: Int[Array, " samples"]) -> LiteralTable:
        """The literals of some samples of the batch, in this order."""

        def take(leaf, axes):
            return leaf[..., samples] if leaf.ndim == axes else leaf

        return replace(
            self,
            probabilities=take(self.probabilities, 2),
            present=take(self.present, 2),
            exclusions=take(self.exclusions, 3),
            group_end=take(self.group_end, 2),
            certain=take(self.certain, 2),
        )


class AbstractProvenance(AbstractSemantics):
    """Tags as arrays, how derivations combine them, and how a probability is recovered from them.

    A tuple's tag is the sum, over its derivations, of the product of its atoms' tags, in the algebra's own sum and
    product (Green, Karvounarakis, Tannen, "Provenance semirings", PODS 2007). A final class is a frozen dataclass, so
    that equal provenances share a compilation. Operations see arrays only, of NumPy or of JAX, and return arrays of the
    same library. `kind` is one of the operand kinds of `scallax.kernels.schedule`.
    """

    @abstractmethod
    def leaf_tags(self, literals: LiteralTable) -> Tags:
        """Tags of zero, one, every literal and the complement of every literal in `negated`, in this order.

        An absent literal is zero.
        """

    def compact_leaves(self, literals: LiteralTable) -> Any:
        """The arrays that `read_leaves` makes the tags of leaves from, where these are much larger; else None."""
        return None

    def read_leaves(self, leaves: Any, places: Int[Array, " rows"], literals: LiteralTable) -> Tags:
        """The rows of `leaf_tags` at some places, from `compact_leaves`."""
        raise NotImplementedError

    def widen(self, leaves: Tags, literals: LiteralTable) -> Tags:
        """Tags of leaves as tags of nodes, where these have axes of another length."""
        return leaves

    def alike(self, tags: Tags, others: Tags) -> tuple[Tags, Tags]:
        """Both with axes of the same lengths but for the first, where NumPy at once makes tags as long as they are."""
        return tags, others

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
        """The sum `total ⊕ ⊕_i (left_i ⊗ right_i)` over the rows i of operands, of heads `[width, ..., batch]`.

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

    def narrow(self, tags: Tags, literals: LiteralTable) -> tuple[Tags, LiteralTable]:
        """The tags, and the literals for `recover`, without what no tag uses; where values may be looked at."""
        return tags, literals

    @abstractmethod
    def differs(self, old: Tags, new: Tags) -> Bool[Array, ""]:
        """Whether a cycle has to go on: some tag changed by more than rounding."""

    @abstractmethod
    def recover(self, tags: Tags, literals: LiteralTable) -> Shaped[Array, "outputs batch"]:
        """Output values of tags; differentiable in the literals' probabilities with `Gradient.RECOVER`."""

    def proof_sets(self, tags: Tags) -> ProofSets:
        """The proofs that tags of tuples hold. UnsupportedError if they hold none."""
        hint = "choose one of proofs, such as `topkproofs`"
        raise UnsupportedError(Diagnostic(f"the provenance `{self.name}` keeps no proofs", hint=hint))

    def recover_with_derivatives(
        self, tags: Tags, literals: LiteralTable, known: Any
    ) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs literals batch"]]:
        """The values of `recover`, never NaN for finite probabilities, and their derivatives by those of the literals.

        `known` is what `flat_outputs` gave beside the tags; None if that is nothing, or if it gave no tags.
        """
        raise NotImplementedError

    def weigh(self, outputs: Shaped[Array, "outputs batch"]) -> Shaped[Array, "outputs batch"]:
        """The weights by which aggregators choose among tuples with these outputs; 0 for what does not hold.

        Probabilities, exponentials of negative costs, and 1 for what has only a number of derivations.
        """
        match self.traits.domain:
            case Domain.PROBABILITY if self.traits.is_log:
                return array_namespace(outputs).exp(outputs)
            case Domain.PROBABILITY:
                return outputs
            case Domain.COST:
                return array_namespace(outputs).exp(-outputs)
            case _:
                return outputs != array_namespace(outputs).asarray(self.absent, outputs.dtype)
