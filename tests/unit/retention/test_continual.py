"""The score matrix and its four numbers, against loops in plain Python and known cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeptune.core.errors import DataError
from keeptune.core.records import SequenceSummary
from keeptune.retention.binary import tango_lower, wilson, z_quantile
from keeptune.retention.bootstrap import cluster_bootstrap, multiplicities, resample
from keeptune.retention.continual import score_matrix, sequence_summary
from keeptune.retention.intervals import mean_interval

Scores = list[list[np.ndarray]]
NUMBERS = ("average_accuracy", "backward_transfer", "forward_transfer", "forgetting")


def summary(scores: Scores, clusters: list[np.ndarray] | None = None, **options: Any) -> SequenceSummary:
    names = clusters if clusters is not None else [np.arange(len(items)) for items in scores[0]]
    order = [f"task{i}" for i in range(len(scores[0]))]
    return sequence_summary(scores, names, order=order, arm="lora", label="LoRA", seed=3, **options)


def draw(rng: np.random.Generator, matrix: np.ndarray, n: int = 200) -> Scores:
    """Binary items with the given means in expectation; each item has its own difficulty, so that rows are paired."""
    levels = [rng.random(n) for _ in range(matrix.shape[1])]
    return [[(levels[i] < row[i]).astype(float) for i in range(len(row))] for row in matrix]


def by_definition(matrix: np.ndarray) -> tuple[float, ...]:
    """The formulae of the docstring, with tasks and stages numbered from 1."""
    last = matrix.shape[1]
    score = {(t, i): float(matrix[t, i - 1]) for t in range(last + 1) for i in range(1, last + 1)}
    earlier, later = range(1, last), range(2, last + 1)
    return (
        sum(score[last, i] for i in range(1, last + 1)) / last,
        sum(score[last, i] - score[i, i] for i in earlier) / (last - 1),
        sum(score[i - 1, i] - score[0, i] for i in later) / (last - 1),
        sum(max(score[t, i] for t in range(last)) - score[last, i] for i in earlier) / (last - 1),
    )


def means(found: SequenceSummary) -> tuple[float, ...]:
    return tuple(getattr(found, name).mean for name in NUMBERS)


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_numbers_follow_their_definitions(tasks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = draw(rng, rng.random((tasks + 1, tasks)), n=40)
    found = summary(scores, resamples=200)
    np.testing.assert_allclose(found.matrix, score_matrix(scores))
    assert means(found) == pytest.approx(by_definition(score_matrix(scores)))
    assert found.forgetting.mean >= -found.backward_transfer.mean - 1e-12
    for name in NUMBERS:
        estimate = getattr(found, name)
        assert estimate.interval.low <= estimate.mean <= estimate.interval.high
        assert estimate.interval.low < estimate.interval.high


@settings(max_examples=10)
@given(st.integers(2, 4), st.integers(0, 10_000))
def test_a_constant_matrix_neither_transfers_nor_forgets(tasks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = [(rng.random(60) < 0.5).astype(float) for _ in range(tasks)]
    found = summary([row] * (tasks + 1), resamples=200)
    assert means(found)[1:] == (0.0, 0.0, 0.0)
    assert found.backward_transfer.interval.low < 0 < found.backward_transfer.interval.high  # no flips, yet a width


def plain_t(
    scores: Scores, task_codes: list[np.ndarray], contrasts: dict[int, list[np.ndarray]], counts: dict[int, np.ndarray]
) -> tuple[float, float]:
    """One resample by writing out the drawn clusters: (number*, standard error*)."""
    number, variance = 0.0, 0.0
    for task, rows in contrasts.items():
        codes = task_codes[task]
        drawn = np.repeat(np.arange(len(counts[task])), counts[task].astype(int))
        best, best_variance = -math.inf, 0.0
        for weights in rows:
            items = sum(w * scores[t][task] for t, w in enumerate(weights))
            num = np.array([items[codes == c].sum() for c in drawn])
            den = np.array([(codes == c).sum() for c in drawn], dtype=float)
            theta = num.sum() / den.sum()
            if theta > best:
                k = len(drawn)
                best, best_variance = theta, k / (k - 1) * ((num - theta * den) ** 2).sum() / den.sum() ** 2
        number += best / len(contrasts)
        variance += best_variance / len(contrasts) ** 2
    return number, math.sqrt(variance)


@pytest.mark.parametrize("name", ["backward_transfer", "forgetting"])
def test_vectorised_resamples_equal_drawn_clusters(name: str) -> None:
    from keeptune.retention import continual

    rng = np.random.default_rng(4)
    tasks, resamples = 3, 30
    scores = [[rng.random(90) for _ in range(tasks)] for _ in range(tasks + 1)]
    codes = [np.sort(rng.integers(0, 35, 90)) for _ in range(tasks)]
    codes = [np.unique(c, return_inverse=True)[1] for c in codes]
    contrasts = continual._contrasts(tasks)[name]
    draws = {
        i: np.concatenate(list(multiplicities(codes[i].max() + 1, resamples, continual._task_seed(0, i))))
        for i in contrasts
    }
    plain = [
        plain_t(scores, codes, {i: list(rows) for i, rows in contrasts.items()}, {i: draws[i][r] for i in contrasts})
        for r in range(resamples)
    ]
    parts = [
        continual._resampled(
            continual._sums([row[i] for row in scores], codes[i]),
            {name: rows},
            resamples,
            continual._task_seed(0, i),
        )[name]
        for i, rows in contrasts.items()
    ]
    boot = continual._pooled(parts, (-1.0, 1.0))
    expected = sorted((number - boot.estimate) / se for number, se in plain)
    np.testing.assert_allclose(boot.t, expected, rtol=1e-8)


def test_resample_equals_one_column_at_a_time() -> None:
    rng = np.random.default_rng(5)
    residual, den = rng.normal(size=(40, 3)), rng.uniform(1, 3, 40)
    shift, variance = resample(residual, den, 300, 1)
    for column in range(3):
        one = resample(residual[:, column : column + 1], den, 300, 1)
        np.testing.assert_allclose(shift[:, column], one[0][:, 0])
        np.testing.assert_allclose(variance[:, column], one[1][:, 0])


def test_two_tasks_agree_with_the_bootstrap_of_one_difference() -> None:
    """With two tasks backward transfer is one paired difference: that of task 1 between the last two rows."""
    rng = np.random.default_rng(6)
    scores = draw(rng, np.array([[0.2, 0.3], [0.8, 0.3], [0.6, 0.9]]), n=400)
    found = summary(scores).backward_transfer
    boot = cluster_bootstrap(scores[2][0] - scores[1][0], np.arange(400))
    low, high = boot.interval()
    assert found.mean == pytest.approx(boot.estimate)
    assert (found.interval.low, found.interval.high) == (pytest.approx(low, abs=0.003), pytest.approx(high, abs=0.003))


def test_clusters_within_tasks_widen() -> None:
    rng = np.random.default_rng(7)
    matrix = np.array([[0.2, 0.2], [0.9, 0.3], [0.5, 0.9]])
    scores = [[np.repeat(items, 8) for items in row] for row in draw(rng, matrix, n=50)]
    alone = summary(scores).backward_transfer.interval
    together = summary(scores, [np.repeat(np.arange(50), 8)] * 2).backward_transfer.interval
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_intervals_cover_backward_transfer() -> None:
    """Two-sided 95 % intervals over 300 draws; binomial noise allows 92.5 to 97.5 %."""
    rng = np.random.default_rng(8)
    matrix = np.array([[0.2, 0.2, 0.2], [0.8, 0.2, 0.3], [0.7, 0.8, 0.3], [0.6, 0.7, 0.9]])
    covered = 0
    for _ in range(300):
        found = summary(draw(rng, matrix, n=120), resamples=500).backward_transfer
        covered += found.interval.low <= -0.15 <= found.interval.high
    assert 0.925 <= covered / 300 <= 0.975


def test_tasks_are_drawn_independently() -> None:
    """Two tasks with the same scores: the interval of their mean is narrower by the root of two."""
    items = np.random.default_rng(12).random(200)
    found = summary([[items, items]] * 3).average_accuracy.interval
    low, high = mean_interval(items, np.arange(200))
    assert found.high - found.low == pytest.approx((high - low) / math.sqrt(2), rel=0.05)


def test_quiet_scores_are_as_uncertain_as_their_items() -> None:
    row = [np.ones(60), np.ones(60), np.ones(60)]
    found = summary([row] * 4)
    z = z_quantile(0.975)
    assert found.average_accuracy.interval.low == pytest.approx(wilson(1.0, 180, z)[0])
    quiet = found.backward_transfer.interval  # over the first two tasks
    assert (quiet.low, quiet.high) == (pytest.approx(tango_lower(0, 0, 120, z)), pytest.approx(-quiet.low))


def test_what_the_base_knew_can_be_forgotten() -> None:
    known, unknown = np.ones(50), np.zeros(50)
    found = summary([[known, unknown], [unknown, unknown], [unknown, known]])
    assert (found.forgetting.mean, found.backward_transfer.mean) == (1.0, 0.0)


def test_few_clusters_and_one_cluster() -> None:
    rng = np.random.default_rng(9)
    matrix = np.array([[0.2, 0.2], [0.9, 0.3], [0.5, 0.9]])
    scores = draw(rng, matrix, n=60)
    few = summary(scores, [np.repeat(np.arange(6), 10), np.arange(60)]).backward_transfer
    assert few.interval.high - few.interval.low > 0
    one = summary(scores, [np.zeros(60), np.arange(60)]).backward_transfer
    assert (one.interval.low, one.interval.high) == (-1.0, 1.0)


def test_record_carries_the_sequence() -> None:
    rng = np.random.default_rng(10)
    found = summary(draw(rng, np.full((3, 2), 0.5), n=30), resamples=100)
    assert (found.arm, found.label, found.order, found.n, found.seed) == (
        "lora",
        "LoRA",
        ("task0", "task1"),
        (30, 30),
        3,
    )
    assert SequenceSummary.model_validate_json(found.model_dump_json()) == found
    assert summary(draw(np.random.default_rng(10), np.full((3, 2), 0.5), n=30), resamples=100) == found


def test_refuses_what_is_no_sequence() -> None:
    rng = np.random.default_rng(11)
    scores = draw(rng, np.full((3, 2), 0.5), n=30)
    with pytest.raises(DataError, match="two tasks or more"):
        summary([[scores[0][0]], [scores[1][0]]])
    with pytest.raises(DataError, match="3 rows"):
        summary(scores[:2])
    with pytest.raises(DataError, match="the same items"):
        summary([scores[0], scores[1], [scores[2][0][:20], scores[2][1]]])
    with pytest.raises(DataError, match="not a finite number"):
        summary([scores[0], scores[1], [scores[2][0] * np.nan, scores[2][1]]])
