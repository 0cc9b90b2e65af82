"""Every format gives the same rows; every kind of damage gives a DataError with file, line and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeptune.core.errors import DataError
from keeptune.data.rows import read_rows, source_files
from keeptune.data.rows.row import part_of

ROWS = [
    {"prompt": "Straße, 1", "completion": 'say "a", b'},
    {"prompt": "two\nlines", "completion": "3.30"},
]


def rows_of(source: Path | str) -> list[dict[str, Any]]:
    return [dict(row.fields) for row in read_rows(str(source))]


def jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


CSV = 'prompt,completion\r\n"Straße, 1","say ""a"", b"\r\n"two\nlines",3.30\r\n'
TSV = 'prompt\tcompletion\nStraße, 1\t"say ""a"", b"\n"two\nlines"\t3.30\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\ufeff" + "\r\n".join(json.dumps(row) for row in ROWS) + "\r\n\r\n"),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", "\n".join(json.dumps(row) for row in ROWS)),
        ("a.json", json.dumps({"data": ROWS})),
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", TSV.replace("\t", ";").replace("Straße, 1", "Straße| 1").replace("Straße| 1", '"Straße, 1"')),
        ("a.tsv", TSV),
    ],
)
def test_formats_agree(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert rows_of(path) == ROWS


def test_parquet_agrees_and_names_classes(tmp_path: Path) -> None:
    assert rows_of(parquet(tmp_path / "a.parquet")) == ROWS
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    set_ = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    set_.to_parquet(tmp_path / "b.parquet")
    assert [row["label"] for row in rows_of(tmp_path / "b.parquet")] == ["yes", "no", None]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_gzip(tmp_path: Path, ending: str) -> None:
    content = {"jsonl": "\n".join(map(json.dumps, ROWS)), "json": json.dumps(ROWS), "csv": CSV}[ending]
    path = tmp_path / f"a.{ending}.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert rows_of(path) == ROWS
    path.write_bytes(gzip.compress(content.encode())[:-12])
    with pytest.raises(DataError, match="damaged gzip"):
        rows_of(path)


def test_lines_are_where_rows_start(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV + "\nlast,row\n")
    assert [row.line for row in read_rows(str(path))] == [2, 3, 6]
    path = tmp_path / "a.json"
    path.write_text("[\n" + ",\n\n".join(map(json.dumps, ROWS)) + "\n]\n")
    assert [row.line for row in read_rows(str(path))] == [2, 4]
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n".join(map(json.dumps, ROWS)))
    assert [row.line for row in read_rows(str(path))] == [1, 3]


def test_numbers_stay_what_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n3.30,007\n")
    assert rows_of(path) == [{"a": "3.30", "b": "007"}]
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 3, "b": NaN}\n')
    assert rows_of(path) == [{"a": 3, "b": None}]


def test_long_csv_field(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{'x' * 200_000},y\n")
    assert len(rows_of(path)[0]["text"]) == 200_000


def test_object_of_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": ROWS, "dev": ROWS[:1], "Test": []}))
    assert [row.part for row in read_rows(str(path))] == ["train", "train", "validation"]
    path.write_text(json.dumps({"train": ROWS, "version": "1"}))
    with pytest.raises(DataError, match="version"):
        rows_of(path)


def test_folder_of_parts(tmp_path: Path) -> None:
    jsonl(tmp_path / "train-00001-of-00002.jsonl", ROWS[1:])
    jsonl(tmp_path / "train-00000-of-00002.jsonl", ROWS[:1])
    (tmp_path / "dev.csv").write_text(CSV)
    (tmp_path / "task.test.json").write_text(json.dumps(ROWS))
    (tmp_path / "README.md").write_text("not data")
    rows = list(read_rows(str(tmp_path)))
    assert [row.part for row in rows] == ["validation"] * 2 + ["test"] * 2 + ["train"] * 2
    assert [dict(row.fields) for row in rows[-2:]] == ROWS
    assert len(source_files(str(tmp_path))) == 4


def test_folder_with_data_below_and_single_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "everything.jsonl")
    assert [row.part for row in read_rows(str(tmp_path))] == [None, None]


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ([], "no data files"),
        (["a.jsonl", "b.jsonl"], "no file is named train"),
        (["state.json", "data.arrow"], "not readable as Arrow"),
    ],
)
def test_folder_without_parts(tmp_path: Path, names: list[str], match: str) -> None:
    for name in names:
        jsonl(tmp_path / name)
    with pytest.raises(DataError, match=match) as error:
        rows_of(tmp_path)
    assert error.value.remedy


def test_part_of() -> None:
    assert part_of("valid") == part_of("DEV") == part_of("dialogsum.val") == part_of("eval") == "validation"
    assert part_of("train_1") == "train"
    assert part_of("constraint") is None
    assert part_of("latest") is None


DAMAGE = [
    ("a.jsonl", b'{"a": "b"}\n{"a": "caf\xe9"}\n', 2, "not UTF-8 .byte 0xe9", "iconv"),
    ("a.csv", b"a,b\n1,2\n3,caf\xe9\n", 3, "not UTF-8", "iconv"),
    ("a.json", b'[{"a": "b"},\n{"a": "\xff"}]', 2, "not UTF-8", "iconv"),
    ("a.jsonl", '{"a": 1}'.encode("utf-16"), 1, "UTF-16", "iconv"),
    ("a.jsonl", b'{"a": 1}\n{"a": \n', 2, "not JSON", "cut short"),
    ("a.jsonl", b"{'a': 1}\n", 1, "not JSON", "json.dumps"),
    ("a.jsonl", b'{"a": 1}\n[1]\n', 2, "this is an array", '"prompt"'),
    ("a.jsonl", b'{"a": 1} {"a": 2}\n', 1, "more text after the object", "one object per line"),
    ("a.jsonl", b'{"a": "\\ud800"}\n', 1, "surrogate", "ensure_ascii"),
    ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", 1, "nested too deep", "flat"),
    ("a.jsonl", b'{"a": ' + b"1" * 5_000 + b"}\n", 1, "not readable", "text"),
    ("a.json", b'[{"a": 1},\n {"a": 2}', 2, "not closed", "cut short"),
    ("a.json", b'[{"a": 1}\n {"a": 2}]', 2, "a comma is missing", "repair"),
    ("a.json", b'[{"a": 1}] x', 1, "more text after the array", "array"),
    ("a.json", b"[1, 2]", 1, "this is a number", '"prompt"'),
    ("a.json", b'"text"', 1, "this is a text", '"prompt"'),
    ("a.csv", b"a,b\n1,2\n\n1,2,3\n", 4, "3 fields, but the header has 2", "quotes"),
    ("a.csv", b'a,b\n1,2\n"open,3\n4,5\n', 3, "broken quoting", "JSON Lines"),
    ("a.csv", b"a,a\n1,2\n", 1, "repeats 'a'", "each once"),
    ("a.csv", b"a,\n1,2\n", 1, "without a name", "name every column"),
    ("a.parquet", b"PAR1 this is not parquet PAR1", None, "not readable as Parquet", "again"),
    ("a.parquet", b"", None, "not readable as Parquet", "again"),
    ("a.docx", b"", None, "no reader", ".jsonl"),
    ("a.parquet.gz", b"", None, "no reader", ".parquet"),
]


@pytest.mark.parametrize(("name", "content", "line", "match", "remedy"), DAMAGE)
def test_damage_is_named(tmp_path: Path, name: str, content: bytes, line: int | None, match: str, remedy: str) -> None:
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=match) as error:
        rows_of(path)
    assert error.value.exit_code == 3
    assert (error.value.path, error.value.line) == (path, line)
    assert remedy in str(error.value.remedy)


def test_missing_files_name_their_neighbours(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"did you mean train\.jsonl\?"):
        rows_of(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match=r"the folder holds: train\.jsonl"):
        rows_of(tmp_path / "zzz.csv")
    with pytest.raises(DataError, match="has no folder 'nowhere'"):
        rows_of(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(DataError, match="hf:stanfordnlp/imdb"):
        rows_of("stanfordnlp/imdb")
    with pytest.raises(DataError):
        rows_of("a\0b.jsonl")


def test_unreadable_file_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "a.jsonl")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        rows_of(path)


def hub_sets() -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    return datasets.DatasetDict({"train": part, "validation": part, "unsupervised": part})


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = hub_sets()
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr("datasets.load_dataset", lambda *args: asked.append(args) or sets)
    rows = list(read_rows("hf:owner/name:config"))
    assert asked == [("owner/name", "config")]
    assert [(row.part, row.fields["label"], row.line) for row in rows] == [
        ("train", "yes", 1),
        ("train", "no", 2),
        ("validation", "yes", 1),
        ("validation", "no", 2),
    ]
    assert rows[0].path == "hf:owner/name:config/train"


def test_hub_reads_a_local_folder_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    jsonl(tmp_path / "train.jsonl")
    loaded = datasets.load_dataset
    monkeypatch.setattr("datasets.load_dataset", lambda *args: loaded(*args, cache_dir=str(tmp_path / "cache")))
    assert rows_of(f"hf:{tmp_path}") == ROWS


def test_hub_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = hub_sets()
    with pytest.raises(DataError, match="no name after"):
        rows_of("hf:")

    def fail(*_: object) -> None:
        raise ConnectionError("no route to the hub\nand more")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError, match="no route to the hub") as error:
        rows_of("hf:owner/name")
    assert "hf:owner/name:config" in str(error.value.remedy)
    monkeypatch.setattr("datasets.load_dataset", lambda *_: {"a": sets["train"], "b": sets["train"]})
    with pytest.raises(DataError, match="no split is named train, validation or test: a, b"):
        rows_of("hf:owner/name")


FILES = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def reads_or_refuses(path: Path) -> None:
    remedy: str | None = "none needed"
    try:
        for row in read_rows(str(path)):
            json.dumps(dict(row.fields), ensure_ascii=False, default=str).encode()
    except DataError as error:
        remedy = error.remedy
    assert remedy


@pytest.mark.parametrize("name", FILES)
@QUICK
@given(content=st.binary(max_size=300))
def test_random_bytes_never_crash(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    reads_or_refuses(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@QUICK
@given(value=JSON, cut=st.integers(0, 40))
def test_random_json_never_crashes(tmp_path: Path, name: str, value: Any, cut: int) -> None:
    path = tmp_path / name
    text = json.dumps(value)
    path.write_text(text[: len(text) - cut] if cut < 10 else text)
    reads_or_refuses(path)


RUN = "0a1b2c3d-1111-2222-3333-444455556666"  # as Spark names its shards


@pytest.mark.parametrize(
    "names",
    [
        ("part-00000", "part-00001"),
        ("0000", "0001"),
        ("data-00000-of-00002", "data-00001-of-00002"),
        (
            "part-00000-0a1b2c3d-1111-2222-3333-444455556666-c000",
            "part-00001-0a1b2c3d-1111-2222-3333-444455556666-c000",
        ),
        ("shard_0", "shard_1"),
    ],
)
def test_shards_without_part_names_are_one_set(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, row in zip(names, ROWS, strict=True):
        parquet(tmp_path / f"{name}.parquet", [row])
    assert rows_of(tmp_path) == ROWS
    assert {row.part for row in read_rows(str(tmp_path))} == {None}


@pytest.mark.parametrize("others", [("train_sft", "train_prefs", "test_sft"), ("train-en", "train-de")])
def test_two_kinds_of_one_part_are_not_merged(tmp_path: Path, others: tuple[str, ...]) -> None:
    for name in others:
        parquet(tmp_path / f"{name}-00000-of-00001.parquet")
    with pytest.raises(DataError, match="the train part stands there in 2 kinds"):
        rows_of(tmp_path)


def test_folders_that_datasets_saved_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(str(tmp_path / "one"), num_shards=2)
    assert rows_of(tmp_path / "one") == ROWS
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "both"))
    found = list(read_rows(str(tmp_path / "both")))
    assert [dict(row.fields) for row in found] == [*ROWS, *ROWS]
    assert [row.part for row in found] == ["test", "test", "train", "train"]
