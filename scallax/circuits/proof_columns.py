"""Columns of proofs: numbers for literals in the polarities in which these may occur, for bit sets and for lists."""

from dataclasses import replace

import numpy as np

from scallax.circuits.circuit import ProofColumns
from scallax.circuits.components import Components
from scallax.circuits.graph import Graph, leaf_ids, reachable
from scallax.circuits.proof_lengths import list_length, may_take_lists, takes_lists
from scallax.circuits.size_classes import COLUMN_COUNTS, LISTED_COUNTS, LONGEST, Sizes, padded
from scallax.grounding.derivations import Literals
from scallax.language.records import record
from scallax.provenance.traits import Traits

# In which polarities a literal may occur in a proof.
_BOTH, _POSITIVE, _NEGATED = range(3)


@record
class _Sections:
    """How many literals have both polarities, are only positive, and only negated: as padded words, and as columns.

    `num_both` words of both polarities begin each of the two sections `words`, of which `used` columns are in use;
    `first` are the first places of the kinds among `num_places`.
    """

    num_both: int
    words: tuple[int, int]
    used: tuple[int, int]
    first: np.ndarray
    num_places: int

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """The field `words` of `ProofColumns`."""
        return (self.words[0], self.num_both, self.words[1], *self.used)


def column_arrays(
    graph: Graph,
    outputs: np.ndarray,
    literals: Literals,
    order: np.ndarray,
    num_literals: int,
    components: Components | None,
    longest: int,
    traits: Traits,
    sizes: Sizes,
) -> tuple[ProofColumns, tuple[np.ndarray, np.ndarray] | None]:
    """The columns that the proofs of a circuit have, and the exclusions of columns.

    Without complements of literals as leaves, all literals have a column in every polarity that the program has.
    `order` are the literals in use, padded to `num_literals`. No proof has more than `longest` literals: proofs are
    lists of columns where these are shorter than bit sets. For bit sets columns are numbered in each component, if
    these are given: the second result is then the literal at each place of a component, and the columns of places, as
    in `LocalColumns`.
    """
    group = literals.group[order]
    members = group[group >= 0]
    has_groups = len(members) > 0 and int(np.bincount(members).max()) > 1
    sizes.counts["groups"] = int(has_groups)
    has_exclusions = has_groups or bool((sizes.least or {}).get("groups", 0))
    counts_choices = _counts_choices(literals, order, traits)
    kind = _kinds(graph, outputs, literals, order)
    if has_groups:
        _unite_kinds(kind, group)
    of_literal = np.full(len(order), -1) if components is None else components.of_literal[order]
    number, sections = _divide(kind, of_literal, sizes, COLUMN_COUNTS)
    length, num_words = list_length(longest), sum(sections.words) + sections.words[0] * has_exclusions
    is_grouped = has_exclusions and (traits.has_multivalued_variables or counts_choices)
    if may_take_lists(traits, counts_groups=is_grouped) and takes_lists(length, num_words):
        length = list_length(sizes.at_least(LONGEST, longest))
    else:
        # Other programs of the class may still have lists: proofs without a bound would leave none.
        length = 0
    if length and components is not None:
        # Lists take no more for literals of other components.
        components = None
        number, sections = _divide(kind, np.full(len(order), -1), sizes, LISTED_COUNTS)
    column_of = _place_columns(kind, number, sections, num_literals)
    by_place, literal_of_place = None, np.arange(len(order))
    if components is not None:
        literal_of_place = sections.first[kind] + number
        by_place = _local_arrays(components, of_literal, literal_of_place, sections.num_places, column_of, sizes)
    columns, words = _invert(column_of, literal_of_place, sections), sections.words
    exclusions = np.zeros((num_literals, words[0] if has_exclusions and not length else 0), np.uint32)
    if has_groups and not length:
        _exclude(exclusions, group, column_of[0])
    groups = _column_groups(columns, words[0], group) if has_exclusions and length else np.zeros(0, np.int32)
    return ProofColumns(
        sections.numbers,
        columns,
        column_of,
        exclusions,
        length=length,
        groups=groups,
        counts_choices=int(counts_choices),
    ), by_place


