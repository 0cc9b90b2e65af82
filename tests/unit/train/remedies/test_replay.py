from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from keeptune.core.config import validate
from keeptune.core.errors import ConfigError, DataError
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.base import RemedyInputs
from keeptune.train.remedies.replay import Replay, ReplayConfig
from keeptune.train.remedies.self_replay import SelfReplayConfig

Rows = Callable[..., list[Encoded]]


def rows_of(lengths: list[int], name: str = "row") -> list[Encoded]:
    """Rows with so many trained tokens."""
    return [
        Encoded(f"{name}{i}", (1,), (5,) * n) if n < 3 else Encoded(f"{name}{i}", (1,), (5,) * (n + 2), ((1, 3),))
        for i, n in enumerate(lengths)
    ]


def trained(rows: list[Encoded]) -> int:
    return sum(row.trained for row in rows)


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)
runs = st.lists(lengths.map(rows_of), max_size=25)
shares = st.one_of(st.sampled_from([0.0, 0.0025, 0.01, 0.05, 0.25, 0.9]), st.floats(0, 0.95))


def mixed(remedy: Replay, steps: list[list[Encoded]], seed: int) -> Any:
    """The steps with replay; a case without any is not what is asked."""
    try:
        return remedy.steps(steps, seed)
    except DataError:
        reject()


def added(steps: list[list[Encoded]], mixed: list[list[Encoded]]) -> list[list[Encoded]]:
    """The replay rows of every step, after a look that the others are as they were."""
    assert len(mixed) == len(steps)
    for before, after in zip(steps, mixed, strict=True):
        assert list(after[: len(before)]) == before
    return [list(after[len(before) :]) for before, after in zip(steps, mixed, strict=True)]


@given(runs, lengths, shares, st.integers(0, 99))
def test_the_share_is_reached_to_within_a_row_at_every_step(
    steps: list[list[Encoded]], pool: list[int], share: float, seed: int
) -> None:
    old = rows_of(pool, "old")
    found = mixed(Replay({"old": old}, share), steps, seed)
    learned = replayed = 0
    for before, more in zip(steps, added(steps, found), strict=True):
        learned += trained(before)
        replayed += trained(more)
        owed = share / (1 - share) * learned
        assert abs(replayed - owed) <= max(pool) / 2 + 1e-6
        assert abs(replayed - share * (replayed + learned)) <= max(pool) / 2 + 1e-6  # as a share of the whole


@given(runs, lengths, st.integers(0, 99))
def test_no_share_no_change(steps: list[list[Encoded]], pool: list[int], seed: int) -> None:
    assert Replay({"old": rows_of(pool)}, 0).steps(steps, seed) is steps
    assert Replay({}, 0).steps(steps, seed) is steps


def test_nine_tenths() -> None:
    steps = [rows_of([3, 4]) for _ in range(50)]
    more = added(steps, Replay({"old": rows_of([7, 2, 5], "old")}, 0.9).steps(steps, 0))
    assert sum(map(trained, more)) / (350 + sum(map(trained, more))) == pytest.approx(0.9, abs=0.001)


def test_less_than_a_row_per_step_is_spread_evenly() -> None:
    steps = [rows_of([10] * 10) for _ in range(400)]  # 100 tokens each: 1 % is a tenth of a row of 10
    more = added(steps, Replay({"old": rows_of([10] * 9, "old")}, 0.01).steps(steps, 0))
    assert sum(map(len, more)) == 40
    where = [step for step, rows in enumerate(more, 1) if rows]
    assert {b - a for a, b in itertools.pairwise(where)} <= {9, 10}
    assert where[0] == 5  # half a row is owed after 4.95 steps


@given(lengths, shares, shares, st.integers(0, 99))
def test_which_rows_come_is_decided_by_the_seed(pool: list[int], one: float, other: float, seed: int) -> None:
    pools = {"b": rows_of(pool, "b"), "a": rows_of(pool[::-1], "a")}
    draw = random.Random(seed)
    runs = [[rows_of([draw.randint(1, 9)] * 3) for _ in range(draw.randint(0, 20))] for _ in range(2)]
    orders = [
        [row.id for rows in added(run, mixed(Replay(pools, share), run, seed)) for row in rows]
        for run, share in zip(runs, (one, other), strict=True)
    ]
    short, long = sorted(orders, key=len)
    assert long[: len(short)] == short
    turned = Replay(dict(reversed(pools.items())), one)
    assert turned.steps(runs[0], seed) == Replay(pools, one).steps(runs[0], seed) == turned.steps(runs[0], seed)


