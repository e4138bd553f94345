"""Counting of lists of columns: by possible worlds, and as the same proofs are counted as bit sets of all literals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.proofs import localised
from scallax.provenance.proofs.dnf import ProofSets
from scallax.provenance.proofs.ranks import NO_PROOF
from scallax.provenance.table import resolve_provenance

# Literals in three words of positive columns; those of two words have negated columns too.
LITERALS, BOTH, WORDS = 70, 40, 3
OUTPUTS, PROOFS, LENGTH, BATCH = 9, 3, 4, 2

# The literals that proofs choose from, so that they share some: the members of two groups are among them.
CHOSEN = np.array([0, 33, 37, 38, 39, 41, 64, 65, 66])


def literal_groups() -> np.ndarray:
    """The exclusive group of each literal, its own number for an independent one."""
    group = np.arange(LITERALS)
    group[37:40] = 37
    group[64:67] = 64
    return group


def literal_table(p, length: int) -> LiteralTable:
    """The literals of some probabilities, for proofs that are bit sets, or lists of this length."""
    section = np.full(32 * WORDS, -1, np.int32)
    section[:BOTH] = np.arange(BOTH)
    positive = section.copy()
    positive[64 : 64 + LITERALS - BOTH] = np.arange(BOTH, LITERALS)
    columns = np.concatenate([positive, section])
    column_of = np.full((2, LITERALS), -1, np.int32)
    for side, part in enumerate((positive, section)):
        places = np.flatnonzero(part >= 0)
        column_of[side, part[places]] = places + side * 32 * WORDS
    group = literal_groups()
    return LiteralTable(
        probabilities=p,
        present=np.ones(p.shape, bool),
        exclusions=np.zeros((LITERALS, 0 if length else WORDS), np.uint32),
        group_end=np.append(group[1:] != group[:-1], True),
        columns=columns,
        column_of=column_of,
        negated=np.zeros(0, np.int32),
        words=(WORDS, 2, WORDS, 96, BOTH),
        certain=np.zeros(LITERALS, bool),
        seed=np.uint32(0),
        length=length,
        groups=group[columns].astype(np.int32) if length else np.zeros(0, np.int32),
    )


def random_proofs(literals: LiteralTable) -> np.ndarray:
    """Lists of columns `[outputs, proofs, length, batch]` without contradictions; some are empty, some unused (None).

    Unused places hold -2 here.
    """
    generator = np.random.default_rng(0)
    lists = np.full((OUTPUTS, PROOFS, LENGTH, BATCH), -1, np.int32)
    for output, proof, sample in np.ndindex(OUTPUTS, PROOFS, BATCH):
        count = generator.integers(output > 1, LENGTH + 1)
        chosen = generator.choice(CHOSEN, count, replace=False)
        is_negated = (generator.random(count) < 0.4) & (chosen < BOTH)
        # At most one member of a group is true.
        chosen = chosen[is_negated | ~np.isin(chosen, (38, 39, 65, 66))]
        is_negated = is_negated[: len(chosen)] & (chosen < BOTH)
        columns = np.sort(literals.column_of[is_negated.astype(int), chosen])[::-1]
        lists[output, proof, : len(columns), sample] = columns
    lists[0] = -2
    lists[3, 2], lists[4, 1:] = -2, -2
    return lists


def as_sets(lists: np.ndarray, form: str) -> ProofSets:
    ranks = np.where(lists[:, :, 0] == -2, NO_PROOF, 0).astype(np.int32)
    if form == "lists":
        return ProofSets(ranks, np.maximum(lists, -1))
    bits = np.zeros((OUTPUTS, PROOFS, 3 * WORDS, BATCH), np.uint32)
    for place in np.argwhere(lists >= 0):
        output, proof, _, sample = place
        column = lists[tuple(place)]
        bits[output, proof, column // 32, sample] |= np.uint32(1) << np.uint32(column % 32)
    return ProofSets(ranks, bits)


def by_worlds(lists: np.ndarray, literals: LiteralTable, p: np.ndarray, grouped: bool) -> np.ndarray:
    """The probability of the worlds in which some proof holds; of a group at most one member does, if `grouped`."""
    group, values = literal_groups()[CHOSEN], np.zeros((OUTPUTS, BATCH))
    for world in itertools.product([False, True], repeat=len(CHOSEN)):
        weight = np.ones(BATCH)
        for number in np.unique(group) if grouped else np.arange(len(CHOSEN)):
            members = np.flatnonzero(group == number) if grouped else [number]
            true = [member for member in members if world[member]]
            rest = 1 - sum(p[CHOSEN[member]] for member in members)
            weight = weight * (0 if len(true) > 1 else p[CHOSEN[true[0]]] if true else rest)
        held = dict(zip(CHOSEN.tolist(), world, strict=True))
        for output, sample in np.ndindex(OUTPUTS, BATCH):
            values[output, sample] += weight[sample] * any(
                all(held[literals.columns[c]] == (c < 32 * WORDS) for c in proof if c >= 0)
                for proof in lists[output, :, :, sample]
                if proof[0] != -2
            )
    return values


def provenance_of(grouped: bool, k: int = PROOFS) -> AbstractProvenance:
    provenance = resolve_provenance("difftopkproofs", k=k, wmc_with_disjunctions=grouped)
    assert isinstance(provenance, AbstractProvenance)
    return provenance


def probabilities() -> np.ndarray:
    p = np.random.default_rng(1).uniform(0.05, 0.3, (LITERALS, BATCH))
    # Certain and impossible ones are among them.
    p[41, 0], p[33, 0], p[0, 1] = 1, 0, 1
    return p


@pytest.mark.parametrize("grouped", [False, True])
def test_lists_are_counted_as_their_worlds_are(grouped: bool, monkeypatch):
    # Four outputs at once: the last ones overlap those before.
    monkeypatch.setattr(localised, "_MAX_NUMBERS", 4 * BATCH << PROOFS)
    p = probabilities()
    literals, provenance = literal_table(p, LENGTH), provenance_of(grouped)
    lists = random_proofs(literals)
    expected = by_worlds(lists, literals, p, grouped)
    at_once = provenance.recover(as_sets(lists, "lists"), literals)
    np.testing.assert_allclose(at_once, expected, rtol=1e-12, atol=1e-12)
    with jax.enable_x64(True):
        traced = jax.jit(lambda p, sets: provenance.recover(sets, literal_table(p, LENGTH)))(p, as_sets(lists, "lists"))
    np.testing.assert_allclose(traced, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_lists_have_the_values_and_gradients_of_bit_sets(grouped: bool):
    p, provenance = probabilities().astype(np.float32), provenance_of(grouped)
    lists = random_proofs(literal_table(p, LENGTH))
    cotangent = np.random.default_rng(2).random((OUTPUTS, BATCH)).astype(np.float32)

    def run(p, sets, length):
        values, pull = jax.vjp(lambda p: provenance.recover(sets, literal_table(p, length)), p)
        return values, pull(jnp.asarray(cotangent))[0]

    found, expected = (
        jax.jit(run, static_argnums=2)(p, as_sets(lists, form), length)
        for form, length in (("lists", LENGTH), ("bits", 0))
    )
    # The products and sums of an output are the same; gradients are summed in another order.
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)
    assert np.isfinite(found[1]).all()
    if not grouped:
        values, derivatives = jax.jit(
            lambda p, sets: provenance.recover_with_derivatives(sets, literal_table(p, LENGTH), None)
        )(p, as_sets(lists, "lists"))
        np.testing.assert_array_equal(values, found[0])
        np.testing.assert_allclose(np.einsum("olb,ob->lb", derivatives, cotangent), found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grouped", [False, True])
def test_gradients_of_lists_are_differences(grouped: bool):
    literals = literal_table(probabilities(), LENGTH)
    lists, provenance = random_proofs(literals), provenance_of(grouped)
    sets = as_sets(lists, "lists")
    with jax.enable_x64(True):
        p = jnp.asarray(probabilities())
        gradient = jax.jit(jax.grad(lambda p: provenance.recover(sets, literal_table(p, LENGTH)).sum()))(p)
    for literal, sample in itertools.product(CHOSEN, range(BATCH)):
        around = []
        for change in (-1e-6, 1e-6):
            moved = probabilities()
            moved[literal, sample] += change
            around.append(provenance.recover(sets, literal_table(moved, LENGTH)).sum())
        assert gradient[literal, sample] == pytest.approx((around[1] - around[0]) / 2e-6, rel=1e-6, abs=1e-8)
    rest = np.setdiff1d(np.arange(LITERALS), CHOSEN)
    assert not np.asarray(gradient)[rest].any()


def test_many_proofs_are_counted_by_decisions():
    p, provenance = probabilities(), provenance_of(False, k=11)
    literals = literal_table(p, LENGTH)
    lists = random_proofs(literals)
    found = provenance.recover(as_sets(lists, "lists"), literals)
    np.testing.assert_allclose(found, by_worlds(lists, literals, p, False), rtol=1e-12, atol=1e-12)
