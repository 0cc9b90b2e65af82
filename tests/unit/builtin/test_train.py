"""The script that trained the base runs: both phases, on a handful of rows."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest


def test_both_phases_run_and_the_second_goes_on_from_the_first(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import corpus
    import train

    some = corpus.paragraphs("base")[:400]
    monkeypatch.setattr(train.corpus, "paragraphs", lambda use: some)
    monkeypatch.setattr(train, "HELD_BACK", 4)
    small = {"questions": 12, "checks": 2, "held_back": 2, "passes": 0.05}
    for name, stop in (("first", 1), ("second", None)):
        phase = dataclasses.replace(train.PHASES[name], **small, stop_after=stop)
        monkeypatch.setitem(train.PHASES, name, phase)
    options = ["--step-tokens", "400"]
    monkeypatch.setattr(sys, "argv", ["train.py", "first", str(tmp_path / "first"), *options])
    with pytest.raises(SystemExit, match="stopped after step 1"):
        train.main()
    start = ["--start", str(tmp_path / "first" / "model")]
    monkeypatch.setattr(sys, "argv", ["train.py", "second", str(tmp_path / "second"), *start, *options])
    train.main()
    log = (tmp_path / "second" / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(log) > 1
    assert (tmp_path / "second" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "first" / "steps.jsonl").read_text(encoding="utf-8").count("\n") > 1
