"""Benchmarks inside the data, and hints of personal data."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keeptune.cli.data import app
from keeptune.data.examples import Example
from keeptune.inspect.check import check
from keeptune.inspect.quality import hints, redacted

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "s", "l", "m", "ck", "nd")]


def text(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def write(path: Path, made: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return str(path)


def test_a_benchmark_with_other_columns_is_found_in_the_data(tmp_path: Path) -> None:
    made = [{"instruction": "Say what it is about.", "input": text(i), "output": f"c{i}"} for i in range(80)]
    edited = text(9).split()
    edited[4:6] = ["other", "words"]
    asked = [text(3), text(5).upper() + "!", " ".join(edited), *(text(i) for i in range(500, 530))]
    benchmark = write(tmp_path / "bench.jsonl", [{"question": q, "answer": f"a{i}"} for i, q in enumerate(asked)])
    source = write(tmp_path / "in.jsonl", made)
    (found,) = check(source, against=[benchmark]).contaminations
    assert [(pair.kind, pair.where, pair.other_where) for pair in found.pairs] == [
        ("exact", f"{source}:4", f"{benchmark}:1"),
        ("normalised", f"{source}:6", f"{benchmark}:2"),
        ("near", f"{source}:10", f"{benchmark}:3"),
    ]
    result = CliRunner().invoke(app, ["check", source, "--against", benchmark], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "3 rows are in" in result.output and "line 4 = its line 1 (exact, 1.00)" in result.output


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("write to jane.doe@example.org today", "e-mail address"),
        ("call +44 20 7946 0123 now", "phone number"),
        ("call (030) 1234 5678", "phone number"),
        ("call 555-123-4567", "phone number"),
        ("call +15551234567", "phone number"),
        ("appelez le 06 12 34 56 78", "phone number"),
        ("github_pat_" + "11ABCDEFG0123456789abc", "key"),
        ("AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "key"),
        ("AKIA" + "ABCDEFGH12345678", "key"),
        ("-----BEGIN RSA PRIVATE " + "KEY-----", "key"),
    ],
)
def test_personal_data_are_hinted_at_with_the_first_place(value: str, kind: str) -> None:
    rows = [Example.make({"text": each}, line=line) for line, each in enumerate(["nothing", value, value + "!"], 1)]
    assert [(hint.kind, hint.rows, hint.shown) for hint in hints(rows)] == [(kind, 2, tuple(rows[1:]))]
    assert f"[{kind}]" in redacted(value)
    assert not hints([Example.make({"text": redacted(value)})])


@pytest.mark.parametrize("value", ["3.14159 and 1,234,567", "2021-03-04 10:30", "a @ b", "from 1990 to 2000", "0.05"])
def test_numbers_and_dates_are_no_hints(value: str) -> None:
    assert not hints([Example.make({"text": value})])
