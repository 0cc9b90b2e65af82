"""What programs name as data becomes what a command line or a recipe names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptune.api.data import entries, several, source, sources
from keeptune.core.errors import DataError
from keeptune.data.rows import read_rows

ROWS = [{"prompt": "2 + 2 =", "completion": " 4"}, {"prompt": "1 + 2 =", "completion": " 3"}]


def read(path: str) -> list[tuple[str | None, dict[str, Any]]]:
    return [(row.part, dict(row.fields)) for row in read_rows(path)]


def test_paths_and_specs_stay_as_they_are() -> None:
    assert source("hf:owner/name", "rows") == "hf:owner/name"
    assert source(Path("a") / "b.jsonl", "rows") == str(Path("a/b.jsonl"))
    assert sources(["builtin:orders", Path("b.csv")], "rows") == ["builtin:orders", "b.csv"]
    assert sources(None, "rows") == []


def test_rows_are_kept_once_and_read_back() -> None:
    first, again = source(ROWS, "rows"), source(tuple(ROWS), "rows")
    assert first == again and Path(first).name == "rows.jsonl"
    assert read(first) == [(None, row) for row in ROWS]
    assert source(ROWS[:1], "rows") != first


def test_a_frame_is_its_rows() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"prompt": ["a", "b"], "n": [1, 2], "note": [None, "x"], "share": [0.5, float("nan")]})
    expected = [
        {"prompt": "a", "n": 1, "note": None, "share": 0.5},
        {"prompt": "b", "n": 2, "note": "x", "share": None},
    ]
    assert [json.loads(line) for line in Path(source(frame, "rows")).read_text().splitlines()] == expected


def test_a_data_set_keeps_its_parts_and_the_names_of_its_classes() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    plain = [{"text": "a", "label": "good"}, {"text": "b", "label": "bad"}]
    assert read(source(part, "rows")) == [(None, row) for row in plain]
    both = source(datasets.DatasetDict(train=part, test=part), "rows")
    assert sorted(read(both), key=str) == sorted([(name, row) for name in ("train", "test") for row in plain], key=str)


def test_a_list_of_mappings_is_rows_unless_one_is_an_entry() -> None:
    assert several(ROWS) == [ROWS]
    assert several([{"task": "builtin:orders"}]) == [{"task": "builtin:orders"}]
    assert several([ROWS, "a.jsonl"]) == [ROWS, "a.jsonl"]


def test_entries_are_those_of_a_recipe() -> None:
    found = entries([Path("a.jsonl"), {"data": ROWS, "name": "sums", "margin": 2}, ROWS, "notes.txt"], "retained")
    assert found[0] == {"data": "a.jsonl"} and found[3] == {"text": "notes.txt"}
    assert Path(found[1]["data"]).name == "sums.jsonl" and found[1]["margin"] == 2
    assert Path(found[2]["data"]).name == "retained-3.jsonl"
    assert entries("none", "retained") == "none"
    assert all("task" in entry for entry in entries("standard", "retained"))


@pytest.mark.parametrize(
    ("rows", "message"), [([{"prompt": object()}], "row 1 cannot be"), ([{"prompt": float("nan")}], "row 1 cannot")]
)
def test_rows_that_cannot_be_kept_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source(rows, "rows")


def test_what_is_no_data_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="a path or rows, not int"):
        source(3, "rows")
