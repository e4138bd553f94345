"""Literals whose values follow from the weights of tuples, and the stages in which a program with such is evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scallax.grounding.dependencies import needed_derivations
from scallax.grounding.derivations import ONE, Derivations, Literals, operand_literal
from scallax.kernels.gates import HEAVIEST, RANGE, Gates


@dataclass(frozen=True, slots=True)
class GateSet:
    """The gates of one aggregate over tuples that evaluation weighs.

    `members` int64 operand codes; `groups` int64 `[members]` ascend; `order` is that of all groups, `names` int64
    `[members]` are below 2^31. `literals` int64 `[gates]` are the gates; `places` int64 `[gates]` says which member
    each is of, `first` and `end` its range. The rest as in `scallax.kernels.gates`.
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


@dataclass(frozen=True, slots=True)
class GateStage:
    """Gates that can be evaluated together: of tuples that depend on gates of the stages before only.

    `members` are operand codes, `literals` the gates' ids.
    """

    members: np.ndarray
    literals: np.ndarray
    gates: Gates


def find_stages(derivations: Derivations, gate_sets: Sequence[GateSet], outputs: np.ndarray) -> list[GateStage]:
    """The stages that `outputs` (int64 operand codes) need, in order; the sets were made in a topological order."""
    needed = _needed_sets(derivations, gate_sets, outputs)
    levels: dict[int, int] = {}
    for number in sorted(needed):
        levels[number] = 1 + max((levels[below] for below in needed[number]), default=-1)
    by_level: list[list[GateSet]] = [[] for _ in range(1 + max(levels.values(), default=-1))]
    for number, level in levels.items():
        by_level[level].append(gate_sets[number])
    return [_join(members) for members in by_level]


def find_given(
    derivations: Derivations, literals: Literals, gate_sets: Sequence[GateSet], operands: np.ndarray
) -> np.ndarray:
    """The literals below `operands` whose probability the batch or a parameter gives, by id."""
    needed = _needed_sets(derivations, gate_sets, operands)
    roots = np.concatenate([operands, *(gate_sets[number].members for number in needed)])
    used = _used_literals(derivations, roots)
    return used[(literals.source[used] >= 0) | (literals.parameter[used] >= 0)]


def pad_gates(gates: Gates, num_members: int) -> Gates:
    """The gates with groups of one member up to `num_members`, and gates that never open up to a power of two."""
    members = len(gates.groups)
    num_gates = max(8, 1 << (len(gates.members) - 1).bit_length())
    extra = num_members - members
    groups = int(gates.groups.max(initial=-1)) + 1

    def pad(values: np.ndarray, more: np.ndarray) -> np.ndarray:
        return np.concatenate([values, more]).astype(np.int32)

    none = np.zeros(num_gates - len(gates.members), np.int32)
    return Gates(
        pad(gates.groups, groups + np.arange(extra)),
        pad(gates.starts, members + np.arange(extra)),
        pad(gates.orders, np.full(extra, HEAVIEST)),
        pad(gates.names, np.zeros(extra)),
        pad(gates.members, none),
        pad(gates.kinds, np.full(len(none), RANGE)),
        pad(gates.first, none),
        pad(gates.end, none),
    )


def _needed_sets(derivations: Derivations, gate_sets: Sequence[GateSet], outputs: np.ndarray) -> dict[int, list[int]]:
    """The sets whose gates outputs depend on, through other gates too, and for each those right below it."""
    literals = [gates.literals for gates in gate_sets]
    owner = np.full(1 + max((int(ids.max(initial=-1)) for ids in literals), default=-1), -1)
    for number, ids in enumerate(literals):
        owner[ids] = number

    def below(operands: np.ndarray) -> list[int]:
        used = _used_literals(derivations, operands)
        owners = owner[used[used < len(owner)]]
        return np.unique(owners[owners >= 0]).tolist()

    waiting, needed = below(outputs) if gate_sets else [], {}
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed[number] = below(gate_sets[number].members)
            waiting += needed[number]
    return needed


def _used_literals(derivations: Derivations, operands: np.ndarray) -> np.ndarray:
    used, _ = needed_derivations(derivations, operands)
    codes = np.concatenate([derivations.left[used], derivations.right[used], operands])
    ids = operand_literal(codes[codes < ONE])
    return np.unique(ids[ids >= 0])


def _join(gate_sets: Sequence[GateSet]) -> GateStage:
    groups, starts, places, num_groups, num_members = [], [], [], 0, 0
    for gates in gate_sets:
        first = np.searchsorted(gates.groups, gates.groups)
        groups.append(gates.groups + num_groups)
        starts.append(first + num_members)
        places.append(gates.places + num_members)
        num_groups += int(gates.groups.max(initial=-1)) + 1
        num_members += len(gates.groups)
    return GateStage(
        np.concatenate([gates.members for gates in gate_sets]),
        np.concatenate([gates.literals for gates in gate_sets]),
        Gates(
            np.concatenate(groups),
            np.concatenate(starts),
            np.concatenate([np.full(len(gates.groups), gates.order) for gates in gate_sets]),
            np.concatenate([gates.names for gates in gate_sets]),
            np.concatenate(places),
            np.concatenate([np.full(len(gates.literals), gates.kind) for gates in gate_sets]),
            np.concatenate([gates.first for gates in gate_sets]),
            np.concatenate([gates.end for gates in gate_sets]),
        ),
    )
