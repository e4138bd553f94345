"""Facts that are given in columns: arrays, tables of pandas and pyarrow, dictionaries of columns.

Each is read without an object of Python for a fact: numbers stay in arrays, texts become distinct texts by number.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from scallax.errors import Diagnostic, InputError
from scallax.facts.mappings import PLAIN_KINDS, is_value, read_tuple, show_tuple
from scallax.facts.packages import optional_package
from scallax.language import ir
from scallax.language.columns import Column, Rows
from scallax.language.tensors import SupportsArray
from scallax.language.values import plain_value


def are_columns(source: object) -> bool:
    """Whether facts are given in columns: by an array, a table or a dictionary, rather than by a list of facts."""
    return isinstance(source, Mapping | np.ndarray) or _is_frame(source) or hasattr(source, "__arrow_c_stream__")


def read_columns(source: Any, schema: ir.Relation, tag: str | None = None) -> tuple[Rows, Column | None]:
    """The rows of a table, and the tags in its column `tag`, if that is named.

    Args:
        source: An array of NumPy `[facts]` or `[facts, columns]`, or one with fields; a dictionary of columns, a
            `pandas.DataFrame` or `pandas.Series`, or whatever gives Arrow's streams: tables of pyarrow, polars, DuckDB.
        schema: The relation. If all its columns are named, those of the table are found by name, else by position.
        tag: The name of the column of tags.

    Returns:
        The rows, which are not fitted to the relation's columns yet, and the tags.

    Raises:
        InputError: A column is missing, of another length than the first, or there is one too many, or a value is none.
    """
    what = f"facts of `{schema.name}`"
    named = named_columns(source, what)
    tags = None
    if tag is not None:
        if tag not in named:
            raise InputError(Diagnostic(f"{what}: there is no column {tag!r} for tags", hint=_listed(named)))
        tags = read_column(named.pop(tag), f"{what}: the tags")
    given = [read_column(named[name], f"{what}: column {name!r}") for name in _chosen(named, schema, what)]
    for name, column in zip(named, given, strict=True):
        missing = np.flatnonzero(column.is_missing)
        if len(missing):
            raise InputError(f"{what}: column {name!r} has no value for fact {missing[0]}")
    lengths = [*map(len, given), *([] if tags is None else [len(tags)])]
    if len(set(lengths)) > 1:
        raise InputError(f"{what}: the columns differ in length: {', '.join(map(str, lengths))}")
    return Rows(given, next(iter(lengths), 0)), tags


def check_given_tags(tags: Column, rows: Rows, what: str, *, are_numbers: bool = True) -> Column:
    """The tags themselves. InputError unless there is one for each row.

    If they `are_numbers`, each is a finite number, a bool, or None for a certain fact.
    """
    if len(tags) != len(rows):
        raise InputError(f"{what}: there are {len(tags)} tags for {len(rows)} facts")
    if not are_numbers:
        return tags
    if tags.distinct is None:
        wrong = np.flatnonzero(~np.isfinite(tags.array) & ~tags.is_missing)
        reason = "it must be finite"
        if len(wrong) and np.isnan(tags.array[wrong[0]]):
            reason = "it must be finite; None, or what the table calls missing, is the tag of a certain fact"
    else:
        is_number = [value is None or isinstance(value, bool | int | float) for value in tags]
        wrong, reason = np.flatnonzero(~np.array(is_number, np.bool_)), "it must be a number"
    if len(wrong):
        place = int(wrong[0])
        raise InputError(f"{what}: fact {place}, {show_tuple(rows[place])}, has the tag {tags[place]!r}; {reason}")
    return tags


def named_columns(source: Any, what: str) -> dict[Any, Any]:
    """The columns of a table by name, or by position where they have none."""
    if isinstance(source, Mapping):
        return dict(source)
    if _is_frame(source):
        return {0: source} if source.ndim == 1 else {name: source.iloc[:, i] for i, name in enumerate(source.columns)}
    if isinstance(source, np.ndarray):
        if source.dtype.names is not None:
            return {name: source[name] for name in source.dtype.names}
        if source.ndim not in (1, 2):
            raise InputError(f"{what}: an array has the axes [facts] or [facts, columns]; it has {source.ndim}")
        return {0: source} if source.ndim == 1 else dict(enumerate(source.T))
    # Tables of polars, DuckDB and the like give their columns to pyarrow as they are.
    table = optional_package("pyarrow").table(source)
    return dict(zip(table.column_names, table.columns, strict=True))


def _chosen(named: Mapping[Any, Any], schema: ir.Relation, what: str) -> list[Any]:
    """The names of the columns in the order of the relation's."""
    names = list(schema.names) if schema.names and None not in schema.names else []
    if names and set(names) == set(named):
        return names
    if len(named) != len(schema.columns) or (names and not all(isinstance(name, int) for name in named)):
        wanted = f" ({', '.join(f'`{name}`' for name in names)})" if names else ""
        message = f"{what}: the table has the columns {_names(named)}; `{schema.name}` has"
        hint = "give as many columns; `tags=` takes the tags, an array or the name of their column"
        if len(named) == len(schema.columns):
            hint = "name them so, or by their positions 0, 1, …"
        raise InputError(Diagnostic(f"{message} {len(schema.columns)}{wanted}", hint=hint))
    return list(named)


