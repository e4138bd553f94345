"""Names of the literals in a circuit, with which proofs can be read."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.grounding.derivations import literal_operand, operand_literal
from scallax.grounding.fixpoint import FactSet, Grounding
from scallax.language import ir
from scallax.language.records import record
from scallax.language.values import Value


@record
class Literal:
    """One part of a proof: a fact, or the random choice of a rule, with whether it holds in the proof.

    Args:
        is_true: Whether the fact holds; False: the proof needs it not to hold.
        relation: The relation of the fact, or of the head of the rule.
        values: The values of the fact; None for the tag of a rule or a choice in its head.

    Example:
        >>> import scallax
        >>> print(scallax.Literal(False, "edge", (0, 1)))
        not edge(0, 1)
    """

    is_true: bool
    relation: str
    values: tuple[Value, ...] | None

    def __str__(self) -> str:
        shown = f"rule of {self.relation}"
        if self.values is not None:
            shown = f"{self.relation}({', '.join(map(repr, self.values))})"
        return shown if self.is_true else f"not {shown}"


# Literals that are true together.
Proof = tuple[Literal, ...]

# A part of a proof of facts that were given with numbers: whether the fact holds, and its number; any other literal.
Part = tuple[bool, int] | Literal


def read_proofs(proofs: tuple[Any, ...], program: Circuit) -> list[list[list[list[tuple[int, bool]]]]]:
    """For each sample and output its proofs, as literal rows with whether they are true.

    `proofs` are ranks `[outputs, proofs, batch]`, the least int32 for no proof, and, with one axis more, bit sets of
    columns (uint32) or lists of them (int32, -1 for none).
    """
    ranks, members = map(np.asarray, proofs[:2])
    used = np.moveaxis(ranks != np.iinfo(np.int32).min, -1, 0)
    # `[batch, outputs, proofs, places]`.
    members = np.ascontiguousarray(np.moveaxis(members, -1, 0))
    is_list = members.dtype == np.int32
    if not is_list:
        # The columns of positive literals come before those of negated ones.
        members = np.unpackbits(members.astype("<u4").view(np.uint8), axis=-1, bitorder="little")
    assert program.proofs is not None
    columns, num_positive, local = program.proofs.columns.tolist(), 32 * program.proofs.words[0], program.local
    members = members if is_list else members[..., : len(columns)]

    def read(output: int, proof: np.ndarray) -> list[tuple[int, bool]]:
        places = proof[proof >= 0] if is_list else np.flatnonzero(proof)
        parts = [(columns[place], place < num_positive) for place in places.tolist()]
        if local is not None:
            # Columns are places among the literals of the output's component.
            of_component = local.literals[local.of_output[output]]
            parts = [(int(of_component[place]), is_true) for place, is_true in parts]
        return sorted(parts)

    return [
        [
            [read(output, proof) for proof in kept[in_use]]
            for output, (kept, in_use) in enumerate(zip(outputs, in_uses, strict=True))
        ]
        for outputs, in_uses in zip(members, used, strict=True)
    ]


def number_parts(
    proofs: Sequence[Sequence[tuple[int, bool]]], numbers: Sequence[int], names: Sequence[Literal]
) -> list[list[Part]]:
    """Proofs with facts by number instead of literal rows, in ascending order, and then the names of other literals.

    A row whose number is 0 has no number.
    """
    named = []
    for proof in proofs:
        numbered = sorted((int(numbers[row]), is_true) for row, is_true in proof if numbers[row])
        others = [replace(names[row], is_true=is_true) for row, is_true in proof if not numbers[row]]
        named.append([*((is_true, number) for number, is_true in numbered), *others])
    return named


def name_literals(program: ir.Program, facts: Sequence[tuple[str, FactSet]], grounding: Grounding) -> list[Literal]:
    """The positive literal of each fact, then of each rule's grounding and choice, by literal number."""
    names = [Literal(True, "", None)] * len(grounding.literals)
    for relation, given in facts:
        tuples = zip(*given.columns, strict=True) if given.columns else repeat(())
        for values, operand in zip(tuples, given.operands.tolist(), strict=False):
            if operand <= literal_operand(0):
                names[operand_literal(operand)] = Literal(True, relation, values)
    derivations = grounding.derivations
    rules = np.concatenate([grounding.rules, grounding.rules])
    operands = np.concatenate([derivations.left, derivations.right])
    for operand, rule in zip(operands.tolist(), rules.tolist(), strict=True):
        if rule >= 0 and operand <= literal_operand(0) and not names[operand_literal(operand)].relation:
            # The relation of a predicate has its name, and a mark behind it.
            relation = program.rules[rule].relation.partition("#made")[0]
            names[operand_literal(operand)] = Literal(True, relation, None)
    return names
