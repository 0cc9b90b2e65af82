"""What bad input gets: the family's exit code, one line that names place and remedy, and nothing half-written."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from keeptune.core.errors import ConfigError, DataError, KeeptuneError, ModelError, ResourceError
from keeptune.data.load import load_examples
from keeptune.data.rows import read_rows
from keeptune.data.storage.spill import Spill

Run = Callable[..., Any]
Rows = list[dict[str, Any]]
FAST = (
    "--set",
    "train.max_steps=1",
    "--set",
    "lora.learning_rates=[1e-3]",
    "--set",
    "lora.rank=2",
    "--set",
    "precision=fp32",
)


def refused(ended: Any, family: type[KeeptuneError], *said: str) -> None:
    """One line on stderr, the family's exit code, and every piece of the message."""
    assert ended.code == family.exit_code, ended
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended.err
    for piece in said:
        assert piece in ended.err


def recipe(folder: Path, **changes: Any) -> Path:
    values = {"model": "./tiny", "target": {"data": "rows.jsonl"}, **changes}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


# Recipes and flags: exit code 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "model: m\ntarget:\n  data: d.jsonl\nlora:\n  rnak: 8\n",
            ("r.yaml:5:", "'lora.rnak'", "did you mean 'rank'?"),
        ),
        ("model: m\ntarget:\n  data: d\n  tempaltes: x\n", ("r.yaml:4:", "tempaltes", "did you mean 'templates'?")),
        (
            "model: m\ntarget: {data: d}\nretain:\n  - data: d\n    margn: 2\n",
            ("r.yaml:5:", "margn", "did you mean 'margin'?"),
        ),
        ("model: m\ntarget: {data: d}\nretain: [{text: t.txt, margin: 2}]\n", ("r.yaml:3:", "write 1%")),
        ("model: m\ntarget: {data: d}\ntrain: {epochs: 0}\n", ("r.yaml:3:", "train.epochs=0", "greater than")),
        (
            "model: m\ntarget: {data: d}\narms: [prompt, qlora]\n",
            ("r.yaml:3:", "is no method", "or lora"),
        ),
        ("target: {data: d}\n", ("'model' is missing", "add 'model:'")),
        ("model: [m\n", ("r.yaml:2:", "not YAML")),
    ],
)
def test_a_recipe_error_names_line_and_nearest_key(
    keeptune: Run, tmp_path: Path, text: str, said: tuple[str, ...]
) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    for name in ("d", "d.jsonl", "t.txt"):  # what is missing would be said before
        (tmp_path / name).write_text("{}\n")
    refused(keeptune("study", "r.yaml"), ConfigError, *said)


def test_a_missing_recipe_names_the_ones_beside_it(keeptune: Run, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("model: m\n", encoding="utf-8")
    refused(keeptune("study", "god.yaml"), ConfigError, "no such recipe", "did you mean good.yaml?")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--model", "m", "--data", "rows.jsonl", "--set", "train.epoch=3"), ("did you mean 'epochs'?",)),
        (("train", "--model", "m", "--data", "rows.jsonl", "--set", "train.epochs"), ("section.field=value",)),
        (("compare", "a", "b"), ("--retain", "name a task")),
        (("compare", "a", "b", "--retain", "rows.jsonl", "--metric", "acc"), ("need --samples",)),
        (("compare", "a", "b", "--retain", "rows.jsonl", "--margin", "0"), ("margin", "write points (2)")),
        (("evaluate", "--model", "m", "--task", "rows.jsonl", "--shots", "one"), ("--shots", "write 0,1,4")),
        (("evaluate", "--model", "m", "--task", "rows.jsonl", "--shots", "-1"), ("shots", "0 or more")),
        (("evaluate", "--model", "m", "--task", "rows.jsonl", "--part", "train"), ("part=", "'validation' or 'test'")),
        (("data", "check", "rows.jsonl", "--field", "completion"), ("write --field ROLE=COLUMN",)),
        (("data", "check", "rows.jsonl", "--field", "completion=answer"), ("'answer'", "columns seen: 'instruction'")),
        (("data", "check", "rows.jsonl", "--cluster", "source"), ("'source'", "columns seen: instruction")),
    ],
)
def test_a_flag_error_names_the_flag(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, arguments: tuple[str, ...], said: tuple[str, ...]
) -> None:
    jsonl(rows())
    given = [str(tiny_folder) if argument == "m" else argument for argument in arguments]
    refused(keeptune(*given), ConfigError, *said)


# Data: exit code 3. Every fault is a file as people have them; the error names the file, the line and what helps.

PAIR = b'{"prompt": "a", "completion": "b"}'
ROWS_REMEDY = "repair or remove these rows"


def turns(*said: tuple[str, Any]) -> bytes:
    """A conversation as a line of JSON."""
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in said]}).encode()


def parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(list(columns.values()), names=[name.rstrip("+") for name in columns]), sink)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


