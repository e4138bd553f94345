"""The executor for small circuits: the fold on NumPy arrays at once, without JAX and without waiting for a compiler."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scallax.circuits.circuit import ZERO_ROW, Circuit, Forward
from scallax.circuits.proof_columns import as_lists
from scallax.circuits.proof_lengths import WORDS_OF_PLACE, list_length, may_take_lists
from scallax.evaluation.fold import fold, literal_table, operands_of, recover, with_selections
from scallax.evaluation.tag_rows import row_bytes
from scallax.kernels.array_namespace import NUMPY
from scallax.kernels.schedule import COMPLEMENT, LINEAR, LITERALS, NODES
from scallax.kernels.tiles import Tags
from scallax.kernels.wide_steps import count_steps
from scallax.language.tag_domains import Domain
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.best import MAX_HEIGHT
from scallax.provenance.custom import CustomProvenance
from scallax.provenance.proofs.dnf import ProofSets
from scallax.provenance.proofs.top_k import sets_of
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

# Bytes of the tags of outputs whose values are found at once: what is looked at stays in caches.
_BYTES_AT_ONCE = 1 << 21

# Words of bit sets from which on proofs without a known bound are lists: few are long.
_MANY_WORDS = 64

# Work up to which a circuit is folded at once, in 0.5 to 3 s. Compiling takes from 0.3 s, where tags are numbers, to
# 6 s, for proofs, and what is compiled for one sample takes as long then.
MOST_WORK = 1 << 25

# The same of proofs that are lists, which take longer in compiled code: over a million facts 86 s and 8 GiB, at once
# 40 s and 5 GiB.
MOST_LISTED_WORK = 1 << 29

# The cost of a step apart from its numbers, as a count of numbers: for tags that are numbers, and for proofs.
_OF_STEP = 1 << 10, 1 << 14

# Rounds of a loop, proofs of a tuple, and literals of one on a cycle, that are expected: most have fewer.
_ROUNDS, _PROOFS, _PLACES = 8, 8, 8


def evaluate(
    provenance: AbstractProvenance,
    circuit: Circuit,
    inputs: Float[np.ndarray, "inputs batch"],
    present: Bool[np.ndarray, "inputs batch"] | None = None,
) -> Shaped[np.ndarray, "outputs batch"]:
    """The outputs' values, of the padded length: floats of the inputs' dtype, bool or int32 of a discrete one.

    All arrays are of NumPy, those of the circuit too; `inputs` are float32 or float64. `present` False means that the
    fact does not exist in that sample. Nothing is differentiated. Raises UnsupportedError if the tags would not fit in
    memory.
    """
    with _quietly():
        inputs, present = _all_inputs(provenance, circuit, inputs, present)
        return _values(provenance, inputs, present, replace(circuit, stages=()))


def evaluate_tags(
    provenance: AbstractProvenance,
    circuit: Circuit,
    inputs: Float[np.ndarray, "inputs batch"],
    present: Bool[np.ndarray, "inputs batch"] | None = None,
) -> Tags:
    """The outputs' tags in the provenance's own form, which its `proof_sets` reads; arguments as in `evaluate`."""
    with _quietly():
        inputs, present = _all_inputs(provenance, circuit, inputs, present)
        circuit = _with_lists(circuit, provenance)
        rows, _ = fold(provenance, circuit, literal_table(provenance, circuit, inputs, present))
        return rows.read(rows.table, circuit.outputs)


def output_proofs(
    provenance: AbstractProvenance,
    circuit: Circuit,
    inputs: Float[np.ndarray, "inputs batch"],
    present: Bool[np.ndarray, "inputs batch"],
) -> ProofSets:
    """The tags of the outputs as compiled code has them, of a circuit that `grows_lists`.

    Arguments are those of `evaluate`.
    """
    found = evaluate_tags(provenance, circuit, inputs, present)
    literals = literal_table(provenance, circuit, inputs, present)
    lists = _with_lists(circuit, provenance).proofs
    assert lists is not None
    sets, columns = sets_of(literals), lists.columns
    count, proofs, _, batch = found.members.shape
    members = np.full((count, proofs, batch, len(sets.of_columns(NUMPY, columns[:1], literals.exclusions[:1])[0])), 0)
    members = members.astype(np.uint32)
    for place in np.moveaxis(found.members, 2, 0):
        used = place >= 0
        literal, is_negated = columns[place[used]], place[used] >= 32 * lists.words[0]
        own = literals.column_of[is_negated.astype(np.int32), literal]
        excluded = np.where(is_negated[:, None], np.uint32(0), literals.exclusions[literal])
        members[used] |= sets.of_columns(NUMPY, own, excluded)
    return ProofSets(found.ranks, np.moveaxis(members, 2, -1))


def fits(circuit: Circuit, provenance: AbstractSemantics) -> bool:
    """Whether a circuit is small enough that it is answered at once sooner than it would be compiled.

    Decided by the circuit's size and the provenance alone, for one sample. The algebras of users are written in JAX,
    and are always compiled; what `grows_lists` never is.
    """
    if isinstance(provenance, CustomProvenance):
        return False
    return grows_lists(circuit, provenance) or work(circuit, provenance) <= most_work(circuit)


def most_work(circuit: Circuit) -> int:
    """The most work of a circuit that is folded at once."""
    return MOST_LISTED_WORK if circuit.proofs is not None and circuit.proofs.length else MOST_WORK


def work(circuit: Circuit, provenance: AbstractSemantics) -> int:
    """An estimate of the numbers that folding the circuit computes for one sample; words of proofs are numbers too."""
    return sum(_work(each, provenance) for each in (circuit, *(stage.program for stage in circuit.stages)))


def _work(circuit: Circuit, provenance: AbstractSemantics) -> int:
    forward, proofs = circuit.forward, min(provenance.traits.num_proofs, _PROOFS)
    words = _words(circuit, provenance) if proofs else 1
    # The proofs that a derivation of each kind chooses from; a negation tries the literals of each proof.
    choices = {LITERALS: 1, LINEAR: max(proofs, 1), NODES: max(proofs, 1) ** 2, COMPLEMENT: max(8 * proofs**2, 1)}
    once, cyclic = count_steps(forward.tiles, forward.width, forward.branches, operands_of(forward))
    # Only counts go round every cycle until they are as large as a count gets.
    is_endless = provenance.traits.domain is Domain.NATURAL and not provenance.traits.is_idempotent
    rounds = MAX_HEIGHT if is_endless else _ROUNDS
    total = (once + rounds * cyclic) * _OF_STEP[proofs > 0]
    for kind, is_cyclic, count in _derivations(forward):
        total += count * choices[kind] * words * (rounds if is_cyclic else 1)
    # Leaves have one proof; those of another output may have to be counted by sets of them.
    sets = int(np.count_nonzero(np.asarray(circuit.outputs) >= circuit.num_leaves)) << proofs
    return total + circuit.num_rows + len(circuit.outputs) * words // 8 + sets


def _words(circuit: Circuit, provenance: AbstractSemantics) -> int:
    """The words of a proof, or as many as take as long as the places of a list."""
    proofs = circuit.proofs
    if proofs is None:
        return 1
    length = list_length(_PLACES) if grows_lists(circuit, provenance) else proofs.length
    return WORDS_OF_PLACE * length if length else proofs.words[0] + proofs.words[2]


def _derivations(forward: Forward) -> Iterator[tuple[int, bool, int]]:
    """How many derivations there are of each kind, on cycles and not."""
    steps = forward.tiles
    count = int(steps.count)
    if not count:
        return
    # Everything behind the last step is padding.
    numbers = np.add.reduceat(np.asarray(forward.left) != ZERO_ROW, np.asarray(steps.offset)[:count], dtype=np.int64)
    kinds = np.array([kind for kind, _ in forward.branches])[np.asarray(steps.branch)[:count]]
    for kind in dict.fromkeys(kind for kind, _ in forward.branches):
        for is_cyclic in (False, True):
            of_kind = (kinds == kind) & (np.asarray(steps.cyclic)[:count] == is_cyclic)
            yield kind, is_cyclic, int(numbers[of_kind].sum())


def _with_lists(circuit: Circuit, provenance: AbstractSemantics) -> Circuit:
    """The circuit, with lists for proofs if these are cheaper although no bound is known."""
    if not grows_lists(circuit, provenance):
        return circuit
    assert circuit.proofs is not None
    return replace(circuit, proofs=as_lists(circuit.proofs))


def grows_lists(circuit: Circuit, provenance: AbstractSemantics) -> bool:
    """Whether proofs are bit sets in compiled code for want of a bound, on cycles, and lists here, where these grow."""
    proofs = circuit.proofs
    if proofs is None or proofs.length or not np.any(circuit.forward.tiles.cyclic):
        return False
    is_large = proofs.words[0] + proofs.words[2] >= _MANY_WORDS
    counts = provenance.traits.has_multivalued_variables or proofs.counts_choices > 0
    return is_large and may_take_lists(provenance.traits, counts_groups=counts and proofs.exclusions.shape[1] > 0)


def _quietly() -> np.errstate:
    # Numbers may be any, as in compiled code: an infinite or undefined one shows in the output.
    return np.errstate(all="ignore")


def _all_inputs(
    provenance: AbstractProvenance, circuit: Circuit, inputs: np.ndarray, present: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    if present is None:
        present = np.ones(inputs.shape, np.bool_)
    return with_selections(provenance, circuit, inputs, present, _values)


def _values(provenance: AbstractProvenance, inputs: np.ndarray, present: np.ndarray, circuit: Circuit) -> np.ndarray:
    circuit = _with_lists(circuit, provenance)
    literals = literal_table(provenance, circuit, inputs, present)
    rows, _ = fold(provenance, circuit, literals)
    outputs = circuit.outputs
    if len(outputs) * row_bytes(provenance, literals) <= _BYTES_AT_ONCE or circuit.local is not None:
        return recover(provenance, circuit, rows.read(rows.table, outputs), literals)
    is_leaf = outputs < circuit.num_leaves
    parts = []
    readers = (is_leaf, rows.read_leaf), (~is_leaf, functools.partial(rows.read, rows.table))
    for chosen, read in readers:
        places = chosen.nonzero()[0]
        if not len(places):
            continue
        size = sum(leaf.nbytes for leaf in NUMPY.leaves(read(outputs[places[:1]])))
        most = max(1, _BYTES_AT_ONCE // max(size, 1))
        for start in range(0, len(places), most):
            at = places[start : start + most]
            parts.append((at, provenance.recover(*provenance.narrow(read(outputs[at]), literals))))
    values = np.empty((len(outputs), *parts[0][1].shape[1:]), parts[0][1].dtype)
    for at, part in parts:
        values[at] = part
    return values
