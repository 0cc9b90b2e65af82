from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keeptune.core.records import ValidationRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.methods.config import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.config import TrainConfig
from keeptune.train.loop import fit
from keeptune.train.remedies.config import GuardConfig
from keeptune.train.step import mean_nll


def test_a_refused_checkpoint_ends_training_and_is_not_kept(
    tiny: LanguageModel, random_rows: Callable[..., list[Encoded]], tmp_path: Path
) -> None:
    rows, asked = random_rows(8), []

    def check(lm: LanguageModel) -> bool:
        assert not lm.model.training
        asked.append(mean_nll(lm, rows, 4096))
        return len(asked) < 3

    guard = GuardConfig().build(check)
    config = TrainConfig(epochs=6, global_batch=4)
    result = fit(tiny, FullConfig().build(), rows, rows, config, tmp_path, lr=3e-3, remedies=[guard])
    assert (result.steps, result.best_step, result.diverged) == (6, 4, False)
    assert asked[2] < asked[1]  # it would have been the best
    assert result.best_loss == pytest.approx(asked[1])
    assert mean_nll(tiny, rows, 4096) == pytest.approx(asked[1])
    assert [r.step for r in read_records(tmp_path / "validation.jsonl", ValidationRecord)] == [0, 2, 4]
    assert guard.describe() == "guard"