# name of the fault: (file, content, line or None, piece of the message, piece of the remedy)
FAULTS: dict[str, tuple[str, bytes, int | None, str, str]] = {
    # bytes that are no text
    "not UTF-8": ("r.jsonl", b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n', 2, "byte 0xe9 at column 16", "iconv"),
    "not UTF-8 in a CSV": ("r.csv", b"text,label\na,b\ncaf\xe9,b\n", 3, "byte 0xe9 at column 4", "iconv"),
    "UTF-8 cut in a character": ("r.jsonl", PAIR + b"\n" + '{"prompt": "é'.encode()[:-1], 2, "byte 0xc3", "iconv"),
    "UTF-16": ("r.jsonl", PAIR.decode().encode("utf-16"), 1, "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 without a mark": ("r.csv", "text,label\na,b\n".encode("utf-16-le"), 1, "zero byte", "UTF-16LE"),
    "zero byte": ("r.csv", b"text,label\na,b\nc\0,d\n", 3, "zero byte", "UTF-8"),
    "half a surrogate pair": ("r.jsonl", b'{"prompt": "\\ud83d"}\n', 1, "surrogate", "ensure_ascii"),
    "spreadsheet named CSV": ("r.csv", b"PK\x03\x04\x14\x00\x06\x00", 1, "zip archive or a spreadsheet", "as CSV"),
    "Parquet named CSV": ("r.csv", b"PAR1\x15\x04\x15\x10", 1, "Parquet file", ".parquet"),
    # packed files
    "gzip without .gz": ("r.jsonl", gzip.compress(PAIR), 1, "packed with gzip", ".gz"),
    "zstd without .zst": ("r.jsonl", zstd(PAIR), 1, "packed with zstd", ".zst"),
    ".gz that is none": ("r.jsonl.gz", PAIR, 1, "damaged gzip", "compress or download it again"),
    ".zst that is none": ("r.jsonl.zst", PAIR, 1, "damaged zstd", "compress or download it again"),
    "gzip cut short": ("r.jsonl.gz", gzip.compress(PAIR + b"\n")[:-12], 1, "damaged gzip", "download it again"),
    "zstd cut short": ("r.csv.zst", zstd(b"text,label\na,b\n")[:-3], 1, "damaged zstd", "download it again"),
    # JSON
    "cut in a row": ("r.jsonl", PAIR + b'\n{"prompt": "a", "com', 2, "not JSON", "cut short"),
    "line break in a text": ("r.jsonl", b'{"prompt": "a\nb", "completion": "c"}', 1, "not JSON", "written as \\n"),
    "Python instead of JSON": ("r.jsonl", b"{'prompt': 'a'}\n", 1, "not JSON", "json.dumps"),
    "comma behind a value": ("r.jsonl", PAIR + b"\n" + PAIR[:-1] + b",}\n", 2, "not JSON", "repair or remove this row"),
    "comma behind a row": ("r.jsonl", PAIR + b",\n" + PAIR + b",\n", 1, "more text after", "one object per line"),
    "two rows in a line": ("r.jsonl", PAIR + b"\n" + PAIR + PAIR, 2, "more text after", "one object per line"),
    "array not closed": ("r.json", b"[" + PAIR + b",\n" + PAIR, 2, "not closed", "cut short"),
    "comma missing in an array": ("r.json", b"[" + PAIR + b"\n" + PAIR + b"]", 2, "a comma is missing", "repair"),
    "two commas in an array": ("r.json", b"[" + PAIR + b",\n," + PAIR + b"]", 2, "not JSON", "repair or remove"),
    "text behind an array": ("r.json", b"[" + PAIR + b"]\nend", 1, "more text after the array", "array of objects"),
    "array as a row": ("r.jsonl", PAIR + b"\n[1, 2]\n", 2, "this is an array", '{"prompt"'),
    "numbers as rows": ("r.json", b"[1, 2]", 1, "this is a number", '{"prompt"'),
    "null as a row": ("r.jsonl", PAIR + b"\nnull\n", 2, "this is null", '{"prompt"'),
    "key beside the parts": ("r.json", b'{"train": [], "version": "1"}', None, "'version' is not a part", '"train"'),
    "key twice": ("r.jsonl", PAIR + b'\n{"prompt": "a", "prompt": "b"}', 2, "'prompt' occurs twice", "once"),
    "nested without end": ("r.jsonl", b'{"a": ' + b"[" * 100_000, 1, "nested too deep", "flat objects"),
    "endless number": ("r.jsonl", b'{"a": ' + b"1" * 5_000 + b"}", 1, "not readable", "as a text"),
    # CSV
    "field too many": ("r.csv", b"text,label\na,b\n\na,b,c\n", 4, "3 fields, but the header has 2", "quotes"),
    "field too few": ("r.tsv", b"text\tlabel\na\tb\na\n", 3, "1 fields, but the header has 2", "a tab"),
    "quotes over rows": ("r.tsv", b'text\tlabel\na\tb\n"good\t1\nfine."\t0\n', 3, "tabs and line ends", "JSON"),
    "quote not closed": ("r.csv", b'text,label\na,b\n"open,b\nc,d\n', 3, "broken quoting", "JSON Lines"),
    "column twice": ("r.csv", b"text,label,text\na,b,c\n", 1, "repeats 'text'", "each once"),
    "column without a name": ("r.csv", b"text,,label\na,b,c\n", 1, "without a name", "name every column"),
    "columns alike but for case": ("r.csv", b"Text,text,label\na,b,c\n", None, "only in case", "rename or remove"),
    "columns alike in templates": ("r.csv", b"a b,a_b,label\n1,2,3\n", None, "called a_b", "rename one"),
    "carriage returns alone": ("r.csv", b"text,label\ra,b\rc,d\r", 1, "a carriage return", "tr '\\r' '\\n'"),
    "a field that swallows the file": ("r.csv", b'text,label\na,"' + b"x" * 17_000_000, 2, "broken quoting", "quotes"),
    # Parquet
    "Parquet in name only": ("r.parquet", b"PAR1 no PAR1", None, "not readable as Parquet", "again"),
    "Parquet cut short": ("r.parquet", parquet({"prompt": [["a"]]})[:-9], None, "not readable as Parquet", "again"),
    "Parquet column twice": ("r.parquet", parquet({"text": ["a"], "text+": ["b"]}), None, "'text'", "rename one"),
    "Parquet list as prompt": (
        *("r.parquet", parquet({"prompt": [["a", "b"]], "completion": ["c"]})),
        *(1, "field 'prompt' is a list", ROWS_REMEDY),
    ),
    "Parquet bytes as text": (
        *("r.parquet", parquet({"text": [b"\xff"], "label": ["c"]})),
        *(1, "field 'text' is bytes", ROWS_REMEDY),
    ),
    "Parquet date beyond dates": (
        *("r.parquet", parquet({"text": ["a"], "label": pa.array([10**15], pa.timestamp("s"))})),
        *(None, "not readable as Parquet after row 0", "dates as texts"),
    ),
    "Parquet time zone that is none": (
        *("r.parquet", parquet({"text": ["a"], "label": pa.array([1], pa.timestamp("us", "No/Where"))})),
        *(None, "No/Where", "dates as texts"),
    ),
    # nothing there
    "empty file": ("r.jsonl", b"", None, "no rows", "empty"),
    "header alone": ("r.csv", b"text,label\n", None, "no rows", "only a header"),
    "empty packed file": ("r.json.gz", gzip.compress(b"\n"), None, "no rows", "empty"),
    "empty objects": ("r.jsonl", b"{}\n{}\n", None, "no layout fits", "rename the columns"),
    "columns that fit nothing": ("r.jsonl", b'{"foo": 1, "bar": 2}', None, "'foo', 'bar'", "--field prompt=COLUMN"),
    "columns that fit twice": (
        *("r.jsonl", b'{"instruction": "a", "output": "b", "response": "c"}'),
        *(None, "several columns may be the completion", "--field completion="),
    ),
    # cells
    "completion null": ("r.jsonl", b'{"prompt": "a", "completion": null}', 1, "'completion' is null", ROWS_REMEDY),
    "completion NaN": ("r.jsonl", b'{"prompt": "a", "completion": NaN}', 1, "'completion' is null", ROWS_REMEDY),
    "completion infinite": ("r.jsonl", b'{"prompt": "a", "completion": 1e999}', 1, "is empty", ROWS_REMEDY),
    "completion empty": ("r.jsonl", b'{"prompt": "a", "completion": " "}', 1, "'completion' is empty", ROWS_REMEDY),
    "prompt empty": ("r.jsonl", b'{"prompt": "", "completion": "b"}', 1, "'prompt' is empty", ROWS_REMEDY),
    "prompt an object": ("r.jsonl", b'{"prompt": {}, "completion": "b"}', 1, "is an object", ROWS_REMEDY),
    "answers all null": ("r.jsonl", b'{"question": "a", "answers": {"text": [null]}}', 1, "is empty", ROWS_REMEDY),
    "a choice null": (
        *("r.jsonl", b'{"question": "a", "choices": ["x", null], "answer": "x"}'),
        *(1, "two different choices, none empty", ROWS_REMEDY),
    ),
    "answer not among the choices": (
        *("r.jsonl", b'{"question": "a", "choices": ["x", "y"], "answer": "z"}'),
        *(1, "'answer' is none of the choices", ROWS_REMEDY),
    ),
    "answer beyond the choices": (
        *("r.jsonl", b'{"question": "a", "choices": ["x", "y"], "answer": 2}'),
        *(1, "choices count from 0 to 1", ROWS_REMEDY),
    ),
    "answer that is a choice and a number": (
        *("r.jsonl", b'{"question": "a", "choices": [1, 2, 3, 4], "answer": 3}'),
        *(1, "'answer' is 3: that choice, or", ROWS_REMEDY),
    ),
    "answer of 5,000 digits": (
        *("r.jsonl", b'{"question": "a", "choices": ["x", "y"], "answer": "' + b"9" * 5_000 + b'"}'),
        *(1, "none of the choices", ROWS_REMEDY),
    ),
    "a part that is none": (
        *("r.jsonl", b'{"text": "a", "label": "b", "split": "train"}\n{"text": "a", "label": "b", "split": "tests"}'),
        *(2, "'tests' names no part", "train, validation or test"),
    ),
    "labels that are no list": ("r.jsonl", b'{"input_ids": [1], "labels": 3}', 1, "not a list", ROWS_REMEDY),
    "definition null": (
        *("task.json", b'{"Definition": [null], "Instances": [{"input": "a", "output": "b"}]}'),
        *(1, "'definition' is empty", ROWS_REMEDY),
    ),
    # conversations
    "no turns": ("r.jsonl", b'{"messages": []}', 1, "'messages' holds no turns", ROWS_REMEDY),
    "turns null": ("r.jsonl", b'{"messages": [null]}', None, "no format fits", '{"role": ..., "content": ...}'),
    "assistant first": (
        "r.jsonl",
        turns(("assistant", "a"), ("user", "b")),
        1,
        "no assistant turn is trained",
        ROWS_REMEDY,
    ),
    "user twice": ("r.jsonl", turns(("user", "a"), ("user", "b")), 1, "turn 2 (user) comes after user", ROWS_REMEDY),
    "two system turns": (
        *("r.jsonl", turns(("system", "a"), ("system", "b"), ("user", "c"), ("assistant", "d"))),
        *(1, "turn 2 (system) comes after system", ROWS_REMEDY),
    ),
    "system late": (
        *("r.jsonl", turns(("user", "a"), ("system", "b"), ("assistant", "c"))),
        *(1, "turn 2 (system) comes after user", ROWS_REMEDY),
    ),
    "unknown role": ("r.jsonl", turns(("user", "a"), ("narrator", "b")), 1, "unknown role 'narrator'", ROWS_REMEDY),
    "turn null": (
        "r.jsonl",
        turns(("user", None), ("assistant", "b")),
        1,
        "'messages[0]' (user) is empty",
        ROWS_REMEDY,
    ),
    "turn a number": ("r.jsonl", turns(("user", 3), ("assistant", "b")), 1, "neither a text nor", ROWS_REMEDY),
    "no answer": ("r.jsonl", turns(("user", "a")), 1, "no assistant turn", ROWS_REMEDY),
    "a role that steers the terminal": (
        *("r.jsonl", turns(("us\ner\x1b[2J", "a"), ("assistant", "b"))),
        *(1, "unknown role 'us\\ner\\x1b[2J'", ROWS_REMEDY),
    ),
    "a role as long as a book": ("r.jsonl", turns(("r" * 90_000, "a")), 1, "unknown role 'rrr", ROWS_REMEDY),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_data_file_that_cannot_be_used(keeptune: Run, tmp_path: Path, fault: str) -> None:
    name, content, line, said, remedy = FAULTS[fault]
    (tmp_path / name).write_bytes(content)
    ended = keeptune("data", "check", name)
    message, arrow, helps = ended.err.partition(" -> ")
    place = name if line is None else f"{name}:{line}"
    refused(ended, DataError, f"error: {place}: ", arrow)
    assert said in message
    assert remedy in helps
    assert len(ended.err) < 3_000


# What is odd and can be read: name: (file, content, the rows)
READ: dict[str, tuple[str, bytes, list[dict[str, Any]]]] = {
    "byte order mark": ("r.jsonl", b"\xef\xbb\xbf" + PAIR, [{"prompt": "a", "completion": "b"}]),
    "byte order mark in a CSV": ("r.csv", b"\xef\xbb\xbftext,label\na,b\n", [{"text": "a", "label": "b"}]),
    "CR LF": ("r.jsonl", PAIR + b"\r\n\r\n" + PAIR + b"\r\n", [{"prompt": "a", "completion": "b"}] * 2),
    "CR LF in a CSV": ("r.csv", b"text,label\r\na,b\r\n", [{"text": "a", "label": "b"}]),
    "a JSON array in a .jsonl": (
        *("r.jsonl", b"[" + PAIR + b",\n" + PAIR + b"]"),
        [{"prompt": "a", "completion": "b"}] * 2,
    ),
    "a single object in a .json": ("r.json", PAIR, [{"prompt": "a", "completion": "b"}]),
    "JSON Lines in a .json": ("r.json", PAIR + b"\n" + PAIR, [{"prompt": "a", "completion": "b"}] * 2),
    "a comma behind the last row": ("r.json", b"[" + PAIR + b",]", [{"prompt": "a", "completion": "b"}]),
    "gzip": ("r.jsonl.gz", gzip.compress(PAIR), [{"prompt": "a", "completion": "b"}]),
    "zstd": ("r.csv.zst", zstd(b"text,label\na,b\n"), [{"text": "a", "label": "b"}]),
    "zstd in two frames": ("r.jsonl.zst", zstd(PAIR + b"\n") + zstd(PAIR), [{"prompt": "a", "completion": "b"}] * 2),
    "numbers as texts": ("r.jsonl", b'{"prompt": 3, "completion": 3.3}', [{"prompt": "3", "completion": "3.3"}]),
    "a CSV answer that looks like a number": (
        *("r.csv", b"question,answer\n1.10 + 2.20?,3.30\n"),
        [{"question": "1.10 + 2.20?", "answer": "3.30"}],
    ),
    "CSV answers that look like nothing": (
        *("r.csv", b"question,answer\na,NA\nb,null\nc,nan\n"),
        [{"question": q, "answer": a} for q, a in (("a", "NA"), ("b", "null"), ("c", "nan"))],
    ),
    "Parquet with lists": (
        *("r.parquet", parquet({"prompt": ["a"], "completion": [["b", "c"]]})),
        [{"prompt": "a", "completion": ["b", "c"]}],
    ),
    "NaN in a column that nothing needs": (
        *("r.jsonl", PAIR[:-1] + b', "score": NaN}'),
        [{"prompt": "a", "completion": "b", "score": None}],
    ),
}


@pytest.mark.parametrize("oddity", READ)
def test_an_odd_data_file_that_can_be_read(tmp_path: Path, oddity: str) -> None:
    name, content, rows = READ[oddity]
    (tmp_path / name).write_bytes(content)
    assert [dict(example.fields) for example in load_examples(str(tmp_path / name)).examples] == rows


def test_lines_of_100_megabytes(keeptune: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    text = b"word " * 20_000_000
    path.write_bytes(b'{"prompt": "' + text + b'", "completion": "b"}\n' + PAIR + b"\n")
    assert [len(row.fields["prompt"]) for row in read_rows(str(path))] == [len(text), 1]
    path.write_bytes(PAIR + b'\n{"prompt": "' + text + b"\n")
    ended = keeptune("data", "check", "r.jsonl")
    refused(ended, DataError, "r.jsonl:2: not JSON", "cut short")
    assert len(ended.err) < 300


# Files that are no files


def link(folder: Path) -> None:
    (folder / "link.jsonl").symlink_to("gone.jsonl")


def loop(folder: Path) -> None:
    (folder / "loop.jsonl").symlink_to("loop.jsonl")


def folder_with_a_dead_part(folder: Path) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "train.jsonl").write_bytes(PAIR)
    (folder / "set" / "test.jsonl").symlink_to("blobs/gone")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jsonl")


def locked_folder(folder: Path) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "train.jsonl").write_bytes(PAIR)
    (folder / "set").chmod(0)


def locked_file(folder: Path) -> None:
    (folder / "r.jsonl").write_bytes(PAIR)
    (folder / "r.jsonl").chmod(0)


def nothing(folder: Path) -> None:
    pass


def saved_to_disk(folder: Path) -> None:
    (folder / "set").mkdir()
    for name in ("state.json", "dataset_info.json"):  # and no rows
        (folder / "set" / name).write_text("{}", encoding="utf-8")


PLACES: dict[str, tuple[Callable[[Path], None], str, str, str, str]] = {
    "dead link": (link, "link.jsonl", "link.jsonl", "a link to 'gone.jsonl', which is not there", "bring back"),
    "link to itself": (loop, "loop.jsonl", "loop.jsonl", "a link to 'loop.jsonl'", "remove the link"),
    "part that is a dead link": (folder_with_a_dead_part, "set", "set/test.jsonl", "'blobs/gone'", "bring back"),
    "pipe": (pipe, "pipe.jsonl", "pipe.jsonl", "a pipe or a device", "to a file first"),
    "folder without permission": (locked_folder, "set", "set", "Permission denied", "check the folder"),
    "file in it": (locked_folder, "set/train.jsonl", "set/train.jsonl", "Permission denied", "name a file"),
    "file without permission": (locked_file, "r.jsonl", "r.jsonl", "Permission denied", "check the file"),
    "folder without data": (nothing, ".", ".", "no data files", "name them train.jsonl"),
    "folder of another tool": (saved_to_disk, "set", "set", "no data files", "name them train.jsonl"),
    "ending without a reader": (nothing, "/etc/hostname", "/etc/hostname", "no reader", ".jsonl"),
    "name too long": (nothing, "x" * 5_000, "x" * 200, "File name too long", "name a file or a folder"),
    "zero byte in the name": (nothing, "a\0b.jsonl", "a\\x00b.jsonl", "no such file", "the folder holds"),
    "hub name without hf:": (nothing, "owner/name", "owner/name", "no such file", "hf:owner/name"),
}


@pytest.mark.parametrize("fault", PLACES)
def test_a_place_that_cannot_be_read(keeptune: Run, tmp_path: Path, unprivileged: Any, fault: str) -> None:
    prepare, source, place, said, remedy = PLACES[fault]
    keeptune("data", "check", "warm.jsonl")  # imports, which may need the rights that are about to go
    prepare(tmp_path)
    with unprivileged():
        ended = keeptune("data", "check", source)
    message, arrow, helps = ended.err.partition(" -> ")
    refused(ended, DataError, f"error: {place}: ", arrow)
    assert said in message
    assert remedy in helps


@pytest.fixture
def unprivileged(tmp_path: Path) -> Any:
    """A context in which permissions count even where tests run as root, whom nothing is forbidden."""

    @contextmanager
    def nobody() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        tmp_path.chmod(0o755)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return nobody


@pytest.mark.parametrize("field", ["data", "pack", "builtin", "name"])
def test_a_task_file_that_reaches_outside(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, field: str
) -> None:
    """What it names is read as data or not at all, and what it is called decides no place."""
    (tmp_path / "work").mkdir()
    jsonl(rows())
    task = {"data": "../rows.jsonl", "max_new_tokens": 2}
    if field == "builtin":
        ended = keeptune("evaluate", "--model", tiny_folder, "--task", "builtin:../../../../etc/passwd")
        refused(ended, ConfigError, "no built-in task '../../../../etc/passwd'", "-> use one of")
        return
    task[field] = {"data": "../../../../../../etc/passwd", "pack": "../../secret", "name": "../../../escaped"}[field]
    path = tmp_path / "work" / "task.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    ended = keeptune("evaluate", "--model", tiny_folder, "--task", path, "--limit", "2", "--out", "work/out")
    if field == "data":
        refused(ended, ConfigError, "neither below its folder nor below this one", "-> name the file in the recipe")
    elif field == "pack":
        refused(ended, ConfigError, "there is no template pack '../../secret'", "-> packs: ")
    else:
        assert ended.code == 0, ended.err
        own = {tmp_path / "work" / "out", tmp_path / "cache"}
        assert not [place for place in tmp_path.parent.rglob("*escaped*") if not own & set(place.parents)]
        assert any("escaped" in place.name for place in (tmp_path / "work" / "out").rglob("*"))


def test_a_missing_file_names_the_nearest(keeptune: Run, jsonl: Run, rows: Run) -> None:
    jsonl(rows())
    refused(keeptune("data", "check", "row.jsonl"), DataError, "no such file", "did you mean rows.jsonl?")


def test_few_empty_completions_are_quarantined_with_their_reason(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    jsonl([*rows(80), {**rows(81)[-1], "output": " "}, {**rows(82)[-1], "output": None}])
    checked = keeptune("data", "check", "rows.jsonl")
    assert checked.code == 0
    assert "2 rows are left out" in checked.out
    assert "field 'output' is empty (first: rows.jsonl:81)" in checked.out
    trained = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)
    assert trained.code == 0, trained.err
    (file,) = (tmp_path / "runs" / "train" / "quarantine").iterdir()
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(row["line"], row["reason"]) for row in kept] == [
        (81, "field 'output' is empty"),
        (82, "field 'output' is null"),
    ]


def test_many_empty_completions_refuse_the_run(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    jsonl([{**row, "output": ""} if number % 15 == 3 else row for number, row in enumerate(rows(80))])
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")
    refused(ended, DataError, "rows.jsonl:4:", "6 of 80 rows", "more than 5%", "field 'output' is empty", "repair")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ input }}: ||| {{ instruction[:0] }}", ("rows.jsonl:1:", "empty completion", "remove the row")),
        ("{{ inptu }}: ||| {{ output }}", ("rows.jsonl:1:", "'inptu'", "fields present: instruction, input, output")),
        ("{{ input }}", ("no '|||'", "prompt ||| {{ completion }}")),
        ("{{ input ||| {{ output }}", ("cannot be used in line 1", "correct the template")),
        ("{{ input | nonsense }} ||| {{ output }}", ("No filter named 'nonsense'", "correct the template")),
        ("{% include '/etc/passwd' %} ||| {{ output }}", ("includes are not available", "correct the template")),
        ("{{ " + "(" * 3_000 + " }} ||| {{ output }}", ("cannot be used", "correct the template")),
        # that raise
        ("{{ 1 / 0 }} ||| {{ output }}", ("rows.jsonl:1:", "division by zero", "correct the template or the row")),
        ("{{ input + 1 }} ||| {{ output }}", ("rows.jsonl:1:", "cannot be rendered", "correct the template")),
        ("{{ input.upper }} ||| {{ output }}", ("rows.jsonl:1:", "no text but a builtin", "correct the template")),
        ("{{ 1e999 }} ||| {{ output }}", ("rows.jsonl:1:", "cannot be rendered", "correct the template")),
        # that loop
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %} ||| {{ output }}",
            ("rows.jsonl:1:", "more than 100,000 steps", "correct the template"),
        ),
        (
            "{% set n = namespace(t='ab') %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %} ||| y",
            ("rows.jsonl:1:", "grows beyond 2,000,000 characters", "correct the template"),
        ),
        ("{{ range(10 ** 12) | list }} ||| {{ output }}", ("rows.jsonl:1:", "Range too big", "correct the template")),
        # that reach for what is not theirs
        ("{{ input.__class__ }} ||| {{ output }}", ("rows.jsonl:1:", "unsafe", "correct the template")),
        ("{{ ''['__class__'] }} ||| {{ output }}", ("rows.jsonl:1:", "unsafe", "correct the template")),
        ("{{ fields.update({}) }} ||| {{ output }}", ("rows.jsonl:1:", "unsafe", "correct the template")),
        ("{{ dict.mro() }} ||| {{ output }}", ("rows.jsonl:1:", "unsafe", "correct the template")),
        ("{{ (1).to_bytes(10 ** 11, 'big') }} ||| y", ("rows.jsonl:1:", "methods of int", "correct the template")),
        ("{{ '{0.__class__}'.format(input) }} ||| y", ("rows.jsonl:1:", "'format' is not available", "correct the")),
    ],
)
def test_a_template_that_does_not_fit_the_rows(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, template: str, said: tuple[str, ...]
) -> None:
    jsonl(rows())
    ended = keeptune("data", "preview", "rows.jsonl", "--model", tiny_folder, "--template", template)
    refused(ended, DataError, *said)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ input }}: ||| {{ input }}</s>", ("rows.jsonl:", "end token '</s>'", "put there by the encoder")),
        ("<s><s>{{ input }}: ||| {{ input }}", ("rows.jsonl:", "two BOS tokens", "remove '<s>' from the template")),
    ],
)
def test_a_template_that_spells_the_special_tokens(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, template: str, said: tuple[str, ...]
) -> None:
    jsonl(rows())
    task = {"data": "rows.jsonl", "templates": template, "max_new_tokens": 4}
    path = recipe(tmp_path, model=str(tiny_folder), target=task, arms=["lora"])
    refused(keeptune("study", path, *FAST), DataError, *said)
    assert not (tmp_path / "runs" / "recipe" / "summary.json").exists()


