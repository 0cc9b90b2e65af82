"""Random bytes and random JSON, fed to every reader and every format: they are read or refused, and nothing else.

The lists of endings, packings and formats are the program's own, so a new one is fuzzed from its first day.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from keeptune.core.errors import ConfigError, DataError, KeeptuneError
from keeptune.data.formats.detect import format_names
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import Template
from keeptune.data.rows import read_rows
from keeptune.data.rows.files import READERS
from keeptune.data.rows.text import PACKED
from keeptune.inspect.check import check

FUZZ = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


def refused(error: KeeptuneError, source: Path) -> None:
    """It says what to do, and where: in no file but the one that was named."""
    assert error.remedy
    if isinstance(error, DataError):
        assert str(error.path or source) == str(source)
        assert error.line is None or error.line >= 1


def read_or_refused(path: Path) -> None:
    try:
        for row in read_rows(str(path)):
            assert row.line >= 1
            json.dumps(dict(row.fields), ensure_ascii=False, default=str).encode()
    except DataError as error:
        refused(error, path)


# Readers: bytes


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


ROWS = [{"prompt": "Straße, 1", "completion": 'say "a"'}, {"prompt": "two\nlines", "completion": "3.30"}]
TABLE = 'prompt,completion\r\n"Straße, 1","say ""a"""\r\n"two\nlines",3.30\r\n'.encode()
INTACT = {
    ".jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
    ".json": json.dumps({"train": ROWS, "test": ROWS}, indent=1).encode(),
    ".csv": TABLE,
    ".tsv": TABLE.replace(b",", b"\t"),
    ".parquet": parquet(ROWS),
    ".arrow": arrow(ROWS),
}
INTACT |= {".ndjson": INTACT[".jsonl"], ".tab": INTACT[".tsv"]}


def test_every_reader_is_fuzzed() -> None:
    assert set(INTACT) == set(READERS)
    assert set(PACK) == {"", *PACKED}


@st.composite
def damaged(draw: st.DrawFn, intact: bytes) -> bytes:
    """A file of the format with a few bytes changed, taken out, repeated or put in: what random bytes never reach."""
    content = bytearray(intact)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 12)))
        content[start:stop] = draw(st.binary(max_size=8) | st.just(bytes(content[start:stop]) * 2))
    return bytes(content)


@pytest.mark.parametrize("ending", [ending + packed for ending in READERS for packed in PACK])
@FUZZ
@given(data=st.data())
def test_bytes(tmp_path: Path, ending: str, data: st.DataObject) -> None:
    text, packed = next((ending.removesuffix(packed), packed) for packed in reversed(PACK) if ending.endswith(packed))
    content = data.draw(
        st.binary(max_size=200)  # not even packed
        | st.binary(max_size=200).map(PACK[packed])
        | damaged(INTACT[text]).map(PACK[packed])
        | damaged(PACK[packed](INTACT[text]))
    )
    path = tmp_path / f"rows{ending}"
    path.write_bytes(content)
    read_or_refused(path)


# Readers: JSON, and what a Parquet file of it holds

LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["", " ", "\x00", "\u2028", "\x1b[2J", "A", "1", "-100", "user", "train"])
)
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv"])
@FUZZ
@given(values=st.lists(JSON, min_size=1, max_size=3), cut=st.integers(0, 60), indent=st.sampled_from([None, 1]))
def test_json(tmp_path: Path, ending: str, values: list[Any], cut: int, indent: int | None) -> None:
    text = "\n".join(json.dumps(value, indent=indent) for value in values)
    path = tmp_path / f"rows{ending}"
    path.write_text(text[: len(text) - cut] if cut < 10 else text, encoding="utf-8")
    read_or_refused(path)


ARROW = st.sampled_from(
    [
        *(pa.int64(), pa.float32(), pa.bool_(), pa.large_string(), pa.binary(), pa.null()),
        *(pa.date32(), pa.date64(), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ns"), pa.duration("ns")),
        *(pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "Nowhere/Land"), pa.decimal128(38, 2)),
        *(pa.list_(pa.string()), pa.struct([("text", pa.list_(pa.string())), ("label", pa.int64())])),
        *(pa.map_(pa.string(), pa.int64()), pa.dictionary(pa.int8(), pa.string())),
    ]
)


@FUZZ
@given(kinds=st.lists(ARROW, min_size=1, max_size=4), numbers=st.lists(st.integers(-(2**62), 2**62), max_size=3))
def test_parquet_of_any_type(tmp_path: Path, kinds: list[Any], numbers: list[int]) -> None:
    columns = {}
    for kind, name in zip(kinds, ("prompt", "completion", "label", "choices"), strict=False):
        if pa.types.is_temporal(kind) and kind.bit_width == 64:
            columns[name] = pa.array(numbers, pa.int64()).view(kind)
        elif pa.types.is_date32(kind):
            columns[name] = pa.array([number % 2**31 for number in numbers], pa.int32()).view(kind)
        else:
            columns[name] = pa.nulls(len(numbers), kind)
    path = tmp_path / "rows.parquet"
    try:
        pq.write_table(pa.table(columns), path)
    except pa.ArrowInvalid:
        reject()  # seconds that have no milliseconds
    read_or_refused(path)
    load_or_refused(path)


