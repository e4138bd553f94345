"""Outputs that a call asks for, perhaps others for each sample."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scallax.errors import Diagnostic, InputError
from scallax.facts.arguments import Outputs, read_outputs
from scallax.facts.specification import Specification
from scallax.language.records import record


@record
class AskedOutputs:
    """Outputs in normal form and whether they are returned as a dictionary.

    `names`: for each sample, the relations whose values it gets, as many for every sample; None: all samples get all.
    `is_flat`: there is one for each sample, returned by itself.
    """

    outputs: Outputs
    keyed: bool
    names: tuple[tuple[str, ...], ...] | None
    is_flat: bool


def check_named(outputs: Outputs, is_later: bool = False) -> None:
    """InputError if no output is named, unless calls are to name theirs."""
    if not outputs and not is_later:
        hint = 'give `output_mapping=("relation", mapping)`, or a query in the program'
        raise InputError(Diagnostic("no output is named", hint=hint))


def read_asked(specification: Specification, relations: object, mappings: object) -> AskedOutputs:
    """The outputs of a call's `output_relations` and `output_mappings`.

    `relations` is a name, a list of a name for each sample, or of lists of names; None: those of the specification.
    `mappings` is a dictionary by relation, or one mapping for all. InputError for anything else.
    """
    if relations is None:
        if isinstance(mappings, Mapping):
            outputs, keyed = read_outputs(None, None, mappings)
            return AskedOutputs(outputs, keyed, None, False)
        if len(specification.outputs) != 1:
            raise InputError(
                Diagnostic(
                    "`output_mappings` does not say which relation it is for",
                    hint="give a dictionary from relations to mappings, or `output_relations`",
                )
            )
        return AskedOutputs(*read_outputs(specification.outputs[0][0], mappings, None), None, False)
    if isinstance(relations, str):
        return AskedOutputs(*read_outputs(relations, _mapping(mappings, relations), None), None, False)
    names, is_flat = _names(relations)
    distinct = dict.fromkeys(name for sample in names for name in sample)
    if not distinct:
        raise InputError("`output_relations` is empty: it has a name, or a list of names, for each sample")
    outputs, _ = read_outputs(None, None, {name: _mapping(mappings, name) for name in distinct})
    same = len(set(names)) == 1 and not is_flat
    return AskedOutputs(outputs, True, None if same else names, is_flat)


def _mapping(mappings: object, relation: str) -> object:
    return mappings.get(relation) if isinstance(mappings, Mapping) else mappings


def _names(relations: object) -> tuple[tuple[tuple[str, ...], ...], bool]:
    if isinstance(relations, list | tuple):
        if all(isinstance(name, str) for name in relations):
            return tuple((name,) for name in relations), True
        if all(isinstance(part, list | tuple) and all(isinstance(n, str) for n in part) for part in relations):
            if len(set(map(len, relations))) > 1:
                raise InputError("`output_relations`: the samples ask for different numbers of relations")
            return tuple(map(tuple, relations)), False
    raise InputError(
        f"`output_relations` is {relations!r}; give the name of a relation, or a list with a name or a list of names"
        " for each sample"
    )


def choose(
    results: Mapping[str, Any],
    names: Sequence[Sequence[str]],
    is_flat: bool,
    stack: Callable[[list], Any],
    take: Callable[[Any, list[int]], Any],
) -> Any:
    """Each sample's values of its own relations: for each place in the lists of names, one result of all samples.

    `take` gives the values at some indices of one sample's, 0 at -1. Tuples of relations without a mapping are listed
    together, in value order.
    """
    sizes = {len(value[1] if isinstance(value, tuple) else value) for value in results.values()}
    if sizes != {len(names)}:
        raise InputError(f"`output_relations` names the relations of {len(names)} samples; the batch has {sizes.pop()}")
    columns = [_choose_column(results, column, stack, take) for column in zip(*names, strict=True)]
    return columns[0] if is_flat else columns


def _choose_column(results: Mapping[str, Any], names: Sequence[str], stack, take) -> Any:
    chosen = [results[name] for name in names]
    if not any(isinstance(result, tuple) for result in chosen):
        rows = [result[sample] for sample, result in enumerate(chosen)]
        if len({row.shape for row in rows}) > 1:
            raise InputError("the samples ask for mappings of different lengths; give one mapping for all, or none")
        return stack(rows)
    if not all(isinstance(result, tuple) for result in chosen):
        raise InputError("some samples ask for a relation with a mapping and some for one without; give all or none")
    distinct = {name: results[name][0] for name in dict.fromkeys(names)}
    tuples = sorted({row for listed in distinct.values() for row in listed}, key=_order)
    places = {}
    for name, listed in distinct.items():
        column = {row: i for i, row in enumerate(listed)}
        places[name] = [column.get(row, -1) for row in tuples]
    rows = [take(results[name][1][sample], places[name]) for sample, name in enumerate(names)]
    return tuples, stack(rows)


def _order(values: tuple) -> tuple:
    # Values of different kinds, in one place, do not compare.
    return len(values), tuple((isinstance(value, str), value) for value in values)
