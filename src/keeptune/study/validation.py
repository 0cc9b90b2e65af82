"""From scores on validation items to what choices and comparisons are made of. Arrays in, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keeptune.core.records import Interval, ItemRecord
from keeptune.recommend.choose import Validation
from keeptune.retention.change import change_of_scores
from keeptune.retention.clusters import FloatArray, IntArray, cluster_codes
from keeptune.retention.matched import Point
from keeptune.retention.pairs import PairedScores
from keeptune.retention.skill import Skill
from keeptune.study.records import ValidationScores


@dataclass(frozen=True, eq=False)
class BaseSuite:
    """The base on a retained suite's validation items."""

    skill: Skill
    before: FloatArray
    weights: FloatArray
    codes: IntArray

    @staticmethod
    def of(skill: Skill, items: Sequence[ItemRecord]) -> BaseSuite:
        """From item records, in their order."""
        return BaseSuite(
            skill,
            np.array([item.score for item in items]),
            np.array([item.weight for item in items]),
            cluster_codes([item.cluster for item in items]),
        )

    def losses(self, after: Sequence[float]) -> FloatArray:
        """What every item adds to the loss in margins; their mean is the loss."""
        lost: FloatArray = (self.before - np.array(after)) * self.weights
        if self.skill.suite.relative:  # fewer bits are better, and a share of the bits before is what counts
            scale = -len(lost) / float((self.before * self.weights).sum())
        else:
            scale = 1 / float(self.weights.mean())
        return lost * (scale / self.skill.suite.required_margin)


@dataclass(frozen=True, eq=False)
class ValidationResults:
    """All that was seen on validation items: the base, the arms, and every model on the way to them."""

    clusters: NDArray[np.object_]  # of every target item
    suites: Sequence[BaseSuite]
    arms: Mapping[str, ValidationScores]  # what the table's arms were chosen by, by their names
    models: Mapping[
        str, Mapping[int, Sequence[ValidationScores]]
    ]  # arm as the recipe names it -> seed -> all that were looked at

    def for_choice(self) -> Validation:
        """What the choice among the arms is made of."""

        def difference(a: str, b: str) -> tuple[float, Interval]:
            mine, other = np.array(self.arms[a].target), np.array(self.arms[b].target)
            change = change_of_scores(PairedScores.of(other, mine, self.clusters))
            low, high = change.interval()
            return change.estimate, Interval(low=low, high=high)

        return Validation(
            scores={name: seen.score for name, seen in self.arms.items()},
            tiers={name: seen.tier for name, seen in self.arms.items()},
            difference=difference,
        )

    def codes(self) -> list[IntArray]:
        """Clusters of the target items, then of every suite's."""
        return [cluster_codes(self.clusters), *(suite.codes for suite in self.suites)]

    def frontier(self, arm: str) -> dict[int, list[Point]]:
        """Seed -> the models of an arm as points of its frontier; empty without retained suites."""
        if not self.suites:
            return {}
        return {seed: [self._point(seen) for seen in found] for seed, found in self.models.get(arm, {}).items()}

    def _point(self, seen: ValidationScores) -> Point:
        losses = [base.losses(suite.scores) for base, suite in zip(self.suites, seen.suites, strict=True)]
        return Point(np.array(seen.target), losses)
