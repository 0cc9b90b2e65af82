"""A whole study on a toy model: every arm runs for real, and nothing runs twice."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from keeptune.core.config import parse_recipe
from keeptune.core.records import ItemRecord, Summary, read_json, read_records
from keeptune.recipe.config import StudyConfig
from keeptune.study import seeds
from keeptune.study.jobs import train
from keeptune.study.messages import Messages
from keeptune.study.run import open_study, run_study
from keeptune.train.drift import DriftBase

WORDS = ("red", "blue", "green", "black", "white", "brown")
NOUNS = ("house", "garden", "dog", "apple", "hammer", "room", "word", "model")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(0)
    target, kept = [], []
    for number in range(160):
        colour, noun, other = rng.choice(WORDS), rng.choice(NOUNS), rng.choice(NOUNS)
        text = f"the {noun} {number} by the {other} is {colour}"
        target.append({"instruction": "Name the colour.", "input": text, "output": colour})
        kept.append({"instruction": "Say yes or no.", "input": f"{number} {noun}", "output": rng.choice(["yes", "no"])})
    write_rows(folder / "colour.jsonl", target)
    write_rows(folder / "kept.jsonl", kept)
    (folder / "prose.txt").write_text(" ".join(f"the {rng.choice(NOUNS)} was {rng.choice(WORDS)}." for _ in range(900)))
    return folder


def recipe(folder: Path, model: Path, **changes: Any) -> StudyConfig:
    values = {
        "model": str(model),
        "precision": "fp32",
        "target": {"data": "colour.jsonl", "metric": "exact_match", "max_new_tokens": 4},
        "retain": [
            {"data": "kept.jsonl", "margin": 5},
            {"text": "prose.txt", "margin": "5%", "block_bytes": 64},
        ],
        "prompt": {"shots": [0, 1], "draws": 2},
        "train": {"epochs": 1, "global_batch": 32},
        "full": {"learning_rates": [1e-4, 3e-3]},
        "lora": {"rank": 2, "learning_rates": [1e-3]},
        "validation_items": 20,
        "seeds": [0],
        **changes,
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


@pytest.fixture(scope="module")
def finished(folder: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    run = tmp_path_factory.mktemp("runs") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPTUNE_CACHE", str(run.parent / "cache"))
        summary = run_study(recipe(folder, tiny_folder), run, console=Console(quiet=True), data_root=folder)
    return run, summary


def test_small_trainings_have_three_seeds_where_a_recipe_names_none(
    folder: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By arithmetic, not by a clock: the same recipe has the same seeds on every machine."""
    monkeypatch.setenv("KEEPTUNE_CACHE", str(tmp_path / "cache"))
    given = recipe(folder, tiny_folder)
    silent = StudyConfig.model_validate({k: v for k, v in given.model_dump().items() if k != "seeds"})

    def opened(config: StudyConfig) -> StudyConfig:
        return open_study(config, tmp_path / "run", Messages(Console(quiet=True)), folder)[0].config

    assert opened(given).seeds == (0,)
    assert opened(silent).seeds == (0, 1, 2)
    monkeypatch.setattr(seeds, "SMALL", 1e6)
    assert opened(silent).seeds == (0,)


def test_every_arm_stands_in_the_summary(finished: tuple[Path, Summary]) -> None:
    run, summary = finished
    assert [arm.family for arm in summary.arms] == ["prompt", "prompt", "full", "lora"]
    assert read_json(run / "summary.json", Summary) == summary
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(arm.label in page for arm in summary.arms)
    tuned = [arm for arm in summary.arms if arm.family != "prompt"]
    for arm in tuned:
        assert {suite.suite for suite in arm.suites} == {"kept", "prose"}
        assert arm.costs.trainable_parameters
        assert arm.costs.bytes_on_disk
        assert arm.costs.tokens_per_request == tuned[0].costs.tokens_per_request
    assert summary.frontier[0].arm == "base"
    assert [point.lr for point in summary.frontier[1:]] == [1e-4, 3e-3, 1e-3]
    assert sum(point.picked for point in summary.frontier) == 2
    assert summary.recommendation.paragraph


def test_shots_cost_tokens(finished: tuple[Path, Summary]) -> None:
    zero, one = finished[1].arms[:2]
    assert (one.costs.tokens_per_request or 0) > (zero.costs.tokens_per_request or 0) + 10


def test_all_arms_answered_the_same_items(finished: tuple[Path, Summary]) -> None:
    run, summary = finished
    ids = [
        [item.id for item in read_records(run / str(arm.folder) / "items" / "colour.jsonl", ItemRecord)]
        for arm in summary.arms
    ]
    assert len(ids[0]) == 32
    assert all(one == ids[0] for one in ids)
    frozen = json.loads((run / "splits" / "colour.json").read_text())
    assert set(ids[0]) <= {ident for part in [frozen["parts"]["test"]] for ident in part}


def test_only_the_picked_weights_are_kept(finished: tuple[Path, Summary]) -> None:
    run, summary = finished
    kept = {path.parent.name for path in run.glob("arms/*/model")}
    assert kept == {arm.name for arm in summary.arms if arm.family == "full"}


def test_a_finished_study_trains_nothing(
    finished: tuple[Path, Summary], folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, summary = finished

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "fit", never)
    again = run_study(recipe(folder, tiny_folder), run, console=Console(quiet=True), data_root=folder)
    assert again.arms == summary.arms
    assert again.wall_seconds == summary.wall_seconds  # skipping is not the study's time
    changed = recipe(folder, tiny_folder, train={"epochs": 2, "global_batch": 32})
    with pytest.raises(AssertionError, match="trained again"):
        run_study(changed, run, console=Console(quiet=True), data_root=folder)


def test_the_base_is_untouched_between_arms(finished: tuple[Path, Summary], folder: Path, tiny_folder: Path) -> None:
    """LoRA after full fine-tuning equals LoRA alone: arms do not contaminate each other."""
    run, summary = finished
    alone = run_study(
        recipe(folder, tiny_folder, arms=["lora"]), run.parent / "alone", console=Console(quiet=True), data_root=folder
    )
    lora = next(arm for arm in summary.arms if arm.family == "lora")
    assert alone.arms[0].target == lora.target
    assert [s.change for s in alone.arms[0].suites] == [s.change for s in lora.suites]


def test_before_is_measured_once_and_is_the_same_whatever_arms_are_listed(
    finished: tuple[Path, Summary], folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, times, of = finished[0], [], DriftBase.of
    monkeypatch.setenv("KEEPTUNE_CACHE", str(run.parent / "fresh"))  # nothing is taken over from the other study
    monkeypatch.setattr(DriftBase, "of", lambda *asked: (times.append(1), of(*asked))[1])
    names = ("prompt-tuning", "p-tuning", "prefix-tuning", "bottleneck", "ia3", "pissa", "osf")
    rates = {name.replace("-", "_"): {"learning_rates": [3e-2]} for name in names}
    others = recipe(folder, tiny_folder, arms=names, **rates)
    run_study(others, run.parent / "others", console=Console(quiet=True), data_root=folder)
    assert len(times) == 1
    first, second = (written(run / "base"), written(run.parent / "others" / "base"))
    assert len(first) == 6 and first == second


def written(folder: Path) -> dict[str, bytes]:
    """What the files of a baseline hold, but for the key of the study that it belongs to."""
    files = (path for path in folder.rglob("*.*") if path.name != "baseline.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
