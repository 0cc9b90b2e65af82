"""The five verdicts, their order, their wording, and what stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from keeptune.core.errors import DataError
from keeptune.core.records import ItemRecord, SuiteVerdict
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.sentences import arm_sentence
from keeptune.retention.skill import default_margin
from keeptune.retention.verdict import holm, holm_levels, judge

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
    """The verdict, where the base's validation items look like the judged ones before."""
    items = [
        ItemRecord(suite=suite.name, id=str(i), cluster=str(c), score=s, weight=w)
        for i, c, s, w in zip(scores.ids, scores.clusters, scores.before, scores.weights, strict=True)
    ]
    return judge([(suite, scores)], {suite.name: items})[0]


def test_retained() -> None:
    found = one(SKILL, binary(lost=50, gained=50, kept=1200, wrong=246))
    assert found.verdict == "Retained"
    assert found.sentence == (
        "worst plausible loss on addition is 1.1 pt, within the margin of 2 pt"
        " (change +0.0 pt, 95 % CI −1.3 to +1.3, n = 1,546)"
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
    assert found.sentence.startswith(
        "worst plausible loss on addition is 0.0 pt, within the margin of 2 pt (change +7.0 pt"
    )


def test_small_loss_is_named_and_still_retained() -> None:
    found = one(SKILL, binary(lost=35, gained=10, kept=4000, wrong=955))  # -0.5 pt of 5,000
    assert found.verdict == "Retained"
    assert found.small_loss
    assert found.p is not None
    assert found.p < 0.05  # Retained is decided before Worse
    assert found.sentence.endswith("; small loss shown: 0.5 pt")
    assert "worst plausible loss on addition is 0.7 pt, within the margin of 2 pt" in found.sentence


def test_harmed() -> None:
    found = one(SKILL, binary(lost=120, gained=40, kept=1200, wrong=186))
    assert found.verdict == "Harmed"
    assert found.sentence == (
        "lost at least 3.9 pt on addition, more than the margin of 2 pt"
        " (change −5.2 pt, 95 % CI −6.8 to −3.6, n = 1,546, Holm p < 0.001)"
    )
    assert found.upper_bound is not None
    assert found.upper_bound < -found.margin


def test_worse_is_a_loss_that_may_lie_within_the_margin() -> None:
    found = one(SKILL, binary(lost=70, gained=40, kept=1250, wrong=186))  # -1.9 pt of 1,546
    assert found.verdict == "Worse"
    assert found.p_holm is not None and found.p_holm < 0.05
    assert found.p_harm is not None and found.p_harm > 0.05
    assert found.interval is not None
    assert found.interval.low < -found.margin < found.interval.high < 0
    assert found.sentence.startswith("lost 1.9 pt on addition (change −1.9 pt, 95 % CI −3.3 to −0.6, n = 1,546, Holm p")
    assert "whether it is more than the margin of 2 pt is open:" in found.sentence


def test_a_loss_within_a_wide_margin_is_never_harmed() -> None:
    wide = Suite("addition", "accuracy", "binary", 0.10, 0.25)
    lost = binary(lost=120, gained=40, kept=1200, wrong=186)  # -5.2 pt: Harmed at 2 points
    assert (one(SKILL, lost).verdict, one(wide, lost).verdict) == ("Harmed", "Retained")


def test_inconclusive_names_the_items_that_would_settle_it() -> None:
    found = one(SKILL, binary(lost=20, gained=18, kept=250, wrong=92))
    assert found.verdict == "Inconclusive"
    assert found.n_needed is not None
    assert found.n_needed > found.n
    assert found.sentence == (
        "between −3.8 and +2.8 pt on addition (95 % CI) with n = 380; margin 2 pt:"
        f" {found.n_needed:,} items would settle it"
    )
    scaled = round(found.n_needed / 380)
    more = one(SKILL, binary(20 * scaled, 18 * scaled, 250 * scaled, 92 * scaled))
    assert more.verdict == "Retained"


def test_a_loss_beyond_the_margin_is_settled_as_harmed() -> None:
    found = one(SKILL, binary(lost=14, gained=8, kept=150, wrong=28))  # -3 pt of 200
    assert found.verdict == "Inconclusive"
    assert found.n_needed is not None
    scaled = -(-found.n_needed // 200)
    assert one(SKILL, binary(14 * scaled, 8 * scaled, 150 * scaled, 28 * scaled)).verdict == "Harmed"


def test_a_loss_on_the_margin_is_settled_by_no_number_of_items() -> None:
    found = one(SKILL, binary(lost=14, gained=10, kept=150, wrong=26))  # -2 pt of 200
    assert found.verdict == "Inconclusive"
    assert found.n_needed is None
    assert "no practicable number of items" in found.sentence


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
    [(0.25, 270, "Not measurable"), (0.25, 400, "Retained"), (None, 0, "Not measurable"), (None, 60, "Retained")],
)
def test_a_base_at_chance_is_not_measurable(chance: float | None, right: int, verdict: str) -> None:
    suite = Suite("qa", "exact_match", "binary", 0.02, chance)
    assert one(suite, binary(lost=0, gained=0, kept=right, wrong=1000 - right)).verdict == verdict


def test_not_measurable_comes_first_even_after_a_clear_change() -> None:
    found = one(SKILL, binary(lost=200, gained=0, kept=60, wrong=740))
    assert found.verdict == "Not measurable"
    assert found.p is None
    assert found.sentence == (
        "the base scores 26.0 pt on addition, not three standard errors above chance (25.0 pt)"
        " (n = 1,000, validation items): a loss could not be seen"
    )


def test_a_margin_of_the_size_of_the_skill_measures_nothing() -> None:
    """2 % right, all of it lost: within 3 points, and yet nothing is left."""
    found = one(Suite("gsm8k", "exact_match", "binary", 0.03), binary(lost=26, gained=0, kept=0, wrong=1274))
    assert found.verdict == "Not measurable"
    assert found.largest_margin == pytest.approx(0.01)
    assert found.sentence == (
        "a margin of 3 pt exceeds half of what the base has above chance on gsm8k"
        " (2.0 pt; n = 1,300, validation items); the largest usable margin is 1.0 pt"
    )


def test_the_default_margin_is_a_share_of_the_skill() -> None:
    found = one(Suite("addition", "accuracy", "binary", None, 0.25), binary(lost=5, gained=5, kept=740, wrong=250))
    assert found.margin == pytest.approx(0.05 * 0.495, abs=1e-3)
    assert found.margin_share == pytest.approx(0.05)


def test_what_can_be_measured_is_decided_on_validation_items() -> None:
    """The judged items alone would call the base measurable: 31 % right with chance at 25 %."""
    lucky = binary(lost=0, gained=0, kept=310, wrong=690)
    poor = [ItemRecord(suite="addition", id=str(i), cluster=str(i), score=float(i % 4 == 0)) for i in range(400)]
    assert judge([(SKILL, lucky)], {"addition": poor})[0].verdict == "Not measurable"
    alone = judge([(SKILL, lucky)])[0]
    assert alone.measured_on == "judged"
    assert alone.sentence.endswith("was decided on the judged items, for want of validation items")


def test_a_handful_of_right_answers_is_no_skill() -> None:
    assert one(Suite("qa", "accuracy", "binary", 0.02, 0.5), binary(0, 0, 3, 0)).verdict == "Not measurable"


def test_holm_by_hand_and_over_the_suites_of_one_arm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()
    assert holm_levels([0.01, 0.04, 0.03], 0.06) == pytest.approx((0.02, 0.06, 0.03))
    weak = binary(lost=59, gained=41, kept=500, wrong=100)  # p = .036 by itself
    assert one(SKILL, weak).verdict == "Worse"
    among = judge([(SKILL, weak), (SKILL, binary(0, 0, 600, 100))])
    assert [v.verdict for v in among] == ["Inconclusive", "Retained"]
    beside_chance = judge([(SKILL, weak), (SKILL, binary(0, 0, 100, 600))])
    assert [v.verdict for v in beside_chance] == ["Worse", "Not measurable"]  # not in the family


def test_harmed_is_adjusted_over_the_suites_of_one_arm() -> None:
    lost = binary(lost=68, gained=20, kept=500, wrong=112)  # -6.9 pt against a margin of 2
    weaker = binary(lost=50, gained=20, kept=500, wrong=130)  # -4.3 pt, p = .03 by itself
    quiet = binary(0, 0, 600, 100)
    assert one(SKILL, weaker).verdict == "Harmed"
    assert judge([(SKILL, weaker), (SKILL, quiet), (SKILL, quiet)])[0].verdict == "Worse"
    assert judge([(SKILL, lost), (SKILL, quiet)])[0].verdict == "Harmed"


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


def test_an_identical_copy_keeps_every_text() -> None:
    before = np.linspace(1.2, 2.0, 20)
    found = one(PROSE, paired(before, before.copy()))
    assert found.verdict == "Retained"
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)
    assert found.sentence == "nothing changed on prose: every score is the same (margin 1 %, n = 20)"