def _counts_choices(literals: Literals, order: np.ndarray, traits: Traits) -> bool:
    """Whether random choices of rules count as one variable each where the members of other groups are independent."""
    is_alone = traits.num_proofs > 0 and not traits.has_multivalued_variables
    return is_alone and len(literals.outcomes) > 0 and bool(literals.outcomes[order].any())


def counted_groups(literals: Literals, order: np.ndarray, proofs: ProofColumns | None) -> np.ndarray:
    """The groups of the literals `order` that are told from each other, -1 for literals that stand for themselves."""
    group = literals.group[order]
    if proofs is None or not proofs.counts_choices:
        return group
    return np.where(literals.outcomes[order], group, -1)


def as_lists(proofs: ProofColumns) -> ProofColumns:
    """The columns of bit sets for lists, of whose lengths no bound is known, numbered over all components."""
    num_literals = proofs.column_of.shape[1]
    positive, negated = proofs.column_of[:, (proofs.column_of >= 0).any(0)] >= 0
    kind = np.where(positive & negated, _BOTH, np.where(negated, _NEGATED, _POSITIVE))
    number, sections = _divide(kind, np.full(len(kind), -1), Sizes(), LISTED_COUNTS)
    column_of = _place_columns(kind, number, sections, num_literals)
    columns, groups = _invert(column_of, np.arange(len(kind)), sections), np.zeros(0, np.int32)
    if proofs.exclusions.shape[1]:
        groups = _column_groups(columns, sections.words[0], _first_members(proofs))
    return replace(
        proofs,
        words=sections.numbers,
        columns=columns,
        column_of=column_of,
        exclusions=np.zeros((num_literals, 0), np.uint32),
        length=list_length(0),
        groups=groups,
        local=None,
    )


def _first_members(proofs: ProofColumns) -> np.ndarray:
    """For each literal the first column of its group, which tells groups apart; -1 for a literal without a group."""
    column = proofs.column_of[0]
    word = (proofs.exclusions != 0).argmax(1)
    bits = proofs.exclusions[np.arange(len(column)), word]
    # The lowest bit is a power of two, whose exponent is exact.
    lowest = np.log2(np.maximum(bits & (~bits + np.uint32(1)), 1)).astype(np.int32)
    return np.where(bits != 0, np.minimum(32 * word + lowest, column), -1)


def _place_columns(kind: np.ndarray, number: np.ndarray, sections: _Sections, num_literals: int) -> np.ndarray:
    """The positive and the negated column of each literal, -1 for none; literals of these kinds, then padding."""
    place = np.where(kind == _BOTH, number, 32 * sections.num_both + number)
    column_of = np.full((2, num_literals), -1, np.int32)
    for polarity, other in enumerate((_NEGATED, _POSITIVE)):
        column_of[polarity, : len(kind)] = np.where(kind == other, -1, 32 * sections.words[0] * polarity + place)
    return column_of


def _invert(column_of: np.ndarray, literals: np.ndarray, sections: _Sections) -> np.ndarray:
    """The entry of `literals` for each column; -1 for padding."""
    columns = np.full(32 * sum(sections.words), -1, np.int32)
    for column in column_of[:, : len(literals)]:
        columns[column[column >= 0]] = literals[column >= 0]
    return columns


def _column_groups(columns: np.ndarray, words: int, group: np.ndarray) -> np.ndarray:
    """The groups of the positive columns, of which there are so many words; -1 for others."""
    is_positive = np.arange(len(columns)) < 32 * words
    return np.where((columns >= 0) & is_positive, np.append(group, -1)[columns], -1).astype(np.int32)


def _kinds(graph: Graph, outputs: np.ndarray, literals: Literals, order: np.ndarray) -> np.ndarray:
    """In which polarities each literal in use may occur in a proof."""
    if graph.third is None:
        positive, negated = np.ones(len(order), bool), np.full(len(order), bool(graph.complement.any()))
    else:
        positive, negated = (occurs[order] for occurs in _polarities(graph, outputs, len(literals)))
    return np.where(positive & negated, _BOTH, np.where(negated, _NEGATED, _POSITIVE))


