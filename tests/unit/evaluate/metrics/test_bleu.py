from __future__ import annotations

import numpy as np
import pytest

from keeptune.evaluate.metrics.bleu import _bleu_of_sums


@pytest.mark.parametrize("zeros", [1, 2])
def test_own_bleu_of_sums_equals_sacrebleus(zeros: int) -> None:
    from sacrebleu.metrics.bleu import BLEU

    matches, totals = [30, 12, 5, 2], [40, 36, 32, 28]
    matches[4 - zeros :] = [0] * zeros
    for lengths in ((40, 50), (50, 40)):
        expected = BLEU.compute_bleu(list(matches), totals, *lengths, smooth_method="exp").score / 100
        ours = _bleu_of_sums(np.array([*lengths, *matches, *totals], dtype=float), 4)
        assert ours == pytest.approx(expected, abs=1e-14)