@pytest.fixture
def overlong(jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path) -> None:
    """80 rows, three of them (in train) longer than the window of 128 tokens."""
    few = rows(80)
    for number in (3, 4, 5):
        few[number]["input"] += " and it was far away" * 12
    jsonl([{**row, "split": "test" if number >= 60 else "train"} for number, row in enumerate(few)])
    shutil.copytree(tiny_folder, tmp_path / "tiny")


@pytest.mark.usefixtures("overlong")
def test_overlong_error_names_the_row_and_both_lengths(keeptune: Run, tmp_path: Path) -> None:
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], overlong="error"), *FAST)
    refused(ended, DataError, "rows.jsonl:", "prompt +", "window 128", "'drop' or 'truncate_prompt'")
    assert not (tmp_path / "runs" / "recipe" / "summary.json").exists()


@pytest.mark.usefixtures("overlong")
def test_overlong_drop_says_how_many(keeptune: Run, tmp_path: Path) -> None:
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], overlong="drop"), *FAST)
    assert ended.code == 0, ended.err
    assert "3 rows were left out of training: prompt and completion exceed the window" in ended.out


@pytest.mark.usefixtures("overlong")
def test_overlong_truncate_cuts_the_prompt_and_never_the_completion(
    keeptune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.study.jobs import train

    seen: list[Any] = []
    original = train.fit

    def watched(lm: Any, method: Any, train: Any, *rest: Any, **named: Any) -> Any:
        seen.extend(train)
        return original(lm, method, train, *rest, **named)

    monkeypatch.setattr(train, "fit", watched)
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], seeds=[0], overlong="truncate_prompt"), *FAST)
    assert ended.code == 0, ended.err
    assert "left out" not in ended.out
    assert max(len(row.prompt_ids) + len(row.completion_ids) for row in seen) == 128
    full = [row for row in seen if len(row.prompt_ids) + len(row.completion_ids) == 128]
    assert len(full) <= 3
    assert {row.completion_ids[-1] for row in seen} == {2}  # </s>: no completion lost its end


