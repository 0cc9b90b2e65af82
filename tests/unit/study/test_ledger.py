"""What is read back of a training where the recipe now has other margins."""

from __future__ import annotations

from pathlib import Path

import pytest
from planned import config

from keeptune.core.records import Costs, write_json
from keeptune.recipe.arms import Arm
from keeptune.study.ledger import Ledger
from keeptune.study.records import (
    Checkpoint,
    SuiteScores,
    SweepPoint,
    SweepRecord,
    TrialRecord,
    ValidationScores,
)
from keeptune.study.trial import Trial

TRIAL = Trial(Arm.of("lora", config()), 1e-3, 0)


def ledger(folder: Path, margin: float, *, checkpoints: bool = False) -> Ledger:
    recipe = config(checkpoints=checkpoints)
    return Ledger(folder, recipe, ["model"], [], [margin], ["orders"], ["addition"], [])


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A training and a sweep under a margin of ten points; the suite lost three, give or take one."""
    suite = SuiteScores(suite="addition", margin=0.1, change=-0.03, error=0.01, scores=(1.0, 0.0))
    seen = ValidationScores(target=(1.0, 0.0), suites=(suite,))
    books = ledger(tmp_path, 0.1)
    record = TrialRecord(
        key=books.trial_key(TRIAL),
        name=TRIAL.name,
        arm="lora",
        label="LoRA",
        method="lora",
        lr=1e-3,
        seed=0,
        examples=1,
        validation=seen,
        validation_loss=None,
        diverged=False,
        best_step=1,
        steps=1,
        costs=Costs(),
        checkpoints=(Checkpoint(step=1, validation_loss=1.0, validation=seen),),
    )
    write_json(books.trial_folder(TRIAL) / "trial.json", record)
    sweep = SweepRecord(key=books.trial_key(TRIAL), points=(SweepPoint(alpha=0.5, validation=seen),))
    write_json(books.trial_folder(TRIAL) / "sweep.json", sweep)
    return tmp_path


def test_what_was_trained_under_another_margin_is_judged_by_the_recipes(trained: Path) -> None:
    wide, narrow = (ledger(trained, margin).at_margins({"addition": margin}) for margin in (0.1, 0.02))
    for books, tier in ((wide, 0), (narrow, 2)):
        record = books.trial(TRIAL)
        assert books.has_trial(TRIAL)
        assert record.validation.tier == record.checkpoints[0].validation.tier == tier
        assert books.sweep(TRIAL).points[0].validation.tier == tier
    assert narrow.trial(TRIAL).validation.room == pytest.approx(-1.5)


@pytest.mark.parametrize("margins", [{}, {"addition": 0.1, "prose": 0.05}])
def test_a_training_is_done_again_where_other_suites_can_lose_something(
    trained: Path, margins: dict[str, float]
) -> None:
    """Whether they can depends on the margins, too: of those that could not nothing was scored."""
    assert ledger(trained, 0.1).has_trial(TRIAL)
    assert not ledger(trained, 0.1).at_margins(margins).has_trial(TRIAL)


def test_a_training_whose_checkpoints_margins_choose_between_depends_on_them(tmp_path: Path) -> None:
    keys = {ledger(tmp_path, margin, checkpoints=True).trial_key(TRIAL) for margin in (0.1, 0.02)}
    assert len(keys) == 2
    assert len({ledger(tmp_path, margin).trial_key(TRIAL) for margin in (0.1, 0.02)}) == 1
