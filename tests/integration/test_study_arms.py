"""Arms with remedies, sequences, curves and unseen wordings on a toy model; what may not influence choices."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import Summary, read_json
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.runner import Evaluation
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.language_model import hash_parameters
from keeptune.recipe.config import StudyConfig
from keeptune.study.baseline import score_on_validation
from keeptune.study.jobs.baseline import MeasureBaseline, ScoreBase
from keeptune.study.jobs.train import Train
from keeptune.study.messages import Messages
from keeptune.study.prepare import Prepared
from keeptune.study.records import ArmRecord, SweepRecord, TrialRecord
from keeptune.study.run import choose_runner, open_study, run_study
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.schedule.runner import Everything
from keeptune.study.trial import Trial
from keeptune.study.workplace import Workplace
from keeptune.train import loop
from keeptune.train.estimate import Needs

ARMS = ["prompt", "full", "full+replay:20%", "full+guard", "full+interpolate", "lora", "lora+kl+interpolate"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(0)
    nouns, colours = ("house", "dog", "apple", "room"), ("red", "blue", "green")
    tasks: dict[str, list[dict[str, str]]] = {"colour": [], "noun": [], "kept": []}
    for number in range(120):
        noun, colour = rng.choice(nouns), rng.choice(colours)
        text = f"the {noun} {number} is {colour}"
        tasks["colour"].append({"text": text, "answer": colour})
        tasks["noun"].append({"text": text + " today", "answer": noun})
        tasks["kept"].append({"text": f"{number} {noun}", "answer": rng.choice(["yes", "no"])})
    for name, rows in tasks.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prose.txt").write_text(
        " ".join(f"the {rng.choice(nouns)} is {rng.choice(colours)}." for _ in range(900))
    )
    return folder


def entry(name: str, **changes: Any) -> dict[str, Any]:
    wordings = ["{{ text }} : ||| {{ answer }}", "{{ text }} = ||| {{ answer }}"]
    return {"data": f"{name}.jsonl", "templates": wordings, "split": {"on_leak": "drop"}, **changes}


def recipe(model: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "precision": "fp32",
        "target": entry("colour", unseen_templates=["{{ text }} so ||| {{ answer }}"]),
        "retain": [entry("kept", margin=5), {"text": "prose.txt", "margin": "5%", "block_bytes": 64}],
        "arms": ARMS,
        "seeds": [0, 1],
        "prompt": {"shots": [0, 1], "draws": 1},
        "train": {"epochs": 2, "global_batch": 32},
        "full": {"learning_rates": [1e-4, 3e-3]},
        "lora": {"rank": 2, "learning_rates": [1e-3, 1e-2]},
        "validation_items": 20,
        "checkpoints": True,
        "workers": 1,
        "curve": {"sizes": [20, 40], "arms": ["lora"]},
        "held_out": [entry("noun")],
        **changes,
    }


def opened(values: dict[str, Any], folder: Path, data: Path) -> tuple[Prepared, Workplace]:
    return open_study(parse_recipe(StudyConfig, yaml.safe_dump(values)), folder, Messages(Console(quiet=True)), data)


def run(values: dict[str, Any], folder: Path, data: Path) -> Summary:
    config = parse_recipe(StudyConfig, yaml.safe_dump(values))
    return run_study(config, folder, console=Console(quiet=True), data_root=data)


@pytest.fixture(scope="module")
def finished(data: Path, taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("runs") / "study"
    return folder, run(recipe(taught_folder), folder, data)


def test_every_arm_of_the_recipe_is_there(finished: tuple[Path, Summary]) -> None:
    _, summary = finished
    assert [arm.arm for arm in summary.arms if arm.family != "prompt"] == ARMS[1:]
    assert len({arm.name for arm in summary.arms}) == len(summary.arms)
    for arm in summary.arms:
        if arm.family != "prompt":
            assert len(arm.seed_scores) == 2
            assert arm.drift is not None and arm.drift.positions > 0
    assert {plan.arm for plan in summary.plans} == set(ARMS[1:])


def test_the_frontier_holds_rates_checkpoints_and_paths(finished: tuple[Path, Summary]) -> None:
    _, summary = finished
    kinds = {(point.arm, point.kind) for point in summary.frontier}
    assert {("full", "rate"), ("full", "checkpoint"), ("full+interpolate", "interpolation")} <= kinds
    way = [p for p in summary.frontier if p.kind == "interpolation" and p.arm == "full+interpolate"]
    for seed in (0, 1):
        assert sorted(p.alpha or 0 for p in way if p.seed == seed) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(p.drift is not None for p in summary.frontier if p.arm != "base")
    assert {point.seed for point in summary.frontier if point.arm == "full"} == {0, 1}


def test_the_headline_table_follows_from_the_records(finished: tuple[Path, Summary]) -> None:
    """With pandas alone: mean target score, gain over the best prompting, change on every suite."""
    folder, summary = finished
    tables = {
        path.parent.parent.name: pd.read_json(path, lines=True).set_index("id")
        for path in folder.glob("arms/*/items/colour.jsonl")
    }
    base = next(arm.name for arm in summary.arms if arm.note and "best prompting" in arm.note)
    for arm in summary.arms:
        table = tables[arm.name]
        assert table["score"].mean() == pytest.approx(arm.target.mean)
        if arm.gain_mean is not None:
            assert (table["score"] - tables[base]["score"]).mean() == pytest.approx(arm.gain_mean)
        for verdict in arm.suites:
            items = pd.read_json(folder / "arms" / arm.name / "items" / f"{verdict.suite}.jsonl", lines=True)
            after = np.average(items["score"], weights=items["weight"])
            assert after == pytest.approx(verdict.after)
            change = (verdict.before - after) / verdict.before if verdict.relative else after - verdict.before
            assert change == pytest.approx(verdict.change)


def test_learning_curve_wordings_and_held_out_tasks(finished: tuple[Path, Summary]) -> None:
    folder, summary = finished
    (curve,) = summary.curves
    assert [point.examples for point in curve.points][:2] == [20, 40]
    assert curve.points[-1].score == next(arm.target for arm in summary.arms if arm.arm == "lora")
    steps = {read_json(path, TrialRecord).steps for path in folder.glob("arms/lora-*/trial.json")}
    assert len(steps) == 1  # smaller sets take as many steps as all rows
    assert [gap.arm for gap in summary.wordings] == ["base", *ARMS[1:]]
    assert {(each.arm, each.task) for each in summary.held_out} == {(arm, "noun") for arm in ARMS[1:]}
    assert "noun" in summary.manifest.data_hashes
    assert all(gap.gap == pytest.approx(gap.seen.mean - gap.unseen.mean) for gap in summary.wordings)


def test_asking_more_does_not_train_again(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished[0], folder, symlinks=True)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("arms/*/trial.json")}
    lost = folder / "arms" / next(arm.name for arm in finished[1].arms if arm.arm == "lora") / "adapter"
    shutil.rmtree(lost)  # weights that are needed again are made again
    summary = run(recipe(taught_folder, test_items=20, held_out=[]), folder, data)
    trained = [path.parent for path in before if path.stat().st_mtime_ns != before[path]]
    curve = [path for path in trained if "-n" in path.name]  # the curve's weights are not kept
    assert len(curve) == 2
    assert [path for path in trained if path not in curve] == [lost.parent]
    assert {arm.target.n for arm in summary.arms} == {20}
    assert summary.frontier == finished[1].frontier


def test_a_suite_at_chance_decides_nothing(data: Path, taught_folder: Path, tmp_path: Path) -> None:
    """Its answers are random: what is lost there is no loss."""
    prepared, workplace = opened(recipe(taught_folder), tmp_path, data)
    MeasureBaseline().perform(workplace)
    assert [suite.name for suite in prepared.suites] == ["kept", "prose"]
    assert [skill.suite.name for skill in workplace.baseline.skills] == ["prose"]
    (seen,) = score_on_validation(workplace.scorer, workplace.baseline).suites
    assert (seen.suite, seen.change, seen.error) == ("prose", 0.0, 0.0)
    assert seen.kept


def test_arms_are_compared_with_as_many_models_each(finished: tuple[Path, Summary]) -> None:
    """Of every seed all rates that were run and their checkpoints; nothing of the base."""
    _, summary = finished
    compared = next(each for each in summary.matched if each.arms == ("lora", "full"))
    if compared.comparable:
        reached = [
            max(p.target for p in summary.frontier if p.arm == arm and p.seed == seed and p.kind != "interpolation")
            for arm in ("lora", "full")
            for seed in (0, 1)
        ]
        assert compared.level == pytest.approx(min(reached))
        assert compared.seeds == (0, 1)
        assert compared.interval is None  # two seeds say nothing
    else:
        assert "not comparable" in compared.sentence


def test_what_a_study_settled_holds_where_it_goes_on(
    data: Path, taught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor of the second machine would have said otherwise: the study goes on as it began."""
    values = recipe(taught_folder, precision="auto", workers="auto", arms=["prompt", "lora"], curve=None, held_out=[])
    settings = {
        "seeds": [0],
        "lora": {"rank": 2, "learning_rates": [1e-3]},
        "train": {"max_steps": 2, "global_batch": 8},
    }
    monkeypatch.setattr("keeptune.models.precision.cpu_has_bf16", lambda: True)
    first = run(values | settings, tmp_path / "study", data)
    assert first.manifest.precision == "bfloat16"
    assert first.manifest.config["precision"] == "bf16"
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").glob("arms/*/trial.json")}
    monkeypatch.setattr("keeptune.models.precision.cpu_has_bf16", lambda: False)
    again = run(values | settings, tmp_path / "study", data)
    assert again.manifest.precision == "bfloat16"
    assert again.arms == first.arms
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    settled = json.loads((tmp_path / "study" / "settled.json").read_text())
    assert settled["precision"] == "bf16"
    assert run(values | settings, tmp_path / "other", data).manifest.precision == "float32"


def test_a_study_that_began_padded_goes_on_padded(
    data: Path, taught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that began flat says so where that is no longer possible."""
    values, engine = recipe(taught_folder), "keeptune.models.language_model.choose_engine"
    with monkeypatch.context() as patch:
        patch.setattr(engine, lambda lm: PaddedEngine())
        assert opened(values, tmp_path / "padded", data)[1].lm.engine.name == "padded"
    workplace = opened(values, tmp_path / "padded", data)[1]
    assert workplace.lm.engine.name == "padded"
    assert not any("differ in rounding" in line for line in workplace.messages.warnings)
    assert opened(values, tmp_path / "flat", data)[1].lm.engine.name == "flat"
    monkeypatch.setattr(engine, lambda lm: PaddedEngine())
    workplace = opened(values, tmp_path / "flat", data)[1]
    assert workplace.lm.engine.name == "padded"
    assert any("differ in rounding" in line for line in workplace.messages.warnings)


def test_train_rows_that_a_suite_asks_are_refused_or_left_out(data: Path, taught_folder: Path, tmp_path: Path) -> None:
    long = [{"text": f"{i} is a number in a sentence of nine words", "answer": "yes"} for i in range(60)]
    for name in ("one", "two"):
        rows = [{**row, "split": "test" if (i < 30) == (name == "two") else "train"} for i, row in enumerate(long)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ends = {"retain": [entry("two", split={})], "held_out": [], "arms": ["prompt", "lora"]}
    values = recipe(taught_folder, target=entry("one", split={}), **ends)
    with pytest.raises(DataError, match="train rows are asked by another task") as caught:
        opened(values, tmp_path / "run", tmp_path)
    assert "on_leak: drop" in caught.value.remedy
    mended = {**values, "target": [entry("one", split={"on_leak": "drop"}), entry("three")]}
    (tmp_path / "three.jsonl").write_text((data / "noun.jsonl").read_text())
    prepared, workplace = opened(mended, tmp_path / "run", tmp_path)
    asked = {example.fields["text"] for example in prepared.suites[0].splits.test}
    assert not asked & {example.fields["text"] for example in prepared.targets[0].splits.train}
    assert "left out of training" in workplace.messages.warnings[0]


@pytest.mark.parametrize(
    ("arms", "drawn_on"),
    [(["full+guard", "lora+self-replay"], False), (["lora+replay:20%"], True), (["full+ewc+interpolate"], True)],
)
def test_rows_to_replay_are_not_those_that_another_task_asks(
    arms: list[str], drawn_on: bool, data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    numbers = {
        "kept": {"train": range(50), "validation": range(50, 70), "test": range(70, 90)},
        "other": {"train": range(100, 120), "validation": range(10, 20), "test": range(20, 40)},
    }
    for name, parts in numbers.items():
        rows = [
            {"text": f"{i} is a number in a sentence of nine words", "answer": "yes", "split": part}
            for part, chosen in parts.items()
            for i in chosen
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "colour.jsonl").write_text((data / "colour.jsonl").read_text())

    def built(on_leak: str) -> tuple[Prepared, Workplace]:
        kept = entry("kept", split={"on_leak": on_leak})
        values = recipe(taught_folder, retain=[kept], arms=arms, curve=None, held_out=[entry("other")])
        return opened(values, tmp_path / "run", tmp_path)

    if not drawn_on:
        assert len(built("error")[0].suites[0].splits.train) == 50
        return
    with pytest.raises(DataError, match=r"kept: 30 train rows are asked by another task.*= (validation|test) of other"):
        built("error")
    prepared, workplace = built("drop")
    warnings = workplace.messages.warnings
    assert any("kept: 30 train rows" in line and "left out of training" in line for line in warnings)
    left = prepared.suites[0].splits.train
    assert {int(row.fields["text"].split()[0]) for row in left} == {*range(10), *range(40, 50)}
    assert {row.id for row in workplace.data.rehearsal_rows(0)["kept"]} == {row.id for row in left}


def test_remedies_draw_on_texts_of_the_base_and_on_a_file(data: Path, taught_folder: Path, tmp_path: Path) -> None:
    arms = ["full", "full+replay:20%", "full+self-replay:20%", "full+self-ewc", "full+text-replay:20%+text-ewc"]
    (tmp_path / "book.txt").write_text("an apple a day, said the dog in the room. " * 40)
    changes = {
        "arms": arms,
        "rehearsal": {"text": str(tmp_path / "book.txt"), "rows": 20, "tokens": 12},
        "train": {"epochs": 1, "max_steps": 2, "global_batch": 32},
        "full": {"learning_rates": [1e-3]},
        "seeds": [0],
        "curve": None,
        "held_out": [],
        "checkpoints": False,
    }
    summary = run(recipe(taught_folder, **changes), tmp_path / "run", data)
    assert {card.source: card.arms for card in summary.rehearsal} == {
        "train rows of what is to be kept": ("full+replay:20%",),
        "texts that the base writes": ("full+replay:20%", "full+self-replay:20%", "full+self-ewc"),  # for the prose
        "a file of unlabelled text": ("full+text-ewc+text-replay:20%",),
    }
    suites, own, text = summary.rehearsal
    assert suites.rows.keys() == {"kept", "self"} and own.rows == {"self": 20} and text.rows == {"text": 20}
    assert text.example.removeprefix("<s>").startswith("an apple a day")
    assert (tmp_path / "run" / "base" / "texts.json").is_file()
    drift = {arm.arm: arm.drift.kl for arm in summary.arms if arm.drift}
    assert len(set(drift.values())) == len(arms)  # every source makes another training of it
    report = (tmp_path / "run" / "report.html").read_text()
    assert "What remedies drew on: texts that the base writes" in report


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sequence": {"orders": [["colour", "nouns"]]}}, "'nouns' is no target"),
        ({"retain": "none", "arms": ["full+ewc"]}, "needs retained suites"),
        ({"retain": "none", "arms": ["full+guard"]}, "needs retained suites"),
    ],
)
def test_what_would_fail_late_is_refused_early(
    changes: dict[str, Any], said: str, data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    values = recipe(taught_folder, target=[entry("colour"), entry("noun")], held_out=[], curve=None, **changes)
    with pytest.raises(ConfigError, match=said):
        opened(values, tmp_path, data)


def choices(folder: Path, summary: Summary) -> dict[str, Any]:
    return {
        "chosen": summary.recommendation.chosen,
        "arms": [(arm.arm, arm.lr, arm.alpha, arm.shots) for arm in summary.arms],
        "best prompting": [arm.name for arm in summary.arms if arm.note],
        "checkpoints": {
            path.parent.name: read_json(path, TrialRecord).best_step for path in folder.glob("arms/*/trial.json")
        },
        "paths": {path.parent.name: read_json(path, SweepRecord) for path in folder.glob("arms/*/sweep.json")},
        "frontier": summary.frontier,
    }


