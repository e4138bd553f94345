"""A grounded batch of facts per sample under a semiring of Python objects: one tag after the other, on the host."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Array

from scallax.evaluation.batch import ArrayLike, read_samples
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.interpretation import ABSENT, as_outputs, interpret, refuse_traced
from scallax.facts.fact_table import FactTable
from scallax.facts.tensor_facts import Retention
from scallax.provenance.semirings import ObjectProvenance


def list_tags(facts: Sequence[FactTable]) -> list[Any]:
    """The tags of all facts of relations that have tags, in order, as they were given; of arrays their scalars."""
    tags: list[Any] = []
    for part in facts:
        if part.certain is None:
            continue
        for given in part.tag_parts or ((None,) * part.num_facts,):
            tags += given.tolist() if isinstance(given, np.ndarray) else list(given)
    return tags


def list_entries(
    arrays: Sequence[ArrayLike],
    retentions: Sequence[Retention | None],
    seed: int | Array,
    entries: Sequence[Sequence[Sequence[Any]]] | None = None,
) -> list[Any]:
    """The entries of mapped relations, one relation after the other, each sample by sample; ABSENT if not retained.

    `entries`: for each relation and sample what is tagged in place of the array's numbers.
    """
    listed: list[Any] = []
    for number, (array, retention) in enumerate(zip(arrays, retentions, strict=True)):
        for sample, values in enumerate(read_samples([array], [retention], seed)):
            chosen = values if entries is None else entries[number][sample]
            listed += [ABSENT if v is ABSENT else entry for v, entry in zip(values, chosen, strict=True)]
    return listed


def evaluate_objects(
    provenance: ObjectProvenance,
    grounding: BatchGrounding,
    tags: Sequence[Any],
    entries: Sequence[Any],
    seed: int | Array,
    arrays: Sequence[Any],
) -> np.ndarray:
    """The outputs `[num_samples, num_outputs]`: objects, or of the provenance's dtype if it has one.

    `tags` are those of `list_tags`, `entries` those of `list_entries`; `seed` is that of draws.
    `arrays` are those that tags and entries come from: their dtypes count.
    """
    semiring = provenance.semiring
    missing = grounding.padded_tags - len(tags)
    program = replace(grounding.program, seed=seed)
    sources = grounding.sources[:, : grounding.num_outputs]
    values = np.empty(sources.shape, object)
    with refuse_traced(provenance):
        found = [*interpret(semiring, program, [*tags, *[None] * missing, *entries]), ABSENT]
        for sample, row in enumerate(sources.tolist()):
            for column, source in enumerate(row):
                tag = found[source]
                values[sample, column] = semiring.recover(semiring.zero() if tag is ABSENT else tag)
    return as_outputs(provenance, values, [*arrays, *tags, *entries])
