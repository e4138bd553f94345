"""The best proofs of a tuple, searched for on the host over its derivations."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.conjunction import NO_RULE
from scallax.grounding.derivations import ONE, ZERO, Derivations, literal_operand, operand_literal
from scallax.grounding.reachability import strong_components

# Proofs of one tuple that a search keeps on the way, if not more are asked for.
_MIN_WIDTH = 16
# A negation needs all proofs of what it negates, and may not have more.
_MAX_NEGATED = 256


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """How one operand (a code of `scallax.grounding.derivations`) holds or, `negated`, does not hold.

    Equal trees of a search are one object: they may be deeper than a recursive comparison can go.

    `rule` is the index of the rule of the derivation, -1 for a fact. The children of a negated operand are the literals
    that make its proofs fail.
    """

    operand: int
    negated: bool
    rule: int
    children: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Support:
    """A proof: literals, as `l`, or `~l` for one that is false, the nodes of certain facts, and a tree of both.

    `weight` is the product of the literals' weights.
    """

    weight: float
    literals: frozenset[int]
    facts: frozenset[int]
    tree: tuple[Tree, ...]

    @property
    def order(self) -> tuple:
        return -self.weight, len(self.literals), len(self.facts), sorted(self.literals), sorted(self.facts)


@dataclass(frozen=True, slots=True)
class Search:
    """The data of a search: a ground program whose certain tuples keep their derivations.

    `weights` float64 `[literals]` are those of true literals, `complements` of false ones; two true literals of one
    number in `groups` int64 `[literals]` exclude each other, -1 is none. With `counts_facts` proofs that differ in
    certain facts are different proofs.
    """

    derivations: Derivations
    rules: np.ndarray
    weights: np.ndarray
    complements: np.ndarray
    groups: np.ndarray
    counts_facts: bool

    def find(self, operand: int, k: int) -> list[Support]:
        """At most `k` proofs of an operand, the heaviest first, then the smallest; none contains another.

        The search keeps max(k, 16) proofs of every tuple on the way, and all of those that are negated. Raises
        `UnsupportedError` if one of these has more than 256.
        """
        return _Run(self, max(k, _MIN_WIDTH)).find(operand)[:k]


class _Run:
    """One search: the proofs found so far, by node."""

    def __init__(self, search: Search, width: int):
        self._search = search
        self._width = width
        self._found: dict[int, list[Support]] = {}
        self._trees: dict[tuple[int, bool, int, tuple[Tree, ...]], Tree] = {}
        # The nodes that are negated, and all that these need.
        self._negated: set[int] = set()
        derivations = search.derivations
        self._by_head = derivations.head.argsort(kind="stable")
        counts = np.bincount(derivations.head, minlength=derivations.num_nodes)
        self._ends = counts.cumsum()
        self._starts = self._ends - counts

    def find(self, operand: int) -> list[Support]:
        if operand >= 0:
            for component, needs in self._components(operand):
                self._settle(component, needs)
        return self._supports(operand, negated=False)

    def _components(self, root: int) -> Iterator[tuple[list[int], dict[int, list[int]]]]:
        """The strongly connected components of the nodes that `root` needs, those that others need first.

        With each comes what every node needs.
        """
        needs = self._reach([root])
        rows = (np.isin(self._search.derivations.head, list(needs))).nonzero()[0]
        derivations = self._search.derivations
        negated = {int(n) for n in derivations.left[rows[derivations.left_negated[rows]]] if n >= 0}
        negated |= {int(n) for n in derivations.right[rows[derivations.right_negated[rows]]] if n >= 0}
        self._negated = set(self._reach(negated))
        number = {node: i for i, node in enumerate(needs)}
        edges = np.array(
            [(number[node], number[other]) for node, others in needs.items() for other in others], np.int64
        ).reshape(-1, 2)
        component, depth, _ = strong_components(len(needs), edges[:, 1], edges[:, 0])
        members: list[list[int]] = [[] for _ in depth]
        for node, i in number.items():
            members[component[i]].append(node)
        for place in depth.argsort(kind="stable").tolist():
            yield members[place], needs

    def _reach(self, roots: Iterable[int]) -> dict[int, list[int]]:
        """The nodes that some nodes need, themselves among them, each with those that it needs directly."""
        needs: dict[int, list[int]] = {}
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node not in needs:
                needs[node] = self._operands(node)
                waiting += needs[node]
        return needs

    def _operands(self, node: int) -> list[int]:
        derivations, rows = self._search.derivations, self._rows(node)
        operands = np.concatenate([derivations.left[rows], derivations.right[rows]])
        return np.unique(operands[operands >= 0]).tolist()

    def _rows(self, node: int) -> np.ndarray:
        return self._by_head[self._starts[node] : self._ends[node]]

    def _settle(self, component: Sequence[int], needs: dict[int, list[int]]) -> None:
        """The proofs of the nodes of a component: again and again until none changes."""
        users: dict[int, list[int]] = {node: [] for node in component}
        for node in component:
            for operand in needs[node]:
                if operand in users:
                    users[operand].append(node)
        waiting = dict.fromkeys(component)
        while waiting:
            node = next(iter(waiting))
            del waiting[node]
            known = self._found.get(node, [])
            # Known proofs stay in the pool and keep their trees, so that this ends.
            supports, is_whole = self._best([*known, *self._derive(node)], self._width_of(node))
            if not is_whole and node in self._negated:
                raise UnsupportedError(
                    Diagnostic(
                        f"a negated tuple has more than {_MAX_NEGATED} proofs, too many to explain",
                        hint="ask for a tuple that depends on fewer facts",
                    )
                )
            if supports != known:
                self._found[node] = supports
                waiting.update(dict.fromkeys(users[node]))

    def _width_of(self, node: int) -> int:
        return _MAX_NEGATED if node in self._negated else self._width

    def _derive(self, node: int) -> Iterator[Support]:
        derivations = self._search.derivations
        for row in self._rows(node).tolist():
            rule = int(self._search.rules[row])
            left, right = int(derivations.left[row]), int(derivations.right[row])
            if rule == NO_RULE and left == ONE:
                yield Support(1.0, frozenset(), frozenset([node]), (self._tree(node, False, NO_RULE, ()),))
                continue
            lefts = self._supports(left, bool(derivations.left_negated[row]))
            rights = self._supports(right, bool(derivations.right_negated[row]))
            for first, second in itertools.product(lefts, rights):
                both = self._conjoin(first, second)
                if both is not None:
                    yield replace(both, tree=(self._tree(node, False, rule, both.tree),))

    def _best(self, supports: Iterable[Support], width: int) -> tuple[list[Support], bool]:
        """The first of the proofs, without those that contain one before them, and whether these are all."""
        kept: list[tuple[frozenset[int], Support]] = []
        for support in sorted(supports, key=lambda support: support.order):
            contents = support.literals
            if self._search.counts_facts:
                contents = contents | {len(self._search.weights) + fact for fact in support.facts}
            if any(smaller <= contents for smaller, _ in kept):
                continue
            if len(kept) == width:
                return [support for _, support in kept], False
            kept.append((contents, support))
        return [support for _, support in kept], True

    def _supports(self, operand: int, negated: bool) -> list[Support]:
        if operand == ONE:
            return [] if negated else [_NOTHING]
        if operand == ZERO:
            return [_NOTHING] if negated else []
        if operand >= 0:
            return self._complement(operand) if negated else self._found.get(operand, [])
        literal = int(operand_literal(operand))
        return [self._literal(~literal if negated else literal)]

    def _complement(self, node: int) -> list[Support]:
        """Proofs that a node does not hold: a literal of each of its proofs is the other way round."""
        supports = [_NOTHING]
        for clause in self._found.get(node, []):
            falsified = [
                both
                for support in supports
                for literal in sorted(clause.literals)
                if (both := self._conjoin(support, self._literal(~literal))) is not None
            ]
            supports, _ = self._best(falsified, _MAX_NEGATED)
        return [replace(support, tree=(self._tree(node, True, NO_RULE, support.tree),)) for support in supports]

    def _tree(self, operand: int, negated: bool, rule: int, children: tuple[Tree, ...]) -> Tree:
        key = (operand, negated, rule, children)
        if key not in self._trees:
            self._trees[key] = Tree(*key)
        return self._trees[key]

    def _literal(self, literal: int) -> Support:
        is_negated = literal < 0
        operand = int(literal_operand(~literal if is_negated else literal))
        tree = self._tree(operand, is_negated, NO_RULE, ())
        return Support(self._weight(literal), frozenset([literal]), frozenset(), (tree,))

    def _conjoin(self, first: Support, second: Support) -> Support | None:
        """Both together; None if they contradict each other."""
        added = second.literals - first.literals
        literals = first.literals | added
        if any(~literal in first.literals for literal in added):
            return None
        groups = [group for literal in literals if literal >= 0 and (group := int(self._search.groups[literal])) >= 0]
        if len(set(groups)) < len(groups):
            return None
        # In one order, so that a proof weighs the same however it was found.
        weight = math.prod(map(self._weight, sorted(literals)))
        # One step that both need stands once.
        tree = tuple(dict.fromkeys((*first.tree, *second.tree)))
        return Support(weight, literals, first.facts | second.facts, tree)

    def _weight(self, literal: int) -> float:
        return float(self._search.weights[literal] if literal >= 0 else self._search.complements[~literal])


# The proof of what always holds.
_NOTHING = Support(1.0, frozenset(), frozenset(), ())
