"""Sample sizes against the tables of the protocol, which were computed elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptune.retention.power import flip_rate, items_needed, items_to_show_harm, smallest_decidable_margin

NON_INFERIORITY = {
    0.02: [773, 1546, 2319, 3092, 4637],
    0.03: [344, 687, 1031, 1374, 2061],
    0.05: [124, 248, 371, 495, 742],
}
TWO_SIDED = {
    0.01: [3923, 7847, 11771, 15696, 23545],
    0.02: [979, 1960, 2941, 3923, 5885],
    0.03: [434, 870, 1306, 1742, 2614],
}
FLIPS = [0.05, 0.10, 0.15, 0.20, 0.30]


@pytest.mark.parametrize("margin", NON_INFERIORITY)
def test_items_for_retained(margin: float) -> None:
    for flips, n in zip(FLIPS, NON_INFERIORITY[margin], strict=True):
        assert items_needed(margin, flips) == pytest.approx(n, abs=1)


@pytest.mark.parametrize("drop", TWO_SIDED)
def test_items_to_show_a_drop(drop: float) -> None:
    for flips, n in zip(FLIPS, TWO_SIDED[drop], strict=True):
        assert items_to_show_harm(-drop, flips, alpha=0.025) == pytest.approx(n, abs=1)


@given(st.integers(20, 100_000), st.floats(0.001, 1), st.floats(1, 10))
def test_margin_and_items_are_inverse(n: int, flips: float, effect: float) -> None:
    margin = smallest_decidable_margin(n, flips, design_effect=effect)
    assert items_needed(margin, flips, design_effect=effect) == pytest.approx(n, abs=1)


def test_a_true_loss_leaves_less_room() -> None:
    assert items_needed(0.02, 0.1, true_change=-0.01) == pytest.approx(4 * items_needed(0.02, 0.1), abs=4)
    with pytest.raises(ValueError, match="not above"):
        items_needed(0.02, 0.1, true_change=-0.02)
    with pytest.raises(ValueError, match="not a loss"):
        items_to_show_harm(0.0, 0.1)


def test_no_flips_is_planned_with_the_upper_bound() -> None:
    assert flip_rate(0, 40) == pytest.approx(1 - 0.05 ** (1 / 40))
    assert flip_rate(0, 1000) == pytest.approx(3 / 1000, rel=0.01)
    assert flip_rate(300, 1000) == 0.3


@given(st.integers(1, 2000), st.data())
def test_flip_rate_grows_with_flips(n: int, data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, n - 1))
    assert flip_rate(changed, n) <= flip_rate(changed + 1, n)
