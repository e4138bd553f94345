"""Proof sets without the columns that none of them has, where values may be looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.dnf import ProofSets, trim

# Words up to which nothing is gained.
_FEW_WORDS = 8


def narrow(proofs: ProofSets, literals: LiteralTable, sets: BitSets) -> tuple[ProofSets, LiteralTable]:
    """The proofs without unused places and words, and the literals with columns as those words have them."""
    proofs = trim(proofs)
    if sets.total <= _FEW_WORDS:
        return proofs, literals
    identity, positive, both = sets.identity, sets.positive, sets.both
    bits = proofs.members
    used = bits[..., :identity, :].any((*range(bits.ndim - 2), bits.ndim - 1))
    # A word of literals that have both polarities is kept in both sections.
    used[:both] |= used[positive : positive + both]
    used[positive : positive + both] = used[:both]
    used[0] |= not used[:positive].any()
    used[positive : positive + min(both, 1)] |= used[: min(both, 1)]
    words = np.flatnonzero(used)
    kept = words[words < positive]
    number = np.full(identity, -1, np.int32)
    number[words] = np.arange(len(words))
    column_of = number[literals.column_of // 32] * 32 + literals.column_of % 32
    column_of = np.where((literals.column_of < 0) | (column_of < 0), -1, column_of)
    exclusions, all_words = literals.exclusions, words
    if sets.has_groups:
        exclusions, all_words = exclusions[:, kept], np.concatenate([words, identity + kept])
    columns = np.asarray(literals.columns).reshape(identity, 32)[words].reshape(-1)
    counts = len(kept), int(used[:both].sum()), len(words) - len(kept)
    return ProofSets(proofs.ranks, bits[..., all_words, :]), replace(
        literals,
        columns=columns,
        column_of=column_of,
        exclusions=exclusions,
        words=(*counts, 32 * counts[0], 32 * counts[2]),
    )
