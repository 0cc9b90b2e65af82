"""The command line in this process, so that torch is imported once for all tests."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))  # a page's script says what its test has to find


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def keeptune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """``keeptune("data", "check", path)`` runs `main` with these arguments in an empty working folder."""
    from keeptune.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEPTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["keeptune", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def colour_rows(n: int = 80, seed: int = 0) -> list[dict[str, Any]]:
    """Alpaca-style rows whose inputs differ and whose answers are one of three colours."""
    draw = random.Random(seed)
    nouns = [f"{a}{b}" for a in ("house", "garden", "dog", "apple", "room") for b in ("s", "", "door", "man")]
    return [
        {
            "instruction": "Name the colour.",
            "input": f"{number} {draw.choice(nouns)} {draw.choice(nouns)} {colour}",
            "output": colour,
        }
        for number, colour in ((number, draw.choice(("red", "blue", "green"))) for number in range(n))
    ]


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    """``rows(n, seed=0)``: the rows of `colour_rows`."""
    return colour_rows


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """``jsonl(rows, name="rows.jsonl")`` writes rows into the working folder."""

    def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        return write_jsonl(tmp_path / name, rows)

    return write


@pytest.fixture(scope="session")
def taught_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after a few steps on sentences: it predicts them better than the frequencies of their bytes do."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_folder), AutoTokenizer.from_pretrained(tiny_folder)
    ids = tokenizer("the house is red. the dog is blue. the apple is green. the room is red.", return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        model(input_ids=ids["input_ids"], labels=ids["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("taught") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
