"""What the base has of a skill: can a loss be seen at all, and is the margin smaller than the skill?

Decided on validation items, because the items that are judged would decide it in favour of those where the base
happened to be lucky: near chance that made a loss of nothing in 9 to 22 % of the arms. Where a suite has none, the
judged items decide and the verdict says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from keeptune.core.records import ItemRecord
from keeptune.retention.clusters import ratio
from keeptune.retention.pairs import PairedScores, Suite, pair

CHANCE_SE = 3.0  # standard errors above chance from which a skill counts as present
LARGEST_SHARE = 0.5  # of what the base has above chance: a larger margin would let the skill go
DEFAULT_SHARE = 0.05  # of it: the margin where a recipe names none,
DEFAULT_LEAST, DEFAULT_MOST = 0.01, 0.03  # within what suites of some hundred to some thousand items can decide

Origin = Literal["validation", "judged"]


@dataclass(frozen=True)
class Skill:
    """The base's own score on a suite, and the margin that it leaves room for."""

    suite: Suite  # with its margin
    before: float
    above: float  # how far above chance, in the unit of the margin; for bits per byte relative to them
    error: float  # of `above`
    n: int
    clusters: int
    on: Origin

    @property
    def present(self) -> bool:
        """Whether the base is above chance by three standard errors."""
        return self.above > 0 and self.above >= CHANCE_SE * self.error

    @property
    def largest_margin(self) -> float:
        """Half of what the base has above chance."""
        return LARGEST_SHARE * max(self.above, 0.0)

    @property
    def measurable(self) -> bool:
        """Whether a loss could be seen and the margin is smaller than the skill."""
        return self.present and self.suite.required_margin <= self.largest_margin + 1e-12


def skill_of(suite: Suite, base: Sequence[ItemRecord]) -> Skill:
    """The base's skill on a suite, measured on its validation items."""
    return skill_in(suite, pair(base, base), "validation")


def skill_in(suite: Suite, scores: PairedScores, on: Origin) -> Skill:
    """The base's skill on a suite by its scores before training, whichever items they are of.

    The error is the larger of the base's own (clustered) and that of guessing, so that a handful of right answers isn't
    taken for a skill. Without a chance level the floor is zero; bits per byte without one are always measurable.
    """
    own = ratio(scores.before * scores.weights, scores.weights, scores.codes)
    if suite.relative:
        above = math.inf if suite.chance is None else (suite.chance - own.estimate) / own.estimate
        error = own.se / own.estimate * (1 + above) if math.isfinite(above) else 0.0
    else:
        chance = suite.chance or 0.0
        above = own.estimate - chance
        error = max(own.se, math.sqrt(chance * (1 - chance) / scores.n))
    margin = suite.margin if suite.margin is not None else default_margin(above)
    return Skill(replace(suite, margin=margin), own.estimate, above, error, scores.n, scores.n_clusters, on)


def default_margin(above: float) -> float:
    """The margin of a score where none is named: 5 % of what the base has above chance, between 1 and 3 points.

    One point takes some 3,000 items to decide where a twentieth of the answers changes, three points some 350. Of a
    small skill a point may be more than half: then half of it.
    """
    margin = float(np.clip(DEFAULT_SHARE * above, DEFAULT_LEAST, DEFAULT_MOST))
    return max(min(margin, LARGEST_SHARE * above), 1e-4)
