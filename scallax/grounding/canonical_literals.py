"""Numbers of the literals that rules make: by rule, then by the values of what each was made for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scallax.grounding.derivations import Derivations, Literals, literal_operand, operand_literal
from scallax.grounding.selected_literals import SelectionSet
from scallax.grounding.symbols import Symbols, decode, sort_keys
from scallax.language.records import record
from scallax.language.values import ValueType


@record
class Bindings:
    """Literals by number, int64 `[literals]`, and columns of codes: the values that each was made for."""

    literals: np.ndarray
    columns: Sequence[np.ndarray]
    types: Sequence[ValueType]

    def in_order(self, symbols: Symbols) -> np.ndarray:
        """The literals in the order of their values, those of equal ones as they were made."""
        keys = [
            sort_keys(decode(codes, type, symbols), type, symbols)
            for codes, type in zip(self.columns, self.types, strict=True)
        ]
        return self.literals[np.lexsort((self.literals, *keys[::-1]))]


@dataclass(slots=True)
class RuleLiterals:
    """The literals of tagged rules, as they are made."""

    _found: dict[int, list[Bindings]] = field(default_factory=dict)

    def add(self, rule: int, bindings: Bindings) -> None:
        self._found.setdefault(rule, []).append(bindings)

    def forget(self, rule: int) -> None:
        """Leaves out the literals of a rule so far: its derivations are found anew."""
        self._found.pop(rule, None)

    def by_rule(self) -> list[Bindings]:
        """All literals of each rule, rules in order."""
        joined = []
        for _, parts in sorted(self._found.items()):
            columns = [np.concatenate(column) for column in zip(*(part.columns for part in parts), strict=True)]
            joined.append(Bindings(np.concatenate([part.literals for part in parts]), columns, parts[0].types))
        return joined


def number_by_content(
    literals: Literals,
    derivations: Derivations,
    selection_sets: Sequence[SelectionSet],
    bindings: Sequence[Bindings],
    num_given: int,
    symbols: Symbols,
) -> tuple[Literals, Derivations, tuple[SelectionSet, ...]]:
    """The same with other numbers of the literals from `num_given` on: those of `bindings`, in order, then the rest.

    Their groups are numbered as their literals are.
    """
    named = [each.in_order(symbols) for each in bindings]
    is_named = np.zeros(len(literals), np.bool_)
    for each in named:
        is_named[each] = True
    order = np.concatenate([np.arange(num_given), *named, num_given + np.flatnonzero(~is_named[num_given:])])
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))

    def renumber(operands: np.ndarray) -> np.ndarray:
        renumbered, places = operands.copy(), np.flatnonzero(operands <= literal_operand(0))
        renumbered[places] = literal_operand(number[operand_literal(operands[places])])
        return renumbered

    return (
        Literals(
            literals.prior[order],
            literals.source[order],
            _number_groups(literals.group[order], num_given),
            literals.parameter[order],
            literals.outcomes[order] if len(literals.outcomes) else literals.outcomes,
        ),
        replace(derivations, left=renumber(derivations.left), right=renumber(derivations.right)),
        tuple(
            replace(selections, members=renumber(selections.members), literals=number[selections.literals])
            for selections in selection_sets
        ),
    )


def _number_groups(group: np.ndarray, num_given: int) -> np.ndarray:
    """The groups of literals with those from `num_given` on, which have their own, in order of appearance."""
    made = group[num_given:]
    groups, first, inverse = np.unique(made[made >= 0], return_index=True, return_inverse=True)
    rank = np.empty(len(groups), np.int64)
    rank[np.argsort(first)] = np.arange(len(groups))
    numbered = group.copy()
    numbered[num_given:][made >= 0] = int(group[:num_given].max(initial=-1)) + 1 + rank[inverse.reshape(-1)]
    return numbered
