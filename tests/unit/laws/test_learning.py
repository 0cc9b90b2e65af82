"""Laws 2, 6, 8, 9 and 10 on records whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from keeptune.core.records import (
    ArmSummary,
    Costs,
    Estimate,
    Interval,
    ItemRecord,
    Score,
    SequenceSummary,
)

NOISE = (0.0, 0.004, -0.004)
ZERO = Estimate(mean=0.0, interval=Interval(low=0, high=0))


def outcomes(law: Any) -> list[str]:
    return [part.outcome for part in law.parts]


def seeds(mean: float, noise: Sequence[float] = NOISE) -> dict[int, float]:
    return {seed: mean + off for seed, off in enumerate(noise)}


def sequence(arm: str, kept: Sequence[float], seed: int) -> SequenceSummary:
    """Three tasks; every task scores 0.9 when learned, and kept[n] after n more were learned."""
    rows = [[0.0] * 3]
    rows += [
        [0.0 if task >= stage else 0.9 if task == stage - 1 else kept[stage - 2 - task] for task in range(3)]
        for stage in (1, 2, 3)
    ]
    transfer = sum(rows[3][i] - 0.9 for i in (0, 1)) / 2
    return SequenceSummary(
        arm=arm,
        label=arm,
        order=("a", "b", "c"),
        matrix=tuple(tuple(row) for row in rows),
        average_accuracy=ZERO,
        backward_transfer=Estimate(mean=transfer, interval=Interval(low=transfer, high=transfer)),
        forward_transfer=ZERO,
        forgetting=ZERO,
        n=(10, 10, 10),
        seed=seed,
    )


def sequences(plain: Sequence[float], replayed: Sequence[float]) -> list[SequenceSummary]:
    arms = (("lora", plain), ("full", plain), ("lora+replay:20%", replayed))
    return [
        sequence(arm, [value + off for value in kept], seed) for arm, kept in arms for seed, off in enumerate(NOISE)
    ]


def test_sequences(learning: ModuleType) -> None:
    law = learning.law_2(sequences([0.6, 0.2], [0.895, 0.895]))
    assert outcomes(law) == ["holds", "holds"]
    assert "lora −30.0, −50.0" in law.parts[0].found
    assert outcomes(learning.law_2(sequences([0.2, 0.6], [0.5, 0.5]))) == ["fails", "fails"]
    assert outcomes(learning.law_2(sequences([0.9, 0.9], [0.88, 0.88]))) == ["cannot tell", "cannot tell"]


def losses(one: float, eight: float, most: float, attention: float) -> dict[str, dict[int, float]]:
    """Five seeds that differ much, the same at all ranks but for a little."""
    shared = (0.0, 0.02, -0.02, 0.01, -0.01)
    own = (0.0, 0.001, -0.001, 0.001, -0.001)
    means = {"1": one, "8": eight, "64": most, "attention": attention}
    return {
        name: {seed: mean + shared[seed] + (own[seed] if name == "8" else 0.0) for seed in range(5)}
        for name, mean in means.items()
    }


def test_ranks(learning: ModuleType) -> None:
    apart = losses(0.5, 0.3, 0.2, 0.35)
    assert outcomes(learning.law_6(losses(0.4, 0.3, 0.299, 0.35), apart)) == ["holds"] * 4
    same = losses(0.3, 0.3, 0.2, 0.25)
    assert outcomes(learning.law_6(same, losses(0.3, 0.3, 0.3, 0.3))) == ["fails"] * 4
    few = {name: dict(list(each.items())[:2]) for name, each in apart.items()}
    assert set(outcomes(learning.law_6(few, few))) == {"cannot tell"}


def items(right: Sequence[bool]) -> list[ItemRecord]:
    return [ItemRecord(suite="t", id=str(i), cluster=str(i), score=float(ok)) for i, ok in enumerate(right)]


def arm(name: str, mean: float, *, shots: int | None = None, tokens: float = 30.0, gain: float = 0.0) -> ArmSummary:
    around = Interval(low=gain - 0.02, high=gain + 0.02)
    return ArmSummary(
        name=name,
        label=name,
        family="prompt" if shots is not None else name,
        arm="" if shots is not None else name,
        target=Score(metric="accuracy", mean=mean, interval=Interval(low=mean, high=mean), n=100, clusters=100),
        shots=shots,
        costs=Costs(tokens_per_request=tokens, break_even_requests=None if shots is not None else 5_000),
        gain=around,
        gain_mean=gain,
    )


def prompted(
    scores: Mapping[int, int], gain: float, off: float = 0.0
) -> tuple[list[ArmSummary], dict[int, Any], dict[int, float]]:
    """Right answers of 100 by number of shots; a demonstration has 40 tokens, `off` more by the study's account."""
    arms = [arm(f"p{k}", n / 100, shots=k, tokens=30 + (40 + off) * k) for k, n in scores.items()]
    arms.append(arm("full", 0.9, gain=gain))
    return arms, {k: items([i < n for i in range(100)]) for k, n in scores.items()}, {k: 30 + 40.0 * k for k in scores}


