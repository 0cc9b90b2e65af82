"""`benchmarks/study.py`: how two answers to a question are compared, and what the page says of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from common.findings import Findings, Spent, agreement, compare, factors
from common.study_page import study
from keeptune import ItemRecord, Suite
from keeptune.retention.arm import judge_arm

SUITE = Suite("addition", "accuracy", "binary", margin=0.03)


def items(suite: str, scores: list[float]) -> list[ItemRecord]:
    return [ItemRecord(suite=suite, id=f"{i}", cluster=f"{i}", score=score) for i, score in enumerate(scores)]


def findings(lost: int, rate: float = 1e-3, total: float = 60.0) -> Findings:
    """One arm, whose suite lost so many of a thousand right answers."""
    before = items("addition", [1.0] * 1000)
    after = items("addition", [0.0] * lost + [1.0] * (1000 - lost))
    (verdict,) = judge_arm([(SUITE, before, after)], {"addition": before}).suites
    spent = Spent(total=total, start=5.0, training=30.0, scoring=20.0, tokens=900, trained_tokens=100, items=2000)
    scored = {"orders": items("orders", [1.0, 0.0]), "addition": after}
    return Findings(spent, {"addition": before}, {"full": rate}, {"full": scored}, {"full": {"addition": verdict}})


def test_items_agree_where_their_scores_do() -> None:
    assert agreement(items("a", [1.0, 0.0, 1.0, 0.0]), items("a", [1.0, 0.0, 0.0, 0.0]), relative=False) == 0.75
    assert agreement(items("a", [2.0, 2.0]), items("a", [2.01, 2.1]), relative=True) == 0.5
    assert agreement(items("a", [1.0]), items("a", [1.0])[:0], relative=False) == 0.0


@pytest.mark.parametrize(("lost", "same"), [(200, 1), (0, 0)])
def test_verdicts_are_compared_suite_by_suite(lost: int, same: int) -> None:
    found = compare(findings(200), findings(lost, rate=3e-3), "orders")
    assert (found["same_verdicts"], found["verdicts"], found["same_rates"]) == (same, 1, 0)
    arm = found["arms"]["full"]
    assert arm["target"] == {"keeptune": 0.5, "stitched": 0.5}
    (suite,) = arm["suites"]
    assert suite["verdict"]["keeptune"] == "Harmed"
    assert suite["items_agree"] == pytest.approx(1 - abs(200 - lost) / 1000)
    assert found["base_items_agree"] == {"addition": 1.0}


def test_factors_are_the_peers_over_ours() -> None:
    ours = Spent(total=10.0, training=4.0, items=100)
    assert factors(ours, replace(ours, total=80.0, items=100)) == {"total": 8.0, "training": 1.0, "items": 1.0}


def test_the_page_shows_both_answers() -> None:
    ours, theirs = findings(200), findings(0, rate=3e-3, total=480.0)
    question = {
        "target": "orders",
        "train_rows": 600,
        "mean_tokens": 44.0,
        "steps": 225,
        "rows_per_step": 8,
        "suites": {"addition": "choices"},
        "test_items": 1500,
        "grid": {"full": [1e-3, 3e-3]},
        "stitched_settings": {"setting": "padded:8", "batches": {"score": 64, "generate": 64}},
        "keeptune": [ours.spent.to_json()],
        "stitched": [theirs.spent.to_json()],
        "ratio": {"median": 8.0, "low": 8.0, "high": 8.0, "n": 1},
        "factors": factors(ours.spent, theirs.spent),
        **compare(ours, theirs, "orders"),
    }
    header = {
        "versions": {},
        "amx": False,
        "threads": 2,
        "benchmark": "study",
        "hardware": "a processor",
        "date": "2026-12-01",
    }
    report = {**header, "python": "3.11", "processes": 2, "questions": {"demo": question, "alone": {"keeptune": []}}}
    text = "\n".join(study(report))
    assert "| demo | 8.00 (one window) | 1.0 / 8.0 | 1.00 | 1.00 | 1.00 |" in text
    assert "Harmed / Retained" in text
    assert "full, lr 0.001 / 0.003" in text
    assert not list(study({**report, "questions": {}}))
