"""The facts that `data check` reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptune.inspect.check import Bin, CheckReport, check

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@pytest.fixture
def report(tmp_path: Path) -> Any:
    def report(rows: list[dict[str, Any]]) -> CheckReport:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return check(str(path))

    return report


def sentence(i: int) -> str:
    """A text of five words that shares no more than two with its neighbours."""
    return " ".join(f"{WORDS[(i * k) % 12]}{i * k}" for k in range(1, 6))


def rows(n: int, part: str | None = None, start: int = 0) -> list[dict[str, Any]]:
    made = [{"text": sentence(i), "label": ["yes", "no", "no"][i % 3]} for i in range(start, start + n)]
    return [{**row, "split": part} for row in made] if part else made


def test_parts_that_the_source_names(report: Any) -> None:
    found = report(rows(20, "train") + rows(5, "dev", 20) + rows(6, "test", 25))
    assert [(part.name, part.examples, part.carved) for part in found.parts] == [
        ("train", 20, False),
        ("validation", 5, False),
        ("test", 6, False),
    ]
    assert (found.rows, found.examples, found.clusters, found.most_references) == (31, 31, 31, 1)
    assert found.leaks.copies == ()
    assert found.layout.describe() == "classification: text -> label"


def test_parts_that_training_would_carve(report: Any) -> None:
    found = report(rows(60))
    assert [part.carved for part in found.parts] == [False, True, True]
    assert sum(part.examples for part in found.parts) == 60


def test_too_few_rows_to_split(report: Any) -> None:
    found = report(rows(2))
    assert [(part.name, part.examples) for part in found.parts] == [("train", 2)]
    assert found.leaks is None
    assert "not split: 2 rows" in found.notes[0]


def test_without_a_train_part_it_says_so_and_clusters_are_those_of_the_parts(report: Any) -> None:
    found = report(rows(20, "dev") + rows(10, "test", 20))
    assert "no part is called train: nothing can be trained on these rows as they are" in found.notes
    alike = [*rows(40), {**rows(1)[0], "text": sentence(0).upper()}]
    found = report(alike)
    assert found.alike == 1 and found.clusters == sum(part.clusters for part in found.parts) == 40


def test_labels_by_part(report: Any) -> None:
    found = report(rows(21, "train") + rows(3, "validation", 21) + rows(6, "test", 24))
    assert list(found.labels) == ["no", "yes"]
    assert found.labels["yes"] == {"train": 7, "validation": 1, "test": 2}


def test_copies_and_contradictions(report: Any) -> None:
    base = rows(12)
    again = [{"text": base[5]["text"] + " ", "label": "maybe"}, {"text": base[7]["text"].upper(), "label": "yes"}]
    found = report([*base, base[3], *again, *rows(10, None, 12)])
    assert (found.copies.exact, found.copies.prompts) == (1, 2)
    (repeat,) = found.copies.repeats
    assert [row.line for row in repeat] == [4, 13]
    assert [(first.line, other.line) for first, other in found.copies.conflicts] == [(6, 14), (8, 15)]
    assert found.clusters == 22


def test_a_prompt_in_capitals_with_the_same_answer_is_no_contradiction(report: Any) -> None:
    base = rows(20)
    found = report([*base, {**base[3], "text": base[3]["text"].upper()}])
    assert (found.copies.exact, found.copies.prompts) == (0, 0)


def test_leaks_are_judged_on_the_own_columns(report: Any) -> None:
    train = [{**row, "kind": f"k{i}"} for i, row in enumerate(rows(20, "train"))]
    test = [{**row, "kind": f"z{i}"} for i, row in enumerate(rows(5, "test", 18))]
    dev = rows(5, "dev", 30)
    found = report(train + dev + test)
    assert len(found.leaks.exact) == 2
    assert found.leaks.fields == ("text",)


def test_shared_instruction_is_no_leak(report: Any) -> None:
    made = [
        {"instruction": "Tell whether this sentence is " + "very " * 60, "input": row["text"], "output": row["label"]}
        for row in rows(40)
    ]
    found = report(made)
    assert found.leaks.copies == found.leaks.near == ()
    assert found.leaks.fields == ("input",)


def test_lengths(report: Any) -> None:
    made = [{"prompt": "word " * (i + 1), "completion": "x"} for i in range(100)]
    prompt, completion = report(made).lengths
    assert (prompt.unit, prompt.median, prompt.p95, prompt.longest) == ("words", 50, 95, 100)
    assert prompt.bins[0] == Bin(0, 20, 19)
    assert prompt.bins[-1] == Bin(100, 120, 1)
    assert sum(bin_.n for bin_ in prompt.bins) == 100
    assert completion.bins == (Bin(1, 2, 100),)


def test_long_tail_has_one_open_bin(report: Any) -> None:
    made = [{"prompt": f"p{i}" + " word" * (5000 if i == 0 else i % 7), "completion": "x"} for i in range(60)]
    prompt, _ = report(made).lengths
    assert prompt.bins[-1] == Bin(14, None, 1)


def test_script_without_spaces_is_measured_in_characters(report: Any) -> None:
    made = [{"prompt": "解释这个句子的意思并给出一个例子来说明它" + str(i), "completion": "好"} for i in range(30)]
    prompt, _ = report(made).lengths
    assert (prompt.unit, prompt.median) == ("characters", 22)


def test_quarantine_is_counted_by_reason(report: Any) -> None:
    made = [{"prompt": f"p{i}", "completion": "" if i in (3, 9) else f"c{i}"} for i in range(60)]
    found = report(made)
    ((reason, count, first),) = found.quarantined
    assert (reason, count, first.line) == ("field 'completion' is empty", 2, 4)
    assert (found.rows, found.examples) == (60, 58)
