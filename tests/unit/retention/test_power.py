"""Sample sizes against the tables of the protocol, which were computed elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptune.retention.power import items_needed, smallest_decidable_margin, unseen_flips

NON_INFERIORITY = {
    0.02: [773, 1546, 2319, 3092, 4637],
    0.03: [344, 687, 1031, 1374, 2061],
    0.05: [124, 248, 371, 495, 742],
}
FLIPS = [0.05, 0.10, 0.15, 0.20, 0.30]


@pytest.mark.parametrize("margin", NON_INFERIORITY)
def test_items_for_retained(margin: float) -> None:
    for flips, n in zip(FLIPS, NON_INFERIORITY[margin], strict=True):
        assert items_needed(margin, flips) == pytest.approx(n, abs=1)


@given(st.integers(20, 100_000), st.floats(0.001, 1))
def test_margin_and_items_are_inverse(n: int, flips: float) -> None:
    assert items_needed(smallest_decidable_margin(n, flips), flips) == pytest.approx(n, abs=1)


def test_half_the_room_needs_four_times_the_items() -> None:
    assert items_needed(0.01, 0.1) == pytest.approx(4 * items_needed(0.02, 0.1), abs=4)
    with pytest.raises(ValueError, match="no number of items"):
        items_needed(0.0, 0.1)


def test_no_flips_is_planned_with_the_upper_bound() -> None:
    assert unseen_flips(40) == pytest.approx(1 - 0.05 ** (1 / 40))
    assert unseen_flips(1000) == pytest.approx(3 / 1000, rel=0.01)