def test_shots(learning: ModuleType) -> None:
    law = learning.law_8(*prompted({0: 40, 1: 50, 4: 49}, gain=0.3))
    assert outcomes(law) == ["holds"] * 3
    assert "pays after 5.0k requests" in law.parts[2].found
    assert outcomes(learning.law_8(*prompted({0: 40, 1: 50, 4: 20}, gain=-0.3, off=2))) == ["fails"] * 3
    nothing = learning.law_8(*prompted({0: 0, 1: 0}, gain=0.0))
    assert outcomes(nothing) == ["holds", "cannot tell", "cannot tell"]


def test_wordings(learning: ModuleType) -> None:
    def scores(seen: float, unseen: float, noise: Sequence[float] = NOISE) -> dict[int, tuple[float, float]]:
        return {seed: (seen, unseen + off) for seed, off in enumerate(noise)}

    assert outcomes(learning.law_9(scores(0.9, 0.5), scores(0.88, 0.85))) == ["holds", "holds"]
    assert outcomes(learning.law_9(scores(0.9, 0.5), scores(0.9, 0.4))) == ["fails", "fails"]
    no_gap = learning.law_9(scores(0.9, 0.9), scores(0.9, 0.901, NOISE[::-1]))
    assert outcomes(no_gap) == ["cannot tell", "cannot tell"]
    assert "no gap that could be halved" in no_gap.parts[0].found


@pytest.mark.parametrize(
    ("together", "uncapped", "after", "expected"),
    [
        (0.9, 0.6, 0.4, ["holds", "holds", "holds", "holds"]),
        (0.7, 0.95, 0.2, ["fails", "fails", "fails", "fails"]),
        (0.87, 0.87, 0.3, ["cannot tell"] * 4),
    ],
)
def test_mixtures(learning: ModuleType, together: float, uncapped: float, after: float, expected: list[str]) -> None:
    tasks = ("large", "small")
    noise = (0.0, 0.01, -0.01)
    law = learning.law_10(
        {task: seeds(together, noise) for task in tasks},
        {task: seeds(uncapped) for task in tasks},
        {task: seeds(0.9) for task in tasks},
        {"other": (0.3, seeds(after, noise))},
        smallest="small",
    )
    assert outcomes(law) == expected
    if expected[0] == "fails":
        assert "loser" in law.parts[0].found


def test_held_out_tasks_that_nobody_can_do_tell_nothing(learning: ModuleType) -> None:
    one = {"t": seeds(0.9)}
    law = learning.law_10(one, {"t": seeds(0.5)}, one, {"other": (0.0, seeds(0.0, (0.0, 0.0, 0.0)))}, smallest="t")
    assert law.parts[-1].outcome == "cannot tell"
    assert law.parts[-1].found == "0 before and after"
