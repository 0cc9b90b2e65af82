"""Statistics alone: a verdict from the scores of the same items before and after a change.

Run: python examples/verdict_from_scores.py
"""

from __future__ import annotations

import numpy as np

from keeptune import ItemRecord, Suite, judge, pair


def records(scores: np.ndarray) -> list[ItemRecord]:
    """One record per item; items that share a source would share a cluster."""
    return [ItemRecord(suite="triage", id=str(i), cluster=str(i), score=float(s)) for i, s in enumerate(scores)]


def main() -> None:
    """1,546 items, 5 % flipped either way: nothing lost on average, and enough items to say so."""
    rng = np.random.default_rng(0)
    before = (rng.random(1546) < 0.7).astype(float)
    flipped = rng.random(1546) < 0.05
    after = np.where(flipped, 1 - before, before)
    suite = Suite("triage", metric="accuracy", kind="binary", margin=0.05, chance=0.25)
    (verdict,) = judge([(suite, pair(records(before), records(after)))])
    print(f"{verdict.verdict}: {verdict.sentence}")
    print(f"{verdict.gained} items gained, {verdict.lost} lost")


if __name__ == "__main__":
    main()
