"""The cleaned copy: what goes, what stays, and that the source is untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keeptune.cli.data import app
from keeptune.core.errors import ConfigError, DataError
from keeptune.inspect.clean import clean

WORDS = "one two three four five six seven eight nine ten eleven twelve".split()


def rows(n: int, start: int = 0, **more: str) -> list[dict[str, Any]]:
    return [
        {"prompt": " ".join(f"{WORDS[(i * k) % 12]}{i * k}" for k in range(1, 9)), "completion": f"c{i}", **more}
        for i in range(start, start + n)
    ]


def write(path: Path, made: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_repeated_and_unusable_rows_go_once_and_another_answer_stays(tmp_path: Path) -> None:
    made = rows(60)
    shouted = {**made[7], "prompt": made[7]["prompt"].upper() + "!"}
    other = {**made[9], "completion": "another"}
    source = write(tmp_path / "in.jsonl", [*made, made[3], shouted, other, {"prompt": "p", "completion": ""}])
    before = Path(source).read_bytes()
    cleaned = clean(source, tmp_path / "out.jsonl")
    assert read(cleaned.out) == [*made, other]
    assert [(row["line"], row["reason"], row["of"]) for row in read(cleaned.listed)] == [
        (61, "repeats a row of train (exact)", f"{source}:4"),
        (62, "repeats a row of train (normalised)", f"{source}:8"),
        (64, "unusable: field 'completion' is empty", None),
    ]
    assert (cleaned.kept, sum(cleaned.removed.values())) == (61, 3)
    assert Path(source).read_bytes() == before


def test_rows_of_a_later_part_leave_the_earlier_one(tmp_path: Path) -> None:
    train, test = rows(60, split="train"), rows(20, 100, split="test")
    source = write(tmp_path / "in.jsonl", [*train, *test, {**train[5], "split": "test"}])
    cleaned = clean(source, tmp_path / "out.jsonl")
    assert cleaned.removed == {"train row is in test (exact)": 1}
    assert read(cleaned.listed)[0]["line"] == 6
    assert clean(str(cleaned.out), tmp_path / "again.jsonl").removed == {}


def test_rows_of_two_parts_in_one_file_keep_apart(tmp_path: Path) -> None:
    train, test = rows(60), rows(20, 100)
    source = tmp_path / "in.json"
    source.write_text(json.dumps({"train": [*train[:4], train[0], *train[4:]], "test": test}), encoding="utf-8")
    cleaned = clean(str(source), tmp_path / "out.jsonl")
    assert [row for row in read(cleaned.out) if row["split"] == "test"] == [{**row, "split": "test"} for row in test]
    assert [(row["path"], row["line"]) for row in read(cleaned.listed)] == [(f"{source}/train", 5)]


def test_rows_with_several_examples_are_refused(tmp_path: Path) -> None:
    instances = [{"input": row["prompt"], "output": row["completion"]} for row in rows(3)]
    many = [{"instruction": f"Do {i}.", "instances": [*instances, instances[0]]} for i in range(30)]
    source = write(tmp_path / "in.jsonl", many)
    with pytest.raises(DataError, match="several examples"):
        clean(source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(30))
    for out in ("in.jsonl", "out.csv"):
        with pytest.raises(ConfigError):
            clean(source, tmp_path / out)
    write(tmp_path / "out.removed.jsonl", rows(1))
    with pytest.raises(ConfigError, match="exists already"):
        clean(source, tmp_path / "out.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.removed.jsonl"]


def test_command(tmp_path: Path) -> None:
    made = rows(30)
    source = write(tmp_path / "in.jsonl", [*made, made[0]])
    result = CliRunner().invoke(app, ["clean", source, "--out", str(tmp_path / "out.jsonl")])
    assert result.exit_code == 0, result.output
    assert "30 rows in" in result.output and "1 x repeats a row of train (exact)" in result.output
