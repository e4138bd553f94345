"""The proofs of a batch of facts per sample, by the numbers that the facts were given."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scallax.circuits.literals import number_parts, read_proofs
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.facts.fact_table import FactTable


def read_batch_proofs(grounding: BatchGrounding, facts: Sequence[FactTable], proof_sets: tuple[Any, Any]) -> np.ndarray:
    """The proofs of the outputs `[num_samples, num_outputs]`, as `number_parts` gives them."""
    program = grounding.program
    ids = [number for part in facts if part.ids is not None for number in part.ids.tolist()]
    of_literals = [ids[source] if 0 <= source < len(ids) else 0 for source in program.literals.source.tolist()]
    (found,) = read_proofs(proof_sets, program)
    named = [number_parts(proofs, of_literals, grounding.names) for proofs in found]
    sources = grounding.sources[:, : grounding.num_outputs]
    proofs = np.empty(sources.shape, object)
    for sample, row in enumerate(sources.tolist()):
        for column, source in enumerate(row):
            proofs[sample, column] = named[source] if source < len(named) else []
    return proofs
