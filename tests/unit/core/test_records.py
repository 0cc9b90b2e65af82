"""Records survive the disk and refuse what they do not know."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

from keeptune.core import records
from keeptune.core.errors import DataError
from keeptune.core.records import ItemRecord, StepRecord, read_json, read_records, write_json, write_records
from keeptune.core.units import content_hash, human_bytes, human_seconds, points


def test_round_trip(tmp_path: Path) -> None:
    rows = [ItemRecord(suite="s", id=str(i), cluster="c", score=i / 3, references=("a", "ü\n")) for i in range(3)]
    write_records(tmp_path / "items.jsonl", rows)
    assert list(read_records(tmp_path / "items.jsonl", ItemRecord)) == rows
    write_json(tmp_path / "one.json", rows[1])
    assert read_json(tmp_path / "one.json", ItemRecord) == rows[1]


def test_append_adds(tmp_path: Path) -> None:
    row = StepRecord(step=1, loss=2.0, lr=0.1, grad_norm=1.0, tokens=8, trained_tokens=4, seconds=0.5)
    write_records(tmp_path / "steps.jsonl", [row], append=True)
    write_records(tmp_path / "steps.jsonl", [row], append=True)
    assert len(list(read_records(tmp_path / "steps.jsonl", StepRecord))) == 2


def test_a_cut_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_records(path, [ItemRecord(suite="s", id="1", cluster="c", score=1.0)] * 2)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match=r"items\.jsonl:2"):
        list(read_records(path, ItemRecord))


def test_units() -> None:
    assert points(0.1234, signed=True) == "+12.3"
    assert points(-0.05) == "−5.0"
    assert human_bytes(12_345_678) == "12.3 MB"
    assert human_seconds(95) == "1 min 35 s"
    assert human_seconds(3600 + 300) == "1 h 5 min"
    assert content_hash({"b": 1, "a": 2}) == content_hash({"a": 2, "b": 1})


def test_every_record_is_there_under_the_name_of_the_package() -> None:
    names = set()
    for module in pkgutil.iter_modules(records.__path__, "keeptune.core.records."):
        found = vars(importlib.import_module(module.name))
        names |= {name for name, each in found.items() if isinstance(each, type) and issubclass(each, records.Record)}
    assert len(names) > 20
    assert names <= set(records.__all__)
    assert all(hasattr(records, name) for name in records.__all__)
