"""Choices on validation items, under the retention constraint: rates, shots, points between base and tuned model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidate:
    """One thing to choose between on validation: a rate, or a number of shots."""

    name: str
    cost: float  # what to prefer less of among ties: the rate, the number of shots, the way from the base
    scores: NDArray[np.float64]  # per-item validation scores, the same items in the same order for all
    losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # nats of every validation row, if known
    tier: int = 0  # of what it keeps: see `choose.Rule.tier`
    room: float = 0.0  # smallest change of a suite, in margins
    diverged: bool = False


LEARNED = 0.5  # share of the largest gain that one which keeps the suites more surely must have to go first
NOISE = 2.0  # standard errors of a paired loss


def pick(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the best mean score; those within one standard error of it (paired, on the items) tie with it.

    Of those that tie the cheapest wins, unless its validation loss is the worse by more than its noise: the paired loss
    tells models apart that an accuracy over a hundred items cannot. Candidates that diverged are chosen only when all
    did.
    """
    alive = _alive(candidates)
    best = max(alive, key=lambda c: float(c.scores.mean()))
    tied = [c for c in alive if gap(best.scores - c.scores) <= 1]
    if all(len(c.losses) for c in tied):
        lowest = min(tied, key=lambda c: float(c.losses.mean()))
        tied = [c for c in tied if gap(c.losses - lowest.losses) <= NOISE]
    return min(tied, key=lambda c: c.cost)


def pick_kept(candidates: Sequence[Candidate], base: NDArray[np.float64]) -> Candidate:
    """Like `pick`, under the retention constraint: candidates that keep the suites come before those that do not.

    Of the candidates whose suites are within their margins as seen, those with a standard error to spare go first, if
    one of them has at least half of the largest gain over the base (`base`: its scores on the same items): with few
    items noise would decide. Where none within the margins is shown to have learned anything, the target alone decides:
    a model that learned nothing is no choice for keeping everything.
    """
    alive = _alive(candidates)
    within = [c for c in alive if c.tier <= 1]
    if not any(gap(c.scores - base) > NOISE for c in within):
        return pick(alive)
    sure = [c for c in within if c.tier == 0]
    gains = [max((float((c.scores - base).mean()) for c in some), default=-math.inf) for some in (sure, within)]
    return pick(sure if gains[0] >= LEARNED * gains[1] else within)


def pick_within(candidates: Sequence[Candidate], base: NDArray[np.float64]) -> Candidate | None:
    """The candidate to take of those within the margins; None where none of them is shown to have learned anything.

    Args:
        candidates: models, with `tier` 0 where they are within the margins, and as `cost` their worst loss: of those
            that tie on the target the one that lost least is taken.
        base: the base's scores on the same items [N].
    """
    kept = [each for each in candidates if each.tier == 0 and gap(each.scores - base) > NOISE]
    return pick(kept) if kept else None


def _alive(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that did not diverge, or all of them where all diverged."""
    return [c for c in candidates if not c.diverged] or list(candidates)


def gap(differences: NDArray[np.float64]) -> float:
    """Mean of paired differences in standard errors; 0 where there are none."""
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return mean / error if error > 0 else (0.0 if mean <= 0 else math.inf)


def pick_between(candidates: Sequence[Candidate], base: NDArray[np.float64]) -> Candidate:
    """The point to take between the base and a tuned model, chosen by `pick_kept`; ties go to the base.

    Where no point keeps the suites and half of the gain, the one that lost least, in margins, among those with half of
    the largest target score.
    """
    best = pick_kept(candidates, base)
    if best.tier < 2:
        return best
    top = max(float(c.scores.mean()) for c in candidates)
    return max((c for c in candidates if float(c.scores.mean()) >= top / 2), key=lambda c: c.room)
