from __future__ import annotations

import pytest

from keeptune.evaluate.metrics.token_f1 import TokenF1

token_f1 = TokenF1().score_item


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("The cat!", ("cat",), 1.0),
        ("a black cat", ("the black dog",), 0.5),  # {black, cat} against {black, dog}
        ("cat cat", ("cat",), 2 * 1 / 3),
        ("the", ("a",), 1.0),  # nothing but articles on both sides
        ("", ("cat",), 0.0),
        ("cat", ("dog", "the cat"), 1.0),
    ],
)
def test_token_f1_by_hand(prediction: str, references: tuple[str, ...], expected: float) -> None:
    assert token_f1(prediction, references) == pytest.approx(expected, abs=1e-12)
