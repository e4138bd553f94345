"""The reasoner of a draft: the specification of a program that was built step by step."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from scallax.context.checked_programs import file_facts
from scallax.context.draft import Draft
from scallax.context.options import Options
from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.facts.arguments import read_outputs
from scallax.facts.fact_table import FactTable, exclusive_text, independent_facts
from scallax.facts.mappings import Entries, InputMapping, Tuples
from scallax.facts.outputs import check_named
from scallax.facts.specification import Specification, Tag
from scallax.provenance.custom import qualified_name
from scallax.reasoner.reasoner import Reasoner


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of a reasoner beside those of its provenance."""

    train_k: int | None = None
    test_k: int | None = None
    early_discard: bool | None = None


def draft_reasoner(
    draft: Draft,
    options: Options,
    call_options: CallOptions,
    is_array: Callable[[object], bool],
    output_relation: str | None,
    output_mapping: object,
    output_mappings: Mapping[str, object] | None,
) -> Reasoner:
    """The reasoner of a draft; see `AbstractContext.reasoner`."""
    outputs, keyed = read_outputs(output_relation, output_mapping, output_mappings)
    mappings = dict(draft.mappings)
    texts = [source.text for source in draft.sources]
    facts: dict[str, list[tuple[Tag, tuple]]] = {}
    for given in file_facts(draft.program):
        facts.setdefault(given.relation, []).extend(given.pairs)
    _check_tensors(draft)
    for relation in dict.fromkeys(batch.relation for batch in draft.batches):
        batches = [batch for batch in draft.batches if batch.relation == relation]
        inputs = [batch for batch in batches if batch.has_tag(is_array)]
        if inputs and relation in mappings:
            message = f"facts of `{relation}` have arrays for tags, and the relation has an input mapping"
            raise InputError(Diagnostic(message, hint="give it one of the two"))
        if inputs:
            mappings[relation] = _mapping(relation, inputs)
        for batch in batches:
            if not any(batch is other for other in inputs):
                _check_numbers(batch)
                texts.append(exclusive_text(draft.relation(relation), batch))
                facts.setdefault(relation, []).extend(independent_facts(batch))
    specification = Specification(
        program="\n".join(filter(None, texts)),
        file=None,
        relations=(),
        rules=(),
        facts=tuple((relation, tuple(given)) for relation, given in sorted(facts.items()) if given),
        provenance=options.provenance,
        k=options.k,
        train_k=call_options.train_k,
        test_k=call_options.test_k,
        wmc_with_disjunctions=options.wmc_with_disjunctions,
        non_probabilistic=tuple(sorted(draft.untagged)),
        trainable=(),
        input_mappings=tuple(sorted(mappings.items(), key=lambda item: item[0])),
        outputs=outputs,
        keyed=keyed,
        iter_limit=options.iter_limit,
        early_discard=call_options.early_discard,
        imports=tuple((source.name, source.text) for source in draft.imports),
        custom=None if options.custom is None else qualified_name(options.custom),
        executor=options.executor or "jax",
        log=options.log,
    )
    reasoner = Reasoner.from_specification(
        specification, draft.foreign, limits=options.limits, custom_provenance=options.custom
    )
    check_named(reasoner.specification.outputs, is_later=output_mappings is not None)
    return reasoner


def _check_tensors(draft: Draft) -> None:
    """UnsupportedError for a tensor that a program, which is data, does not hold."""
    for batch in draft.batches:
        if batch.holds_variables:
            message = (
                f"facts of `{batch.relation}` hold a tensor with a gradient, and those of a function are constants"
            )
            hint = "give these facts to the function, for each sample, or run the context; or detach the tensor"
            raise UnsupportedError(Diagnostic(message, hint=hint))


def _check_numbers(batch: FactTable) -> None:
    """UnsupportedError for a tag that a program, which is data, does not hold."""
    for tag in batch.tags:
        if tag is not None and not isinstance(tag, bool | int | float):
            message = f"facts of `{batch.relation}` have the tag {tag!r}, and those of a function are numbers"
            hint = "give these facts to the function, for each sample, or run the context"
            raise UnsupportedError(Diagnostic(message, hint=hint))


def _mapping(relation: str, batches: Iterable[FactTable]) -> InputMapping:
    """The mapping of facts that are inputs: as many entries, independent or all exclusive."""
    tuples: Tuples = tuple(values for batch in batches for values in batch.tuples)
    numbered = [
        np.full(len(batch.tags), -1) if batch.groups is None else np.where(batch.groups < 0, -1, number)
        for number, batch in enumerate(batches)
    ]
    groups = np.unique(np.concatenate(numbered))
    sets = {int(group) for batch in batches if batch.groups is not None for group in batch.groups}
    if len(groups) > 1 or len(sets) > 1:
        message = f"of the facts of `{relation}` with arrays for tags, some exclude each other and some do not"
        hint = "set an input mapping with `disjunctive_dim` instead of adding these facts"
        raise UnsupportedError(Diagnostic(message, hint=hint))
    return InputMapping(Entries((len(tuples),), tuples), disjunctive=bool(groups[0] >= 0))
