"""A program evaluated on the host, one Python object for each tag."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Array

from scallax.circuits.literals import Literal
from scallax.evaluation.batch import Arguments, read_samples
from scallax.evaluation.compiled_program import CompiledProgram
from scallax.evaluation.interpretation import ABSENT, as_outputs, interpret, refuse_traced
from scallax.facts.tensor_facts import Retention
from scallax.provenance.semirings import ObjectProvenance


@dataclass(frozen=True, slots=True)
class HostEvaluator:
    """Evaluates checked arguments under a provenance of Python objects, by a seed that draws retained entries."""

    grounded: CompiledProgram
    provenance: ObjectProvenance
    retentions: tuple[Retention | None, ...]

    def evaluate(
        self, arguments: Arguments, seed: int | Array, entries: Sequence[Sequence[Any]] | None = None
    ) -> np.ndarray:
        """The outputs `[batch, outputs]`: objects, or of the provenance's dtype if it has one.

        `entries`: for each sample those of all arrays, which are tagged instead of the arrays' numbers.
        """
        with refuse_traced(self.provenance):
            tags = self._interpret(arguments, seed, entries)
            values = np.empty((len(tags), self.grounded.num_outputs), object)
            for sample, row in enumerate(tags):
                for place, tag in enumerate(row):
                    values[sample, place] = self.provenance.semiring.recover(tag)
        return as_outputs(self.provenance, values, arguments.arrays)

    def proofs(self, arguments: Arguments, seed: int | Array) -> list[list[list[list[tuple[int, bool]]]]]:
        """For each sample and output the proofs that its tag keeps: `circuits.literals.read_proofs` of arrays."""
        return [
            [
                [sorted((literal, True) for literal, _ in proof) for proof in self.provenance.semiring.proofs(tag)]
                for tag in tags
            ]
            for tags in self._interpret(arguments, seed, None)
        ]

    def _interpret(
        self, arguments: Arguments, seed: int | Array, entries: Sequence[Sequence[Any]] | None
    ) -> list[list[Any]]:
        """The tags of the outputs, sample by sample."""
        samples = read_samples(arguments.arrays, self.retentions, seed)
        if entries is not None:
            samples = [
                [ABSENT if value is ABSENT else entry for value, entry in zip(values, row, strict=True)]
                for values, row in zip(samples, entries, strict=True)
            ]
        program, semiring = replace(self.grounded.program(self.provenance), seed=seed), self.provenance.semiring
        found = [interpret(semiring, program, values) for values in samples]
        return [
            [semiring.zero() if tag is ABSENT else tag for tag in tags[: self.grounded.num_outputs]] for tags in found
        ]


def name_proofs(
    found: Sequence[Sequence[Sequence[Sequence[tuple[int, bool]]]]], names: Sequence[Literal], num_outputs: int
) -> np.ndarray:
    """Proofs of literal rows as `[batch, outputs]` of lists of tuples of literals, whose rows `names` are."""
    proofs = np.empty((len(found), num_outputs), object)
    for sample, outputs in enumerate(found):
        for place in range(num_outputs):
            proofs[sample, place] = [
                tuple(replace(names[n], is_true=is_true) for n, is_true in proof) for proof in outputs[place]
            ]
    return proofs
