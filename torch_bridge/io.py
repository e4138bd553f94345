"""Files of facts with the reference's names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scallax import CsvFile
from scallax.errors import checks_calls


@checks_calls
@dataclass(frozen=True, slots=True)
class CSVFileOptions:
    """A CSV file of facts: `scallax.CsvFile` with the reference's names of arguments.

    Args:
        path: The file.
        deliminator: The character between columns. Default: a comma.
        has_header: Whether the first row has the names of the columns.
        has_probability: Whether the first column holds the probabilities of the facts.
        keys: Columns that identify a row; each row then gives a fact for every other column.
        fields: The columns to read. Default: all.

    Example:
        >>> from torch_bridge.io import CSVFileOptions
        >>> CSVFileOptions("edges.csv").with_deliminator(";").csv_file().delimiter
        ';'
    """

    path: str | Path
    deliminator: str | None = None
    has_header: bool = False
    has_probability: bool = False
    keys: str | Sequence[str] | None = None
    fields: str | Sequence[str] | None = None

    def with_deliminator(self, deliminator: str) -> "CSVFileOptions":
        """The same file with another character between columns."""
        return replace(self, deliminator=deliminator)

    def with_fields(self, fields: str | Sequence[str]) -> "CSVFileOptions":
        """The same file, from which only these columns are read."""
        return replace(self, fields=fields)

    def with_keys(self, keys: str | Sequence[str]) -> "CSVFileOptions":
        """The same file, in which each row gives a fact for every column except these."""
        return replace(self, keys=keys)

    def csv_file(self) -> CsvFile:
        """The file as a `scallax.CsvFile`."""
        return CsvFile(
            self.path,
            self.deliminator or ",",
            self.has_header,
            self.has_probability,
            self.keys or (),
            self.fields or (),
        )
