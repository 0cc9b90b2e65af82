"""Lines of a text file as UTF-8, with the place of what is not; the JSON values that readers share."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from keeptune.core.errors import DataError, ResourceError

BOM = b"\xef\xbb\xbf"
PACKED = (".gz", ".zst")  # endings behind that of a text format
_TO_UTF8 = "save it as UTF-8: iconv -f UTF-16 -t UTF-8 OLD > NEW"
NO_TEXT = (  # first bytes, what they mean, what helps
    (b"\xff\xfe", "UTF-16, not UTF-8", _TO_UTF8),
    (b"\xfe\xff", "UTF-16, not UTF-8", _TO_UTF8),
    (b"\x1f\x8b", "packed with gzip, which its name does not say", "let the name end in .gz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd, which its name does not say", "let the name end in .zst"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or save the sheet as CSV in UTF-8"),
    (b"PAR1\x15", "a Parquet file, which its name does not say", "let the name end in .parquet"),
)


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines with their line ends; a byte order mark is dropped, .gz and .zst are unpacked.

    Raises:
        DataError: a file that is no text, a line that is not UTF-8, or a damaged packed file.
        ResourceError: see `open_bytes`.
    """
    number = 0
    try:
        with open_bytes(path) as file:
            for number, raw in enumerate(file, 1):
                if number == 1:
                    _refuse_other(raw, path)
                    raw = raw.removeprefix(BOM)
                if b"\0" in raw:
                    raise DataError(
                        "a zero byte, which no text has",
                        path=path,
                        line=number,
                        remedy="if the file is UTF-16, " + _TO_UTF8.replace("UTF-16", "UTF-16LE"),
                    )
                try:
                    yield number, raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})",
                        path=path,
                        line=number,
                        remedy="save the file as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
                    ) from error
    except (EOFError, zlib.error, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the file cannot be read, whatever is in it
            raise
        packing = "zstd" if path.suffix.lower() == ".zst" else "gzip"
        raise DataError(
            f"damaged {packing} file ({error})", path=path, line=number + 1, remedy="compress or download it again"
        ) from error


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where the name ends in .gz or .zst.

    Raises:
        ResourceError: .zst, and pyarrow, which unpacks it, is not installed or was built without zstd.
    """
    ending = path.suffix.lower()
    if ending == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if ending == ".zst":
        return _open_zstd(path)
    return path.open("rb")


def _open_zstd(path: Path) -> BinaryIO:
    try:
        import pyarrow as pa

        known = pa.Codec.is_available("zstd")
    except ImportError:
        known = False
    if not known:
        raise ResourceError(
            "zstd files are unpacked by pyarrow, which is not installed or has no zstd",
            where=str(path),
            remedy="pip install pyarrow, or unpack the file: unzstd FILE",
        )
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), 1 << 20)


def _refuse_other(first: bytes, path: Path) -> None:
    for mark, meaning, remedy in NO_TEXT:
        if first.startswith(mark):
            raise DataError(f"the file is {meaning}", path=path, line=1, remedy=remedy)


class _RepeatedKey(ValueError):
    """An object has a key twice; Python's decoder would silently keep the last value."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKey(next(name for name in names if names.count(name) > 1))
    return made


# NaN and Infinity stand for "no value"
DECODER = json.JSONDecoder(parse_constant=lambda name: None, object_pairs_hook=_unique)


def decode_json(text: str, start: int, path: Path, line: int) -> tuple[Any, int]:
    """The JSON value at ``start`` and the index after it; ``line`` is the line of ``start``.

    Raises:
        DataError: not JSON, a key that occurs twice, nested too deep, an endless number, or half a character.
    """
    try:
        value, end = DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        at = line + text.count("\n", start, error.pos)
        column = error.pos - text.rfind("\n", 0, error.pos)
        raise DataError(
            f"not JSON: {error.msg} at column {column}", path=path, line=at, remedy=_json_remedy(error)
        ) from error
    except _RepeatedKey as error:
        raise DataError(
            f"the key '{error}' occurs twice in one object", path=path, line=line, remedy="name every key once"
        ) from error
    except RecursionError as error:
        raise DataError("nested too deep", path=path, line=line, remedy="rows are flat objects of texts") from error
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(f"not readable: {error}", path=path, line=line, remedy="write it as a text") from error
    if "\\u" in text[start:end] and not is_unicode(json.dumps(value, ensure_ascii=False)):
        raise DataError(
            "half of a surrogate pair (\\ud800 to \\udfff), which is no character",
            path=path,
            line=line,
            remedy="write the text again with json.dumps(..., ensure_ascii=False)",
        )
    return value, end


def is_unicode(text: str) -> bool:
    """False for texts that cannot be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def as_object(value: Any, path: Path, line: int) -> dict[str, Any]:
    """The value as a row.

    Raises:
        DataError: it is no object.
    """
    if isinstance(value, dict):
        return value
    kind = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
    raise DataError(
        f"a row must be an object, this is {kind}",
        path=path,
        line=line,
        remedy='write rows as {"prompt": "...", "completion": "..."}',
    )


def _json_remedy(error: json.JSONDecodeError) -> str:
    near = error.doc[error.pos : error.pos + 1]
    if near == "'":
        return "JSON quotes with \" and not with '; write the rows with json.dumps"
    if near in {"\n", "\r", ""} or error.msg.startswith("Unterminated string"):
        return "the row was cut short, or a line break inside a text is not written as \\n"
    return "repair or remove this row"