def read_column(values: Any, what: str) -> Column:
    """A column of any library as a column of Python values. InputError if a value is none."""
    if isinstance(values, Column):
        return values
    if _is_frame(values):
        return _read_pandas(values, what)
    if hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__"):
        return _read_arrow(values, what)
    if isinstance(values, np.ndarray):
        return _read_array(values, what)
    if isinstance(values, str) or not isinstance(values, Sequence | SupportsArray):
        raise InputError(f"{what}: {values!r} is no column; give a list or an array")
    return _read_objects(list(values), what) if isinstance(values, Sequence) else _read_array(np.asarray(values), what)


def _read_array(values: np.ndarray, what: str) -> Column:
    if values.ndim != 1:
        raise InputError(f"{what}: a column has one axis; it has the shape {values.shape}")
    if isinstance(values, np.ma.MaskedArray):
        column = _read_array(values.data, what)
        return Column(column.array, column.distinct, np.ma.getmaskarray(values) | column.is_missing)
    match values.dtype.kind:
        case "b":
            return Column(values.astype(np.bool_))
        case "i":
            return Column(values.astype(np.int64))
        case "u":
            is_wide = len(values) > 0 and values.max() > np.iinfo(np.int64).max
            return Column(values.astype(np.uint64 if is_wide else np.int64))
        case "f":
            return Column(values.astype(np.float64))
        case "U":
            distinct, numbers = np.unique(values, return_inverse=True)
            return Column(numbers.reshape(-1), distinct.tolist())
        case "M" | "m":
            return _read_times(values, what)
        case "O":
            return _read_objects(values.tolist(), what)
        case _:
            raise InputError(f"{what}: values of the kind {values.dtype} are no values of facts")


def _read_times(values: np.ndarray, what: str) -> Column:
    """Dates, in UTC, and durations, as texts; NaT is missing."""
    missing = np.isnat(values)
    microseconds = values.astype(f"{'datetime64' if values.dtype.kind == 'M' else 'timedelta64'}[us]")
    distinct, numbers = np.unique(microseconds[~missing], return_inverse=True)
    array = np.zeros(len(values), np.int64)
    array[~missing] = numbers.reshape(-1)
    texts = [value if isinstance(value, date | timedelta) else None for value in distinct.tolist()]
    if None in texts:
        raise InputError(f"{what}: {distinct[texts.index(None)]} is beyond the years that dates have")
    found = [plain_value(text) for text in texts if text is not None]
    return Column(array, found or [""], missing if missing.any() else None)


