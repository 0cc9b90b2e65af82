"""Simulated suites whose truth is known: what the base and a tuned model answer, drawn again and again.

A world draws paired scores; its true change is known (or computed once from a very large draw). Everything is judged by
the code that judges real models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keeptune.evaluate.metrics.macro_f1 import MacroF1
from keeptune.retention.pairs import PairedScores, Suite

Floats = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class World:
    """A suite, how its scores are drawn, and the change that is true."""

    name: str
    suite: Suite  # its margin is the true loss where false Retained and false Harmed are counted
    draw: Callable[[Rng], PairedScores]
    truth: float
    claims_nothing: str = ""  # why no verdict is given here


def paired(
    before: Floats, after: Floats, clusters: NDArray[np.int64] | None = None, labels: NDArray[np.str_] | None = None
) -> PairedScores:
    """Scores with clusters, or each item by itself."""
    return replace(PairedScores.of(before, after, clusters), labels=labels)


def binary(rate: float, n: int, lost: float, gained: float) -> World:
    """Items right at a base rate; of the right ones some are lost, of the wrong ones some gained (shares of all)."""

    def draw(rng: Rng) -> PairedScores:
        u = rng.random(n)
        before = (u < rate).astype(float)
        after = np.where((u < lost) | ((u >= rate) & (u < rate + gained)), 1 - before, before)
        return paired(before, after)

    suite = Suite("skill", "exact_match", "binary", margin=max(lost - gained, 0.01))
    return World(f"right/wrong, base rate {rate:.0%}, n {n:,}", suite, draw, gained - lost)


SIZES: dict[str, Callable[[Rng, int], NDArray[np.int64]]] = {
    "equal": lambda rng, k: np.full(k, 5),
    "log-normal": lambda rng, k: np.maximum(1, np.round(np.exp(rng.normal(1.2, 1.0, k)))).astype(np.int64),
    "Pareto": lambda rng, k: np.clip(np.floor(2 * (rng.pareto(1.2, k) + 1)), 1, 2000).astype(np.int64),
}


def _beta(rng: Rng, mean: float, icc: float, k: int) -> Floats:
    concentration = (1 - icc) / icc
    return rng.beta(mean * concentration, (1 - mean) * concentration, k)


def clustered(sizes: str, icc: float, k: int, lost: float = 0.08, gained: float = 0.04) -> World:
    """Right/wrong items in clusters whose flips go together; every cluster has a share of its own that is lost."""

    def draw(rng: Rng) -> PairedScores:
        codes = np.repeat(np.arange(k), SIZES[sizes](rng, k))
        u = rng.random(len(codes))
        goes, comes = _beta(rng, lost, icc, k)[codes], _beta(rng, gained / (1 - lost), icc, k)[codes]
        before = np.where(
            u < goes, 1.0, np.where(u > 1 - comes * (1 - goes), 0.0, (rng.random(len(codes)) < 0.7) * 1.0)
        )
        after = np.where(u < goes, 0.0, np.where(u > 1 - comes * (1 - goes), 1.0, before))
        return paired(before, after, codes)

    suite = Suite("skill", "exact_match", "binary", margin=lost - gained)
    return World(f"{sizes} clusters, ICC {icc:g}, {k} of them", suite, draw, gained - lost)


def rouge(k: int, changed: float = 0.6, drop: float = 0.02) -> World:
    """Graded scores of `k` documents with two summaries each; some change, by as much as summaries differ."""

    def draw(rng: Rng) -> PairedScores:
        codes = np.repeat(np.arange(k), 2)
        before = np.repeat(rng.beta(3, 7, k), 2)
        other = np.repeat(rng.normal(-drop / changed, 0.1, k), 2) + rng.normal(0, 0.05, 2 * k)
        moved = np.repeat(rng.random(k) < changed, 2)
        return paired(before, before + np.where(moved, other, 0.0), codes)

    suite = Suite("summaries", "rougeL", "mean", margin=drop)
    withheld = "fewer than 30 clusters: no verdict" if k < 30 else ""
    return World(f"ROUGE-like, {k} documents", suite, draw, -drop, withheld)


def few_lose(k: int, share: float = 0.05, drop: float = 0.4) -> World:
    """Graded scores of `k` documents that wobble a little, and of which one in twenty loses most of its score."""

    def draw(rng: Rng) -> PairedScores:
        before = rng.beta(5, 5, k)
        lost = np.where(rng.random(k) < share, np.abs(rng.normal(drop, 0.1, k)), rng.normal(0, 0.02, k))
        return paired(before, before - lost)

    suite = Suite("summaries", "rougeL", "mean", margin=share * drop)
    return World(f"ROUGE-like, {k} documents, one in twenty collapsed", suite, draw, -share * drop)


def prose(documents: int, drop: float = 0.01) -> World:
    """Bits per byte of documents that differ in how much they lose; few are judged by their stretches alone.

    With fewer than 100 documents nothing is said about others: the truth is then that of the documents themselves,
    whose blocks are drawn anew. With 100 and more it is that of all documents.
    """
    few = documents < 100
    fixed = np.random.default_rng(documents)
    own = fixed.normal(drop, drop, documents)
    base = fixed.uniform(1.5, 2.5, documents)
    blocks = 12 * max(1, 40 // documents)

    def draw(rng: Rng) -> PairedScores:
        lost = own if few else rng.normal(drop, drop, documents)
        level = base if few else rng.uniform(1.5, 2.5, documents)
        document = np.repeat(np.arange(documents), blocks)
        stretch = np.arange(documents * blocks) // 4
        shared = rng.normal(0, 0.01, stretch.max() + 1)[stretch]
        before = level[document] * (1 + rng.normal(0, 0.1, len(document)))
        after = before * (1 + lost[document] + shared + rng.normal(0, 0.01, len(document)))
        return paired(before, after, stretch if few else document)

    truth = -float((own * base).sum() / base.sum()) if few else -drop
    suite = Suite("prose", "bits_per_byte", "bits_per_byte", margin=-truth, documents=documents if few else None)
    about = ", on these alone" if few else ""
    return World(f"bits per byte, {documents} documents{about}", suite, draw, truth)


def rare_class(rare: int, lost: float = 0.15) -> World:
    """Macro-F1 over four classes of which one is rare; a share of what was right is lost in every class alike."""
    gold = np.repeat([0, 1, 2, 3], [rare, 200, 200, 200])

    def answers(rng: Rng, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        other = (labels + 1 + rng.integers(0, 3, len(labels))) % 4
        before = np.where(rng.random(len(labels)) < 0.85, labels, other)
        return before, np.where((before == labels) & (rng.random(len(labels)) < lost), other, before)

    def shares(said: NDArray[np.int64], labels: NDArray[np.int64]) -> Floats:
        return np.array(MacroF1().score_all([str(x) for x in said], [[str(x)] for x in labels]).values)

    def draw(rng: Rng) -> PairedScores:
        before, after = answers(rng, gold)
        return paired(shares(before, gold), shares(after, gold), labels=gold.astype(str))

    many = np.repeat(gold, 100)
    before, after = answers(np.random.default_rng(0), many)
    truth = float(shares(after, many).mean() - shares(before, many).mean())
    suite = Suite("intents", "macro_f1", "mean", margin=-truth)
    return World(f"macro-F1, {rare} items of the rarest class", suite, draw, truth)
