"""The verdict procedure on simulated models: 4,000 draws each through `judge` itself, 10,000 resamples each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from keeptune.retention.bootstrap import cluster_bootstrap

from keeptune.evaluate import corpus as linearised
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.verdict import judge

DRAWS = 4_000
SKILL = Suite("skill", "accuracy", "binary", 0.02, 0.25)
OPEN = Suite("skill", "exact_match", "binary", 0.02)


def paired(before: np.ndarray, after: np.ndarray, clusters: np.ndarray | None = None) -> PairedScores:
    index = np.arange(len(before))
    return PairedScores(index, index if clusters is None else clusters, before, after, np.ones(len(before)))


def unclustered_verdicts(drop: float, n: int, flips: float, seed: int) -> Counter[str]:
    """Shares of the verdicts where `flips` of the items change and the true change is -drop."""
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for _ in range(DRAWS):
        u, base = rng.random(n), (rng.random(n) < 0.7).astype(float)
        lost, gained = u < (flips + drop) / 2, (u >= (flips + drop) / 2) & (u < flips)
        before = np.where(lost, 1.0, np.where(gained, 0.0, base))
        after = np.where(lost, 0.0, np.where(gained, 1.0, base))
        found[judge([(SKILL, paired(before, after))])[0].verdict] += 1
    return found


def test_retained_has_power_where_nothing_changed() -> None:
    found = unclustered_verdicts(drop=0.0, n=1546, flips=0.1, seed=1)
    assert found["Retained"] >= 0.76 * DRAWS
    assert found["Harmed"] <= 0.06 * DRAWS


def test_retained_is_rarely_false_at_the_margin() -> None:
    found = unclustered_verdicts(drop=0.02, n=1546, flips=0.1, seed=2)
    assert found["Retained"] <= 0.06 * DRAWS


def test_few_items_do_not_make_retained_easier() -> None:
    found = unclustered_verdicts(drop=0.02, n=300, flips=0.1, seed=3)
    assert found["Retained"] <= 0.065 * DRAWS


def shared_answers(rng: np.random.Generator, k: int, size: int, icc: float, rate: float) -> np.ndarray:
    """Binary scores [k * size], clusters of `size` with intraclass correlation `icc`."""
    common = rng.random((k, size)) < np.sqrt(icc)  # two items share an answer if both take the cluster's
    own = rng.random((k, size)) < rate
    return np.where(common, rng.random((k, 1)) < rate, own).astype(float).ravel()


def test_the_simulated_clusters_have_the_intended_correlation() -> None:
    scores = shared_answers(np.random.default_rng(0), 20_000, 10, icc=0.7, rate=0.5).reshape(-1, 10)
    assert np.corrcoef(scores[:, 0], scores[:, 1])[0, 1] == pytest.approx(0.7, abs=0.02)


def test_clusters_do_not_make_harm_of_nothing() -> None:
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(50), 10)
    harmed = 0
    for _ in range(DRAWS):
        before, after = (shared_answers(rng, 50, 10, icc=0.7, rate=0.5) for _ in range(2))
        harmed += judge([(OPEN, paired(before, after, clusters))])[0].verdict == "Harmed"
    assert harmed <= 0.07 * DRAWS


def test_sparse_clustered_flips_do_not_make_retained_of_a_loss() -> None:
    """300 clusters of 3, 2 % of the clusters lost whole: the margin itself, shown by about six clusters."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(300), 3)
    retained = 0
    for _ in range(1_000):
        lost = (rng.random(300) < 0.02)[clusters]
        after = np.where(lost, 0.0, 1.0)
        retained += judge([(OPEN, paired(np.ones(900), after, clusters))], resamples=1_000)[0].verdict == "Retained"
    assert retained <= 70


def answers(gold: np.ndarray, right: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(gold)) < right, gold, rng.choice(list("abc"), len(gold))).tolist()


def macro_f1(gold: np.ndarray, said: np.ndarray) -> float:
    """The textbook figure."""
    labels = sorted(set(gold.tolist()))
    hits = [((gold == k) & (said == k)).sum() for k in labels]
    return float(np.mean([2 * h / ((gold == k).sum() + (said == k).sum()) for h, k in zip(hits, labels, strict=True)]))


def test_linearised_macro_f1_agrees_with_resampling_the_corpus_itself() -> None:
    rng = np.random.default_rng(6)
    gold = rng.choice(list("abc"), 400, p=[0.6, 0.3, 0.1])
    before, after = (np.array(answers(gold, right, seed)) for right, seed in ((0.8, 7), (0.6, 8)))
    rows = [rng.integers(0, 400, 400) for _ in range(4_000)]
    resampled = [macro_f1(gold[r], after[r]) - macro_f1(gold[r], before[r]) for r in rows]
    shares = [np.array(linearised.macro_f1(said.tolist(), [[label] for label in gold])) for said in (before, after)]
    quick = cluster_bootstrap(shares[1] - shares[0], np.arange(400))
    assert quick.estimate == pytest.approx(macro_f1(gold, after) - macro_f1(gold, before), abs=1e-9)
    assert quick.interval() == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=0.02)