def test_a_completion_that_alone_exceeds_the_window_is_never_cut(
    keeptune: Run, jsonl: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    jsonl([{"prompt": f"{number}", "completion": f" {number} very long indeed" * 30} for number in range(60)])
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], seeds=[0], overlong="truncate_prompt"), *FAST)
    refused(ended, DataError, "window")


def test_data_without_a_train_part_is_trained_on_by_nothing(
    keeptune: Run, jsonl: Run, rows: Run, tmp_path: Path
) -> None:
    jsonl([{**row, "split": "validation" if n % 2 else "test"} for n, row in enumerate(rows())])
    ended = keeptune("study", recipe(tmp_path, arms=["lora"]), *FAST)  # before its model, which is not there, is loaded
    refused(ended, DataError, "field 'target'", "rows has held-out parts alone", "arms: [prompt]")


def test_test_rows_found_in_training(keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path) -> None:
    data = [{**row, "split": "train"} for row in rows(60)]
    data += [{**row, "split": "test"} for row in rows(90, seed=1)[60:]]
    data[-1] |= {"input": data[5]["input"], "output": data[5]["output"]}
    data[-2]["input"] = data[7]["input"].upper() + " !"
    data[-2]["output"] = data[7]["output"]
    jsonl(data)
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")
    refused(
        ended, DataError, "train rows.jsonl:6 = test rows.jsonl:90", "rows.jsonl:8", "on_leak: drop", "--on-leak drop"
    )
    assert not (tmp_path / "runs").exists()
    checked = keeptune("data", "check", "rows.jsonl")
    assert checked.code == 0
    assert "train line 6 = test line 90" in checked.out
    assert keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", "--on-leak", "drop", *FAST).code == 0