def test_a_share_too_small_for_a_single_row_is_refused() -> None:
    steps, old = [rows_of([10, 10])] * 3, rows_of([40, 40], "old")  # 60 tokens: 25 % are 20 of 80
    assert sum(map(len, added(steps, Replay({"old": old}, 0.25).steps(steps, 0)))) == 1
    with pytest.raises(DataError, match=r"20 % of 60 trained tokens are less than half a replay row of 40"):
        Replay({"old": old}, 0.2).steps(steps, 0)


def test_another_seed_is_another_order() -> None:
    steps, pools = [rows_of([10])] * 20, {"old": rows_of([5] * 30, "old")}
    assert Replay(pools, 0.5).steps(steps, 0) != Replay(pools, 0.5).steps(steps, 1)


def test_rows_of_the_pool_come_once_before_any_comes_again() -> None:
    steps, old = [rows_of([8, 8])] * 30, rows_of([1, 2, 3, 4, 5], "old")
    ids = [row.id for rows in added(steps, Replay({"old": old}, 0.4).steps(steps, 3)) for row in rows]
    passes = [ids[start : start + 5] for start in range(0, len(ids) - 4, 5)]
    assert len(passes) > 10
    assert all(len(set(each)) == 5 for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_sources_take_turns() -> None:
    """Whatever their sizes and the lengths of their rows."""
    pools = {"long": rows_of([40] * 3, "long"), "short": rows_of([2] * 500, "short"), "one": rows_of([7], "one")}
    steps = [rows_of([30, 20])] * 100
    given: Counter[str] = Counter()
    tokens = 0
    for rows in added(steps, Replay(pools, 0.3).steps(steps, 0)):
        for row in rows:
            given[row.id.rstrip("0123456789")] += 1
            tokens += row.trained
            assert max(given.values()) - min(given[name] for name in pools) <= 1
    assert tokens == pytest.approx(0.3 / 0.7 * 5000, abs=40)


def test_what_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to replay"):
        Replay({}, 0.1)
    with pytest.raises(DataError, match="'empty'.*nothing to replay"):
        Replay({"empty": []}, 0.1)
    with pytest.raises(DataError, match="no tokens to train on"):
        Replay({"old": [Encoded("x", (1, 2), ())]}, 0.1)
    for share in (1, -0.1, 5):
        with pytest.raises(ValueError, match="below 100%"):
            Replay({"old": rows_of([3])}, share)


@pytest.mark.parametrize(
    ("written", "share"),
    [("5%", 0.05), ("0.05", 0.05), (0.05, 0.05), (0, 0), ("0.25 %", 0.0025), (".9", 0.9), (1e-5, 1e-5)],
)
def test_shares_as_people_write_them(written: Any, share: float) -> None:
    config = validate(ReplayConfig, {"share": written})
    assert config.share == pytest.approx(share)
    assert ReplayConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.build(RemedyInputs(rehearsal_rows=lambda: {"old": rows_of([3])})).share == config.share


def test_description() -> None:
    old, own = {"old": rows_of([3])}, {"self": rows_of([4])}
    inputs = RemedyInputs(rehearsal_rows=lambda: old, self_generated_rows=lambda: own)
    replay, own_replay = ReplayConfig().build(inputs), SelfReplayConfig(share=0.0025).build(inputs)
    assert (replay.describe(), replay.pools) == ("replay 5 %", old)
    assert (own_replay.describe(), own_replay.pools) == ("self-replay 0.25 %", own)
    assert ReplayConfig().build(RemedyInputs(self_generated_rows=lambda: own)).pools == own  # where nothing is old


@pytest.mark.parametrize("written", ["100%", 1, 5, "-1%", "much", None, True])
def test_what_is_no_share_is_refused(written: Any) -> None:
    with pytest.raises(ConfigError, match="5% or 0.05"):
        validate(ReplayConfig, {"share": written})


def test_a_run_with_replay_trains_so_many_more_tokens(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    rows, old = random_rows(12), random_rows(5, seed=1)
    method = FullConfig().build()
    config = TrainConfig(epochs=4, global_batch=4, token_budget=100)
    result = fit(tiny, method, rows, (), config, tmp_path, lr=1e-4, remedies=[Replay({"old": old}, 0.5)])
    assert result.steps == 12
    most = max(len(row.completion_ids) for row in old)
    assert result.trained_tokens == pytest.approx(2 * 4 * trained(rows), abs=most / 2)
    tiny.restore(method)