def _unite_kinds(kind: np.ndarray, group: np.ndarray) -> None:
    """Makes all members of a group of one kind, so that they stand side by side: of both, if they differ."""
    members = (group >= 0).nonzero()[0]
    known = np.zeros((3, int(group.max()) + 1), bool)
    known[kind[members], group[members]] = True
    kind[members[known.sum(0)[group[members]] > 1]] = _BOTH


def _divide(
    kind: np.ndarray, component: np.ndarray, sizes: Sizes, names: tuple[str, str, str]
) -> tuple[np.ndarray, _Sections]:
    """The numbers of literals, as `_number` gives them, and how columns are divided; `names` are those of the sizes."""
    number, counts = _number(kind, component)
    both, *only = (sizes.at_least(name, count) for name, count in zip(names, counts, strict=True))
    num_both = _num_words(both)
    positive, negated = (padded(32 * num_both + count) if count else padded(both) if both else 0 for count in only)
    words = max(1, -(-positive // 32)), -(-negated // 32)
    first = np.array([0, both, both + only[0]])
    return number, _Sections(num_both, words, (positive, negated), first, both + sum(only))


def _number(kind: np.ndarray, component: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Numbers of literals among those of their kind and component, behind the shared ones; how many of each kind.

    Literals are in order of their components, the shared ones (-1) first.
    """
    number, counts = np.zeros(len(kind), np.int64), []
    for each in (_BOTH, _POSITIVE, _NEGATED):
        of_kind = (kind == each).nonzero()[0]
        own = component[of_kind]
        num_shared = int(np.searchsorted(own, 0))
        behind = np.where(own >= 0, num_shared, 0)
        number[of_kind] = behind + np.arange(len(own)) - np.searchsorted(own, own)
        counts.append(int(number[of_kind].max(initial=-1)) + 1)
    return number, counts


def _local_arrays(
    components: Components,
    of_literal: np.ndarray,
    place: np.ndarray,
    num_places: int,
    column_of: np.ndarray,
    sizes: Sizes,
) -> tuple[np.ndarray, np.ndarray]:
    """The literal at each place of a component, and the columns of places."""
    num_literals = column_of.shape[1]
    shared = (of_literal < 0).nonzero()[0]
    own = (of_literal >= 0).nonzero()[0]
    table = np.full((sizes.pad("components", components.count), max(num_places, 1)), num_literals, np.int32)
    table[:, place[shared]] = shared
    table[of_literal[own], place[own]] = own
    columns = np.full((2, table.shape[1]), -1, np.int32)
    columns[:, place] = column_of[:, : len(place)]
    return table, columns


def _polarities(graph: Graph, outputs: np.ndarray, num_literals: int) -> tuple[np.ndarray, np.ndarray]:
    """In which polarities each literal may occur in a proof: below a complement of a node, in both."""
    leaves = leaf_ids(graph, outputs, num_literals)
    occurs = np.zeros(2 * num_literals, bool)
    occurs[leaves] = True
    if not graph.complement.any():
        return occurs[:num_literals], occurs[num_literals:]
    below = reachable(graph.num_nodes, graph.head, graph.left, graph.right, graph.left[graph.complement[graph.head]])
    assert graph.third is not None
    used = below[graph.head]
    inside = leaf_ids(
        Graph(0, graph.head[used], graph.left[used], graph.right[used], graph.complement, graph.third[used]),
        outputs[:0],
        num_literals,
    )
    occurs[inside] = True
    occurs[(inside + num_literals) % (2 * num_literals) if num_literals else inside] = True
    return occurs[:num_literals], occurs[num_literals:]


def _num_words(count: int) -> int:
    return -(-padded(count) // 32) if count else 0


def _exclude(exclusions: np.ndarray, group: np.ndarray, column: np.ndarray) -> None:
    """Writes for each literal the bit set of the columns of the others of its group."""
    members = ((group >= 0) & (column[: len(group)] >= 0)).nonzero()[0]
    place = column[members]
    bits = np.uint32(1) << (place % 32).astype(np.uint32)
    whole = np.zeros((int(group.max()) + 1, exclusions.shape[1]), np.uint32)
    np.bitwise_or.at(whole, (group[members], place // 32), bits)
    exclusions[members] = whole[group[members]]
    exclusions[members, place // 32] &= ~bits
