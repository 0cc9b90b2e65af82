"""CSV and TSV with a header row. Everything stays text: '3.30' is not a number here."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.data.rows.row import Row
from keeptune.data.rows.text import decoded_lines

LARGEST_FIELD = 1 << 24  # characters; the csv module's own limit (131,072) is less than a long document


def read_csv(path: Path) -> Iterator[Row]:
    """Rows of a .csv (comma, or semicolon where the header has no comma) or .tsv file.

    Raises:
        DataError: broken quoting, a row with too few or too many fields, a header that repeats a name; a quote in a
            .tsv file that runs over tabs and line ends.
    """
    delimiter = _delimiter(path)
    lines = (line for _, line in decoded_lines(path))
    csv.field_size_limit(LARGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for values in reader:
            line, start = start, reader.line_num + 1
            if not values:
                continue
            if header is None:
                header = _header(values, path, line)
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{len(values)} fields, but the header has {len(header)}",
                    path=path,
                    line=line,
                    remedy=f'put quotes (") around texts that contain {_named(delimiter)} or a line break',
                )
            if delimiter == "\t" and any("\t" in value and "\n" in value for value in values):
                raise DataError(
                    'a text in quotes holds tabs and line ends: a quote (") that opens a text joins it to later rows',
                    path=path,
                    line=line,
                    remedy='write a text that begins with a quote as """like this"" ..."; or save the table as JSON'
                    " Lines",
                )
            yield Row({name: value for name, value in zip(header, values, strict=True) if name}, str(path), line)
    except csv.Error as error:
        if "new-line character" in str(error):
            raise DataError(
                "a carriage return outside quotes: lines end in LF or CR LF",
                path=path,
                line=start,
                remedy="write the line ends anew: tr '\\r' '\\n' < OLD > NEW",
            ) from error
        raise DataError(
            f"broken quoting ({error})",
            path=path,
            line=start,
            remedy='a text with quotes is written "like ""this"""; or save the table as JSON Lines',
        ) from error


def _delimiter(path: Path) -> str:
    if ".tsv" in path.suffixes or ".tab" in path.suffixes:
        return "\t"
    header = next((line for _, line in decoded_lines(path) if line.strip()), "")
    if "," in header:
        return ","
    return next((mark for mark in (";", "\t") if mark in header), ",")


def _header(names: list[str], path: Path, line: int) -> list[str]:
    """Column names; the nameless first column (a saved row index) is left out."""
    header = [name.strip() for name in names]
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated or not any(header) or "" in header[1:]:
        what = f"the header repeats '{repeated[0]}'" if repeated else "the header has a column without a name"
        raise DataError(what, path=path, line=line, remedy="the first row must name every column, each once")
    return header


def _named(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}[delimiter]
