"""Facts as a context is given them: tuples, or pairs of a tag and a tuple."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scallax.context.draft import Draft, Samples
from scallax.context.options import TAGLESS
from scallax.errors import Diagnostic, InputError, LateText
from scallax.facts.fact_table import FactTable
from scallax.facts.given_columns import are_columns, check_given_tags, read_column, read_columns
from scallax.facts.mappings import PLAIN_KINDS, TAG_HINT, fit_tuples, read_tuple, show_tuple
from scallax.facts.sample_facts import read_id
from scallax.language import ir
from scallax.language.columns import Column, Rows, in_columns
from scallax.language.tensors import TensorInputs
from scallax.language.values import LARGEST_FLOAT

# Types of tags that every provenance reads.
_PLAIN = {type(None), bool, int, float}


@dataclass(frozen=True, slots=True)
class TagReader:
    """A reader of tags.

    `is_array` says which tags are arrays. With `takes_objects` a tag may be anything; with `takes_ids` it may be a pair
    of a tag and the number of the fact.
    """

    is_array: Callable[[object], bool]
    takes_objects: bool
    takes_ids: bool = False

    def read(self, tag: Any, what: object) -> tuple[object, int]:
        """A number, a bool, a scalar array, or None, and the number of the fact, 0 for none.

        The text of `what` names the fact. InputError for anything else.
        """
        if self.takes_objects:
            return tag, 0
        tag, number = read_id(tag, str(what)) if self.takes_ids and isinstance(tag, tuple) else (tag, 0)
        if isinstance(tag, np.generic) or (isinstance(tag, np.ndarray) and tag.ndim == 0):
            tag = tag.item()
        if tag is None or isinstance(tag, bool):
            return tag, number
        if isinstance(tag, int | float):
            if not -LARGEST_FLOAT <= tag <= LARGEST_FLOAT:
                raise InputError(f"{what} has the tag {tag}; it must be finite")
            return tag, number
        if self.is_array(tag):
            if math.prod(tag.shape) != 1:
                hint = "give each fact a scalar: `zip(tags, tuples)` pairs them"
                raise InputError(Diagnostic(f"{what} has an array of shape {tuple(tag.shape)} for a tag", hint=hint))
            return tag, number
        message = f"{what} has the tag {tag!r}; it must be a number, a bool, a scalar array or None"
        raise InputError(Diagnostic(message, hint=TAG_HINT))


def read_pairs(
    schema: ir.Relation,
    elements: Iterable,
    reader: TagReader | None,
    provenance: str,
    tensors: TensorInputs | None = None,
    variants: Sequence[ir.Variant] = (),
) -> FactTable:
    """Facts with tags; without a reader of tags the facts are tuples. A value is a 1-tuple.

    `provenance` is the name of the context's provenance; `tensors` are the tensors of its facts, if gradients may pass
    through some. InputError for the first element that is no fact.
    """
    relation = schema.name
    if isinstance(elements, str) or not isinstance(elements, Iterable):
        raise InputError(f"facts of `{relation}`: give a list of facts, not {elements!r}")
    if not isinstance(elements, list | tuple):
        elements = list(elements)
    plain = _read_plain(elements, reader)
    if plain is not None:
        return FactTable.unfitted(relation, *plain)
    tags: list[object] = []
    tuples = []
    ids = []
    for position, element in enumerate(elements):
        what = LateText("facts of `{}`: fact {}, {!r}", relation, position, element)
        tag, number = None, 0
        if reader is not None:
            if not isinstance(element, tuple) or len(element) != 2:
                hint = "write `(probability, tuple)`, or `(None, tuple)` for a certain fact"
                raise InputError(Diagnostic(f"{what}, has no tag", hint=hint))
            (tag, number), element = reader.read(element[0], LateText("{},", what)), element[1]
        elif isinstance(element, tuple) and any(isinstance(value, tuple) for value in element):
            hint = f"`{relation}` is non-probabilistic: leave the tags out"
            if provenance in TAGLESS:
                hint = f"under `{provenance}` facts have no tags: leave them out, or choose another provenance"
            raise InputError(Diagnostic(f"{what}, holds a tuple", hint=hint))
        tags.append(tag)
        ids.append(number)
        tuples.append(read_tuple(element if isinstance(element, tuple) else (element,), what, tensors))
    if len(set(map(len, tuples))) > 1:
        # One of them has another length than the relation.
        fit_tuples(tuples, schema.columns, f"facts of `{relation}`", variants, tags)
    return FactTable.unfitted(relation, Rows.of(tuples), Column.of(tags), ids=ids if any(ids) else ())


def read_apart(
    schema: ir.Relation,
    elements: Any,
    tags: Any,
    reader: TagReader | None,
    provenance: str,
    tensors: TensorInputs | None = None,
    variants: Sequence[ir.Variant] = (),
) -> FactTable:
    """Facts that are given in columns, or as tuples with their tags apart from them.

    `tags` are an array or a list, or the name of a column; None: the facts are certain. An array through which
    gradients pass stays one. InputError for tags without a `reader`, and for what does not fit.
    """
    what = f"facts of `{schema.name}`"
    if tags is not None and reader is None:
        hint = f"under `{provenance}` facts have no tags" if provenance in TAGLESS else "the relation's have no tags"
        raise InputError(Diagnostic(f"{what}: `tags` are given", hint=f"leave them out: {hint}"))
    found = None
    if are_columns(elements):
        rows, found = read_columns(elements, schema, tags if isinstance(tags, str) else None)
    else:
        table = read_pairs(schema, elements, None, provenance, tensors, variants)
        rows = Rows(table.given or (), table.num_facts)
    if reader is None or tags is None:
        return FactTable.unfitted(schema.name, rows, None)
    if not isinstance(tags, str) and reader.is_array(tags) and not reader.takes_objects:
        if tuple(tags.shape) != (len(rows),):
            raise InputError(f"{what}: the tags have the shape {tuple(tags.shape)}; there are {len(rows)} facts")
        return replace(FactTable.unfitted(schema.name, rows, None), tag_parts=(tags,))
    if found is None:
        is_listed = reader.takes_objects and isinstance(tags, Sequence)
        found = Column.of(list(tags)) if is_listed else read_column(tags, f"{what}: the tags")
    found = check_given_tags(found, rows, what, are_numbers=not reader.takes_objects)
    return FactTable.unfitted(schema.name, rows, found)


def _read_plain(elements: Sequence, reader: TagReader | None) -> tuple[Rows, Column | None] | None:
    """The rows and tags of facts of Python's own values and of finite numbers for tags, without looking at each alone.

    None if they are not all of that kind: then some may be wrong.
    """
    tags, tuples = None, elements
    if reader is not None:
        if set(map(type, elements)) != {tuple} or set(map(len, elements)) != {2}:
            return None
        tags = Column.of(list(map(operator.itemgetter(0), elements)))
        is_finite = tags.distinct is None and np.isfinite(tags.array).all()
        if reader.takes_objects or not is_finite:
            return None
        tuples = list(map(operator.itemgetter(1), elements))
    kinds = set(map(type, tuples))
    if kinds == {tuple}:
        if len(set(map(len, tuples))) != 1:
            return None
    elif kinds <= PLAIN_KINDS:
        tuples = list(zip(tuples, strict=True))
    else:
        return None
    columns = in_columns(tuples)
    if not all(PLAIN_KINDS.issuperset(map(type, column)) for column in columns):
        return None
    return Rows([Column.of(column) for column in columns], len(tuples)), tags


def read_samples(
    draft: Draft, facts: Mapping[str, Sequence[FactTable]], outputs: Sequence[str]
) -> tuple[Samples, Draft]:
    """The samples that add facts to a draft, by relation and sample, and a draft with the facts of all of them.

    Types that are not declared follow from the facts of all samples. InputError for a fact that does not fit.
    """
    united = draft
    for of_samples in facts.values():
        for given in of_samples:
            united = united.with_facts(replace(given, ids=None))
    base = replace(united, batches=united.batches.first(len(draft.batches)))
    drafts = [base] * len(outputs)
    for of_samples in facts.values():
        for sample, given in enumerate(of_samples):
            drafts[sample] = drafts[sample].with_facts(given)
    return Samples(base, drafts, tuple(facts), tuple(outputs)), united


def check_tags(draft: Draft, tags: TagReader) -> None:
    """InputError for a tag of a draft's facts that is none for the reader."""
    for batch in draft.batches:
        if not batch.has_tag(lambda tag: type(tag) not in _PLAIN):
            continue
        for tag, values in zip(batch.tags, batch.tuples, strict=True):
            tags.read(tag, f"the fact `{batch.relation}{show_tuple(values)}`")
