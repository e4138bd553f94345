"""Facts that differ from sample to sample: read from the arguments of a call, checked, and brought into columns."""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from scallax.errors import Diagnostic, InputError, checks_calls
from scallax.facts.fact_checks import read_sample_groups
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import fit_tuples, is_tensor, is_value, show_tuple, show_value, untagged_hint
from scallax.grounding.terms import parse_term
from scallax.language import ir
from scallax.language.tensors import Tensor, TensorInputs
from scallax.language.values import Value, ValueType


@checks_calls
@dataclass(frozen=True, slots=True, eq=False)
class FactList:
    """Facts whose tags are one array. It stands in the place of a list of pairs `(tag, tuple)`.

    Given for one sample, `tuples` are that sample's. Given for a whole batch, `tuples` has a list for each sample, and
    `tags` are those of all samples, one after the other.

    Args:
        tuples: The tuples; for a relation with one column, plain values.
        tags: An array `[facts]`, of which `tags[i]` is the tag of the i-th tuple.

    Example:
        >>> import jax.numpy as jnp
        >>> import scallax
        >>> reach = scallax.Reasoner("type start(i32)  rel reach(x + 1) = start(x)", provenance="minmaxprob",
        ...     output_relation="reach")
        >>> tuples, probabilities = reach(start=[scallax.FactList([1, 2], jnp.array([0.5, 0.25]))])
        >>> print(tuples, probabilities)
        [(2,), (3,)] [[0.5  0.25]]
    """

    tuples: Sequence
    tags: Any


class Tagging(enum.Enum):
    """Whether, and how, the facts of a relation are given tags."""

    NEVER = "never"
    ALWAYS = "always"
    # Facts of the form `(tag, tuple)` have tags; the others get theirs later.
    LATER = "later"


