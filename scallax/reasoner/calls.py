"""Arguments of a reasoner and of its calls: what is grounded once, and the arrays of each call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scallax.evaluation.compiled_program import CompiledProgram, ground, with_read
from scallax.evaluation.evaluator import Evaluator, Logits
from scallax.evaluation.grounding_cache import BatchFacts, has_facts
from scallax.evaluation.mapped_layout import MappedLayout
from scallax.evaluation.sample_layout import SampleLayout
from scallax.evaluation.seeds import Key, read_key
from scallax.facts.arguments import read_by_relation, read_file, specify
from scallax.facts.outputs import AskedOutputs, check_named
from scallax.facts.specification import Specification
from scallax.facts.tables import Table
from scallax.grounding.limits import check_limits
from scallax.language.library import read_foreign
from scallax.provenance.custom import qualified_name
from scallax.provenance.table import name_provenance, resolve_provenance


def compile_arguments(program: str | None, given: dict[str, Any]) -> CompiledProgram:
    """The program of a reasoner's arguments, grounded. Raises what the constructor does."""
    limits = check_limits(given["limits"])
    library = read_foreign(given["foreign"])
    source = read_file(given["file"])
    facts = read_by_relation(given["facts"], "`facts`")
    tables = {name: table for name, table in facts.items() if isinstance(table, Table)}
    given["facts"] = {name: listed for name, listed in facts.items() if name not in tables}
    name, custom = name_provenance(given["provenance"], given["custom_provenance"])
    specification = specify(
        program,
        None if source is None else source.text,
        given,
        provenance=name,
        custom=None if custom is None else qualified_name(custom),
        traits=resolve_provenance(name, custom=custom).traits,
    )
    file_name = "" if source is None else source.name
    specification, sources = with_read(specification, file_name, tables, library)
    return ground(specification, library, sources, custom=custom, limits=limits)


def call(
    specification: Specification,
    evaluator: Evaluator[MappedLayout],
    inputs: dict[str, Any],
    disjunctions: Mapping[str, Sequence] | None,
    logits: Logits | None,
    key: Key,
    asked: AskedOutputs | None = None,
) -> Any:
    """The outputs of a call; for each sample its own if it `asked` for them."""
    check_named(specification.outputs)
    asked_of, arrays = read_inputs(evaluator, inputs, disjunctions, key)
    return asked_of.call(arrays, logits, asked)


def read_inputs(
    evaluator: Evaluator[MappedLayout],
    inputs: dict[str, Any],
    disjunctions: Mapping[str, Sequence] | None,
    key: Key,
) -> tuple[Evaluator[MappedLayout] | Evaluator[SampleLayout], Sequence[Any]]:
    """The evaluator of a call, and its arrays."""
    if key is not None and evaluator.draws:
        evaluator = evaluator.with_seed(read_key(key))
    elif key is not None:
        inputs = {**inputs, "key": key}
    mapped = evaluator.layout
    if not has_facts(inputs, disjunctions):
        return evaluator, mapped.order(inputs)
    batch = mapped.read(inputs, disjunctions)
    layout = SampleLayout(mapped, mapped.ground(batch), batch)
    return evaluator.with_layout(layout), layout.arrays()


def read_batch(
    evaluator: Evaluator[MappedLayout],
    inputs: Mapping[str, Any] | BatchFacts | None,
    disjunctions: Mapping[str, Sequence] | None,
) -> BatchFacts:
    """The inputs of a call as a batch."""
    if isinstance(inputs, BatchFacts):
        return inputs
    inputs = read_by_relation(inputs, "`inputs`")
    layout = evaluator.layout
    if has_facts(inputs, disjunctions):
        return layout.read(inputs, disjunctions)
    arrays = layout.order(inputs)
    evaluator.check(arrays)
    return layout.as_batch(arrays)
