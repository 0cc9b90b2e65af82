"""Which run a folder holds: the same goes on, another is not written over."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError
from keeptune.recipe.begun import another, begin, begun_comparison, begun_evaluation, begun_study
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.files import named_entries
from keeptune.recipe.scoring import ScoringConfig
from keeptune.tracking.base import TRACKERS, Tracker


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"instruction": name, "output": name}) + "\n")
    return tmp_path


def study(**changes: Any) -> StudyConfig:
    recipe = {"model": "m", "target": {"data": "a.jsonl"}, "arms": ["prompt", "lora"], "seeds": [0], **changes}
    return parse_recipe(StudyConfig, yaml.safe_dump(recipe))


def run(folder: Path, config: StudyConfig, data: Path, *, finished: bool = True) -> None:
    """What a run leaves that says which one it is."""
    begin(folder, begun_study(config, data))
    (folder / "arms").mkdir(exist_ok=True)
    if finished:
        (folder / "summary.json").write_text("{}")


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({}, None),
        ({"arms": ["prompt", "lora", "full"]}, None),
        ({"seeds": [0, 1]}, None),
        ({"lora": {"learning_rates": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]}}, None),
        ({"curve": {"sizes": [50]}}, None),
        ({"held_out": {"data": "b.jsonl"}}, None),
        ({"target": {"data": "a.jsonl", "margin": 3}}, None),
        ({"title": "t", "workers": 2, "budget": "4h", "indifference": 2, "requests": 5}, None),
        ({"target": {"data": "b.jsonl"}}, "target"),
        ({"model": "n"}, "model"),
        ({"retain": [{"data": "b.jsonl"}]}, "retain"),
        ({"train": {"epochs": 1}}, "train"),
        ({"lora": {"rank": 2}}, "lora"),
        ({"arms": ["prompt", "full"]}, "arms"),
        ({"seeds": [1]}, "seeds"),
        ({"lora": {"learning_rates": [1e-5]}}, "lora.learning_rates"),
        ({"prompt": {"shots": [0]}}, "prompt.shots"),
    ],
)
def test_what_makes_another_study(data: Path, changes: dict[str, Any], other: str | None) -> None:
    folder = data / "run"
    run(folder, study(), data)
    found = another(folder, begun_study(study(**changes), data))
    assert found == (None if other is None else f"another study (other {other})")


def test_trackers_are_in_no_key(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS._classes, "lines", Tracker)
    plain, watched = study(), study(trackers=["lines"])
    assert watched.trackers == ("lines",)
    assert pickle.loads(pickle.dumps(watched)).trackers == ("lines",)  # workers are sent it
    assert begun_study(watched, data) == begun_study(plain, data)
    assert watched.digest() == plain.digest()  # of plan.json
    assert watched.model_dump(mode="json") == plain.model_dump(mode="json")  # in the manifest


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["consol"], "'consol' is no tracker; use console"),
        (["records"], "'records' is always there: name further trackers only"),
        (["lines", "lines"], "name each tracker once"),
    ],
)
def test_trackers_are_checked_when_a_recipe_is_read(
    names: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS._classes, "lines", Tracker)
    with pytest.raises(ConfigError, match=message):
        study(trackers=names)


def test_data_are_known_by_their_content(data: Path) -> None:
    folder = data / "run"
    run(folder, study(), data)
    elsewhere = data / "elsewhere"
    elsewhere.mkdir()
    (data / "a.jsonl").rename(elsewhere / "a.jsonl")
    assert another(folder, begun_study(study(), elsewhere)) is None
    (elsewhere / "a.jsonl").write_text(json.dumps({"instruction": "new", "output": "new"}) + "\n")
    assert another(folder, begun_study(study(), elsewhere)) == "another study (other target)"


def test_a_study_that_did_not_finish_may_go_on_with_fewer_arms(data: Path) -> None:
    folder, fewer = data / "run", begun_study(study(arms=["lora"]), data)
    run(folder, study(), data, finished=False)
    assert another(folder, fewer) is None
    (folder / "summary.json").write_text("{}")
    assert another(folder, fewer) == "another study (other arms)"


def test_a_folder_without_results_is_free(data: Path) -> None:
    folder = data / "run"
    assert another(folder, begun_study(study(), data)) is None
    begin(folder, begun_study(study(model="n"), data))  # refused before anything was measured
    assert another(folder, begun_study(study(), data)) is None


def test_a_run_that_nobody_knows_and_one_of_another_kind_are_others(data: Path) -> None:
    folder = data / "run"
    folder.mkdir()
    (folder / "summary.json").write_text("{}")
    assert another(folder, begun_study(study(), data)) == "a run without recipe.json"
    run(folder, study(), data)
    assert another(folder, begun_comparison(("m", "n"), (), None, {})) == "a study"


def test_what_makes_another_comparison(data: Path) -> None:
    folder, retain = data / "run", named_entries([str(data / "a.jsonl")])
    begin(folder, begun_comparison(("m", "n"), retain, None, {"margin": 2}))
    (folder / "summary.json").write_text("{}")
    assert another(folder, begun_comparison(("m", "n"), retain, None, {"margin": 2})) is None
    assert another(folder, begun_comparison(("m", "o"), retain, None, {"margin": 2})) == (
        "another comparison (other models)"
    )
    assert another(folder, begun_comparison(("m", "n"), (), None, {"margin": 3})) == (
        "another comparison (other margin, retain)"
    )


def test_evaluations_of_other_tasks_share_a_folder(data: Path) -> None:
    folder, first, second = data / "run", str(data / "a.jsonl"), str(data / "b.jsonl")

    def begun(task: str, **changes: Any) -> Any:
        return begun_evaluation(ScoringConfig(model="m", tasks=(task,), **changes), named_entries([task]))

    begin(folder, begun(first))
    (folder / "manifest.json").write_text("{}")
    assert another(folder, begun(second)) is None
    begin(folder, begun(second, shots=(1,)))
    assert another(folder, begun(first, precision="fp32")) == "another evaluation (other precision)"
    (data / "a.jsonl").write_text(json.dumps({"instruction": "new", "output": "new"}) + "\n")
    assert another(folder, begun(first)) == "another evaluation (other task a)"
