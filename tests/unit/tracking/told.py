"""A study that never ran, told to a tracker as `study.run` tells it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keeptune.core.records import StepRecord, Summary, ValidationRecord, write_json
from keeptune.tracking.base import ArmScores, Run, StudyRun, Tracker

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import fixture_summary

SETTINGS = {"model": "builtin", "arms": ["prompt", "lora"], "seeds": [0], "train": {"epochs": 3}}
LOSSES = (2.5, 2.0, 1.5)


def tell(watching: Tracker, training: Tracker, folder: Path) -> tuple[Summary, str]:
    """What the process of a study and a process that trains tell their trackers; the summary, and the arm told of.

    The arm is the first one of the summary that was judged.
    """
    summary = fixture_summary.study()
    arm = next(arm for arm in summary.arms if arm.suites)
    summary = summary.model_copy(
        update={"arms": tuple(a.model_copy(update={"folder": f"arms/{a.name}"}) for a in summary.arms)}
    )
    place = folder / "arms" / arm.name
    place.mkdir(parents=True)
    for name in (other.name for other in summary.arms):
        (folder / "arms" / name).mkdir(exist_ok=True)
    study = StudyRun(folder, SETTINGS)
    watching.on_study_start(study)
    method: Any = SimpleNamespace(describe=lambda: "LoRA r=16")
    nothing: Any = None
    run = Run(nothing, method, place, len(LOSSES), arm=arm.arm, lr=1e-3, seed=0, settings={"epochs": 3})
    training.on_start(run)
    for step, loss in enumerate(LOSSES, 1):
        record = StepRecord(step=step, loss=loss, lr=1e-3, grad_norm=1, tokens=300, trained_tokens=10, seconds=0.5)
        training.after_step(run, record)
    training.after_validation(run, ValidationRecord(step=3, loss=1.25, best=True))
    training.on_end(run)
    watching.after_test(study, ArmScores(arm.name, arm.arm, place, 1e-3, 0, {"orders": 0.75}, {"triage": 0.5}))
    write_json(folder / "summary.json", summary)
    (folder / "report.html").write_text("<p>report</p>")
    watching.on_study_end(study, summary)
    return summary, arm.name
