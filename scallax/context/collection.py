"""A computed relation: its tuples in value order, with their tags."""

import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final, overload

import numpy as np

from scallax.context.answers import Answer
from scallax.context.column_arrays import column_array, is_coded, sorted_codes
from scallax.context.tag_values import ArrayTags, NumberTags, array_tags
from scallax.errors import Diagnostic, InputError, counted, near_name
from scallax.facts.mappings import show_tuple
from scallax.facts.packages import optional_package
from scallax.grounding.symbols import as_objects
from scallax.language import ir
from scallax.language.columns import Column, Rows
from scallax.language.values import Value

# Rows that are shown of a relation; the rest is counted.
_MOST_SHOWN = 60


@final
class Collection(Sequence):
    """The tuples of a relation in value order, without tags for provenances that have none.

    Its elements are tuples, or pairs `(tag, tuple)`; they are made when they are looked at. Equal to a list of the same
    elements. `columns`, `tag_array`, `to_pandas` and `to_arrow` give all of them in arrays.
    Tags of differentiable provenances are scalars of the framework of the facts' tags. With `proofs`, a list of proofs
    for each tuple, the tags of elements are pairs `(tag, proofs)`.

    Example:
        >>> import scallax
        >>> context = scallax.Context("minmaxprob")
        >>> context.add_program("rel edge = {0.5::(0, 1), 0.25::(1, 2)}")
        >>> context.run()
        >>> edges = context.relation("edge")
        >>> edges[0], len(edges)
        ((0.5, (0, 1)), 2)
        >>> edges.column(1), edges.tag_array()
        (array([1, 2], dtype=int32), array([0.5 , 0.25], dtype=float32))
    """

    def __init__(
        self,
        relation: ir.Relation,
        tuples: Sequence[tuple[Value, ...]],
        tags: Sequence[Any] | None,
        proofs: Sequence[list] | None = None,
    ):
        self._proofs = None if proofs is None else list(proofs)
        self._relation = relation
        self._rows = Rows.of(tuples)
        self._tags = tags

    @property
    def name(self) -> str:
        """The relation's name."""
        return self._relation.name

    def answer(self) -> Answer:
        """The relation with its tags as numbers."""
        tags = self._tags.numbers.tolist() if isinstance(self._tags, ArrayTags) else self._tags
        return Answer(self._relation, self._rows, tags)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the columns; one without a name of its own has its number, from 0."""
        names = self._relation.names
        return tuple(str(i) if name is None or names.count(name) > 1 else name for i, name in enumerate(names))

    @property
    def tuples(self) -> list[tuple[Value, ...]]:
        """The tuples without tags."""
        return list(self._rows)

    @property
    def tags(self) -> list[Any] | None:
        """The tags in the order of the tuples; None for provenances without tags."""
        if self._tags is None or self._proofs is None:
            return None if self._tags is None else list(self._tags)
        return list(zip(self._tags, self._proofs, strict=True))

    def column(self, column: str | int) -> np.ndarray:
        """The values of one column, an array `[tuples]`.

        Args:
            column: The column's name, or its position from 0.

        Returns:
            An array of the column's type, as NumPy has it: `int32` for `i32`, `uint64` for `usize`, `datetime64[us]`
            for `DateTime`; texts and other values are objects, and equal texts are one object.

        Raises:
            InputError: There is no such column.
        """
        place = self._place(column)
        return column_array(self._stored(place), self._relation.columns[place])

    def columns(self) -> dict[str, np.ndarray]:
        """All columns as arrays `[tuples]`, by name; see `column`."""
        return {name: self.column(place) for place, name in enumerate(self.field_names)}

    def tag_array(self) -> Any:
        """The tags as one array `[tuples]`; None for provenances without tags.

        Returns:
            An array of NumPy. Where a tag of a fact is an array of JAX or a tensor, so is this, and gradients pass
            through it. Objects of a semiring are in an array of objects.
        """
        if isinstance(self._tags, NumberTags | ArrayTags):
            return self._tags.array
        if self._tags is None:
            return None
        tags = self._tags
        return tags.array.copy() if isinstance(tags, Column) and tags.distinct is None else as_objects(list(tags))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator:
        if self._tags is None:
            return iter(self._rows)
        tags = self._tags if self._proofs is None else zip(self._tags, self._proofs, strict=True)
        return zip(tags, self._rows, strict=True)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list: ...
    def __getitem__(self, index: int | slice) -> Any:
        if self._tags is None:
            return list(self._rows[index]) if isinstance(index, slice) else self._rows[index]
        tags, rows = self._tags[index], self._rows[index]
        if self._proofs is not None:
            proofs = self._proofs[index]
            tags = list(zip(tags, proofs, strict=True)) if isinstance(index, slice) else (tags, proofs)
        return list(zip(tags, rows, strict=True)) if isinstance(index, slice) else (tags, rows)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Collection):
            return self._rows == other._rows and self.tags == other.tags
        return isinstance(other, list) and len(self) == len(other) and list(self) == other

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # equal to lists, which have no hash

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_tuples" in state:
            # The fields of version 0.1: lists of tuples and tags, and whether these are arrays.
            tuples, tags, are_arrays = (state.pop(name) for name in ("_tuples", "_tags", "_arrays"))
            state |= {"_rows": Rows.of(tuples), "_tags": array_tags(tags) if are_arrays else tags}
        vars(self).update(state)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the columns, behind `tag`, or `_tag` where a column has that name.

        Columns have the types of `column`; those of texts are categorical, with the texts in order as categories.
        """
        pandas = optional_package("pandas")
        columns = self._table(lambda codes, texts: pandas.Categorical.from_codes(codes, categories=texts))
        # As many rows as tuples, also of a relation without columns.
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self)))

    def to_arrow(self) -> Any:
        """A `pyarrow.Table` with the columns of `to_pandas`; those of texts are encoded by a dictionary."""
        pyarrow = optional_package("pyarrow")
        return pyarrow.table(
            self._table(lambda codes, texts: pyarrow.DictionaryArray.from_arrays(codes, pyarrow.array(texts, "string")))
        )

    def _table(self, coded: Callable[[np.ndarray, Sequence[str]], Any]) -> dict[str, Any]:
        """The columns of tables by name; `coded` makes those of texts of numbers and the texts."""
        columns: dict[str, Any] = {}
        if self._tags is not None:
            tags = self._tags
            columns[self._tag_name()] = tags.numbers if isinstance(tags, NumberTags | ArrayTags) else list(tags)
        for place, (name, type) in enumerate(zip(self.field_names, self._relation.columns, strict=True)):
            is_text = is_coded(type)
            columns[name] = coded(*sorted_codes(self._stored(place))) if is_text else self.column(place)
        return columns

    def _stored(self, place: int) -> Column:
        """A column; of no tuples there may be none."""
        return self._rows.columns[place] if len(self) else Column.of(())

    def _place(self, column: str | int) -> int:
        names = self.field_names
        if isinstance(column, str) and column in names:
            return names.index(column)
        if isinstance(column, int | np.integer) and not isinstance(column, bool) and -len(names) <= column < len(names):
            return int(column) % len(names)
        hint = near_name(column, names) if isinstance(column, str) else None
        listed = ", ".join(f"`{name}`" for name in names) or "none"
        raise InputError(
            Diagnostic(f"`{self.name}` has no column {column!r}", hint=hint or f"its columns are: {listed}")
        )

    def _tag_name(self) -> str:
        return "_tag" if "tag" in self.field_names else "tag"

    def _header(self) -> list[str]:
        return [*([] if self._tags is None else [self._tag_name()]), *self.field_names]

    def _shown(self) -> list[list[str]]:
        """The cells of the rows that are shown."""
        rows = [[_show(value) for value in values] for values in self._rows[:_MOST_SHOWN]]
        if self._tags is None:
            return rows
        tags = self._tags[:_MOST_SHOWN]
        # The further digits of a float32 that became a float are noise.
        shown = [f"{tag:.7g}" for tag in tags.numbers] if isinstance(tags, ArrayTags) else map(_show, tags)
        return [[tag, *row] for tag, row in zip(shown, rows, strict=True)]

    def _title(self) -> str:
        return f"{self.name}: {counted(len(self), 'tuple')}"

    def _rest(self) -> str | None:
        more = len(self) - _MOST_SHOWN
        return f"and {more:,} more" if more > 0 else None

    def __str__(self) -> str:
        """A table of the first tuples."""
        header, rows, rest = self._header(), self._shown(), self._rest()
        lines = [self._title()]
        if header and rows:
            widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
            for cells in (header, ["─" * width for width in widths], *rows):
                shown = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
                lines.append("  ".join(shown).rstrip())
        return "\n".join(lines if rest is None else [*lines, rest])

    def __repr__(self) -> str:
        shown = ", ".join(self.name + show_tuple(values) for values in self._rows[:3])
        return f"Collection({self._title()}{f' [{shown}' + (', …]' if len(self) > 3 else ']') if shown else ''})"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self._header())
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>" for cells in self._shown()
        )
        rest = "" if self._rest() is None else f"<p>{self._rest()}</p>"
        title = f"<caption>{html.escape(self._title())}</caption>"
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _show(value: object) -> str:
    """A value as in a program, texts without their quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)
