"""A loss that stands out is found, and the rows behind it are named with the worst first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keeptune.core.records import SpikeRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.spikes import MOST, Spikes, stands_out

CALM = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0, 2.1, 1.9, 2.0, 2.0]


@pytest.mark.parametrize(
    ("loss", "before", "usual"),
    [
        (4.0, CALM, 2.0),
        (2.3, CALM, None),  # within the noise
        (4.0, CALM[:5], None),  # too few steps to know what is usual
        (2.5, [1.0, 3.0] * 5, None),  # a loss that jumps all the time
        (0.5, CALM, None),  # a fall is no spike
        (0.08, [0.01] * 10, None),  # next to nothing, as before
        (0.2, [0.01] * 10, 0.01),
    ],
)
def test_a_spike_lies_far_above_the_steps_before(loss: float, before: list[float], usual: float | None) -> None:
    assert stands_out(loss, before) == usual


def test_at_most_a_few_spikes_are_named_and_the_count_goes_on_after_an_interruption() -> None:
    watched = Spikes()
    for loss in CALM:
        assert watched.add(loss) is None
    found = 0
    for _ in range(MOST + 2):
        resumed = Spikes()
        resumed.load_state_dict(watched.state_dict())
        watched = resumed
        found += watched.add(9.0) is not None
        for loss in CALM:
            watched.add(loss)
    assert found == MOST


def test_the_row_behind_a_spike_is_named(
    tiny: LanguageModel, random_rows: Callable[..., list[Encoded]], tmp_path: Path
) -> None:
    (row, other, odd) = random_rows(3)
    calm = [
        Encoded("calm", row.prompt_ids, row.completion_ids),
        Encoded("calm too", row.prompt_ids, row.completion_ids),
    ]
    rows = [*calm, Encoded("odd", odd.prompt_ids, odd.completion_ids), other]
    order = [[0, 1]] * 40 + [[0, 2]] + [[0, 1]] * 3
    config = TrainConfig(epochs=1, global_batch=2, warmup=0.0)
    fit(tiny, FullConfig().build(), rows, [], config, tmp_path, lr=3e-3, order=order)
    (spike,) = read_records(tmp_path / "spikes.jsonl", SpikeRecord)
    assert spike.step == 41
    assert spike.loss > 1.3 * spike.usual
    assert [each.id for each in spike.rows] == ["odd", "calm"]
    assert spike.rows[0].loss > spike.rows[1].loss