# Formats: rows that nearly are what they should be

CALL = {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}
TURNS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": [{"type": "text", "text": "b"}], "weight": 0, "tool_calls": [CALL]},
    {"role": "tool", "content": "c", "tool_call_id": "1"},
    {"role": "assistant", "content": "d", "reasoning_content": "e", "weight": 1},
]
GOOD_ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": TURNS, "tools": [{"name": "f"}], "system": "s"},
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "tools": "[]"},
    "turn-pairs": {"talk": [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": "d"}]},
    "messages-output": {"messages": TURNS[:1], "output": "d", "tools": [{"name": "f"}]},
    "prompt-completion-messages": {"prompt": TURNS[:1], "completion": [{"role": "assistant", "content": "d"}]},
    "instruction-history": {"history": [["a", "b"]], "instruction": "c", "input": "", "output": "d", "system": "s"},
    "segments": {"segments": [{"label": False, "text": "a"}, {"label": True, "text": "b"}]},
    "tokenised": {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 0]},
    "natural-instructions": {
        "Definition": ["a"],
        "Positive Examples": [{"input": "a", "output": "b"}],
        "Instances": [{"input": "c", "output": ["d", "e"]}],
    },
    "text": {"text": "a", "meta": {"url": "b"}},
    "prompt-completion": {"prompt": "a", "completion": "b", "split": "train", "id": 3},
    "instruction": {"instruction": "a", "input": "b", "output": "c", "system": "d"},
    "question": {"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "A"},
    "inference": {"premise": "a", "hypothesis": "b", "label": 0},
    "summary": {"document": "a", "summary1": "b", "summary2": None},
    "classification": {"text": "a", "label": "b", "a b": 1},
    "source-target": {"input": "a", "target": ["b", "c"]},
}


def test_every_format_is_fuzzed() -> None:
    assert set(GOOD_ROWS) == set(format_names())


@pytest.mark.parametrize("format", format_names())
def test_the_rows_to_be_damaged_are_good(tmp_path: Path, format: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD_ROWS[format]) + "\n", encoding="utf-8")
    layout = load_examples(str(path)).layout
    assert layout is not None and layout.name == format


@st.composite
def odd(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it replaced by anything, taken out, repeated or named otherwise."""
    inside = [] if not isinstance(value, dict | list) else list(value) if isinstance(value, dict) else range(len(value))
    if not inside or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    key = draw(st.sampled_from(list(inside)))
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    how = draw(st.sampled_from(["change", "change", "change", "remove", "other"]))
    if how == "change":
        changed[key] = draw(odd(value[key]))
    elif how == "remove":
        del changed[key]
    elif isinstance(changed, dict):
        changed[draw(st.sampled_from([key.title(), "a b", "", "for", "id", "split", "label"]))] = changed.pop(key)
    else:
        changed.insert(key, draw(odd(value[key])))
    return changed


def load_or_refused(path: Path, format: str | None = None, *, checked: bool = True) -> None:
    try:
        loaded = load_examples(str(path), format=format)
        if checked:
            check(str(path), format=format)
    except (DataError, ConfigError) as error:
        refused(error, path)
        return
    for example in loaded.examples[:2]:
        assert loaded.layout is not None
        assert example.fields[loaded.layout.completion]


@pytest.mark.parametrize("format", format_names())
@FUZZ
@given(data=st.data(), named=st.booleans(), among=st.sampled_from([0, 0, 1, 30]))
def test_rows_of_every_format(tmp_path: Path, format: str, data: st.DataObject, named: bool, among: int) -> None:
    """Among many good rows one odd row is set aside and not refused."""
    row = data.draw(odd(GOOD_ROWS[format]).flatmap(lambda row: odd(row) | st.just(row)))
    rows = [*[GOOD_ROWS[format]] * among, row if isinstance(row, dict) else {"prompt": row}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    load_or_refused(path, format if named else None, checked=among == 1)


# Templates: pieces of Jinja in any order

PIECES = st.sampled_from(
    [
        *("{{ ", " }}", "{% ", " %}", "|||", "x", "items", "n", "null", "fields", ".", "(", ")", "[", "]", "0", "-1"),
        *("for i in ", "endfor", "if ", "endif", "set a = ", "loop", " ~ ", " * ", " ** ", " // ", " | ", "range", "'"),
        *(
            "join",
            "map",
            "list",
            "tojson",
            "length",
            "upper",
            "__class__",
            "attr",
            "first",
            "replace",
            "answer_choices",
        ),
    ]
)


@FUZZ
@given(pieces=st.lists(PIECES, max_size=12), choices=st.none() | st.lists(PIECES, max_size=4))
def test_templates(pieces: list[str], choices: list[str] | None) -> None:
    from keeptune.data.examples import Example

    row = Example.make({"x": "a", "items": ["a", "b"], "n": 3, "null": None}, path="rows.jsonl", line=7)
    source = "".join(pieces)
    try:
        template = Template.parse(source, "T", None if choices is None else "".join(choices))
        rendered = template.render(row)
        assert isinstance(rendered.prompt, str) and rendered.completion
    except DataError as error:
        refused(error, Path("rows.jsonl"))
