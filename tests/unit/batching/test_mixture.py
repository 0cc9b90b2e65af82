from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keeptune.batching.mixture import MixtureConfig, mixture_order, passes, rates
from keeptune.core.config import validate
from keeptune.core.errors import ConfigError

COUNTS = {"large": 60_000, "middle": 2_500, "small": 40}
counts_of = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 10**6), min_size=1)


def flat(order: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(order))


def rows_of(counts: dict[str, int]) -> list[str]:
    return [task for task, count in counts.items() for _ in range(count)]


def test_the_default_is_flans_mixture() -> None:
    got = rates(COUNTS, MixtureConfig())
    total = 3000 + 2500 + 40
    assert got == pytest.approx({"large": 3000 / total, "middle": 2500 / total, "small": 40 / total})


def test_without_a_cap_rates_are_proportional() -> None:
    got = rates(COUNTS, MixtureConfig(cap=None))
    assert got == pytest.approx({task: count / 62_540 for task, count in COUNTS.items()})


def test_temperature_comes_after_the_cap() -> None:
    raw = {"large": math.sqrt(3000), "middle": math.sqrt(2500), "small": math.sqrt(40)}
    got = rates(COUNTS, MixtureConfig(rule="temperature", temperature=2))
    assert got == pytest.approx({task: value / sum(raw.values()) for task, value in raw.items()})


def test_equal_and_given_weights() -> None:
    assert rates(COUNTS, MixtureConfig(rule="equal")) == pytest.approx(dict.fromkeys(COUNTS, 1 / 3))
    weights = MixtureConfig(rule="weights", weights={"small": 3, "large": 1, "middle": 0})
    assert rates(COUNTS, weights) == {"large": 0.25, "middle": 0, "small": 0.75}


@given(counts_of, st.one_of(st.none(), st.integers(1, 10**6)))
def test_limits_of_cap_and_temperature(counts: dict[str, int], cap: int | None) -> None:
    proportional = rates(counts, MixtureConfig(cap=cap))
    equal = rates(counts, MixtureConfig(rule="equal"))
    assert rates(counts, MixtureConfig(rule="temperature", temperature=1, cap=cap)) == proportional
    assert rates(counts, MixtureConfig(rule="temperature", temperature=1e12, cap=cap)) == pytest.approx(equal)
    assert rates(counts, MixtureConfig(cap=1)) == pytest.approx(equal)
    assert rates(counts, MixtureConfig(cap=max(counts.values()))) == rates(counts, MixtureConfig(cap=None))


@given(counts_of, st.floats(1, 50), st.floats(1, 50), st.integers(1, 10**6))
def test_rates_are_shares_that_follow_size_and_flatten_with_temperature(
    counts: dict[str, int], one: float, other: float, cap: int
) -> None:
    cool, warm = (
        rates(counts, MixtureConfig(rule="temperature", temperature=t, cap=cap)) for t in sorted((one, other))
    )
    assert list(cool) == list(counts)
    for got in (cool, warm):
        assert math.fsum(got.values()) == pytest.approx(1)
        for a, b in itertools.combinations(counts, 2):
            assert (counts[a] - counts[b]) * (got[a] - got[b]) >= 0
    assert min(warm.values()) >= min(cool.values()) * (1 - 1e-9)
    assert max(warm.values()) <= max(cool.values()) * (1 + 1e-9)


@given(counts_of, st.randoms(use_true_random=False))
def test_the_order_in_which_tasks_are_named_does_not_matter(counts: dict[str, int], draw: Any) -> None:
    shuffled = list(counts.items())
    draw.shuffle(shuffled)
    assert rates(dict(shuffled), MixtureConfig()) == rates(counts, MixtureConfig())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "temperature"}, "needs temperature: add for example 'temperature: 2'"),
        ({"rule": "weights"}, "needs weights"),
        ({"temperature": 2}, "no effect by the rule 'examples': set rule: temperature, or remove it"),
        ({"rule": "equal", "weights": {"a": 1}}, "no effect by the rule 'equal'"),
        ({"rule": "temperature", "temperature": 0.5}, "from 1 .* upwards"),
        ({"rule": "temperature", "temperature": math.inf}, "use the rule 'equal'"),
        ({"rule": "weights", "weights": {"a": -1, "b": 2}}, "from 0 upwards"),
        ({"rule": "weights", "weights": {"a": 0}}, "at least one of them above 0"),
        ({"rule": "weights", "weights": {}}, "at least one of them above 0"),
        ({"cap": 0}, "cap"),
        ({"maximum": 3000}, "unknown key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(MixtureConfig, given)


def test_settings_survive_being_written() -> None:
    for config in (MixtureConfig(), MixtureConfig(rule="weights", weights={"a": 1})):
        assert MixtureConfig.model_validate(config.model_dump(mode="json")) == config


def test_weights_name_the_tasks_that_there_are() -> None:
    with pytest.raises(ConfigError, match="no weight for 'small'.*add 'small: 1'"):
        rates(COUNTS, MixtureConfig(rule="weights", weights={"large": 1, "middle": 1}))
    with pytest.raises(ConfigError, match="no task 'other'.*large, middle, small"):
        rates(COUNTS, MixtureConfig(rule="weights", weights={**dict.fromkeys(COUNTS, 1), "other": 1}))
    with pytest.raises(ValueError, match="needs rows"):
        rates({"empty": 0}, MixtureConfig())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "config",
    [
        MixtureConfig(),
        MixtureConfig(rule="temperature", temperature=3),
        MixtureConfig(rule="equal"),
        MixtureConfig(rule="weights", weights={"large": 1, "middle": 5, "small": 0.2}),
    ],
    ids=lambda config: config.rule,
)
def test_100_000_draws_are_multinomial(config: MixtureConfig, seed: int) -> None:
    """Pearson's statistic lies between the quantiles that a true mixture leaves once in a million."""
    expected = rates(COUNTS, config)
    tasks = rows_of(COUNTS)
    drawn = Counter(tasks[row] for row in flat(mixture_order(tasks, 100, 1000, expected, seed)))
    assert drawn.total() == 100_000
    statistic = sum((drawn[t] - 1e5 * rate) ** 2 / (1e5 * rate) for t, rate in expected.items())
    low, high = stats.chi2(len(expected) - 1).ppf([1e-6, 1 - 1e-6])
    assert low < statistic < high