def test_no_test_item_influences_a_choice(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test scores dealt out anew at random: rates, checkpoints, shots, points and guards stay as they were."""
    real = EvaluationCache.evaluate
    deal = np.random.default_rng(0)

    def shuffled(self: EvaluationCache, lm: Any, task: Any, part: str, **settings: Any) -> Evaluation:
        found = real(self, lm, task, part, **settings)  # type: ignore[arg-type]
        if part != "test":
            return found
        scores = deal.random(len(found.items)).round()
        items = [
            item.model_copy(update={"score": float(s) + 0.5 * (item.weight != 1)})
            for item, s in zip(found.items, scores, strict=True)
        ]
        return found.model_copy(update={"items": tuple(items)})

    monkeypatch.setattr(EvaluationCache, "evaluate", shuffled)
    other = run(recipe(taught_folder), tmp_path / "study", data)
    assert [arm.target for arm in other.arms] != [arm.target for arm in finished[1].arms]
    assert choices(tmp_path / "study", other) == choices(*finished)


@pytest.mark.slow
def test_processes_do_what_one_process_does(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    other = run(recipe(taught_folder, workers=2, budget="2h"), tmp_path / "study", data)
    assert choices(tmp_path / "study", other) == choices(*finished)
    for one, two in zip(finished[1].arms, other.arms, strict=True):
        assert one.target == two.target
        assert one.suites == two.suites


def test_an_error_in_a_process_keeps_its_family(data: Path, taught_folder: Path, tmp_path: Path) -> None:
    values = recipe(taught_folder, workers=2, arms=["full"], curve=None, held_out=[], seeds=[0])
    prepared, workplace = opened(values, tmp_path / "study", data)
    runner = choose_runner(prepared, workplace)
    try:
        with pytest.raises(ConfigError, match="10000 demonstrations are asked for") as caught:
            runner.run([ScoreBase("colour", "test", shots=10_000)], Everything(prepared.config))
    finally:
        runner.close()
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_study_that_outruns_its_budget_ends_with_what_the_plan_keeps(
    data: Path, taught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings planned at 10 s (replay: 12.5 s) take a minute of a clock that only they move."""
    trained: list[str] = []

    real = Train.perform

    def a_minute(self: Train, workplace: Workplace) -> bool:
        newly_done = real(self, workplace)
        trained.extend([self.trial.name] * newly_done)
        return newly_done

    needs = Needs(seconds_per_token=1e-3, seconds_per_step=0.0, memory_bytes=None)
    expected = Estimates({"full": needs, "lora": needs}, 1, 84, 6, 10_000, 0.0, 0.0, 0)
    monkeypatch.setattr("keeptune.study.schedule.plan.estimate", lambda *given: expected)
    monkeypatch.setattr(Train, "perform", a_minute)
    monkeypatch.setattr("keeptune.study.run.time", SimpleNamespace(monotonic=lambda: 60.0 * len(trained)))
    arms = ["prompt", "full", "full+replay:20%", "lora"]
    changes = {"arms": arms, "curve": {"sizes": [20], "arms": ["lora"]}, "held_out": [], "checkpoints": False}
    values = recipe(taught_folder, budget="100s", **changes)
    summary = run(values, tmp_path / "study", data)
    assert trained == ["full-lr0.0001-seed0", "lora-lr0.001-seed0"]
    late = ("20 examples of the learning curve", "the highest rates", "full+replay:20%")
    assert {(plan.dropped, plan.late) for plan in summary.plans} == {(("seed 1", *late), late)}
    assert [plan.trials for plan in summary.plans] == [1, 0, 1]
    reasons = {arm.arm: arm.not_run for arm in summary.arms if arm.family != "prompt"}
    assert reasons == {
        "full": None,
        "lora": None,
        "full+replay:20%": "jobs took longer than planned, and the budget has no time for it",
    }
    assert summary.seeds == (0,) and summary.recommendation.headline
    dropped, overrun = (line for line in summary.warnings if line.startswith("budget"))
    assert "6.0 times as long as planned" in dropped and dropped.endswith(f"not run: {', '.join(late)}")
    assert overrun == "budget: the study took 20 s longer than 100s"
    assert "not run: jobs took longer than planned" in (tmp_path / "study/report.html").read_text()
    again = run(values, tmp_path / "study", data)
    assert len(trained) == 2
    assert (again.plans, again.arms) == (summary.plans, summary.arms)


@pytest.mark.slow
def test_killed_twice_and_continued(
    finished: tuple[Path, Summary], data: Path, taught_folder: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle of an arm, twice; the same scores and verdicts in the end."""
    folder, file = tmp_path / "study", tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(taught_folder)))
    command = [sys.executable, "-m", "keeptune", "study", str(file), "--data", str(data), "--out", str(folder)]
    for wanted in (2, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy())
        deadline = time.monotonic() + 120
        while len(list(folder.glob("arms/*/trial.json"))) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    summary = run(recipe(taught_folder), folder, data)
    assert choices(folder, summary) == choices(*finished)
    for one, two in zip(finished[1].arms, summary.arms, strict=True):
        assert (one.target, one.suites) == (two.target, two.suites)
    assert summary.recommendation.arm == finished[1].recommendation.arm


def test_a_sequence_fills_its_matrix(data: Path, taught_folder: Path, tmp_path: Path) -> None:
    values = recipe(
        taught_folder,
        target=[entry("colour"), entry("noun")],
        retain="none",
        arms=["prompt"],
        curve=None,
        held_out=[],
        sequence={"orders": [["noun", "colour"], ["colour", "noun"]], "arms": ["full", "lora", "full+replay:20%"]},
        seeds=[0],
    )
    summary = run(values, tmp_path / "study", data)
    assert [(each.arm, each.order) for each in summary.sequences] == [
        (arm, order)
        for order in (("noun", "colour"), ("colour", "noun"))
        for arm in ("full", "lora", "full+replay:20%")
    ]
    for each in summary.sequences:
        matrix = np.array(each.matrix)
        assert matrix.shape == (3, 2)
        assert each.average_accuracy.mean == pytest.approx(matrix[-1].mean())
        assert each.backward_transfer.mean == pytest.approx(matrix[2, 0] - matrix[1, 0])
    base = {order: np.array(each.matrix)[0] for each in summary.sequences for order in [each.order]}
    assert base["noun", "colour"] == pytest.approx(base["colour", "noun"][::-1])
    full, replayed = (each for each in summary.sequences if each.order[0] == "noun" and each.arm.startswith("full"))
    assert full.matrix[1] == replayed.matrix[1]  # nothing to replay yet
    again = run(values, tmp_path / "study", data)
    assert again.sequences == summary.sequences


def test_the_record_of_an_arm_says_what_it_is(finished: tuple[Path, Summary]) -> None:
    folder, summary = finished
    for arm in summary.arms:
        record = read_json(folder / "arms" / arm.name / "arm.json", ArmRecord)
        assert (record.arm or "") == arm.arm
        assert record.label == arm.label


def test_an_error_in_training_leaves_the_base_and_ends_the_study(
    data: Path, taught_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-trained weights in the base's place would spoil every arm that follows."""
    _, workplace = opened(recipe(taught_folder, arms=["full", "lora"], curve=None), tmp_path / "study", data)
    MeasureBaseline().perform(workplace)
    before, known = hash_parameters(workplace.lm.model), workplace.lm.hash
    real, calls = loop.train_step, []

    def fails(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise OSError("the disk is full")
        return real(*given)

    monkeypatch.setattr(loop, "train_step", fails)
    for arm in workplace.config.training_arms:
        calls.clear()
        with pytest.raises(OSError, match="full"):
            Train(Trial(arm, 1e-2, 0)).perform(workplace)
        assert hash_parameters(workplace.lm.model) == before
        assert workplace.lm.hash == known
        assert not list((tmp_path / "study").glob("arms/*/trial.json"))


def test_nothing_runs_after_a_job_that_failed(data: Path, taught_folder: Path, tmp_path: Path) -> None:
    values = recipe(taught_folder, workers=2, arms=["full"], curve=None, held_out=[], seeds=[0])
    prepared, workplace = opened(values, tmp_path / "study", data)
    MeasureBaseline().perform(workplace)
    runner = choose_runner(prepared, workplace)
    trials = [Trial(prepared.config.training_arms[0], lr, 0) for lr in (1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4)]
    try:
        with pytest.raises(ConfigError):
            runner.run([ScoreBase("colour", "test", shots=10_000), *map(Train, trials)], Everything(prepared.config))
    finally:
        runner.close()
    done = len(list((tmp_path / "study").glob("arms/*/trial.json")))
    time.sleep(3)
    assert len(list((tmp_path / "study").glob("arms/*/trial.json"))) == done < len(trials)
