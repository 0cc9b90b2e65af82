"""The search for an arm that keeps: every model that was looked at, the choice, and what keeping costs."""

from __future__ import annotations

from keeptune.core.records.base import Record


class SuiteLoss(Record):
    """What a model lost of one suite, validation items, by all models of its search. Relative for bits per byte."""

    suite: str
    loss: float  # a fraction; positive is worse
    error: float  # standard error of the loss
    margin: float
    relative: bool = False

    def needed(self, spare: float) -> float:
        """The margin that has room for the loss and ``spare`` standard errors of it."""
        return self.loss + spare * self.error


class SearchPoint(Record):
    """A model on validation items: what it gained, and the margin that it needs."""

    name: str  # of its folder among the arms
    arm: str  # as a recipe names it
    label: str  # as people read it
    training: int  # its place among the trainings of the search, from 1; 0 is a training of another arm
    alpha: float | None = None  # a point between base and tuned model
    target: float
    losses: tuple[SuiteLoss, ...]  # of every suite that can be measured
    worst: float  # largest margin needed, in margins: up to 1 every suite is kept
    diverged: bool = False

    def binding(self, spare: float) -> SuiteLoss:
        """The suite that needs the largest margin, in margins."""
        return max(self.losses, key=lambda each: each.needed(spare) / each.margin)


class SearchSummary(Record):
    """search.json: what was tried, what was chosen, and why."""

    allowed: int  # trainings
    trainings: int  # done
    tokens: int  # that they saw
    spare: float  # standard errors of a loss that its margin has room for
    base: float  # target score of the base
    points: tuple[SearchPoint, ...]
    front: tuple[str, ...] = ()  # names of the points that no other one beats on target and margin, by rising margin
    found: str | None = None  # name of the point that was chosen
    sentences: tuple[str, ...] = ()  # what was found or how near, what more margin would buy, what it cost