class FactReader:
    """Reads the facts of one relation; `tensors` are those of the batch, of all relations.

    `bools_are_certain` says that a bool for a tag means a certain fact, `takes_ids` that a tag may be a pair of a tag
    and a number of the fact.
    """

    def __init__(
        self,
        schema: ir.Relation,
        variants: Sequence[ir.Variant],
        tagging: Tagging,
        tensors: TensorInputs,
        bools_are_certain: bool = False,
        takes_ids: bool = False,
    ):
        self.schema = schema
        self.variants = variants
        self.tagging = tagging
        self.tensors = tensors
        self.takes_ids = takes_ids
        self._certain_kinds = {type(None), bool} if bools_are_certain else {type(None)}

    @property
    def relation(self) -> str:
        return self.schema.name

    def read(self, value: object, groups: object = None) -> FactTable:
        """The facts of a list of lists, or of a `FactList` of such; `groups` are the exclusive ones, for each sample.

        InputError for the first fact that does not fit, with its sample.
        """
        samples, tags = self._split(value)
        counts = tuple(map(len, samples))
        rows: Sequence = list(chain.from_iterable(samples))
        if tags is None:
            rows, parts = self._take_tags(rows, counts)
        else:
            parts = tags
        columns = self._columns(rows, counts, parts)
        ids = None
        if self.takes_ids and self.tagging is not Tagging.NEVER:
            parts, ids = self._take_ids(parts, counts)
        certain = self._certain(parts, len(rows))
        return FactTable(self.relation, columns, counts, parts, certain, self._groups(groups, counts), ids)

    def _split(self, value: object) -> tuple[list[Sequence], tuple | None]:
        """The rows of each sample; the tags if they are given apart."""
        if isinstance(value, FactList):
            samples = [self._rows(rows, number) for number, rows in enumerate(self._tuples(value))]
            return samples, (self._tag_array(value.tags, sum(map(len, samples)), ""),)
        assert isinstance(value, list | tuple)
        if not any(isinstance(sample, FactList) for sample in value):
            return [self._rows(sample, number) for number, sample in enumerate(value)], None
        samples, tags = [], []
        for number, sample in enumerate(value):
            if isinstance(sample, FactList):
                samples.append(self._tuples(sample))
                tags.append(self._tag_array(sample.tags, len(sample.tuples), f" of sample {number}"))
            else:
                rows = self._rows(sample, number)
                rows, parts = self._take_tags(rows, (len(rows),))
                samples.append(rows)
                tags += parts or ((None,) * len(rows),)
        return samples, tuple(tags)

    def _tuples(self, facts: FactList) -> Sequence:
        if isinstance(facts.tuples, list | tuple):
            return facts.tuples
        raise InputError(
            f"`{self.relation}`: the tuples of a `FactList` are a {type(facts.tuples).__name__}; give a list"
        )

    def _take_tags(self, rows: Sequence, counts: Sequence[int]) -> tuple[Sequence, tuple]:
        """The tuples, and one part of tags or none."""
        has_tags = self.tagging is Tagging.ALWAYS
        if self.tagging is Tagging.LATER:
            has_tags = bool(rows) and all(map(_is_tagged, rows))
        if not has_tags:
            return rows, ()
        tags, rows = self._untag(rows, counts)
        return rows, (tags,)

    def _rows(self, sample: object, number: int) -> Sequence:
        if isinstance(sample, list | tuple):
            return sample
        raise InputError(
            f"`{self.relation}`: sample {number} is a {type(sample).__name__}; give a list of facts for each sample"
        )

    def _tag_array(self, tags: Any, count: int, place: str) -> Any:
        if self.tagging is Tagging.NEVER:
            raise InputError(f"`{self.relation}`: its facts have no tags, but a `FactList`{place} gives some")
        shape = getattr(tags, "shape", None)
        if shape is None:
            if isinstance(tags, str) or not isinstance(tags, Iterable):
                raise InputError(f"`{self.relation}`: the tags of the `FactList`{place} are {tags!r}; give one array")
            tags = list(tags)
            shape = (len(tags),)
        if tuple(shape) != (count,):
            raise InputError(
                f"`{self.relation}`: the tags of the `FactList`{place} have shape {tuple(shape)}, but it has"
                f" {count} facts"
            )
        return tags

    def _untag(self, rows: Sequence, counts: Sequence[int]) -> tuple[Sequence, Sequence]:
        """The tags and the tuples of pairs."""
        if not rows:
            return (), ()
        if set(map(type, rows)) <= {tuple, list} and set(map(len, rows)) == {2}:
            tags, tuples = zip(*rows, strict=True)
            return tags, tuples
        for where, row in zip(_places(counts), rows, strict=True):
            if not isinstance(row, tuple | list) or len(row) != 2:
                raise InputError(
                    Diagnostic(
                        f"`{self.relation}`: {where}, {row!r}, has no tag",
                        hint="write `(probability, tuple)`, or `(None, tuple)` for a certain one",
                    )
                )
        return zip(*((tag, values) for tag, values in rows), strict=True)  # pyright: ignore[reportReturnType]

    def _take_ids(self, parts: tuple, counts: Sequence[int]) -> tuple[tuple, np.ndarray]:
        """The tags without the facts' numbers, and these."""
        places = list(_places(counts))
        ids = np.zeros(len(places), np.int64)
        stripped, start = [], 0
        for part in parts:
            if not is_array(part):
                pairs = [read_id(tag, f"`{self.relation}`: {places[start + i]}") for i, tag in enumerate(part)]
                ids[start : start + len(part)] = [number for _, number in pairs]
                part = tuple(tag for tag, _ in pairs)
            stripped.append(part)
            start += len(part)
        return tuple(stripped), ids

    def _columns(self, rows: Sequence, counts: Sequence[int], tags: tuple) -> tuple[Sequence[Value], ...]:
        types = self.schema.columns
        if not rows:
            return ((),) * len(types)
        kinds = set(map(type, rows))
        if not kinds & {tuple, list} and len(types) == 1:
            columns: list[Sequence] = [tuple(rows)]
        elif kinds == {tuple} and set(map(len, rows)) == {len(types)}:
            columns = list(zip(*rows, strict=True))
        else:
            return self._fit(rows, counts, tags)
        columns = [
            tuple(map(self._read_tensor, column)) if type is ValueType.TENSOR else column
            for type, column in zip(types, columns, strict=True)
        ]
        if all(_admits_all(type, column) for type, column in zip(types, columns, strict=True)):
            return tuple(columns)
        return self._fit(rows, counts, tags)

    def _fit(self, rows: Sequence, counts: Sequence[int], tags: tuple) -> tuple[Sequence[Value], ...]:
        """The columns value by value; raises for the first that does not fit. `tags` are parts, or none."""
        types = self.schema.columns
        fitted = []
        for place, (where, row) in enumerate(zip(_places(counts), rows, strict=True)):
            values = tuple(map(self._read_tensor, row if isinstance(row, tuple | list) else (row,)))
            wrong = self._problem(values)
            if wrong is not None:
                # Tags in an array are separate from the tuples.
                given = [] if any(map(is_array, tags)) else list(chain.from_iterable(tags))
                hint = untagged_hint(given[place], values, len(types)) if given else None
                raise InputError(
                    Diagnostic(f"`{self.relation}`: {where}, {_show(values)}, does not fit: {wrong}", hint=hint)
                )
            plain = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
            fitted += fit_tuples([plain], types, self.relation, self.variants)
        return tuple(zip(*fitted, strict=True)) if types else ()

    def _read_tensor(self, value: Any) -> Any:
        """The value for an array; other objects as they are."""
        if not is_tensor(value):
            return value
        try:
            return self.tensors.read(value)
        except (TypeError, ValueError, RuntimeError):  # no numbers
            return value

    def _problem(self, values: tuple) -> str | None:
        types = self.schema.columns
        if len(values) != len(types):
            return f"it has {len(values)} values, but the relation has {len(types)} columns"
        for number, (value, type) in enumerate(zip(values, types, strict=True), start=1):
            if not is_value(value):
                return f"{value!r} is no value; a value is an integer, a float, a bool or a string (column {number})"
            plain = value.item() if isinstance(value, np.generic) else value
            if not type.admits(plain) and not (type.is_time and not isinstance(plain, bool | int | float | str)):
                return f"{show_value(plain)} is no {type} (column {number})"
            if type is ValueType.ENTITY and isinstance(term := parse_term(str(plain), self.variants), str):
                return f"{term} (column {number})"
        return None

    def _certain(self, parts: tuple, count: int) -> np.ndarray | None:
        """A mask of the facts whose tag makes them certain."""
        if self.tagging is Tagging.NEVER:
            return None
        flags = [np.zeros(0 if parts else count, np.bool_)]
        for part in parts:
            kinds = set() if is_array(part) else self._certain_kinds.intersection(map(type, part))
            if kinds:
                flags.append(np.fromiter((type(tag) in kinds for tag in part), np.bool_, len(part)))
            else:
                flags.append(np.zeros(len(part), np.bool_))
        return np.concatenate(flags)

    def _groups(self, groups: object, counts: Sequence[int]) -> np.ndarray | None:
        """The number of each fact's exclusive group, -1 for none."""
        if groups is None:
            return None
        if not isinstance(groups, list | tuple) or len(groups) != len(counts):
            given = len(groups) if isinstance(groups, list | tuple) else f"a {type(groups).__name__}"
            raise InputError(
                f"`disjunctions`: `{self.relation}` has {len(counts)} samples, but disjunctions for {given};"
                " give a list of lists of indices for each sample"
            )
        what = f"`disjunctions`: `{self.relation}` in sample"
        return read_sample_groups(what, groups, counts)


