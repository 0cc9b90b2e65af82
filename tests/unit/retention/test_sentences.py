"""How numbers look in sentences."""

from __future__ import annotations

import pytest

from keeptune.core.records import Interval
from keeptune.retention import sentences
from keeptune.retention.pairs import Suite

SKILL = Suite("qa", "accuracy", "binary", 0.025)
PROSE = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01)


def test_margins_carry_their_unit() -> None:
    assert sentences.margin_text(SKILL) == "2.5 pt"
    assert sentences.margin_text(PROSE) == "1 %"


@pytest.mark.parametrize(("value", "text"), [(0.0, "+0.0"), (-0.0, "+0.0"), (-0.0003, "−0.0"), (-0.0123, "−1.2")])
def test_a_rounded_zero_shows_its_side(value: float, text: str) -> None:
    assert sentences.points(value, signed=True) == text


def test_spread_and_size() -> None:
    assert sentences.spread_text(Interval(low=-0.029, high=0.004, level=0.9)) == "90 % CI −2.9 to +0.4"
    assert sentences.size_text(1546, 1546) == "n = 1,546"
    assert sentences.size_text(1500, 500) == "n = 1,500 in 500 clusters"


def test_small_p_is_not_printed_as_zero() -> None:
    facts = sentences.Facts(PROSE, -0.03, Interval(low=-0.05, high=-0.01), 80, 80)
    assert sentences.harmed(facts, -0.012, 0.0002).endswith("Holm p < 0.001)")
    assert sentences.harmed(facts, -0.012, 0.0312) == (
        "lost at least 1.2 % on prose, more than the margin of 1 %"
        " (change −3.0 %, 95 % CI −5.0 to −1.0, n = 80, Holm p = 0.031)"
    )
