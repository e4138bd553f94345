"""A computed relation: its tuples in value order, with their tags."""

import html
from collections.abc import Iterator, Sequence
from typing import Any, final, overload

from scallax.context.answers import Answer
from scallax.facts.mappings import show_tuple
from scallax.facts.tables import optional_package
from scallax.language import ir
from scallax.language.values import Value

# Rows that are shown of a relation; the rest is counted.
_MOST_SHOWN = 60


@final
class Collection(Sequence):
    """The tuples of a relation in value order, without tags for provenances that have none.

    Its elements are tuples, or pairs `(tag, tuple)`: `tags` is then not None. Equal to a list of the same elements.
    Tags of differentiable provenances are `arrays`: scalars of the framework of the facts' tags. With `proofs`, a list
    of proofs for each tuple, the tags of elements are pairs `(tag, proofs)`.
    """

    def __init__(
        self,
        relation: ir.Relation,
        tuples: Sequence[tuple[Value, ...]],
        tags: Sequence[Any] | None,
        arrays: bool = False,
        proofs: Sequence[list] | None = None,
    ):
        self._arrays = arrays
        self._proofs = None if proofs is None else list(proofs)
        self._relation = relation
        self._tuples = list(tuples)
        self._tags = None if tags is None else list(tags)

    @property
    def name(self) -> str:
        """The relation's name."""
        return self._relation.name

    def answer(self) -> Answer:
        """The relation with its tags as numbers."""
        tags = self._tags
        if tags is not None and self._arrays:
            tags = [tag.item() for tag in tags]
        return Answer(self._relation, self._tuples, tags)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the columns; one without a name of its own has its number, from 0."""
        names = self._relation.names
        return tuple(str(i) if name is None or names.count(name) > 1 else name for i, name in enumerate(names))

    @property
    def tuples(self) -> list[tuple[Value, ...]]:
        """The tuples without tags."""
        return list(self._tuples)

    @property
    def tags(self) -> list[Any] | None:
        """The tags in the order of the tuples; None for provenances without tags."""
        if self._tags is None or self._proofs is None:
            return None if self._tags is None else list(self._tags)
        return list(zip(self._tags, self._proofs, strict=True))

    def __len__(self) -> int:
        return len(self._tuples)

    def __iter__(self) -> Iterator:
        tags = self.tags
        return iter(self._tuples) if tags is None else zip(tags, self._tuples, strict=True)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        if self._tags is None:
            return self._tuples[index]
        tag = self._tags[index]
        return tag if self._proofs is None else (tag, self._proofs[index]), self._tuples[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Collection):
            return self._tuples == other._tuples and self.tags == other.tags
        return isinstance(other, list) and list(self) == other

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # equal to lists, which have no hash

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the columns, behind `tag`, or `_tag` where a column has that name."""
        return optional_package("pandas").DataFrame(self._columns())

    def to_arrow(self) -> Any:
        """A `pyarrow.Table` with the columns of `to_pandas`."""
        return optional_package("pyarrow").table(self._columns())

    def _columns(self) -> dict[str, list]:
        columns = {name: [values[i] for values in self._tuples] for i, name in enumerate(self.field_names)}
        if self._tags is None:
            return columns
        return {self._tag_name(): self._numbers(self._tags), **columns}

    def _tag_name(self) -> str:
        return "_tag" if "tag" in self.field_names else "tag"

    def _header(self) -> list[str]:
        return [*([] if self._tags is None else [self._tag_name()]), *self.field_names]

    def _shown(self) -> list[list[str]]:
        """The cells of the rows that are shown."""
        rows = [[_show(value) for value in values] for values in self._tuples[:_MOST_SHOWN]]
        if self._tags is None:
            return rows
        tags = self._numbers(self._tags[:_MOST_SHOWN])
        # The further digits of a float32 that became a float are noise.
        shown = [f"{tag:.7g}" if self._arrays else _show(tag) for tag in tags]
        return [[tag, *row] for tag, row in zip(shown, rows, strict=True)]

    def _numbers(self, tags: Sequence[Any]) -> list:
        return [tag.item() for tag in tags] if self._arrays else list(tags)

    def _title(self) -> str:
        return f"{self.name}: {len(self):,} tuple{'' if len(self) == 1 else 's'}"

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
        shown = ", ".join(self.name + show_tuple(values) for values in self._tuples[:3])
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