def test_near_duplicates_of_more_than_one_percent_of_test_are_refused(
    keeptune: Run, jsonl: Run, tiny_folder: Path
) -> None:
    text = "the quick brown fox jumps over the lazy dog while the old cat sleeps in the warm afternoon sun of june {}"
    data = [
        {"prompt": " ".join(f"word{number}x{k}" for k in range(20)), "completion": "yes", "split": part}
        for number, part in enumerate(["train"] * 50 + ["test"] * 20)
    ]
    data += [
        {"prompt": text.format("now"), "completion": "yes", "split": "train"},
        {"prompt": text.format("again"), "completion": "yes", "split": "test"},
    ]
    jsonl(data)
    refused(
        keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl"), DataError, "1 of 21", "cluster", "on_leak"
    )


# Metrics that do not fit


@pytest.mark.parametrize(
    ("task", "family", "said"),
    [
        ({"metric": "rougel"}, ConfigError, ("'rougel'", "did you mean 'rougeL'?")),
        ({"metric": "bits_per_byte"}, ConfigError, ("free text", "'text:' entry")),
        ({"metric": "python:mine.py:f"}, ConfigError, ("mine.py: no such file", "relative to where you run")),
        ({"metric": "accuracy", "data": "long.jsonl"}, ConfigError, ("answers to choose from", "give answer_choices")),
        ({"extract": "(["}, ConfigError, ("not a regular expression", "single quotes")),
        ({"pack": "poems"}, ConfigError, ("'poems'", "packs: classification")),
        ({"cluster": "nobody"}, ConfigError, ("'nobody'", "columns seen")),
    ],
)
def test_a_metric_or_setting_that_does_not_fit_the_task(
    keeptune: Run,
    jsonl: Run,
    rows: Run,
    tmp_path: Path,
    task: dict[str, str],
    family: type[KeeptuneError],
    said: tuple[str, ...],
) -> None:
    jsonl(rows())
    jsonl(
        [{"prompt": f"say {n}", "completion": f" {n} in more than a few long words"} for n in range(60)], "long.jsonl"
    )
    refused(keeptune("study", recipe(tmp_path, target={"data": "rows.jsonl", **task})), family, *said)
    assert not (tmp_path / "runs").exists()