def _read_objects(values: list[Any], what: str) -> Column:
    """Values of Python; None, and what a library calls missing, is missing."""
    if not (PLAIN_KINDS | {type(None)}).issuperset(map(type, values)):
        values = [_read_object(value, f"{what}, fact {place}") for place, value in enumerate(values)]
    return Column.of(values)


def _read_object(value: Any, what: str) -> Any:
    # The missing value of pandas has no class that can be named without importing it.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if not is_value(value):
        return read_tuple((value,), what)[0]
    return value.item() if isinstance(value, np.generic) else plain_value(value)


def _read_pandas(values: Any, what: str) -> Column:
    """A series of pandas."""
    missing = np.asarray(values.isna()) if not isinstance(values.dtype, np.dtype) else None
    kind = getattr(values.dtype, "kind", "O")
    if isinstance(values.dtype, np.dtype) and kind != "O":
        return _read_array(values.to_numpy(), what)
    if hasattr(values, "cat") or str(values.dtype).startswith(("str", "large_string")):
        codes, distinct = (values.cat.codes, values.cat.categories) if hasattr(values, "cat") else _factorized(values)
        codes = np.asarray(codes).astype(np.int64)
        missing = codes < 0
        found = read_column(np.asarray(distinct, object), what)
        return Column(*_through(found, np.maximum(codes, 0)), missing if missing.any() else None)
    if kind == "M":  # with a time zone
        return _read_array(values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), what)
    if kind in "biuf" and missing is not None:
        column = _read_array(values.fillna(0).to_numpy(_NUMPY[kind]), what)
        return Column(column.array, column.distinct, missing if missing.any() else None)
    return _read_objects(values.tolist(), what)


_NUMPY = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}


def _factorized(values: Any) -> tuple[Any, Any]:
    return optional_package("pandas").factorize(values)


def _through(distinct: Column, codes: np.ndarray) -> tuple[np.ndarray, Sequence[Any] | None]:
    """The array and the distinct values of a column whose values are those of another at some places."""
    if not len(distinct):
        return codes, [""]
    return distinct.array[codes], distinct.distinct


def _read_arrow(values: Any, what: str) -> Column:
    """An array of Arrow, in one piece or in several."""
    pyarrow = optional_package("pyarrow")
    array = values
    if not isinstance(array, pyarrow.Array | pyarrow.ChunkedArray):
        array = pyarrow.chunked_array(array) if hasattr(array, "__arrow_c_stream__") else pyarrow.array(array)
    array = array.combine_chunks() if isinstance(array, pyarrow.ChunkedArray) else array
    types = pyarrow.types
    missing = np.asarray(array.is_null()) if array.null_count else None
    if types.is_string(array.type) or types.is_large_string(array.type) or types.is_string_view(array.type):
        array = array.cast("string").dictionary_encode()
    if types.is_dictionary(array.type):
        found = _read_objects(array.dictionary.to_pylist(), what)
        codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return Column(*_through(found, codes), missing)
    if types.is_timestamp(array.type) or types.is_date(array.type):
        return _read_array(array.cast(pyarrow.timestamp("us")).to_numpy(zero_copy_only=False), what)
    is_number = types.is_integer(array.type) or types.is_floating(array.type) or types.is_boolean(array.type)
    if is_number:
        filled = array if missing is None else array.fill_null(False if types.is_boolean(array.type) else 0)
        column = _read_array(filled.to_numpy(zero_copy_only=False), what)
        return Column(column.array, column.distinct, missing)
    return _read_objects(array.to_pylist(), what)


def _is_frame(source: object) -> bool:
    """Whether something is a table or a column of pandas, which is not imported for it."""
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "iloc")


def _names(named: Mapping[Any, Any]) -> str:
    return ", ".join(f"`{name}`" for name in named) or "none"


def _listed(named: Mapping[Any, Any]) -> str:
    return f"its columns are: {_names(named)}"