def test_few_documents_carry_no_claim_about_others() -> None:
    suite = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01, documents=3)
    before = np.linspace(1.2, 2.0, 200)
    noise = np.random.default_rng(0).normal(1, 0.001, 200)
    assert "n = 200, on these 3 documents alone" in one(suite, paired(before, before * noise)).sentence


def test_bytes_that_their_frequencies_predict_as_well_are_no_skill() -> None:
    suite = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01, chance=4.5)
    bits = np.random.default_rng(0).normal(4.6, 0.1, 200)
    found = one(suite, paired(bits, bits * 1.1))
    assert found.verdict == "Not measurable"
    assert "not fewer by three standard errors than the frequencies of the bytes alone (4.500" in found.sentence
    assert one(suite, paired(bits - 2, (bits - 2) * 1.1)).verdict == "Harmed"


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


@pytest.mark.parametrize(
    ("above", "margin"), [(0.9, 0.03), (0.4, 0.02), (0.1, 0.01), (0.015, 0.0075), (0.0, 1e-4), (-0.2, 1e-4)]
)
def test_the_default_margin_is_a_share_of_what_the_base_has_above_chance(above: float, margin: float) -> None:
    """Within what suites of the usual size can decide, and never more than half of the skill."""
    assert default_margin(above) == pytest.approx(margin)
