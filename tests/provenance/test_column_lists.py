"""Proofs as lists of columns: operations of sets, and the ranks and proofs of bit sets, by both executors."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from scallax import InputMapping, Reasoner
from scallax.errors import UnsupportedError
from scallax.evaluation import fold, tag_rows
from scallax.evaluation.numpy_executor import evaluate_tags
from scallax.kernels.array_namespace import NUMPY
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.column_lists import ColumnLists
from scallax.provenance.proofs.dnf import ProofSets
from scallax.provenance.proofs.top_k import bit_sets_of
from tests.evaluation.test_executors import EDGES, ties
from tests.nightly import with_rest_at_night

LENGTH = 16
NUM_WORDS = (2, 1, 2)
OFFSET, SHARED = 32 * NUM_WORDS[0], 32 * NUM_WORDS[1]
BITS = BitSets(*NUM_WORDS, columns=(64, 64), has_groups=False)
LISTS = ColumnLists(*NUM_WORDS, has_groups=True, length=8)

# Groups of three literals each.
GROUP = np.arange(64) // 3
GROUPS = np.concatenate([GROUP, np.full(64, -1)]).astype(np.int32)


def with_lists(table: LiteralTable) -> LiteralTable:
    """The literals of proofs that are lists, with the columns of those that are bit sets."""
    exclusions, ends = np.asarray(table.exclusions), np.asarray(table.group_end)
    groups = np.full(len(table.columns) if exclusions.shape[1] else 0, -1, np.int32)
    column, members = np.asarray(table.column_of)[0], exclusions.any(1)
    groups[column[members]] = (np.cumsum(ends) - ends)[members]
    return replace(table, length=LENGTH, groups=groups, exclusions=np.zeros((len(ends), 0), np.uint32))


def proofs_of(tags: ProofSets, literals: LiteralTable) -> list:
    """For each tag and sample the ranks and the columns of its proofs, in order."""
    ranks, members = np.moveaxis(tags.ranks, -1, 0), np.moveaxis(tags.members, -1, 0)
    if not literals.length:
        words = np.ascontiguousarray(members[..., : bit_sets_of(literals).identity]).astype("<u4")
        bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")

    def columns(place) -> list[int]:
        found = members[place] if literals.length else np.flatnonzero(bits[place])
        return sorted(column for column in found.tolist() if column >= 0)

    used = ranks != np.iinfo(np.int32).min
    return [(place[:-1], int(ranks[place]), columns(place)) for place in map(tuple, np.argwhere(used).tolist())]


def both_forms(reasoner: Reasoner, batch: np.ndarray, *, compiled: bool = False) -> tuple[list, list]:
    """The proofs that NumPy finds as bit sets, and the proofs as lists."""
    circuit, provenance = reasoner.evaluator.layout.circuit, reasoner.evaluator.provenance
    assert isinstance(provenance, AbstractProvenance)
    inputs = np.ascontiguousarray(batch.T)
    present = inputs != 0.25
    table = fold.literal_table(provenance, circuit, inputs, present)
    expected = evaluate_tags(provenance, circuit, inputs, present)

    def tags(inputs, present):
        literals = with_lists(fold.literal_table(provenance, circuit, inputs, present))
        rows, _ = fold.fold(provenance, circuit, literals)
        return rows.read(rows.table, circuit.outputs)

    if compiled:
        found = jax.tree.map(np.asarray, jax.jit(tags)(inputs, present))
    else:
        with np.errstate(all="ignore"):
            found = tags(inputs, present)
    if hasattr(expected, "is_negation"):
        np.testing.assert_array_equal(found.is_negation, expected.is_negation)
    return proofs_of(provenance.proof_sets(expected), table), proofs_of(provenance.proof_sets(found), with_lists(table))


def batch_of(reasoner_inputs: int, samples: int) -> np.ndarray:
    """Random probabilities, and samples full of ties."""
    generator = np.random.default_rng(0)
    tied = generator.choice([0.5, 0.7, 0.25, 1.0, 0.0], (samples, reasoner_inputs))
    return np.concatenate([generator.random((samples, reasoner_inputs)), tied]).astype(np.float32)


CASES = [(name, k) for name in ("topkproofs", "samplekproofs", "topbottomkclauses") for k in (1, 3, 10)]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("provenance", "k"), with_rest_at_night(CASES, [case for case in CASES if case[1] == 3]))
def test_lists_hold_the_proofs_of_bit_sets(provenance: str, k: int, grouped: bool):
    reasoner = ties(provenance, k=k, wmc_with_disjunctions=grouped)
    expected, found = both_forms(reasoner, batch_of(len(EDGES) + 3, 6))
    assert found == expected


# No cycle, and few proofs: little to compile.
SMALL = """
rel two(x, z) = e(x, y), e(y, z)
rel four(x, z) = two(x, y), two(y, z)
rel one(x) = c(x), not two(0, x)
"""


@pytest.mark.parametrize(("provenance", "k"), with_rest_at_night(CASES, [("topkproofs", 3)]))
def test_compiled_code_finds_the_lists_of_numpy(provenance: str, k: int):
    mappings = {"e": InputMapping(EDGES), "c": InputMapping(range(3), disjunctive=True)}
    outputs = {"four": [(0, 3), (1, 1)], "one": range(3)}
    options = {"k": k, "wmc_with_disjunctions": True}
    reasoner = Reasoner(SMALL, provenance=provenance, input_mappings=mappings, output_mappings=outputs, **options)
    expected, found = both_forms(reasoner, batch_of(len(EDGES) + 3, 4), compiled=True)
    assert found == expected


def test_lists_of_a_large_program_hold_the_proofs_of_bit_sets():
    edges = np.unique(np.random.default_rng(0).integers(0, 40, (120, 2)), axis=0).tolist()
    rules = ("two(x, z) = e(x, y), e(y, z)", "out(x, w) = two(x, z), e(z, w)", "none(x) = e(x, y), not out(y, x)")
    text = "\n".join([*(f"rel {rule}" for rule in rules), "query out", "query none"])
    mappings = {"e": InputMapping([tuple(edge) for edge in edges])}
    reasoner = Reasoner(text, provenance="topkproofs", k=3, input_mappings=mappings)
    expected, found = both_forms(reasoner, batch_of(len(edges), 2))
    assert len(found) > 2000
    assert found == expected


@pytest.mark.parametrize("provenance", ["topkproofs", "addmultprob"])
def test_a_fold_does_not_depend_on_how_many_tiles_a_step_has(provenance: str, monkeypatch):
    text = f"{SMALL}\nquery four\nquery one"
    reasoner = Reasoner(text, provenance=provenance, input_mappings={"e": EDGES, "c": range(3)})
    circuit, kept = reasoner.evaluator.layout.circuit, reasoner.evaluator.provenance
    assert isinstance(kept, AbstractProvenance)
    inputs = np.ascontiguousarray(batch_of(len(EDGES) + 3, 3).T)
    expected = NUMPY.leaves(evaluate_tags(kept, circuit, inputs))
    monkeypatch.setattr(fold, "_BYTES_AT_ONCE", 0)
    for wide, narrow in zip(expected, NUMPY.leaves(evaluate_tags(kept, circuit, inputs)), strict=True):
        np.testing.assert_array_equal(wide, narrow)


def sets_of_columns(generator: np.random.Generator, count: int) -> list[set[int]]:
    """Sets of at most four columns, which do not contradict themselves."""
    found = []
    while len(found) < count:
        columns = set(generator.choice(16, generator.integers(0, 5), replace=False).tolist())
        # Some of them negated, with and without a positive column.
        columns = {column + OFFSET * int(generator.integers(0, 2)) for column in columns}
        if not contradicts(columns, set()):
            found.append(columns)
    return found


def contradicts(a: set[int], b: set[int]) -> bool:
    union = a | b
    positive = [column for column in union if column < OFFSET]
    groups = [GROUP[column] for column in positive]
    has_both = any(column + OFFSET in union for column in positive if column < SHARED)
    return has_both or len(set(groups)) < len(groups)


def as_lists(sets: list[set[int]], length: int) -> np.ndarray:
    lists = np.full((length, len(sets)), -1, np.int32)
    for place, columns in enumerate(sets):
        lists[: len(columns), place] = sorted(columns, reverse=True)
    return lists


@pytest.mark.parametrize("compiled", [False, True])
def test_operations_of_lists_are_those_of_sets(compiled: bool):
    generator = np.random.default_rng(0)
    a, b = sets_of_columns(generator, 200), sets_of_columns(generator, 200)
    b[:40] = [columns & other for columns, other in zip(a[:40], b[:40], strict=True)]
    evaluator = ties("topkproofs").evaluator
    assert isinstance(evaluator.provenance, AbstractProvenance)
    given = np.zeros((1, 1), np.float32), np.ones((1, 1), bool)
    literals = fold.literal_table(evaluator.provenance, evaluator.layout.circuit, *given)
    table = replace(literals, groups=GROUPS)

    def operate(a, b):
        union, contradict, share = LISTS.join(a, b, table)
        assert contradict is not None
        digests = [LISTS.digests(each, np.uint32(5)) for each in (a, b)]
        return (
            union,
            contradict,
            share,
            LISTS.covers(a, b, True),
            LISTS.covers(a, b, False),
            LISTS.oppose(a, b),
            digests,
        )

    run = jax.jit(operate) if compiled else operate
    union, contradict, share, is_part, is_equal, oppose, digests = jax.tree.map(
        np.asarray, run(as_lists(a, 4), as_lists(b, 4))
    )
    expected = [one | other for one, other in zip(a, b, strict=True)]
    np.testing.assert_array_equal(union, as_lists(expected, len(union)))
    pairs = list(zip(a, b, strict=True))
    assert contradict.tolist() == [contradicts(one, other) for one, other in pairs]
    assert share.tolist() == [bool(one & other) for one, other in pairs]
    assert is_part.tolist() == [one <= other for one, other in pairs]
    assert is_equal.tolist() == [one == other for one, other in pairs]
    flipped = [{(column + OFFSET) % (2 * OFFSET) for column in one if column % OFFSET < SHARED} for one in a]
    assert oppose.tolist() == [bool(one & other) for one, other in zip(flipped, b, strict=True)]
    words = np.zeros((BITS.identity, len(a)), np.uint32)
    for place, columns in enumerate(a):
        for column in columns:
            words[column // 32, place] |= np.uint32(1 << column % 32)
    np.testing.assert_array_equal(digests[0], BITS.digests(words, np.uint32(5)))


def test_a_table_that_grows_too_large_is_one_error(monkeypatch):
    chain = [(place, place + 1) for place in range(40)]
    text = "rel out(y) = e(0, y)\nrel out(z) = out(y), e(y, z)\nquery out"
    reasoner = Reasoner(text, provenance="topkproofs", k=3, input_mappings={"e": chain})
    # Lists of one literal each take less, lists of forty do not.
    monkeypatch.setattr(tag_rows, "MAX_TAG_BYTES", 20_000)
    with pytest.raises(UnsupportedError, match="would hold"):
        both_forms(reasoner, batch_of(len(chain), 1)[:1])