def test_draws_of_one_step_do_not_hang_on_those_of_the_step_before() -> None:
    """Tasks are drawn one by one: pairs of neighbours are as frequent as independence makes them."""
    tasks = ["a"] * 3 + ["b"] * 7
    drawn = [tasks[row] for row in flat(mixture_order(tasks, 10, 4000, {"a": 0.3, "b": 0.7}, 5))]
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    table = [[pairs[x, y] for y in "ab"] for x in "ab"]
    assert stats.chi2_contingency(table).pvalue > 1e-6


mixtures = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 12), min_size=1)


@given(mixtures, st.integers(1, 9), st.integers(0, 30), st.integers(0, 99))
def test_rows_come_once_before_any_comes_again(counts: dict[str, int], size: int, steps: int, seed: int) -> None:
    tasks = rows_of(counts)
    order = mixture_order(tasks, size, steps, rates(counts, MixtureConfig(rule="equal")), seed)
    assert [len(step) for step in order] == [size] * steps
    for task, count in counts.items():
        mine = [row for row in flat(order) if tasks[row] == task]
        for start in range(0, len(mine), count):
            part = mine[start : start + count]
            assert len(set(part)) == len(part)


@given(mixtures, st.integers(1, 9), st.integers(1, 30), st.integers(0, 99))
def test_the_sequence_is_decided_by_the_seed(counts: dict[str, int], size: int, steps: int, seed: int) -> None:
    tasks, shares = rows_of(counts), rates(counts, MixtureConfig())
    order = mixture_order(tasks, size, steps, shares, seed)
    assert order == mixture_order(tasks, size, steps, dict(reversed(shares.items())), seed)
    assert mixture_order(tasks, size, steps + 3, shares, seed)[:steps] == order
    assert flat(mixture_order(tasks, 1, size * steps, shares, seed)) == flat(order)


def test_another_seed_is_another_order() -> None:
    tasks, shares = ["a"] * 30 + ["b"] * 30, {"a": 0.5, "b": 0.5}
    assert mixture_order(tasks, 8, 5, shares, 0) != mixture_order(tasks, 8, 5, shares, 1)
    first, second = ([row for row in flat(mixture_order(tasks, 8, 20, shares, s)) if row < 30] for s in (0, 1))
    assert first[:20] != second[:20]


def test_a_task_keeps_its_own_order_in_every_mixture() -> None:
    alone = flat(mixture_order(["a"] * 9, 1, 27, {"a": 1}, 3))
    mixed = flat(mixture_order(["a"] * 9 + ["b"] * 20, 5, 60, {"a": 0.2, "b": 0.8}, 3))
    mine = [row for row in mixed if row < 9][:27]
    assert mine == alone[: len(mine)] and len(mine) > 20
    assert alone[:9] != alone[9:18]  # shuffled anew


def test_a_rate_of_zero_is_never_drawn() -> None:
    tasks = ["a", "b", "c"]
    assert set(flat(mixture_order(tasks, 10, 100, {"a": 0, "b": 1, "c": 0}, 0))) == {1}


def test_rates_that_do_not_fit_the_rows_are_refused() -> None:
    for wrong in ({"a": 1.0}, {"a": 0.5, "b": 0.25, "c": 0.25}):
        with pytest.raises(ValueError, match="do not fit rows of"):
            mixture_order(["a", "b"], 2, 2, wrong, 0)
    for none in ({"a": 0.0}, {}):
        with pytest.raises(ValueError, match="above 0"):
            mixture_order(["a"] * len(none), 2, 2, none, 0)
    assert mixture_order(["a"], 2, 2, {"a": 1, "gone": 0}, 0) == [[0, 0], [0, 0]]


def test_passes_go_on_without_end() -> None:
    drawn = list(itertools.islice(passes(4, 0, "x"), 12))
    assert [sorted(drawn[i : i + 4]) for i in (0, 4, 8)] == [[0, 1, 2, 3]] * 3
    assert drawn != list(itertools.islice(passes(4, 0, "y"), 12))
