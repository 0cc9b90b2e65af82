from __future__ import annotations

import numpy as np
import pytest

from keeptune.evaluate.metrics.macro_f1 import MacroF1


def test_macro_f1_by_hand() -> None:
    truth = [("a",), ("a",), ("a",), ("b",), ("b",), ("c",)]
    guesses = ["a", " a", "b", "b", "elsewhere", "a"]
    # a: 2 hits, 3 guesses, 3 rows -> 2/3; b: 1 hit, 2 guesses, 2 rows -> 1/2; c: 0
    scores = MacroF1().score_all(guesses, truth).values
    assert np.mean(scores) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3, abs=1e-12)


def test_macro_f1_standard_error_is_the_bootstraps() -> None:
    draw = np.random.default_rng(1)
    truth = draw.choice(list("aaab"), 300)
    guesses = np.where(draw.random(300) < 0.7, truth, draw.choice(list("ab"), 300))
    shares = np.array(MacroF1().score_all(list(guesses), [(one,) for one in truth]).values)
    resampled = []
    for _ in range(200):
        rows = draw.integers(0, 300, 300)
        resampled.append(np.mean(MacroF1().score_all(list(guesses[rows]), [(one,) for one in truth[rows]]).values))
    assert shares.std() / np.sqrt(300) == pytest.approx(np.std(resampled), rel=0.2)
