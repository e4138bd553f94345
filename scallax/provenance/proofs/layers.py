"""Proof sets of programs that are known when code is compiled, one layer of tuples after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.schedule import Tile
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.dnf import ProofSets, extend, select
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets
from scallax.provenance.proofs.ranks import NO_PROOF

if TYPE_CHECKING:
    from jaxtyping import Int

# Code is written out for each layer.
_MAX_LAYERS = 4
# Proofs that all layers choose from; the steps of tiles choose from a part of them at once.
_MAX_CANDIDATES = 1 << 13

# The row of what always holds.
_ONE = 1


class Layer(NamedTuple):
    """Heads whose derivations begin with rows of earlier layers, the `num_proofs` best of each.

    `heads` `[heads]` are rows; `operands` `[3, derivations, heads]` are padded with derivations of the row zero.
    """

    heads: Int[np.ndarray, " heads"]
    operands: Int[np.ndarray, "3 derivations heads"]
    num_proofs: int

    @property
    def num_candidates(self) -> int:
        return self.operands[0].size * self.num_proofs


def list_layers(tiles: Sequence[Tile], num_leaves: int, k: int) -> list[Layer] | None:
    """The layers of a program without cycles, in order; None if they are too many, or too large."""
    end = max([num_leaves, *(tile.target + tile.operands.shape[2] for tile in tiles)])
    layer_of = np.zeros(end, np.int64)
    derivations_of: list[dict[int, np.ndarray]] = [{} for _ in range(_MAX_LAYERS + 1)]
    for tile in tiles:
        for lane in np.flatnonzero(tile.operands[0].any(0)).tolist():
            derivations = tile.operands[:, tile.operands[0, :, lane] != 0, lane]
            number = layer_of[tile.target + lane] = 1 + layer_of[derivations[0]].max()
            if number > _MAX_LAYERS:
                return None
            derivations_of[number][tile.target + lane] = derivations
    layers = []
    for number, found in enumerate(derivations_of):
        if not found:
            continue
        operands = np.ones((3, max(part.shape[1] for part in found.values()), len(found)), np.int64)
        operands[0] = 0
        for place, part in enumerate(found.values()):
            operands[:, : part.shape[1], place] = part
        layers.append(Layer(np.array([*found]), operands, 1 if number == 1 else k))
    return layers if count_candidates(layers) <= _MAX_CANDIDATES else None


def count_candidates(layers: Sequence[Layer]) -> int:
    """The proofs that all layers choose from."""
    return sum(layer.num_candidates for layer in layers)


def fold_layers(
    layers: Sequence[Layer],
    outputs: Int[np.ndarray, " outputs"],
    leaves: ProofSets,
    k: int,
    absorb: bool,
    sets: AbstractLiteralSets,
    literals: LiteralTable,
) -> ProofSets:
    """The tags of the outputs, as the steps of tiles make them of `leaves` (of one proof each)."""
    xp = array_namespace(leaves.ranks)
    num_leaves = len(leaves.ranks)
    rows = xp.map(lambda leaf: _pad_proofs(leaf, k), leaves)
    # Where the proofs of each row are; those of heads without derivations are those of the row zero.
    end = 1 + max([num_leaves, outputs.max(initial=0), *(layer.heads.max() for layer in layers)])
    place = np.zeros(end, np.int64)
    place[:num_leaves] = np.arange(num_leaves)
    for layer in layers:
        folded = select(_fold_layer(layer, place, rows, k, sets, literals), k, sets, absorb)
        place[layer.heads] = len(rows.ranks) + np.arange(len(layer.heads))
        rows = xp.map(lambda old, new: xp.concatenate([old, new]), rows, folded)
    return xp.map(lambda leaf: xp.take(leaf, place[outputs]), rows)


def _fold_layer(
    layer: Layer,
    place: Int[np.ndarray, " rows"],
    rows: ProofSets,
    k: int,
    sets: AbstractLiteralSets,
    literals: LiteralTable,
) -> ProofSets:
    """The proofs of the heads of a layer, more than they keep.

    The proofs of each row of the program stand in `rows` at its `place`.
    """
    xp = array_namespace(rows.ranks)
    first, *joined = place[layer.operands]

    def take(leaf):
        # `[heads, derivations, proofs, ..., batch]`.
        return xp.take(leaf[:, : layer.num_proofs], first.T)

    pool = xp.map(take, rows)
    for each in joined:
        if (each != _ONE).any():
            literal = xp.map(lambda leaf, each=each: xp.take(leaf[:, 0], each.T), rows)
            pool = extend(pool, literal, sets, literals)
    return xp.map(lambda leaf: _pad_proofs(leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:]), k), pool)


def _pad_proofs(leaf, k: int):
    """`[rows, proofs, ...]` with at least `k` places for proofs: those of no rank, or without bits."""
    xp = array_namespace(leaf)
    missing = max(k - leaf.shape[1], 0)
    padding = [(0, missing) if axis == 1 else (0, 0) for axis in range(leaf.ndim)]
    return xp.pad(leaf, padding, constant_values=NO_PROOF if leaf.dtype == xp.int32 else 0)
