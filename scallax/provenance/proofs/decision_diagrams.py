"""Exact weighted model counting of larger proof sets, on the host: a decision diagram for each distinct set.

A formula splits into variable-disjoint parts where it can and otherwise branches on its most frequent variable (DPLL
with component analysis and caching: Sang et al., SAT 2004). A variable is a literal, or a whole exclusive group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.dnf import ProofSets
from scallax.provenance.proofs.ranks import is_proof
from scallax.provenance.traits import MAX_NODES

if TYPE_CHECKING:
    from scallax.kernels.array_namespace import Array

# A clause: the literals that are true in it, as `literal + 1`, and those that are false, as `-(literal + 1)`.
Clause = frozenset[int]
Formula = frozenset[Clause]

# Values of nodes held at once.
_MAX_NUMBERS = 1 << 24

_FALSE, _TRUE = 0, 1
_FALSE_FORMULA: Formula = frozenset()
_TRUE_FORMULA: Formula = frozenset({frozenset()})


def count_models(proofs: ProofSets, literals: LiteralTable, sets: BitSets, grouped: bool) -> Array:
    """The probability `[outputs, batch]` that some proof of each output is true; differentiable in the probabilities.

    Exact for any number of proofs, computed in float64 on the host. A set of proofs whose diagram would pass
    `MAX_NODES` is refused: by sample and then by output, the first output with such a set is NaN, and so is every later
    one whose set had not been counted before; the gradients of their samples are NaN. Finite probabilities give no
    other NaN. Nothing is raised: XLA would report that in its own words.
    """
    xp = literals.xp
    groups = xp.cumsum(literals.group_end, dtype=xp.int32) - literals.group_end.astype(xp.int32)
    used = is_proof(proofs.ranks)
    bits = proofs.members[..., : sets.identity, :]
    signs = xp.asarray(np.where(np.arange(32 * sets.identity) < 32 * sets.positive, 1, -1), xp.int32)
    # The literal of each column, as clauses name it.
    names = signs * (literals.columns + 1)
    if not grouped:
        groups = xp.arange(groups.shape[0], dtype=xp.int32)

    def count(p):
        return xp.call_on_host(_values, (used.shape[0], p.shape[1]), [p], used, bits, names, groups)

    def count_backward(p, cotangent):
        return (xp.call_on_host(_gradient, p.shape, [p, cotangent], used, bits, names, groups),)

    return xp.custom_vjp(count, lambda p: (count(p), p), count_backward)(literals.probabilities)


@dataclass(slots=True)
class _Diagram:
    """Nodes in evaluation order: `choices[n]` for a branch on a variable, `parts[n]` for independent alternatives.

    A branch has a child for each literal of the variable that is decided true, and one (`None`) for the rest.
    """

    group: Sequence[int]
    choices: list[list[tuple[int | None, int]] | None] = field(default_factory=lambda: [None, None])
    parts: list[tuple[int, ...] | None] = field(default_factory=lambda: [None, None])
    known: dict[Formula, int] = field(default_factory=lambda: {_FALSE_FORMULA: _FALSE, _TRUE_FORMULA: _TRUE})

    def build(self, formula: Formula) -> int | None:
        """The node of a formula; None if it takes more than `MAX_NODES`."""
        # Formulas that wait for those above them. A formula may be as deep as it has variables: too deep to recurse.
        waiting = [formula]
        expanded: dict[Formula, tuple[list[int | None] | None, list[Formula]]] = {}
        while waiting:
            current = waiting[-1]
            if current in self.known:
                waiting.pop()
                continue
            if current not in expanded:
                expanded[current] = self._expand(current)
            outcomes, children = expanded[current]
            missing = [child for child in children if child not in self.known]
            if missing:
                waiting += reversed(missing)
                continue
            if len(self.parts) >= MAX_NODES:
                return None
            nodes = [self.known[child] for child in children]
            self.choices.append(None if outcomes is None else list(zip(outcomes, nodes, strict=True)))
            self.parts.append(tuple(nodes) if outcomes is None else None)
            self.known[current] = len(self.parts) - 1
            del expanded[current]
        return self.known[formula]

    def _expand(self, formula: Formula) -> tuple[list[int | None] | None, list[Formula]]:
        """The variable-disjoint parts of a formula; if it is one, the outcomes of a variable and what is left then."""
        components = self._components(formula)
        if len(components) > 1:
            return None, components
        counts = Counter(self.group[abs(literal) - 1] for clause in formula for literal in clause)
        # The most frequent variable; the first of equal ones, so that rounding is reproducible.
        variable = min(counts, key=lambda v: (-counts[v], v))
        members = {abs(x) - 1 for clause in formula for x in clause if self.group[abs(x) - 1] == variable}
        outcomes: list[int | None] = [*sorted(members), None]
        return outcomes, [self._given(formula, members, outcome) for outcome in outcomes]

    def _components(self, clauses: frozenset[Clause]) -> list[frozenset[Clause]]:
        """The clauses in sets that share no variable."""
        parts: list[tuple[set[int], list[Clause]]] = []
        for clause in clauses:
            variables, members = {self.group[abs(literal) - 1] for literal in clause}, [clause]
            apart = []
            for part in parts:
                if part[0].isdisjoint(variables):
                    apart.append(part)
                else:
                    variables |= part[0]
                    members += part[1]
            parts = [*apart, (variables, members)]
        return [frozenset(members) for _, members in parts]

    @staticmethod
    def _given(formula: Formula, members: set[int], outcome: int | None) -> Formula:
        true = {m + 1 if m == outcome else -(m + 1) for m in members}
        false = {-literal for literal in true}
        left = frozenset(clause - true for clause in formula if clause.isdisjoint(false))
        return _TRUE_FORMULA if frozenset() in left else left

    def evaluate(self, p: np.ndarray) -> list[np.ndarray]:
        """The probability of every node, for p `[literals, samples]`."""
        values = [np.zeros(p.shape[1]), np.ones(p.shape[1])]
        for choices, parts in zip(self.choices[2:], self.parts[2:], strict=True):
            if parts is not None:
                values.append(1 - np.prod([1 - values[part] for part in parts], axis=0))
            else:
                assert choices is not None
                rest = 1 - sum(p[literal] for literal, _ in choices if literal is not None)
                weighted = [(rest if x is None else p[x]) * values[child] for x, child in choices]
                values.append(np.sum(weighted, axis=0))
        return values

    def pull_back(self, root: int, values: list[np.ndarray], p: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """The gradient of p for the cotangent `[samples]` of the root."""
        gradient = np.zeros_like(p)
        adjoint = [np.zeros(p.shape[1]) for _ in values]
        adjoint[root] = adjoint[root] + cotangent
        for node in range(len(values) - 1, 1, -1):
            if (parts := self.parts[node]) is not None:
                for i, part in enumerate(parts):
                    others = np.prod([1 - values[o] for j, o in enumerate(parts) if j != i], axis=0)
                    adjoint[part] = adjoint[part] + adjoint[node] * others
                continue
            choices = self.choices[node]
            assert choices is not None
            rest = 1 - sum(p[literal] for literal, _ in choices if literal is not None)
            last = values[choices[-1][1]]
            for literal, child in choices:
                weight = rest if literal is None else p[literal]
                adjoint[child] = adjoint[child] + adjoint[node] * weight
                if literal is not None:
                    gradient[literal] += adjoint[node] * (values[child] - last)
        return gradient


def _diagrams(used, bits, names, groups) -> Iterator[tuple[_Diagram, int | None, np.ndarray, np.ndarray]]:
    """A diagram and its root for each distinct proof set, with the outputs and samples that have it.

    In the order of the first of these, by sample and then by output. From the first that takes more than `MAX_NODES`
    on, the root is None: one such is as much time as is worth to lose.
    """
    used, bits, names = np.asarray(used), np.asarray(bits), np.asarray(names)
    group = np.asarray(groups).tolist()
    num_outputs, k, words, batch = bits.shape
    bits = bits.transpose(3, 0, 1, 2).reshape(batch * num_outputs, k, words)
    kept = used.transpose(2, 0, 1).reshape(batch * num_outputs, k)
    # Equal sets may be in other orders: samples weigh their proofs differently.
    numbers = np.unique(bits.reshape(-1, words), axis=0, return_inverse=True)[1].reshape(kept.shape)
    sets = np.sort(np.where(kept, numbers, -1), axis=1)
    _, first, inverse = np.unique(sets, axis=0, return_index=True, return_inverse=True)
    is_refused = False
    for number in np.argsort(first):
        row = first[number]
        clauses = set()
        for clause in bits[row][kept[row]]:
            members = np.flatnonzero(np.unpackbits(clause.astype("<u4").view(np.uint8), bitorder="little"))
            clauses.add(frozenset(names[members].tolist()))
        diagram = _Diagram(group)
        root = None if is_refused else diagram.build(_TRUE_FORMULA if frozenset() in clauses else frozenset(clauses))
        is_refused = root is None
        where = np.flatnonzero(inverse.reshape(-1) == number)
        yield diagram, root, where % num_outputs, where // num_outputs


def _values(floats, used, bits, names, groups):
    (p,) = floats
    p64 = np.asarray(p, np.float64)
    values = np.zeros((used.shape[0], p.shape[1]))
    # Probabilities may be any numbers under `jit`.
    with np.errstate(over="ignore", invalid="ignore"):
        for diagram, root, outputs, samples in _diagrams(used, bits, names, groups):
            for part in _slices(len(samples), diagram):
                at = outputs[part], samples[part]
                values[at] = np.nan if root is None else _count(diagram, root, p64[:, samples[part]])
        return values.astype(p.dtype)


def _count(diagram: _Diagram, root: int, p: np.ndarray) -> np.ndarray:
    """The value of the root; infinite where finite numbers are too large for float64."""
    value = diagram.evaluate(p)[root]
    return np.where(np.isnan(value) & np.isfinite(p).all(0), np.inf, value)


def _gradient(floats, used, bits, names, groups):
    p, cotangent = floats
    p64 = np.asarray(p, np.float64)
    cotangent = np.asarray(cotangent, np.float64)
    gradient = np.zeros(p.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for diagram, root, outputs, samples in _diagrams(used, bits, names, groups):
            for part in _slices(len(samples), diagram):
                at, chosen = (outputs[part], samples[part]), p64[:, samples[part]]
                change = np.full_like(chosen, np.nan)
                if root is not None:
                    change = diagram.pull_back(root, diagram.evaluate(chosen), chosen, cotangent[at])
                np.add.at(gradient.T, samples[part], change.T)
        return gradient.astype(p.dtype)


def _slices(count: int, diagram: _Diagram) -> Iterator[slice]:
    """Slices of so many samples that the values of all nodes can be held."""
    size = max(1, _MAX_NUMBERS // len(diagram.parts))
    return (slice(start, start + size) for start in range(0, count, size))
