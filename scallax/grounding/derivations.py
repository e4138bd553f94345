"""Operands, derivations and literals: what grounding hands to evaluation."""

from dataclasses import field
from typing import TypeVar

import numpy as np

from scallax.language.records import record

# An operand of a derivation is one int64: a node (0, 1, 2, ...) or one of these codes.
ONE = -1
ZERO = -2
_FIRST_LITERAL = -3

# The prior of an untagged fact that must keep an operand of its own: its tag is one.
CERTAIN_PRIOR = float("inf")

Codes = TypeVar("Codes", int, np.ndarray)


def literal_operand(literal: Codes) -> Codes:
    """The operand code of literal ids."""
    return _FIRST_LITERAL - literal


def operand_literal(operand: Codes) -> Codes:
    """The literal id of a literal's operand code (any code of at most -3)."""
    return _FIRST_LITERAL - operand


@record
class Literals:
    """The uncertain facts: every one is a random variable of its own.

    `prior` float64 `[literals]`: the tag written in the program, NaN where the batch gives it, CERTAIN_PRIOR for none.
    `source` int64 `[literals]`: position in the batch's flattened inputs, or -1 for a prior.
    `group` int64 `[literals]`: literals of one group exclude each other; -1 is independent.
    `parameter` int64 `[literals]`: position of the trainable logit that gives the probability, or -1; the prior is NaN
    there, and several literals may have one parameter.
    `outcomes` bool `[literals]`, or empty for none: outcomes of random choices. The group of such a literal counts as
    one variable, whether or not the groups of facts do.
    """

    prior: np.ndarray
    source: np.ndarray
    group: np.ndarray
    parameter: np.ndarray
    outcomes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __len__(self) -> int:
        return len(self.prior)

    def with_inputs(self, source: np.ndarray) -> "Literals":
        """These, and behind them independent ones that the batch gives, at these positions."""
        none = np.full(len(source), -1)
        outcomes = np.append(self.outcomes, np.zeros(len(source), np.bool_)) if len(self.outcomes) else self.outcomes
        return Literals(
            np.append(self.prior, np.full(len(source), np.nan)),
            np.append(self.source, source),
            np.append(self.group, none),
            np.append(self.parameter, none),
            outcomes,
        )


def mark_outcomes(literals: np.ndarray, count: int) -> np.ndarray:
    """The field `outcomes` of `count` literals of which some are outcomes."""
    is_outcome = np.zeros(count if len(literals) else 0, np.bool_)
    is_outcome[literals] = True
    return is_outcome


@record
class Derivations:
    """`head <- left, right`, one row each; `right` is ONE where there is one operand.

    `head` int64 `[derivations]` are node ids below `num_nodes`; `left` and `right` int64 are operand
    codes; `left_negated` and `right_negated` bool say that the complement of the operand is meant.
    A node of no derivation is false.
    """

    num_nodes: int
    head: np.ndarray
    left: np.ndarray
    right: np.ndarray
    left_negated: np.ndarray
    right_negated: np.ndarray

    def __len__(self) -> int:
        return len(self.head)

    def join(self, others: "Derivations") -> "Derivations":
        """These and others, whose nodes come after these ones."""
        return Derivations(
            others.num_nodes,
            *(
                np.concatenate([getattr(self, name), getattr(others, name)])
                for name in ("head", "left", "right", "left_negated", "right_negated")
            ),
        )
