"""Exact weighted model counting of larger proof sets, on the host: a decision diagram for each distinct set.

A formula splits into variable-disjoint parts where it can and otherwise branches on its most frequent variable (DPLL
with component analysis and caching: Sang et al., SAT 2004). A variable is a literal, or a whole exclusive group.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import ShapeDtypeStruct

from scallax.errors import Diagnostic, UnsupportedError
from scallax.provenance.base import LiteralTable
from scallax.provenance.dnf import ProofSets, Sections

# A clause: the literals that are true in it, as `literal + 1`, and those that are false, as `-(literal + 1)`.
Clause = frozenset[int]

# Nodes of one diagram.
_MAX_NODES = 200_000

_FALSE, _TRUE = 0, 1


def count_models(proofs: ProofSets, literals: LiteralTable, sections: Sections, grouped: bool) -> jax.Array:
    """The probability `[outputs, batch]` that some proof of each output is true; differentiable in the probabilities.

    Exact for any number of proofs, computed in float64 on the host. Raises `UnsupportedError` for a set of proofs whose
    diagram passes the node budget.
    """
    groups = jnp.cumsum(literals.group_end, dtype=jnp.int32) - literals.group_end.astype(jnp.int32)
    used = proofs.weights != -jnp.inf
    positive, negated = sections.positive(proofs.bits), sections.negated(proofs.bits)
    if not grouped:
        groups = jnp.arange(groups.shape[0], dtype=jnp.int32)

    @jax.custom_vjp
    def count(p):
        shape = ShapeDtypeStruct((used.shape[0], p.shape[1]), p.dtype)
        return jax.pure_callback(_values, shape, p, used, positive, negated, groups)

    def count_backward(p, cotangent):
        shape = ShapeDtypeStruct(p.shape, p.dtype)
        return (jax.pure_callback(_gradient, shape, p, used, positive, negated, groups, cotangent),)

    count.defvjp(lambda p: (count(p), p), count_backward)
    return count(literals.probabilities)


@dataclass(slots=True)
class _Diagram:
    """Nodes in evaluation order: `choices[n]` for a branch on a variable, `parts[n]` for independent alternatives.

    A branch has a child for each literal of the variable that is decided true, and one (`None`) for the rest.
    """

    group: Sequence[int]
    choices: list[list[tuple[int | None, int]] | None] = field(default_factory=lambda: [None, None])
    parts: list[tuple[int, ...] | None] = field(default_factory=lambda: [None, None])
    known: dict[frozenset[Clause], int] = field(default_factory=dict)

    def build(self, clauses: frozenset[Clause]) -> int:
        if frozenset() in clauses:
            return _TRUE
        if not clauses:
            return _FALSE
        if clauses not in self.known:
            components = self._components(clauses)
            if len(components) > 1:
                node = self._add(None, tuple(self.build(part) for part in components))
            else:
                node = self._add(self._branch(clauses), None)
            self.known[clauses] = node
        return self.known[clauses]

    def _add(self, choices, parts) -> int:
        if len(self.parts) >= _MAX_NODES:
            raise UnsupportedError(
                Diagnostic(
                    f"counting the models of one output's proofs takes more than {_MAX_NODES} decisions",
                    hint="lower `k`; up to 10 proofs are counted without a limit",
                )
            )
        self.choices.append(choices)
        self.parts.append(parts)
        return len(self.parts) - 1

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

    def _branch(self, clauses: frozenset[Clause]) -> list[tuple[int | None, int]]:
        counts = Counter(self.group[abs(literal) - 1] for clause in clauses for literal in clause)
        # The most frequent variable; the first of equal ones, so that rounding is reproducible.
        variable = min(counts, key=lambda v: (-counts[v], v))
        members = {abs(x) - 1 for clause in clauses for x in clause if self.group[abs(x) - 1] == variable}
        outcomes: list[int | None] = [*sorted(members), None]
        return [(outcome, self.build(self._given(clauses, members, outcome))) for outcome in outcomes]

    @staticmethod
    def _given(clauses: frozenset[Clause], members: set[int], outcome: int | None) -> frozenset[Clause]:
        true = {m + 1 if m == outcome else -(m + 1) for m in members}
        false = {-literal for literal in true}
        return frozenset(clause - true for clause in clauses if clause.isdisjoint(false))

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


def _distinct(used, positive, negated):
    """Each distinct proof set as clauses, with the outputs and samples that have it."""
    num_outputs, k, words, batch = positive.shape
    bits = np.concatenate([positive, negated], 2).transpose(0, 3, 1, 2).reshape(num_outputs * batch, k, 2 * words)
    kept = used.transpose(0, 2, 1).reshape(num_outputs * batch, k)
    rows = np.concatenate([bits.reshape(len(bits), -1), kept.astype(np.uint32)], 1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    for index, row in enumerate(first):
        clauses = set()
        for clause in bits[row][kept[row]]:
            members = np.flatnonzero(np.unpackbits(clause.astype("<u4").view(np.uint8), bitorder="little"))
            clauses.add(frozenset(int(m) + 1 if m < 32 * words else -(int(m) - 32 * words + 1) for m in members))
        where = np.flatnonzero(inverse == index)
        yield frozenset(clauses), where // batch, where % batch


def _values(p, used, positive, negated, groups):
    p64, group = np.asarray(p, np.float64), np.asarray(groups).tolist()
    values = np.zeros((used.shape[0], p.shape[1]))
    for clauses, outputs, samples in _distinct(np.asarray(used), np.asarray(positive), np.asarray(negated)):
        diagram = _Diagram(group)
        root = diagram.build(clauses)
        values[outputs, samples] = diagram.evaluate(p64[:, samples])[root]
    return values.astype(p.dtype)


def _gradient(p, used, positive, negated, groups, cotangent):
    p64, group = np.asarray(p, np.float64), np.asarray(groups).tolist()
    cotangent = np.asarray(cotangent, np.float64)
    gradient = np.zeros(p.shape)
    for clauses, outputs, samples in _distinct(np.asarray(used), np.asarray(positive), np.asarray(negated)):
        diagram = _Diagram(group)
        root = diagram.build(clauses)
        chosen = p64[:, samples]
        part = diagram.pull_back(root, diagram.evaluate(chosen), chosen, cotangent[outputs, samples])
        np.add.at(gradient.T, samples, part.T)
    return gradient.astype(p.dtype)
