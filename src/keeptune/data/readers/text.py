"""Lines of a text file as UTF-8, with the place of what is not; the JSON values that readers share."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from keeptune.core.errors import DataError

BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines with their line ends; a byte order mark is dropped, .gz is unpacked.

    Raises:
        DataError: a line that is not UTF-8, or a damaged gzip file.
    """
    number = 0
    try:
        with open_bytes(path) as file:
            for number, raw in enumerate(file, 1):
                if number == 1:
                    _refuse_utf16(raw, path)
                    raw = raw.removeprefix(BOM)
                try:
                    yield number, raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})",
                        path=path,
                        line=number,
                        remedy="save the file as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
                    ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"damaged gzip file ({error})", path=path, line=number + 1, remedy="compress or download it again"
        ) from error


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where the name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _refuse_utf16(first: bytes, path: Path) -> None:
    if first.startswith(UTF16):
        raise DataError(
            "the file is UTF-16, not UTF-8",
            path=path,
            line=1,
            remedy="save it as UTF-8: iconv -f UTF-16 -t UTF-8 OLD > NEW",
        )


DECODER = json.JSONDecoder(parse_constant=lambda name: None)  # NaN and Infinity stand for "no value"


def decode_json(text: str, start: int, path: Path, line: int) -> tuple[Any, int]:
    """The JSON value at ``start`` and the index after it; ``line`` is the line of ``start``.

    Raises:
        DataError: not JSON, nested too deep, an endless number, or half a character.
    """
    try:
        value, end = DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        at = line + text.count("\n", start, error.pos)
        column = error.pos - text.rfind("\n", 0, error.pos)
        raise DataError(
            f"not JSON: {error.msg} at column {column}", path=path, line=at, remedy=_json_remedy(text, error.pos)
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


def _json_remedy(text: str, position: int) -> str:
    near = text[position : position + 1]
    if near == "'":
        return "JSON quotes with \" and not with '; write the rows with json.dumps"
    if near in {"\n", "\r", ""}:
        return "the row was cut short, or a line break inside a text is not written as \\n"
    return "repair or remove this row"
