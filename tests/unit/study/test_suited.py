"""Rows that a model cannot use leave every part of a task, with their reason; too many of them are an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.config import SplitConfig, TaskConfig, TextConfig
from keeptune.evaluate.task import Task, build_task, build_text
from keeptune.study.suited import suited_tasks


def task(folder: Path, bad: dict[int, str], n: int = 120) -> Task:
    rows = [{"instruction": f"Name city number {i}.", "output": bad.get(i, f"City {i}")} for i in range(n)]
    path = folder / "cities.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return build_task(TaskConfig(data=str(path), split=SplitConfig(on_leak="drop")))


def outputs(found: Task) -> list[str]:
    return [row.fields["output"] for part in ("train", "validation", "test") for row in found.splits.part(part)]


def test_one_bad_row_is_set_aside_wherever_it_stands(tmp_path: Path, tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=128)
    whole = task(tmp_path, {})
    for part in ("train", "validation", "test"):
        line = whole.splits.part(part)[0].line
        given = task(tmp_path, {line - 1: "Use <s>old</s> markup"})
        ((target,), suites), said = suited_tasks(encoder, [given], [whole])
        assert len(outputs(target)) == len(outputs(given)) - 1
        assert not any("</s>" in text for text in outputs(target))
        assert target.loaded is not None
        assert [(bad.line, bad.fields["output"]) for bad in target.loaded.quarantined] == [
            (line, "Use <s>old</s> markup")
        ]
        assert target.digest != given.digest
        assert suites == [whole]
        reason = "a completion contains the end token '</s>' as text"
        assert said == [f"cities: 1 rows were set aside: {reason} (first: {given.source}:{line})"]


def test_more_than_a_twentieth_is_an_error(tmp_path: Path, tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=128)
    suited_tasks(encoder, [task(tmp_path, {i: f"{i}</s>" for i in range(6)})])
    with pytest.raises(
        DataError, match=r"cities\.jsonl:1: 7 of 120 rows cannot be used .* 7 because: a completion"
    ) as error:
        suited_tasks(encoder, [task(tmp_path, {i: f"{i}</s>" for i in range(7)})])
    assert error.value.remedy == "remove it from the data; it is put there by the encoder"


def test_free_text_is_left_alone(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "book.txt").write_text("Once upon a time </s> there was a word. " * 200)
    text = build_text(TextConfig(text=str(tmp_path / "book.txt")))
    assert suited_tasks(Encoder(tokenizer, context=128), [], [text]) == (([], [text]), [])
