"""Score-matrix summaries by hand."""

from __future__ import annotations

import pytest

from keeptune.core.errors import DataError
from keeptune.retention.transfer import average_score, backward_transfer, forgetting, forward_transfer

R = [
    [0.2, 0.3, 0.1],  # base
    [0.9, 0.4, 0.1],  # after task 0
    [0.7, 0.8, 0.3],  # after task 1
    [0.5, 0.85, 0.9],  # after task 2
]


def test_by_hand() -> None:
    assert average_score(R) == pytest.approx((0.5 + 0.85 + 0.9) / 3)
    assert backward_transfer(R) == pytest.approx(((0.5 - 0.9) + (0.85 - 0.8)) / 2)
    assert forgetting(R) == pytest.approx(((0.9 - 0.5) + (0.8 - 0.85)) / 2)
    assert forward_transfer(R) == pytest.approx(((0.4 - 0.3) + (0.3 - 0.1)) / 2)


def test_a_base_better_than_all_later_stages_counts_as_forgotten() -> None:
    assert forgetting([[0.9, 0.0], [0.6, 0.0], [0.5, 0.5]]) == pytest.approx(0.4)


def test_refuses_other_shapes() -> None:
    with pytest.raises(DataError, match=r"shape \(2, 2\)"):
        average_score([[1, 2], [3, 4]])
    with pytest.raises(DataError, match="T >= 2"):
        backward_transfer([[0.1], [0.2]])
