"""What the command line names becomes columns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from keeptune.chat.columns import Place, Sources, read_sources
from keeptune.chat.view import page_view
from keeptune.core.errors import DataError, ModelError, RunFolderError
from keeptune.core.records import Summary, read_json


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(small_run, tmp_path / "run", symlinks=True))


def labels(sources: Sources) -> list[str]:
    return [column.label for column in sources.columns]


def test_a_run_is_its_base_its_best_prompting_and_its_arms(small_run: Path) -> None:
    sources, summary = read_sources([str(small_run)]), read_json(small_run / "summary.json", Summary)
    base, prompting, full, lora = sources.columns
    assert labels(sources) == ["base model", *(arm.label for arm in summary.arms)]
    assert base.place == prompting.place == Place("builtin", precision="fp32") and base.arm is None
    assert full.place.adapter is None and Path(full.place.model).is_dir()
    assert lora.place == Place("builtin", small_run / "arms" / lora.arm.name / "adapter", "fp32")  # type: ignore[union-attr]
    assert [len(column.behind.examples) for column in sources.columns] == [0, 2, 0, 0]
    frozen = json.loads((small_run / "splits" / "orders.json").read_text())["parts"]["train"]
    assert {example.id for example in prompting.behind.examples} <= set(frozen)
    assert [column.recommended for column in sources.columns[1:]] == [
        arm.name == summary.recommendation.arm for arm in summary.arms
    ]
    assert [each.prompt for each in sources.suggestions[:8]] == [sample.prompt for sample in summary.samples]
    view = page_view(sources, 16, "kept.jsonl")
    assert [len(column.suites) for column in view.columns] == [0, 0, 1, 1]
    assert view.columns[3].suites[0].sentence == summary.arms[2].suites[0].sentence
    assert view.columns[1].score.startswith("orders: ") and view.columns[0].score == ""


def test_two_runs_share_their_base(small_run: Path, run: Path) -> None:
    sources = read_sources([str(small_run), str(run), "builtin"])
    assert labels(sources).count("base model") == 1 and len(sources.columns) == 7  # builtin: in another precision
    assert len({column.source for column in sources.columns}) == 3


def test_weights_that_are_gone_are_named_with_the_way_to_get_them(run: Path) -> None:
    full, lora = (arm for arm in read_json(run / "summary.json", Summary).arms if not arm.prompting)
    shutil.rmtree(run / str(full.folder) / "model")
    sources = read_sources([str(run)])
    assert labels(sources)[2:] == [lora.label]
    assert f"the weights of {full.label} are gone -> run the study again: it keeps" in sources.notes[0]
    shutil.rmtree(run / str(lora.folder) / "adapter")
    with pytest.raises(RunFolderError, match="the weights of its arms are gone -> run the study again: it keeps"):
        read_sources([str(run)])


def test_without_the_targets_data_there_are_no_demonstrations(run: Path) -> None:
    (run / "splits" / "orders.json").unlink()
    sources = read_sources([str(run)])
    assert len(sources.columns) == 3 and all(column.behind.examples == () for column in sources.columns)
    assert "asked without demonstrations and system text" in sources.notes[0] and "orders.json" in sources.notes[0]


def test_what_holds_no_weights_is_refused(run: Path) -> None:
    begun = json.loads((run / "recipe.json").read_text())
    compared = {**begun, "kind": "comparison", "settings": {"models": ["base", "tuned"]}}
    (run / "recipe.json").write_text(json.dumps(compared))
    with pytest.raises(RunFolderError, match="holds a comparison, .* name what it asked: keeptune chat base tuned"):
        read_sources([str(run)])
    (run / "recipe.json").write_text(json.dumps(begun))
    (run / "summary.json").unlink()
    with pytest.raises(DataError, match=r"summary\.json: no such file -> name a run folder that finished"):
        read_sources([str(run)])


def test_an_adapter_comes_with_the_base_that_it_names(small_run: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(next(small_run.glob("arms/lora*/adapter")), tmp_path / "mine"))
    base, tuned = read_sources([str(adapter)]).columns
    assert (base.label, tuned.label, tuned.place.adapter) == ("base model", "mine", adapter)
    assert base.place.model == tuned.place.model == "builtin"
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not name its base -> write base_model_name_or_path"):
        read_sources([str(adapter)])
