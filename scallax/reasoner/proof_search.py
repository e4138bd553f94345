"""The best proofs of a tuple, searched for on the host over its derivations."""

import gc
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

import numpy as np

from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.conjunction import NO_RULE
from scallax.grounding.derivations import ONE, ZERO, Derivations, literal_operand, operand_literal
from scallax.grounding.reachability import strong_components

P = TypeVar("P", "Support", "Support | _Union", "_Union")

# Proofs of one tuple that a search keeps on the way, if not more are asked for.
_MIN_WIDTH = 16
_Parts = tuple[Sequence["Support"], Sequence["Support"]]

# The relative rounding of a product of weights, at most.
_ROUNDING = 1e-9
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


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """A proof: literals, as `l`, or `~l` for one that is false, the nodes of certain facts, and a tree of both.

    `weight` is the product of the literals' weights. Proofs are ordered by `order`. `negations` are those of the
    literals, `groups` the exclusive groups of the true ones.
    """

    literals: frozenset[int]
    facts: frozenset[int]
    order: tuple
    tree: tuple[Tree, ...]
    negations: frozenset[int]
    groups: frozenset[int]

    @property
    def weight(self) -> float:
        return -self.order[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Union:
    """Two proofs together, of which a tree is made if they are kept: that of `node` by `rule`."""

    literals: frozenset[int]
    facts: frozenset[int]
    order: tuple
    parts: tuple[Support, Support]
    node: int = ONE
    rule: int = NO_RULE


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
        with _without_collector():
            return _Run(self, max(k, _MIN_WIDTH)).find(operand)[:k]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Stops Python's collector of cycles: a search makes many objects, and no cycles of them.

    It would walk all objects of the process again and again, and those of JAX and torch are millions: half of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Run:
    """One search: the proofs found so far, by node."""

    def __init__(self, search: Search, width: int):
        self._search = search
        self._width = width
        # By literal, a negative one from the end.
        self._weights: list[float] = [*search.weights.tolist(), *search.complements[::-1].tolist()]
        self._groups: list[int] = search.groups.tolist()
        self._grouped = frozenset(np.flatnonzero(search.groups >= 0).tolist())
        # A proof weighs no more than a part of it, where no weight is more than 1.
        self._shrinks = max(self._weights, default=0.0) <= 1 and min(self._weights, default=0.0) >= 0
        self._found: dict[int, list[Support]] = {}
        # Proofs of literals, of certain facts, and of nodes that do not hold.
        self._literals: dict[int, list[Support]] = {}
        self._facts: dict[int, list[Support]] = {}
        self._complements: dict[int, list[Support]] = {}
        # By derivation, the proofs of its operands that were joined last; by node, the first order that was left out.
        self._joined: dict[int, _Parts] = {}
        self._cut: dict[int, tuple] = {}
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
            supports = self._derive(node, known)
            if supports != known:
                self._found[node] = supports
                waiting.update(dict.fromkeys(users[node]))

    def _width_of(self, node: int) -> int:
        return _MAX_NEGATED if node in self._negated else self._width

    def _derive(self, node: int, known: Sequence[Support]) -> list[Support]:
        """The best proofs of a node among known ones and those of its derivations."""
        width, is_negated = self._width_of(node), node in self._negated
        best: list[Support | _Union] = list(known)
        seen = {(support.literals, support.facts) for support in known}
        for row in self._rows(node).tolist():
            for parts in self._new_parts(row):
                least = math.inf
                if self._shrinks and len(best) == width and not is_negated:
                    least = best[-1].order[0]
                    self._leave_out(node, (least, math.inf))
                best += self._unions(node, int(self._search.rules[row]), parts, seen, least)
                # All proofs of a negated node count, at the end.
                if not is_negated:
                    best = self._choose(node, best)
        if is_negated:
            best = self._choose(node, best)
        supports = [self._build(each) if isinstance(each, _Union) else each for each in best]
        if node in self._cut and (len(best) < width or best[-1].order > self._cut[node]):
            # A new proof is a part of several known ones: others that were left out have a place now.
            del self._cut[node]
            for row in self._rows(node).tolist():
                self._joined.pop(row, None)
            return self._derive(node, supports)
        return supports

    def _choose(self, node: int, supports: list[P]) -> list[P]:
        """The best of the proofs of a node. UnsupportedError if these are not all of what is negated."""
        kept, left_out = self._best(supports, self._width_of(node))
        if left_out is None:
            return kept
        if node in self._negated:
            raise UnsupportedError(
                Diagnostic(
                    f"a negated tuple has more than {_MAX_NEGATED} proofs, too many to explain",
                    hint="ask for a tuple that depends on fewer facts",
                )
            )
        self._leave_out(node, left_out.order)
        return kept

    def _leave_out(self, node: int, order: tuple) -> None:
        self._cut[node] = min(order, self._cut.get(node, order))

    def _new_parts(self, row: int) -> Iterator[_Parts]:
        """The proofs of the operands of a derivation whose unions have not been made yet."""
        lefts, rights = parts = self._parts(row)
        last = self._joined.get(row)
        self._joined[row] = parts
        if last is None:
            yield parts
            return
        new_lefts, new_rights = ([s for s in now if s not in then] for now, then in zip(parts, last, strict=True))
        if new_lefts:
            yield new_lefts, rights
        if new_rights:
            yield [support for support in lefts if support not in new_lefts], new_rights

    def _parts(self, row: int) -> _Parts:
        """The proofs of the two operands of a derivation."""
        derivations = self._search.derivations
        left, right = int(derivations.left[row]), int(derivations.right[row])
        if left == ONE and int(self._search.rules[row]) == NO_RULE:
            return self._fact(int(derivations.head[row])), _NOTHING
        lefts = self._supports(left, bool(derivations.left_negated[row]))
        return lefts, self._supports(right, bool(derivations.right_negated[row]))

    def _unions(
        self,
        node: int,
        rule: int,
        parts: _Parts,
        seen: set[tuple[frozenset[int], frozenset[int]]],
        least: float = math.inf,
    ) -> list[_Union]:
        """The unions of two proofs that are not `seen` yet, but for those that come behind `least`, a negated weight.

        Proofs are in order.
        """
        found, heaviest = [], -least * (1 - _ROUNDING)
        for first in parts[0]:
            if first.order[0] > least:
                break
            for second in parts[1]:
                if second.order[0] > least:
                    break
                # Rounding aside, the weight of both is the product.
                if first.literals.isdisjoint(second.literals) and first.order[0] * second.order[0] < heaviest:
                    continue
                if not first.negations.isdisjoint(second.literals):
                    continue
                key = first.literals | second.literals, first.facts | second.facts
                if key in seen:
                    continue
                seen.add(key)
                order = self._order(*key)
                if order[0] <= least and (first.groups.isdisjoint(second.groups) or self._are_one_choice(key[0])):
                    found.append(_Union(*key, order, (first, second), node, rule))
        return found

    def _build(self, union: _Union) -> Support:
        """The proof, with its tree."""
        first, second = union.parts
        # One step that both need stands once.
        children = tuple(dict.fromkeys((*first.tree, *second.tree)))
        tree = children if union.node == ONE else (self._tree(union.node, False, union.rule, children),)
        return self._support(union.literals, union.facts, union.order, tree)

    def _best(self, supports: Iterable[P], width: int) -> tuple[list[P], P | None]:
        """The first of the proofs, without those that contain one before them, and the next one, if there is one."""
        kept: list[P] = []
        known: list[frozenset[int]] = []
        for support in sorted(supports, key=attrgetter("order")):
            contents = support.literals
            if self._search.counts_facts:
                contents = contents | {len(self._search.weights) + fact for fact in support.facts}
            if any(map(contents.issuperset, known)):
                continue
            if len(kept) == width:
                return kept, support
            kept.append(support)
            known.append(contents)
        return kept, None

    def _supports(self, operand: int, negated: bool) -> list[Support]:
        if operand in (ONE, ZERO):
            return _NOTHING if negated == (operand == ZERO) else _NONE
        if operand >= 0:
            return self._complement(operand) if negated else self._found.get(operand, _NONE)
        literal = int(operand_literal(operand))
        return self._literal(~literal if negated else literal)

    def _complement(self, node: int) -> list[Support]:
        """Proofs that a settled node does not hold: of each of its proofs a literal is the other way round."""
        if node not in self._complements:
            supports = _NOTHING
            for clause in self._found.get(node, _NONE):
                negations = [support for literal in sorted(clause.literals) for support in self._literal(~literal)]
                falsified = [
                    union for support in supports for union in self._unions(ONE, NO_RULE, ([support], negations), set())
                ]
                supports = [self._build(union) for union in self._best(falsified, _MAX_NEGATED)[0]]
            self._complements[node] = [
                replace(support, tree=(self._tree(node, True, NO_RULE, support.tree),)) for support in supports
            ]
        return self._complements[node]

    def _tree(self, operand: int, negated: bool, rule: int, children: tuple[Tree, ...]) -> Tree:
        key = (operand, negated, rule, children)
        if key not in self._trees:
            self._trees[key] = Tree(*key)
        return self._trees[key]

    def _literal(self, literal: int) -> list[Support]:
        if literal not in self._literals:
            is_negated = literal < 0
            operand = int(literal_operand(~literal if is_negated else literal))
            tree = self._tree(operand, is_negated, NO_RULE, ())
            literals = frozenset([literal])
            self._literals[literal] = [self._support(literals, frozenset(), self._order(literals, ()), (tree,))]
        return self._literals[literal]

    def _fact(self, node: int) -> list[Support]:
        """The proof of a node that is a certain fact."""
        if node not in self._facts:
            facts = frozenset([node])
            self._facts[node] = [self._support(frozenset(), facts, self._order((), facts), ())]
        return self._facts[node]

    def _support(
        self, literals: frozenset[int], facts: frozenset[int], order: tuple, tree: tuple[Tree, ...]
    ) -> Support:
        negations = frozenset([~literal for literal in literals])
        groups = frozenset([self._groups[literal] for literal in self._grouped & literals])
        return Support(literals, facts, order, tree, negations, groups)

    def _are_one_choice(self, literals: frozenset[int]) -> bool:
        """Whether at most one literal of each group is true."""
        chosen = self._grouped & literals
        return len({self._groups[literal] for literal in chosen}) == len(chosen)

    def _order(self, literals: Collection[int], facts: Collection[int]) -> tuple:
        # Weights are multiplied in one order, so that a proof weighs the same however it was found.
        ordered = sorted(literals)
        weight = math.prod([self._weights[literal] for literal in ordered])
        return -weight, len(ordered), len(facts), tuple(ordered), tuple(sorted(facts)) if facts else ()


# The proofs of what always holds, and of what never does.
_NOTHING = [Support(frozenset(), frozenset(), (-1.0, 0, 0, (), ()), (), frozenset(), frozenset())]
_NONE: list[Support] = []
