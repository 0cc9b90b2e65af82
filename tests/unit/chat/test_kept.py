"""Kept answers are rows that every command reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keeptune.chat.kept import KeptRows
from keeptune.core.errors import DataError
from keeptune.data.load import load_examples
from keeptune.evaluate.config import TaskConfig
from keeptune.evaluate.task import build_task

ROWS = [
    ("What is red?\n\nAnswer:", " a house"),
    ("Schreibe «Grüße»:", " Grüße\n{aus} Köln 👩\u200d👧"),
    ("x", '"y"\u2028\\'),
]


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path / "new" / "kept.jsonl")
    assert [kept.keep(*row, "LoRA r=4") for row in ROWS] == [1, 2, 3]
    loaded = load_examples(str(kept.path))
    assert loaded.layout is not None and loaded.layout.raw and not loaded.quarantined
    assert [(each.fields["prompt"], each.fields["completion"]) for each in loaded.examples] == ROWS
    assert {each.fields["answered_by"] for each in loaded.examples} == {"LoRA r=4"}
    for number in range(30):
        kept.keep(f"{number} and one?", f" {number + 1}", "base model")
    task = build_task(TaskConfig(data=str(kept.path)))
    example = task.splits.train[0]
    assert task.wordings(chat=False).fixed(example).completion == example.fields["completion"]


def test_the_same_answer_is_kept_once_whoever_kept_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": " b"}))  # by hand, without a line end
    kept = KeptRows(path)
    with pytest.raises(DataError, match=r"kept\.jsonl: this answer to this prompt is kept already"):
        kept.keep("a", " b", "base model")
    assert kept.keep("a", " c", "base model") == 2
    assert len(load_examples(str(path)).examples) == 2
    with pytest.raises(DataError, match="kept already"):
        KeptRows(path).keep("a", " c", "another")


@pytest.mark.parametrize("row", [("", " b"), ("a", " \n")])
def test_nothing_to_learn_is_not_kept(tmp_path: Path, row: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="needs a prompt and a completion"):
        KeptRows(tmp_path / "kept.jsonl").keep(*row, "base model")
    assert not (tmp_path / "kept.jsonl").exists()


def test_a_file_of_other_rows_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"instruction": "a", "output": "b"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: a row of instruction, output .* -> name another file: --keep"):
        KeptRows(path)
    with pytest.raises(DataError, match=r"no name of a JSONL file -> name one that ends in \.jsonl"):
        KeptRows(tmp_path / "rows.csv")
