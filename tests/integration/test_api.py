"""The notebook's functions run what the commands run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keeptune as kt
from keeptune.cli.main import main  # noqa: F401  every folder of the package is imported before it is called

QUICK: dict[str, Any] = {
    "arms": ["prompt", "lora"],
    "seeds": [0],
    "prompt": {"shots": [0]},
    "train": {"epochs": 1, "global_batch": 32},
    "lora": {"rank": 2, "learning_rates": [1e-3]},
    "validation_items": 20,
    "workers": 1,
    "precision": "fp32",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_of_rows_in_memory(here: Path, tiny_folder: Path, rows: Callable[..., Any]) -> None:
    kept = {"data": rows(60, seed=1), "name": "kept", "margin": 5}
    study = kt.Study(model=tiny_folder, target=rows(80), retain=kept, **QUICK)
    result = study.run(quiet=True)
    assert result.folder == Path("runs/study")
    assert [arm.family for arm in result.summary.arms] == ["prompt", "lora"]
    ((verdict,),) = result.verdicts.values()
    assert verdict.suite == "kept" and result.summary.target == "target"
    assert result.model is not None and (result.model / "adapter_config.json").is_file()
    again = kt.load_recipe(result.folder / "recipe.yaml")
    assert again.config == study.config
    assert result.summary.manifest.command == "keeptune study runs/study/recipe.yaml --out runs/study"
    assert kt.Result.read("runs/study").summary == result.summary


def test_quiet_is_quiet(
    here: Path, tiny_folder: Path, rows: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"{key}={value}" for key, value in QUICK.items() if key not in ("arms", "seeds", "prompt")]
    kt.train(tiny_folder, rows(80), overrides=settings, quiet=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_evaluate_and_compare_take_rows(here: Path, tiny_folder: Path, rows: Callable[..., Any]) -> None:
    scores = kt.evaluate(tiny_folder, rows(60), shots=[0, 1], draws=1, precision="fp32", quiet=True)
    assert [(row.task, row.shots) for row in scores] == [("rows", 0), ("rows", 1)]
    assert "<td>accuracy</td>" in scores._repr_html_()
    kt.evaluate(tiny_folder, rows(60), precision="fp32", out="scored", quiet=True)
    logs = kt.compare("scored/lm_eval", "scored/lm_eval", samples=True, quiet=True, out="from-logs")
    assert [verdict.suite for verdict in logs.verdicts["after"]] == ["rows"]
    result = kt.compare(tiny_folder, tiny_folder, rows(60), precision="fp32", quiet=True)
    assert result.verdicts.keys() == {"after"}
    assert {verdict.verdict for verdict in result.verdicts["after"]} <= {"Retained", "Not measurable"}


def test_what_is_wrong_is_said_as_the_commands_say_it(here: Path) -> None:
    with pytest.raises(kt.KeeptuneError, match="unknown key 'arm'.*did you mean 'arms'"):
        kt.Study(model="builtin", target="builtin:orders", arm=["lora"])
    with pytest.raises(kt.KeeptuneError, match="nothing to compare on"):
        kt.compare("builtin", "builtin")
