"""Sets of selections: literals whose values follow from the weights of tuples, and the stages that evaluate them."""

from collections.abc import Sequence

import numpy as np

from scallax.grounding.derivations import ONE, Derivations, Literals, operand_literal
from scallax.grounding.reachability import needed_derivations
from scallax.kernels.selections import HEAVIEST, RANGE, Selections
from scallax.language.records import record


@record
class SelectionSet:
    """The selections of one aggregate over tuples that evaluation weighs.

    `members` int64 operand codes; `groups` int64 `[members]` ascend; `order` is that of all groups, `names` int64
    `[members]` are below 2^31. `literals` int64 `[selections]` are the selections; `places` int64 `[selections]` says
    which member each is of, `first` and `end` its range. The rest as in `scallax.kernels.selections`.
    """

    members: np.ndarray
    groups: np.ndarray
    order: int
    names: np.ndarray
    literals: np.ndarray
    places: np.ndarray
    kind: int
    first: np.ndarray
    end: np.ndarray


@record
class SelectionStage:
    """Selections that can be evaluated together: of tuples that depend on selections of the stages before only.

    `members` are operand codes, `literals` the selections' ids.
    """

    members: np.ndarray
    literals: np.ndarray
    selections: Selections


def find_stages(
    derivations: Derivations, selection_sets: Sequence[SelectionSet], outputs: np.ndarray
) -> list[SelectionStage]:
    """The stages that `outputs` (int64 operand codes) need, in order; the sets were made in a topological order."""
    needed = _needed_sets(derivations, selection_sets, outputs)
    levels: dict[int, int] = {}
    for number in sorted(needed):
        levels[number] = 1 + max((levels[below] for below in needed[number]), default=-1)
    by_level: list[list[SelectionSet]] = [[] for _ in range(1 + max(levels.values(), default=-1))]
    for number, level in levels.items():
        by_level[level].append(selection_sets[number])
    return [_join(members) for members in by_level]


def find_given(
    derivations: Derivations, literals: Literals, selection_sets: Sequence[SelectionSet], operands: np.ndarray
) -> np.ndarray:
    """The literals below `operands` whose probability the batch or a parameter gives, by id."""
    needed = _needed_sets(derivations, selection_sets, operands)
    roots = np.concatenate([operands, *(selection_sets[number].members for number in needed)])
    used = _used_literals(derivations, roots)
    return used[(literals.source[used] >= 0) | (literals.parameter[used] >= 0)]


def pad_selections(selections: Selections, num_members: int) -> Selections:
    """The selections with groups of one member up to `num_members`, and closed selections up to a power of two."""
    members = len(selections.groups)
    num_selections = max(8, 1 << (len(selections.members) - 1).bit_length())
    extra = num_members - members
    groups = int(selections.groups.max(initial=-1)) + 1

    def pad(values: np.ndarray, more: np.ndarray) -> np.ndarray:
        return np.concatenate([values, more]).astype(np.int32)

    none = np.zeros(num_selections - len(selections.members), np.int32)
    return Selections(
        pad(selections.groups, groups + np.arange(extra)),
        pad(selections.starts, members + np.arange(extra)),
        pad(selections.orders, np.full(extra, HEAVIEST)),
        pad(selections.names, np.zeros(extra)),
        pad(selections.members, none),
        pad(selections.kinds, np.full(len(none), RANGE)),
        pad(selections.first, none),
        pad(selections.end, none),
    )


def _needed_sets(
    derivations: Derivations, selection_sets: Sequence[SelectionSet], outputs: np.ndarray
) -> dict[int, list[int]]:
    """The sets whose selections outputs depend on, through other selections too, and for each those right below it."""
    literals = [selections.literals for selections in selection_sets]
    owner = np.full(1 + max((int(ids.max(initial=-1)) for ids in literals), default=-1), -1)
    for number, ids in enumerate(literals):
        owner[ids] = number

    def below(operands: np.ndarray) -> list[int]:
        used = _used_literals(derivations, operands)
        owners = owner[used[used < len(owner)]]
        return np.unique(owners[owners >= 0]).tolist()

    waiting, needed = below(outputs) if selection_sets else [], {}
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed[number] = below(selection_sets[number].members)
            waiting += needed[number]
    return needed


def _used_literals(derivations: Derivations, operands: np.ndarray) -> np.ndarray:
    used, _ = needed_derivations(derivations.num_nodes, derivations.head, derivations.left, derivations.right, operands)
    codes = np.concatenate([derivations.left[used], derivations.right[used], operands])
    ids = operand_literal(codes[codes < ONE])
    return np.unique(ids[ids >= 0])


def _join(selection_sets: Sequence[SelectionSet]) -> SelectionStage:
    groups, starts, places, num_groups, num_members = [], [], [], 0, 0
    for selections in selection_sets:
        first = np.searchsorted(selections.groups, selections.groups)
        groups.append(selections.groups + num_groups)
        starts.append(first + num_members)
        places.append(selections.places + num_members)
        num_groups += int(selections.groups.max(initial=-1)) + 1
        num_members += len(selections.groups)
    return SelectionStage(
        np.concatenate([selections.members for selections in selection_sets]),
        np.concatenate([selections.literals for selections in selection_sets]),
        Selections(
            np.concatenate(groups),
            np.concatenate(starts),
            np.concatenate([np.full(len(selections.groups), selections.order) for selections in selection_sets]),
            np.concatenate([selections.names for selections in selection_sets]),
            np.concatenate(places),
            np.concatenate([np.full(len(selections.literals), selections.kind) for selections in selection_sets]),
            np.concatenate([selections.first for selections in selection_sets]),
            np.concatenate([selections.end for selections in selection_sets]),
        ),
    )
