"""Programs whose facts have any objects of Python for tags, under a semiring of such objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scallax.circuits.compile import compile_outputs, ground_program
from scallax.context.answers import Options, check_outputs, file_facts
from scallax.context.draft import Draft
from scallax.evaluation.constant_weights import constant_weights
from scallax.facts.fact_table import FactTable
from scallax.language import ir
from scallax.language.tensors import TensorInputs
from scallax.language.values import Value

# A relation with the tuples that hold, in value order, and what the semiring makes of their tags.
ObjectAnswer = tuple[ir.Relation, list[tuple[Value, ...]], list[Any]]


def object_facts(draft: Draft) -> tuple[list[FactTable], list[Any]]:
    """The facts of a draft, and the tags of those that have one: the facts' inputs."""
    given: list[FactTable] = []
    objects: list[Any] = []
    for batch in draft.batches:
        tagged = [place for place, tag in enumerate(batch.tags) if tag is not None]
        certain = [values for values, tag in zip(batch.tuples, batch.tags, strict=True) if tag is None]
        if certain:
            given.append(FactTable.of(batch.relation, certain))
        if tagged:
            inputs = np.arange(len(objects), len(objects) + len(tagged))
            given.append(FactTable.of(batch.relation, [batch.tuples[place] for place in tagged], inputs=inputs))
            objects += [batch.tags[place] for place in tagged]
    return given, objects


def answer_objects(
    program: ir.Program,
    outputs: Sequence[str],
    options: Options,
    given: Sequence[FactTable],
    objects: Sequence[Any],
    tensors: TensorInputs | None = None,
) -> list[ObjectAnswer]:
    """The tuples of `outputs` that hold, with their tags, for the tags `objects` of the given facts.

    `tensors` are those in facts, if gradients pass through some.

    UnsupportedError if the tags on a cycle do not settle, or the semiring asks for the value of a traced one. What else
    it raises is passed on.
    """
    # Its operations see no arrays, but the layout that they follow is made with JAX.
    from scallax.evaluation.interpretation import ABSENT, interpret, refuse_traced
    from scallax.provenance.semirings import ObjectProvenance

    provenance = options.semantics()
    assert isinstance(provenance, ObjectProvenance)
    relations = {relation.name: relation for relation in program.relations}
    check_outputs(outputs, relations)
    grounding = ground_program(
        program,
        provenance.traits,
        [*file_facts(program), *given],
        outputs,
        iter_limit=options.iter_limit,
        limits=options.limits,
        weigh=constant_weights(provenance),
        tensors=tensors,
    )
    if grounding.comparisons:
        assert tensors is not None, "tensors that are compared are in facts"
        objects = [*objects, *tensors.compare(grounding.comparisons)]
    operands = np.concatenate([np.zeros(0, np.int64), *(grounding.operands(name) for name in outputs)])
    compiled = compile_outputs(grounding, provenance.traits, operands, num_inputs=len(objects))
    with refuse_traced(provenance):
        tags = interpret(provenance.semiring, compiled, objects)
        values = [tag if tag is ABSENT else provenance.semiring.recover(tag) for tag in tags]
    answers, start = [], 0
    for name in outputs:
        tuples = grounding.tuples(name)
        held = [
            (row, value)
            for row, value in zip(tuples, values[start : start + len(tuples)], strict=True)
            if value is not ABSENT
        ]
        answers.append((relations[name], [row for row, _ in held], [value for _, value in held]))
        start += len(tuples)
    return answers
