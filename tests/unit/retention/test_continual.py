"""The score matrix and its four numbers, against loops in plain Python and known cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from keeptune.core.errors import DataError
from keeptune.core.records import SequenceSummary
from keeptune.retention.binary import tango_lower, wilson, z_quantile
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


def draw_apart(rng: np.random.Generator, matrix: np.ndarray, n: int) -> Scores:
    """The same, but every stage answers anew: nothing is paired, so that the maximum has most room to be lucky."""
    return [[(rng.random(n) < mean).astype(float) for mean in row] for row in matrix]


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
    found = summary(scores)
    np.testing.assert_allclose(found.matrix, score_matrix(scores))
    expected = by_definition(score_matrix(scores))
    assert means(found)[:3] == pytest.approx(expected[:3])
    assert found.forgetting.mean <= expected[3] + 1e-12  # cross-fitted: the best stage of one half, seen on the other
    for name in NUMBERS:
        estimate = getattr(found, name)
        assert estimate.interval.low <= estimate.mean <= estimate.interval.high
        assert estimate.interval.low < estimate.interval.high


@settings(max_examples=10)
@given(st.integers(2, 4), st.integers(0, 10_000))
def test_a_constant_matrix_neither_transfers_nor_forgets(tasks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = [(rng.random(60) < 0.5).astype(float) for _ in range(tasks)]
    found = summary([row] * (tasks + 1))
    assert means(found)[1:] == (0.0, 0.0, 0.0)
    assert found.backward_transfer.interval.low < 0 < found.backward_transfer.interval.high  # no flips, yet a width


def test_two_tasks_agree_with_the_change_of_one_difference() -> None:
    """With two tasks backward transfer is one paired difference: that of task 1 between the last two rows."""
    rng = np.random.default_rng(6)
    scores = draw(rng, np.array([[0.2, 0.3], [0.8, 0.3], [0.6, 0.9]]), n=400)
    found = summary(scores).backward_transfer
    difference = scores[2][0] - scores[1][0]
    expected = ttest_1samp(difference, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(difference.mean())
    assert (found.interval.low, found.interval.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_forgetting_of_nothing_is_seldom_seen() -> None:
    """No task loses anything after it was learned; five stages give the maximum room to be lucky."""
    rng = np.random.default_rng(8)
    matrix = np.array([[0.2] * 5] + [[0.7 if i < t else 0.2 for i in range(5)] for t in range(1, 6)])
    above = sum(summary(draw_apart(rng, matrix, n=100)).forgetting.interval.low > 0 for _ in range(400))
    assert above / 400 <= 0.035  # 2.5 % and chance


def test_forgetting_that_is_there_is_seen() -> None:
    rng = np.random.default_rng(9)
    matrix = np.array([[0.2, 0.2, 0.2], [0.8, 0.2, 0.3], [0.7, 0.8, 0.3], [0.6, 0.7, 0.9]])
    covered = 0
    for _ in range(300):
        found = summary(draw(rng, matrix, n=120)).forgetting
        covered += found.interval.low <= 0.15 <= found.interval.high
    assert covered / 300 >= 0.925


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
        found = summary(draw(rng, matrix, n=120)).backward_transfer
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
    found = summary(draw(rng, np.full((3, 2), 0.5), n=30))
    assert (found.arm, found.label, found.order, found.n, found.seed) == (
        "lora",
        "LoRA",
        ("task0", "task1"),
        (30, 30),
        3,
    )
    assert SequenceSummary.model_validate_json(found.model_dump_json()) == found
    assert summary(draw(np.random.default_rng(10), np.full((3, 2), 0.5), n=30)) == found


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
