"""Evidence in derivations: what was observed as one operand, and outputs that are conjoined with it.

Given: derivations, operands of outputs, and operands of what was observed. Handed on: derivations with nodes more. The
quotient of an output's probability by that of the evidence is taken where the circuit is evaluated.
"""

from dataclasses import dataclass, field

import numpy as np

from scallax.grounding.derivations import ONE, ZERO, Derivations

# The literals of one tuple that a call may observe: it holds, it does not, it was not looked at.
NUM_CASES = 3


@dataclass(slots=True)
class MoreNodes:
    """Nodes that are added behind those of some derivations."""

    before: Derivations
    num_nodes: int = -1
    _parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self):
        self.num_nodes = self.before.num_nodes

    def observe(self, tuples: np.ndarray, cases: np.ndarray) -> np.ndarray:
        """The operands `[...]` of what was observed of tuples.

        `tuples` int64 `[...]` are operands, and `cases` `[..., 3]` literals whose weights say what was seen: a tuple
        holds and the first is true, it does not hold and the second is true, or the third is true.
        """
        nodes = self._nodes(tuples.size)
        flat, (holds, fails, unseen) = tuples.reshape(-1), cases.reshape(-1, NUM_CASES).T
        may_hold, may_fail = (flat != ZERO).nonzero()[0], (flat != ONE).nonzero()[0]
        self._derive(nodes[may_hold], holds[may_hold], flat[may_hold])
        # The complement of a tuple that never holds is certain.
        is_false = flat[may_fail] == ZERO
        others = np.where(is_false, ONE, flat[may_fail])
        self._derive(nodes[may_fail], fails[may_fail], others, ~is_false)
        self._derive(nodes, unseen, np.full(len(nodes), ONE))
        return nodes.reshape(tuples.shape)

    def conjoin(self, operands: np.ndarray) -> np.ndarray:
        """The operands `[rows]` of the conjunctions of `[rows, parts]`, by trees; ONE for those without parts."""
        if not operands.shape[1]:
            return np.full(len(operands), ONE)
        while operands.shape[1] > 1:
            half = operands.shape[1] // 2
            left, right = operands[:, : 2 * half : 2], operands[:, 1 : 2 * half : 2]
            nodes = self._nodes(left.size)
            self._derive(nodes, left.reshape(-1), right.reshape(-1))
            operands = np.concatenate([nodes.reshape(left.shape), operands[:, 2 * half :]], 1)
        return operands[:, 0]

    def condition(self, operands: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """The operands, each conjoined with the one that stands at its place `evidence`, but where that is its own."""
        rows = (evidence != np.arange(len(operands))).nonzero()[0]
        nodes = self._nodes(len(rows))
        self._derive(nodes, operands[rows], operands[evidence[rows]])
        found = operands.copy()
        found[rows] = nodes
        return found

    def derivations(self) -> Derivations:
        """All derivations."""
        if not self._parts:
            return self.before
        head, left, right, negated = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        order = np.argsort(head, kind="stable")
        right_negated = negated[order]
        added = Derivations(
            self.num_nodes, head[order], left[order], right[order], np.zeros(len(order), np.bool_), right_negated
        )
        return self.before.join(added)

    def _nodes(self, count: int) -> np.ndarray:
        first, self.num_nodes = self.num_nodes, self.num_nodes + count
        return np.arange(first, self.num_nodes)

    def _derive(
        self, heads: np.ndarray, left: np.ndarray, right: np.ndarray, right_negated: np.ndarray | None = None
    ) -> None:
        negated = np.zeros(len(heads), np.bool_) if right_negated is None else right_negated
        self._parts.append((heads, left, right, negated))
