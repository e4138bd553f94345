"""Selections: literals whose values follow from the weights of tuples, as arrays for a compiled function.

The functions take arrays of NumPy and of JAX alike.
"""

from typing import Any, NamedTuple

# The order in which members are numbered: the largest weight first, the smallest first, in an order drawn with equal
# chances, or drawn by weight. Among equal weights the first member comes first.
HEAVIEST = 0
LIGHTEST = 1
UNIFORM = 2
CATEGORICAL = 3

# The kinds of selections: true where its member's number is in its range; a literal with the member's share of the
# weights, or of the exponentials of the weights.
RANGE = 0
NORMALIZE = 1
SOFTMAX = 2


class Selections(NamedTuple):
    """Members `[members]`, side by side by group, and selections `[selections]`; all arrays int32.

    `groups` ascend, `starts` is the place of the first member of each one's group, `orders` the order in which a
    group's members are numbered from 0, `names` what a member's draws depend on beside the seed. `members` is the place
    of each selection's member, `kinds` what the selection is, `first` and `end` its range. Padding are groups of one
    member, and selections of an empty range.
    """

    groups: Any
    starts: Any
    orders: Any
    names: Any
    members: Any
    kinds: Any
    first: Any
    end: Any


class Stage(NamedTuple):
    """A part of a ground program that is evaluated before the rest: its outputs are the members of `selections`."""

    program: Any
    selections: Selections
