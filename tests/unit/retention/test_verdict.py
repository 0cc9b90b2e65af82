"""The four verdicts, their order, their wording, and what stands beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keeptune.core.errors import DataError
from keeptune.core.records import SuiteVerdict
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.verdict import holm, judge
from keeptune.retention.wording import arm_sentence

SKILL = Suite("addition", "accuracy", "binary", 0.02, 0.25)
PROSE = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01)
ROUGE = Suite("summaries", "rougeL", "mean", 0.02)


def binary(lost: int, gained: int, kept: int, wrong: int) -> PairedScores:
    before = np.repeat([1.0, 0.0, 1.0, 0.0], [lost, gained, kept, wrong])
    after = np.repeat([0.0, 1.0, 1.0, 0.0], [lost, gained, kept, wrong])
    return paired(before, after)


def paired(before: np.ndarray, after: np.ndarray, clusters: np.ndarray | None = None) -> PairedScores:
    index = np.arange(len(before))
    return PairedScores(index, index if clusters is None else clusters, before, after, np.ones(len(before)))


def one(suite: Suite, scores: PairedScores) -> SuiteVerdict:
    return judge([(suite, scores)])[0]


def test_retained() -> None:
    found = one(SKILL, binary(lost=50, gained=50, kept=1200, wrong=246))
    assert found.verdict == "Retained"
    assert found.sentence == (
        "worst plausible loss on addition is 1.1 pt ≤ 2 pt (change +0.0 pt, 95 % CI −1.3 to +1.3, n = 1,546)"
    )
    assert (found.lost, found.gained, found.flips) == (50, 50, pytest.approx(100 / 1546))
    assert found.n_needed is None
    assert not found.small_loss
    assert found.lower_bound is not None
    assert found.lower_bound > -0.02


def test_retained_rests_on_the_one_sided_bound() -> None:
    found = one(SKILL, binary(lost=56, gained=44, kept=1200, wrong=246))
    assert found.interval is not None
    assert found.lower_bound is not None
    assert found.interval.low < -0.02 < found.lower_bound
    assert found.verdict == "Retained"


def test_a_gain_has_no_plausible_loss() -> None:
    found = one(SKILL, binary(lost=10, gained=120, kept=1200, wrong=246))
    assert found.sentence.startswith("worst plausible loss on addition is 0.0 pt ≤ 2 pt (change +7.0 pt")


def test_small_loss_is_named_and_still_retained() -> None:
    found = one(SKILL, binary(lost=35, gained=10, kept=4000, wrong=955))  # -0.5 pt of 5,000
    assert found.verdict == "Retained"
    assert found.small_loss
    assert found.p is not None
    assert found.p < 0.05  # Retained is decided before Harmed
    assert found.sentence.endswith("; small loss shown: 0.5 pt")
    assert "worst plausible loss on addition is 0.7 pt ≤ 2 pt" in found.sentence


def test_harmed() -> None:
    found = one(SKILL, binary(lost=120, gained=40, kept=1200, wrong=186))
    assert found.verdict == "Harmed"
    assert found.sentence == "lost 5.2 pt on addition (95 % CI 3.6 to 6.8, n = 1,546, Holm p < 0.001)"


def test_inconclusive_names_the_items_that_would_settle_it() -> None:
    found = one(SKILL, binary(lost=20, gained=18, kept=250, wrong=92))
    assert found.verdict == "Inconclusive"
    assert found.n_needed is not None
    assert found.n_needed > found.n
    assert found.sentence == (
        f"between −3.8 and +2.8 pt on addition (95 % CI) with 380 items; {found.n_needed:,} items would settle 2 pt"
    )
    scaled = round(found.n_needed / 380)
    more = one(SKILL, binary(20 * scaled, 18 * scaled, 250 * scaled, 92 * scaled))
    assert more.verdict == "Retained"


def test_inconclusive_beyond_the_margin_names_the_items_that_show_harm() -> None:
    found = one(SKILL, binary(lost=14, gained=8, kept=150, wrong=28))  # -3 pt of 200
    assert found.verdict == "Inconclusive"
    assert found.n_needed is not None
    assert found.sentence.endswith(f"{found.n_needed:,} items would show a loss of the size seen, margin 2 pt")
    scaled = math.ceil(found.n_needed / 200)
    assert one(SKILL, binary(14 * scaled, 8 * scaled, 150 * scaled, 28 * scaled)).verdict == "Harmed"


def test_no_flips_in_forty_items_is_inconclusive() -> None:
    found = one(SKILL, binary(lost=0, gained=0, kept=40, wrong=0))
    assert found.verdict == "Inconclusive"
    assert found.interval is not None
    assert found.interval.low < -0.08
    assert found.n_needed is not None
    assert found.n_needed > 133  # where the bound of zero flips reaches the margin
    assert found.smallest_decidable is not None
    assert found.smallest_decidable > 0.05


def test_no_flips_in_many_items_is_retained() -> None:
    assert one(SKILL, binary(lost=0, gained=0, kept=400, wrong=100)).verdict == "Retained"


@pytest.mark.parametrize(
    ("chance", "right", "verdict"),
    [(0.25, 270, "Not measurable"), (0.25, 400, "Retained"), (None, 0, "Not measurable"), (None, 20, "Retained")],
)
def test_a_base_at_chance_is_not_measurable(chance: float | None, right: int, verdict: str) -> None:
    suite = Suite("qa", "exact_match", "binary", 0.02, chance)
    assert one(suite, binary(lost=0, gained=0, kept=right, wrong=1000 - right)).verdict == verdict


def test_not_measurable_comes_first_even_after_a_clear_change() -> None:
    found = one(SKILL, binary(lost=200, gained=0, kept=60, wrong=740))
    assert found.verdict == "Not measurable"
    assert found.p is None
    assert found.sentence == (
        "the base scores 26.0 pt on addition, not three standard errors above chance (25.0 pt) (n = 1,000):"
        " a loss could not be seen"
    )


def test_a_handful_of_right_answers_is_no_skill() -> None:
    assert one(Suite("qa", "accuracy", "binary", 0.02, 0.5), binary(0, 0, 3, 0)).verdict == "Not measurable"


def test_holm_by_hand_and_over_the_suites_of_one_arm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()
    weak = binary(lost=60, gained=40, kept=500, wrong=100)  # p = .028 by itself
    assert one(SKILL, weak).verdict == "Harmed"
    among = judge([(SKILL, weak), (SKILL, binary(0, 0, 600, 100))])
    assert [v.verdict for v in among] == ["Inconclusive", "Retained"]
    beside_chance = judge([(SKILL, weak), (SKILL, binary(0, 0, 100, 600))])
    assert [v.verdict for v in beside_chance] == ["Harmed", "Not measurable"]  # not in the family


def clustered(shift: float, k: int, size: int = 5, spread: float = 0.02) -> PairedScores:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(k), size)
    before = rng.uniform(0.3, 0.5, k * size)
    return paired(before, before + shift + rng.normal(0, spread, k)[codes], codes)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "Retained"), (-0.03, "Harmed")])
def test_graded_scores_by_cluster(shift: float, verdict: str) -> None:
    found = one(ROUGE, clustered(shift, k=100))
    assert found.verdict == verdict
    assert (found.gained, found.flips) == (None, None)
    assert "n = 500 in 100 clusters" in found.sentence


@pytest.mark.parametrize("shift", [0.0, -0.2])
def test_fewer_than_thirty_clusters_have_no_verdict(shift: float) -> None:
    found = one(ROUGE, clustered(shift, k=12))
    assert found.verdict == "Inconclusive"
    assert found.p is None
    assert found.n_needed is not None
    assert found.n_needed >= 150  # 30 clusters of 5
    assert "with 60 items in 12 clusters" in found.sentence
    assert "no verdict is given below 30" in found.sentence


def test_one_cluster_has_no_interval() -> None:
    found = one(ROUGE, paired(np.array([0.4, 0.5]), np.array([0.3, 0.4]), np.array([0, 0])))
    assert found.verdict == "Inconclusive"
    assert found.interval is None
    assert "1 cluster;" in found.sentence


def test_clustered_binary_items_are_resampled_and_counted() -> None:
    alone = binary(lost=60, gained=40, kept=500, wrong=100)
    order = np.argsort(alone.after - alone.before, kind="stable")
    together = paired(alone.before[order], alone.after[order], np.arange(700) // 10)  # flips share clusters
    first, second = one(SKILL, alone), one(SKILL, together)
    assert (second.lost, second.gained, second.clusters) == (60, 40, 70)
    assert first.interval is not None
    assert second.interval is not None
    assert second.interval.high - second.interval.low > 2 * (first.interval.high - first.interval.low)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "Retained"), (1.05, "Harmed"), (0.9, "Retained")])
def test_bits_per_byte_are_relative_and_better_low(factor: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    before = rng.uniform(1, 2, 200)
    after = before * factor * rng.normal(1, 0.01, 200)
    size = rng.integers(500, 1500, 200).astype(float)
    found = one(PROSE, PairedScores(np.arange(200), np.arange(200), before, after, size))
    assert found.verdict == verdict
    assert found.relative
    assert found.chance is None
    assert found.change == pytest.approx(1 - factor, abs=0.003)
    assert found.before == pytest.approx((before * size).sum() / size.sum())
    assert "%" in found.sentence
    assert "pt" not in found.sentence


def test_declared_binary_must_be_binary() -> None:
    with pytest.raises(DataError, match="neither 0 nor 1"):
        one(SKILL, paired(np.array([0.5, 1.0]), np.array([1.0, 1.0])))
    with pytest.raises(DataError, match="outside 0 to 1"):
        one(ROUGE, paired(np.array([50.0, 10.0]), np.array([1.0, 1.0])))


def test_verdicts_are_deterministic() -> None:
    assert one(ROUGE, clustered(-0.015, k=60)) == one(ROUGE, clustered(-0.015, k=60))


def test_sentence_of_an_arm() -> None:
    kept, lost = binary(0, 0, 600, 100), binary(120, 40, 1200, 186)
    words = Suite("words", "accuracy", "binary", 0.02, 0.25)
    assert arm_sentence(judge([(SKILL, kept), (words, kept)])) == "Nothing beyond 2 pt was lost on any of 2 suites."
    assert arm_sentence(judge([(SKILL, kept), (words, lost)])) == "Harmed: words; Retained: addition."
    assert arm_sentence(()) == "No suite was measured."


def test_no_sentence_claims_that_nothing_was_forgotten() -> None:
    cases = [binary(0, 0, 40, 0), binary(0, 30, 600, 100), binary(120, 40, 1200, 186), binary(0, 0, 100, 900)]
    for case in cases:
        assert "forg" not in one(SKILL, case).sentence
