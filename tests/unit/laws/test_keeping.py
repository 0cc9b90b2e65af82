"""Laws 1, 3, 4, 5 and 7 on records whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from keeptune.core.records import Drift, FrontierPoint

SEEDS = (0, 1, 2, 3, 4)
MARGIN = 0.03  # drops below are in points, those of a point in margins
NOISE = (0.0, 0.004, -0.004, 0.002, -0.002)  # by seed
WIDE = (0.0, 0.2, -0.2, 0.1, -0.1)


def point(arm: str, target: float, drop: float, *, lr: float = 1e-3, seed: int = 0, **more: Any) -> FrontierPoint:
    settings = {"picked": True, "validation_loss": 0.1, "step": 200, "worst_change": None, **more}
    return FrontierPoint(arm=arm, lr=lr, seed=seed, target=target, retained_change=-drop / MARGIN, **settings)


def training(
    arm: str, drop: float, *, target: float = 0.9, lr: float = 1e-3, steps: int = 200, noise: Sequence[float] = NOISE
) -> list[FrontierPoint]:
    """Every seed with a checkpoint half way: half of the target score and 0.4 of the drop."""
    found = []
    for seed, off in zip(SEEDS, noise, strict=True):
        found.append(point(arm, target, drop + off, lr=lr, seed=seed, step=steps))
        half = {"kind": "checkpoint", "step": steps // 2, "picked": False}
        found.append(point(arm, target / 2, 0.4 * (drop + off), lr=lr, seed=seed, **half))
    return found


def outcomes(law: Any) -> list[str]:
    return [part.outcome for part in law.parts]


@pytest.mark.parametrize(
    ("drop", "noise", "expected"),
    [(0.2, NOISE, "holds"), (0.5, NOISE, "fails"), (0.32, WIDE, "cannot tell")],
)
def test_matched_gain(keeping: ModuleType, drop: float, noise: Sequence[float], expected: str) -> None:
    found = [*training("full", 0.3), *training("lora", drop, lr=3e-3, noise=noise)]
    law = keeping.law_1(found)
    assert outcomes(law) == [expected, "holds"]
    assert law.outcome == expected


def test_matched_gain_needs_equal_scores_and_says_who_gained_more(keeping: ModuleType) -> None:
    law = keeping.law_1([*training("full", 0.3, target=0.4), *training("lora", 0.2, target=0.9)])
    assert outcomes(law)[1] == "fails"
    law = keeping.law_1([*training("full", 0.3), *training("lora", 0.2, target=0.0)])
    assert outcomes(law)[0] == "cannot tell"
    assert "not comparable" in law.parts[0].found


def replayed(little: float, much: float, own: float, target: float = 0.9) -> list[FrontierPoint]:
    arms = {"full+replay:5%": little, "full+replay:25%": much, "full+self-replay:25%": own}
    rest = [p for arm, drop in arms.items() for p in training(arm, drop, target=target)]
    return [*training("full", 0.4), *rest]


def test_replay(keeping: ModuleType) -> None:
    assert outcomes(keeping.law_3(replayed(0.05, 0.01, 0.1))) == ["holds"] * 5
    law = keeping.law_3(replayed(0.3, 0.35, 0.39, target=0.8))
    assert outcomes(law) == ["holds", "fails", "fails", "fails", "fails"]
    assert law.outcome == "fails"
    few = [p for p in replayed(0.05, 0.01, 0.1) if p.seed < 2]
    assert set(outcomes(keeping.law_3(few))) == {"cannot tell"}


def ways(method: str, middle: tuple[float, float], *, drop: float = 0.4) -> list[FrontierPoint]:
    """A training of every seed with one point (target, drop) on the way to it."""
    found = training(method, drop)
    for seed in SEEDS:
        between = {"kind": "interpolation", "picked": False, "step": None}
        found.append(point(f"{method}+interpolate", *middle, seed=seed, alpha=0.6, **between))
        found.append(point(f"{method}+interpolate", 0.9, drop, seed=seed, alpha=1.0, **between))
    return found


def test_interpolation(keeping: ModuleType) -> None:
    law = keeping.law_4([*ways("full", (0.85, 0.1)), *ways("lora", (0.85, 0.1))], base=0.0)
    assert outcomes(law) == ["holds"] * 4
    assert law.parts[0].found == "at α = 0.6"
    law = keeping.law_4([*ways("full", (0.2, 0.3)), *ways("lora", (0.85, 0.1), drop=0.0)], base=0.0)
    assert outcomes(law)[:2] == ["fails", "fails"]
    assert "merging does not help here" in law.parts[0].found
    assert outcomes(law)[2] == "cannot tell"  # LoRA lost nothing
    assert law.outcome == "fails"


def sweep(full: Sequence[float], lora: Sequence[float]) -> list[FrontierPoint]:
    """Validation losses at four rates of each method, three times apart."""
    rows = [("full", 1e-4, full), ("lora", 1e-3, lora)]
    return [
        point(arm, 0.5, 0.1, lr=lowest * factor, validation_loss=loss)
        for arm, lowest, losses in rows
        for factor, loss in zip((1, 3, 10, 30), losses, strict=True)
    ]


def tasks(*sweeps: list[FrontierPoint]) -> dict[str, list[list[FrontierPoint]]]:
    """Four tasks with two seeds each; the sweeps in turn."""
    return {f"task{i}": [sweeps[i % len(sweeps)], sweeps[i % len(sweeps)]] for i in range(4)}


def test_rates(keeping: ModuleType) -> None:
    ten, four = sweep([3, 1, 2, 3], [3, 1, 2, 3]), sweep([3, 2, 1, 3], [3, 1, 2, 3])
    slow, fast = training("full", 0.1, lr=2e-4, steps=400), training("full", 0.3, lr=2e-3)
    law = keeping.law_5(slow, fast, tasks(ten), base=0.0)
    assert outcomes(law) == ["holds"] * 3
    assert law.parts[2].mean == pytest.approx(10)
    turned = keeping.law_5(fast, slow, tasks(sweep([3, 1, 2, 3], [3, 2, 2, 1.5])), base=0.0)
    assert outcomes(turned)[:2] == ["fails", "fails"]
    far = keeping.law_5(slow, fast, tasks(sweep([3, 2, 1, 3], [3, 1, 2, 3])), base=0.0).parts[2]
    assert (far.outcome, far.mean) == ("holds", pytest.approx(3))
    mixed = keeping.law_5(slow, fast, tasks(ten, four), base=0.0).parts[2]
    assert mixed.low < mixed.mean < mixed.high and mixed.outcome == "cannot tell"  # over tasks it may be less than 3
    ends = keeping.law_5(slow, fast, tasks(sweep([3, 2, 2, 1], [3, 1, 2, 3])), base=0.0)
    assert ends.parts[2].outcome == "cannot tell"
    assert "8 of full are best at the end of their rates" in ends.parts[2].found


def drifted(drops: Sequence[float], lengths: Sequence[float]) -> list[FrontierPoint]:
    """Models whose KL is 1, 2, 3, ... in trainings of two models each."""
    found = []
    for number, (drop, length) in enumerate(zip(drops, lengths, strict=True)):
        kind = {"kind": "checkpoint", "step": 10} if number % 2 else {}
        moved = Drift(kl=float(number), agreement=0.5, positions=10, weight_l2=length)
        found.append(point("full", 0.5, drop, seed=number // 2, drift=moved, **kind))
    return found


def test_gauge(keeping: ModuleType) -> None:
    rising = [0.01 * i for i in range(40)]
    mixed = [rising[(7 * i) % 40] for i in range(40)]
    assert outcomes(keeping.law_7(drifted(rising, mixed))) == ["holds", "holds"]
    assert outcomes(keeping.law_7(drifted(mixed, mixed))) == ["fails", "fails"]
    assert outcomes(keeping.law_7(drifted(rising[:4], mixed[:4]))) == ["cannot tell", "cannot tell"]
    both = keeping.law_7(
        [*drifted(rising, mixed), *[p.model_copy(update={"arm": "full+replay:5%"}) for p in drifted(mixed, mixed)]]
    )
    assert "plain arms 1.00 (n 40), with replay" in both.parts[0].found