# Models: exit code 4


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


def spoil_tokenizer(folder: Path, **changes: Any) -> None:
    """Change tokenizer_config.json; None removes a key."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def test_a_missing_eos(keeptune: Run, jsonl: Run, rows: Run, model: Path, tmp_path: Path) -> None:
    jsonl(rows())
    spoil_tokenizer(model, eos_token=None)
    refused(
        keeptune("train", "--model", "./tiny", "--data", "rows.jsonl"),
        ModelError,
        "./tiny:",
        "no end-of-sequence token",
        '"eos_token"',
    )
    refused(keeptune("data", "preview", "rows.jsonl", "--model", "./tiny"), ModelError, "eos_token")
    assert not (tmp_path / "runs").exists()


def test_a_tokenizer_that_doubles_bos(keeptune: Run, jsonl: Run, rows: Run, model: Path) -> None:
    jsonl(rows())
    path = model / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    for command in (("train", "--data", "rows.jsonl"), ("data", "preview", "rows.jsonl")):
        refused(keeptune(*command, "--model", "./tiny"), ModelError, "two BOS tokens", "post-processor")


def test_a_chat_template_that_renders_training_and_serving_differently(
    keeptune: Run, jsonl: Run, rows: Run, model: Path
) -> None:
    jsonl(rows())
    turn = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    spoil_tokenizer(model, chat_template=turn + "{% if add_generation_prompt %}<s>reply: {% endif %}")
    for command in (("train", "--data", "rows.jsonl"), ("data", "preview", "rows.jsonl")):
        refused(keeptune(*command, "--model", "./tiny"), ModelError, "chat template", "generation prompt")
    spoil_tokenizer(model, chat_template=turn + "{% if add_generation_prompt %}<s>assistant: {% endif %}")
    assert keeptune("data", "preview", "rows.jsonl", "--model", "./tiny").code == 0


def test_models_that_are_not_there_or_not_safe(keeptune: Run, jsonl: Run, rows: Run, model: Path) -> None:
    jsonl(rows())

    def train() -> Any:
        return keeptune("train", "--model", "./tiny", "--data", "rows.jsonl")

    refused(
        keeptune("train", "--model", "./other", "--data", "rows.jsonl"),
        ModelError,
        "no such model folder",
        "check the path",
    )
    refused(keeptune("train", "--model", "rows.jsonl", "--data", "rows.jsonl"), ModelError, "this is a file")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    refused(train(), ModelError, "./tiny: its weights are pickled", "save_pretrained")
    (model / "pytorch_model.bin").unlink()
    refused(train(), ModelError, "no weights (*.safetensors)")
    (model / "model.safetensors").write_bytes(b"not weights")
    refused(train(), ModelError, "./tiny: its weights cannot be read")
    (model / "config.json").unlink()
    refused(train(), ModelError, "config.json is missing")


def test_an_adapter_of_another_base(
    keeptune: Run, jsonl: Run, rows: Run, model: Path, build: Run, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    jsonl(rows())
    wide = build("llama", hidden_size=48, head_dim=12)
    build("llama", hidden_size=48, head_dim=12).save_pretrained(tmp_path / "wide")
    wide.name_or_path = str(tmp_path / "wide")
    get_peft_model(wide, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")

    def evaluate() -> Any:
        return keeptune("evaluate", "--model", "./tiny", "--adapter", "adapter", "--task", "rows.jsonl")

    refused(evaluate(), ModelError, "adapter: this adapter does not fit ./tiny", "trained on", "wide")
    ended = keeptune("compare", "./tiny", "adapter", "--retain", "rows.jsonl")
    refused(ended, ModelError, "does not fit ./tiny")
    assert not (tmp_path / "runs").exists()
    refused(keeptune("train", "--model", "adapter", "--data", "rows.jsonl"), ModelError, "adapter, not a model")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    refused(evaluate(), ModelError, "weights are missing", "adapter_model.safetensors")


# Resources: exit code 5; interruptions; programming errors


def test_a_missing_extra_names_what_to_install(keeptune: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    ended = keeptune("data", "check", "hf:owner/name")
    refused(ended, ResourceError, "datasets is not installed", "pip install 'keeptune[hub]'")


def test_a_full_disk_while_scores_are_cached(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(rows())
    written = Path.write_text

    def full(path: Path, *text: Any, **named: Any) -> int:
        if "cache" in path.parts:
            written(path, "half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return written(path, *text, **named)

    monkeypatch.setattr(Path, "write_text", full)
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)
    refused(ended, ResourceError, f"{tmp_path / 'cache'}", "No space left on device", "-> free disk space")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_full_disk_while_rows_are_kept_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # a link, since the file is removed in the end
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (os.open(full, os.O_WRONLY), str(full)))
    with pytest.raises(ResourceError, match=r"file \(No space left on device\).*-> free disk space.*TMPDIR"):
        Spill(["a", "b"], in_memory=1).finish()
    assert not full.is_symlink()


def test_a_folder_that_may_not_be_written_to(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(rows())

    def denied(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", denied)
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)
    refused(
        ended,
        ResourceError,
        "runs/train: cannot be written (Permission denied)",
        "a folder that you may write to",
    )


def test_an_error_in_the_middle_leaves_finished_arms_and_no_summary(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.study.jobs import train

    jsonl(rows())
    command = ("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)

    def full_disk(*_: Any, **__: Any) -> None:
        raise ResourceError("the disk is full", remedy="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", full_disk)
        refused(keeptune(*command), ResourceError, "the disk is full -> free some space")
    run = tmp_path / "runs" / "train"
    assert (run / "arms" / "prompt-0shot" / "arm.json").is_file()
    assert not (run / "summary.json").exists() and not (run / "report.html").exists()
    assert not list(run.rglob("*.partial"))
    refused(keeptune("report", run), DataError, "summary.json: no such file", "a run folder that finished")
    again = keeptune(*command)
    assert again.code == 0, again.err
    assert "prompt-0shot: finished before, skipped" in again.out
    before = (run / "summary.json").read_bytes()
    refused(keeptune(*command, "--set", "train.epoch=2"), ConfigError)
    jsonl([{"foo": 1}])
    refused(keeptune(*command), DataError)
    assert (run / "summary.json").read_bytes() == before


def test_an_interruption_says_how_to_go_on_and_a_programming_error_keeps_its_traceback(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.study.jobs import train

    jsonl(rows())

    def stop(error: BaseException) -> Callable[..., None]:
        def raises(*_: Any, **__: Any) -> None:
            raise error

        return raises

    monkeypatch.setattr(train, "fit", stop(KeyboardInterrupt()))
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")
    assert ended.code == 130
    assert "run the same command to go on" in ended.err
    assert not (tmp_path / "runs" / "train" / "summary.json").exists()
    monkeypatch.setattr(train, "fit", stop(ZeroDivisionError("a mistake of ours")))
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")


def test_a_file_of_records_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    from keeptune.core.records import ValidationRecord, write_records

    path = tmp_path / "records.jsonl"
    first = ValidationRecord(step=1, loss=2.0, best=True)

    def breaks() -> Any:
        yield first
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_records(path, breaks())
    assert not path.exists()
    write_records(path, [first])
    before = path.read_bytes()
    with pytest.raises(OSError, match="full"):
        write_records(path, breaks())
    assert path.read_bytes() == before


# Too few items is no error


def test_too_few_items_warn_before_training_and_name_the_smallest_margin(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path
) -> None:
    from keeptune.retention.power import smallest_decidable_margin

    jsonl(rows())
    jsonl(rows(150, seed=5), "kept.jsonl")
    kept = ("--retain", "kept.jsonl", "--margin", "2", "--no-search")
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *kept, *FAST)
    assert ended.code == 0, ended.err
    smallest = 100 * smallest_decidable_margin(105, 0.1)  # all but the validation rows: nothing trains on them
    warning = f"warning: kept: 105 items can decide a margin of {smallest:.1f} pt at best"
    assert warning in ended.out
    assert ended.out.index(warning) < ended.out.index("lora-lr0.001-seed0")
