"""The search on a toy model: what it leaves, that it goes on where it stopped, and what may not influence it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from keeptune.core.config import parse_recipe
from keeptune.core.records import SearchSummary, Summary, read_json
from keeptune.recipe.config import StudyConfig, with_search
from keeptune.study.records import SearchRecord
from keeptune.study.run import run_study
from keeptune.study.search import Model, Search

NOUNS, COLOURS = ("house", "dog", "apple", "room"), ("red", "blue", "green")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(0)
    facts = [(rng.choice(NOUNS), rng.choice(COLOURS)) for _ in range(90)]
    rows = [{"text": f"{n} the {noun} is {colour}", "answer": colour} for n, (noun, colour) in enumerate(facts)]
    (folder / "colour.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prose.txt").write_text(
        " ".join(f"the {rng.choice(NOUNS)} is {rng.choice(COLOURS)}." for _ in range(900))
    )
    return folder


def config(model: Path, **changes: Any) -> StudyConfig:
    values = {
        "model": str(model),
        "precision": "fp32",
        "target": {
            "data": "colour.jsonl",
            "templates": ["{{ text }} : ||| {{ answer }}"],
            "split": {"on_leak": "drop"},
        },
        "retain": [{"text": "prose.txt", "margin": "5%", "block_bytes": 64}],
        "arms": ["prompt", "full", "search"],
        "seeds": [0, 1],
        "prompt": {"shots": [0]},
        "train": {"epochs": 1, "global_batch": 32},
        "full": {"learning_rates": [3e-3]},
        "search": {"trainings": 3, "longer": 2},
        "validation_items": 20,
        "workers": 1,
        **changes,
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def study(recipe: StudyConfig, folder: Path, data: Path) -> Summary:
    return run_study(recipe, folder, console=Console(quiet=True), data_root=data)


@pytest.fixture(scope="module")
def finished(data: Path, taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("runs") / "study"
    return folder, study(config(taught_folder), folder, data)


def searched(summary: Summary) -> SearchSummary:
    assert summary.search is not None
    return summary.search


def test_a_search_leaves_its_history_its_choice_and_only_the_choice_is_tested(finished: tuple[Path, Summary]) -> None:
    folder, summary = finished
    search = searched(summary)
    assert read_json(folder / "search.json", SearchRecord).search == search
    assert search.trainings <= 3 and len({p.training for p in search.points}) == search.trainings + 1
    assert all(len(p.losses) == 1 for p in search.points) and len(search.sentences) >= 2
    tested = {path.parent.name for path in (folder / "arms").glob("*/arm.json")}
    own = {arm.name for arm in summary.arms}
    assert tested - {name.replace("seed0", "seed1") for name in own} - own == set()
    assert search.found is None or search.found in own


def test_a_search_that_was_killed_goes_on_and_comes_to_the_same(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    folder, summary = finished
    again = shutil.copytree(folder, tmp_path / "again", symlinks=True)
    done = [p for p in searched(summary).points if p.training and p.alpha is None]
    shutil.rmtree(again / "arms" / done[-1].name)  # as if killed before the last training
    (again / "search.json").unlink()
    (again / "summary.json").unlink()
    resumed = searched(study(config(taught_folder), again, data))
    assert resumed == searched(summary)


def test_no_choice_of_a_search_looks_at_test_scores(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    """Test scores are dealt out at random, and what was trained and chosen is the same."""
    folder, summary = finished
    again = shutil.copytree(folder, tmp_path / "again", symlinks=True)
    draw = random.Random(1)
    for path in (*again.glob("arms/*/items/*.jsonl"), *again.glob("base/test/*.jsonl")):
        items = [json.loads(line) for line in path.read_text().splitlines()]
        scores = [item["score"] for item in items]
        draw.shuffle(scores)
        lines = [json.dumps({**item, "score": score}) for item, score in zip(items, scores, strict=True)]
        path.write_text("".join(line + "\n" for line in lines))
    assert searched(study(config(taught_folder), again, data)) == searched(summary)


def test_a_study_that_is_run_again_keeps_the_weights_of_what_it_tested(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is chosen in the end was not the best so far on the way there, so its weights were once removed."""
    asked: list[Search] = []

    def late(search: Search, models: Sequence[Model]) -> Model | None:
        if search not in asked:  # when it asks which weights are to stay
            asked.append(search)
            return None
        return next(model for model in models if model.training == 1 and model.alpha is None)

    monkeypatch.setattr(Search, "_choice", late)
    again = shutil.copytree(finished[0], tmp_path / "again", symlinks=True)
    found = searched(study(config(taught_folder), again, data)).found
    assert found is not None and (again / "arms" / found / "model").is_dir()
    made = (again / "arms" / found / "trial.json").stat().st_mtime_ns
    assert searched(study(config(taught_folder), again, data)).found == found
    assert (again / "arms" / found / "model").is_dir()
    assert (again / "arms" / found / "trial.json").stat().st_mtime_ns == made  # and it was not trained once more


def test_a_recipe_without_search_gets_one(taught_folder: Path) -> None:
    plain = config(taught_folder, arms=["prompt", "full"])
    assert with_search(plain).arms == ("prompt", "full", "search")
    assert "seeds" in with_search(plain).model_fields_set and "title" not in with_search(plain).model_fields_set
    assert with_search(with_search(plain)) == with_search(plain)
