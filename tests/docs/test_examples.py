"""Each script in examples/ does what its first line says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"verdict_from_scores.py", "see_the_tokens.py"}


def test_verdict_from_scores(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "verdict_from_scores.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("Retained: ")


def test_see_the_tokens(tiny: Any) -> None:
    shown = runpy.run_path(str(EXAMPLES / "see_the_tokens.py"))["show"](tiny.tokenizer)
    assert shown.endswith(f"[{tiny.tokenizer.eos_token}]")
    assert "[" not in shown.split("Summary:")[0].replace(str(tiny.tokenizer.bos_token), "")
