"""Are 500 to 1,000 examples enough here? Constructed curves with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from keeptune.core.errors import DataError
from keeptune.retention.curve import enough

N = 1_000


def curve(sizes: dict[int, float], n: int = N) -> dict[int, np.ndarray]:
    """Nested binary answers: who knows more knows all that others know, so that pairing helps most."""
    order = np.random.default_rng(0).permutation(n)
    return {size: (order < round(score * n)).astype(float) for size, score in sizes.items()}


@pytest.mark.parametrize(
    ("sizes", "size", "state", "words"),
    [
        ({250: 0.6, 500: 0.8, 1000: 0.8, 4000: 0.805}, 500, "enough", "500 to 1,000 examples are enough in these runs"),
        ({100: 0.803, 500: 0.8, 4000: 0.805}, 100, "enough", "with 100 the score is −0.2 points"),
        ({500: 0.5, 1000: 0.6, 2000: 0.8, 4000: 0.8}, 2000, "still rising", "2,000 are enough."),
        ({500: 0.5, 1000: 0.6, 4000: 0.8}, None, "still rising", "with 1,000 the score is −20.0 points"),
        ({250: 0.5, 500: 0.55, 1000: 0.6}, None, "still rising", "The score still rises at 1,000 examples"),
        ({100: 0.5, 4000: 0.8}, None, "cannot tell", "no size from 500 to 1,000 was measured"),
        ({2000: 0.8, 4000: 0.8}, 2000, "cannot tell", "no size from 500 to 1,000 was measured"),
        ({4000: 0.8}, None, "cannot tell", "beside 4,000"),
    ],
)
def test_known_curves(sizes: dict[int, float], size: int | None, state: str, words: str) -> None:
    found = enough(curve(sizes), 0.02)
    assert (found.size, found.state) == (size, state)
    assert words in found.sentence


def test_few_noisy_items_cannot_tell() -> None:
    rng = np.random.default_rng(1)
    scores = {size: (rng.random(60) < 0.7).astype(float) for size in (500, 4000)}
    found = enough(scores, 0.01)
    assert (found.size, found.state) == (None, "cannot tell")
    assert "neither within 1.0 nor shown to be lower" in found.sentence


def test_a_larger_size_that_fails_ends_the_search() -> None:
    found = enough(curve({250: 0.8, 500: 0.7, 1000: 0.8, 4000: 0.8}), 0.02)
    assert found.size == 1000


def test_clusters_widen() -> None:
    rng = np.random.default_rng(2)
    shift = np.repeat(rng.normal(0, 0.05, 40), 25)
    scores = {500: 0.5 + shift, 4000: np.full(1000, 0.5)}
    assert enough(scores, 0.008).size == 500
    assert enough(scores, 0.008, np.repeat(np.arange(40), 25)).size is None


def test_refuses_other_items() -> None:
    with pytest.raises(DataError, match="same test items"):
        enough({500: np.zeros(10), 1000: np.zeros(11)}, 0.01)
    with pytest.raises(DataError, match="same test items"):
        enough({}, 0.01)