def read_id(tag: Any, what: str) -> tuple[Any, int]:
    """A tag and the number of its fact, 0 if it has none; `what` names the fact. InputError for what is no number."""
    if not isinstance(tag, tuple):
        return tag, 0
    if len(tag) != 2:
        hint = "write `((probability, number), tuple)`; facts that exclude each other are named by `disjunctions`"
        raise InputError(Diagnostic(f"{what} has the tag {tag!r}; it is a pair of a tag and a number", hint=hint))
    value, number = tag
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise InputError(f"{what} has the number {number!r}; facts are numbered by integers from 1")
    return value, int(number)


def check_ids(facts: Sequence[FactTable]) -> None:
    """InputError for a number that two facts of one sample have."""
    seen: dict[tuple[int, int], str] = {}
    for part in facts:
        if part.ids is None:
            continue
        for sample, number, values in zip(part.samples.tolist(), part.ids.tolist(), part.tuples, strict=True):
            shown = f"`{part.relation}{show_tuple(values)}`"
            if number and seen.setdefault((sample, number), shown) != shown:
                raise InputError(f"sample {sample}: {seen[sample, number]} and {shown} both have the number {number}")


def is_array(part: object) -> bool:
    """Whether tags are given as one array."""
    return not isinstance(part, list | tuple)


def batch_size(samples: Mapping[str, int]) -> int:
    """The one number of samples; InputError if relations differ in it."""
    if len(set(samples.values())) > 1:
        shown = ", ".join(f"`{relation}` has {size}" for relation, size in samples.items())
        raise InputError(f"the inputs differ in batch size: {shown}")
    return next(iter(samples.values()), 1)


def _is_tagged(row: object) -> bool:
    return isinstance(row, tuple | list) and len(row) == 2 and isinstance(row[1], tuple)


def _places(counts: Sequence[int]) -> Iterator[str]:
    """The words for each fact in errors."""
    for sample, count in enumerate(counts):
        for number in range(count):
            yield f"fact {number} of sample {sample}"


def _admits_all(type: ValueType, column: Sequence) -> bool:
    """Whether all values fit as they are; False also where it takes a closer look to say so."""
    if type is ValueType.TENSOR:
        return all(isinstance(value, Tensor) for value in column)
    is_kept = not type.is_time and type is not ValueType.ENTITY
    return is_kept and _PLAIN_KINDS.issuperset(map(_type, column)) and type.find_unfit(column) is None


_type = type
_PLAIN_KINDS = {bool, int, float, str}


def _show(values: tuple) -> str:
    return show_tuple(values) if all(map(is_value, values)) else repr(values)
