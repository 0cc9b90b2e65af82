"""Numbers as the page writes them."""

from __future__ import annotations

import math

import pytest

from keeptune.core.records import Interval
from keeptune.report.formatting import (
    MISSING,
    change_interval,
    change_text,
    clip,
    headline_text,
    interval_text,
    metric_name,
    metric_number,
    p_text,
    rate_text,
    share,
    size_text,
)


@pytest.mark.parametrize(
    ("value", "metric", "signed", "text"),
    [
        (0.4123, "accuracy", False, "41.2"),
        (0.4123, "accuracy", True, "+41.2"),
        (-0.0312, "rougeL", True, "−3.1"),
        (-0.0001, "rougeL", True, "0.0"),
        (1.2345, "bits_per_byte", False, "1.234"),
        (-0.0514, "bits_per_byte", True, "−0.051"),
        (None, "accuracy", False, MISSING),
        (math.nan, "bits_per_byte", False, MISSING),
    ],
)
def test_scores_have_their_own_unit(value: float | None, metric: str, signed: bool, text: str) -> None:
    assert metric_number(value, metric, signed=signed) == text


def test_changes_carry_a_sign() -> None:
    assert change_text(0.012) == "+1.2"
    assert change_text(-0.31) == "−31.0"
    assert change_text(0.0) == "0.0"
    assert change_interval(Interval(low=-0.03, high=0.006)) == "−3.0 to +0.6"
    assert change_interval(None) == MISSING


def test_an_interval_without_ends_is_missing() -> None:
    assert interval_text(Interval(low=math.nan, high=0.1), "accuracy") == MISSING
    assert interval_text(None, "accuracy") == MISSING


@pytest.mark.parametrize(
    ("rate", "text"), [(3e-4, "3e-4"), (2e-3, "2e-3"), (1e-10, "1e-10"), (2.5e-5, "2.5e-5"), (None, MISSING)]
)
def test_rates(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


def test_small_things() -> None:
    assert share(0.0532) == "5.3 %"
    assert share(0.42) == "42 %"
    assert p_text(0.0001) == "< 0.001"
    assert p_text(0.0312) == "0.031"
    assert metric_name("rougeLsum") == "ROUGE-Lsum"
    assert metric_name("my_own") == "my own"
    assert size_text(0.02) == "2"
    assert size_text(0.0205) == "2.05"
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdef", 4) == "abcd … (2 more characters in the records)"


def test_the_headline_loses_only_its_own_mark() -> None:
    assert headline_text("Provisional: take LoRA.", True) == "Take LoRA."
    assert headline_text("Provisional: take LoRA.", False) == "Provisional: take LoRA."
    assert headline_text("Take LoRA.", True) == "Take LoRA."
