"""What keeping costs: the models that a search looked at, as scores that margins buy. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keeptune.core.records import SearchPoint, SearchSummary
from keeptune.core.units import human_count, points

WORTH = 0.5  # share of the best gain that a model must have to be named as the nearest
NAMED = 3  # steps of the frontier beyond the margins that are named


def front(models: Sequence[SearchPoint]) -> list[SearchPoint]:
    """The models that no other one beats on target and on the margin that they need, by rising margin."""
    kept: list[SearchPoint] = []
    for each in sorted((m for m in models if not m.diverged), key=lambda m: (m.worst, -m.target)):
        if not kept or each.target > kept[-1].target:
            kept.append(each)
    return kept


def needs(point: SearchPoint, spare: float) -> str:
    """'4.1 points on category (margin 3) and 1.9 % on prose (margin 1)': the margins that are too small for a model."""
    over = [each for each in point.losses if each.needed(spare) > each.margin]
    over.sort(key=lambda each: -each.needed(spare) / each.margin)
    written = [
        f"{_up(each.needed(spare))} {'%' if each.relative else 'points'} on {each.suite}"
        f" (margin {100 * each.margin:.3g})"
        for each in over
    ]
    return written[0] if len(written) == 1 else f"{', '.join(written[:-1])} and {written[-1]}"


def nearest(models: Sequence[SearchPoint], base: float) -> SearchPoint | None:
    """Of the models beyond the margins with half of the largest gain, the one that needs the smallest margins."""
    beyond = [each for each in front(models) if each.worst > 1]
    best = max((each.target for each in front(models)), default=base)
    worth = [each for each in beyond if each.target - base >= WORTH * (best - base) > 0]
    return min(worth, key=lambda each: each.worst, default=None)


def words(search: SearchSummary) -> list[str]:
    """What was found, or how near it came; what further margin would buy; what it cost."""
    found = _found(search)
    return [*_result(search, found), *offers(search), _cost(search)]


def _found(search: SearchSummary) -> SearchPoint | None:
    return next((each for each in search.points if each.name == search.found), None)


def _result(search: SearchSummary, found: SearchPoint | None) -> list[str]:
    if not search.points or not search.points[0].losses:
        return ["Nothing was searched: no retained suite can be measured, or no plain method was run to start from."]
    if found is None:
        return ["The search found no model that is shown to have learned something and keeps every suite."]
    suite = found.binding(search.spare)
    return [
        f"The search found {found.label}: {points(found.target)} on validation items, with every suite within its"
        f" margin{_spare(search.spare)}. What binds is {suite.suite}, which needs {_up(suite.needed(search.spare))} of"
        f" {100 * suite.margin:.3g} {'%' if suite.relative else 'points'}."
    ]


def offers(search: SearchSummary) -> list[str]:
    """What more margin would buy: the next steps of the frontier; where nothing was found, the nearest one worth it."""
    found = _found(search)
    if found is None:
        near = nearest(search.points, search.base)
        steps = [] if near is None else [near]
    else:
        steps = [each for each in front(search.points) if each.worst > 1 and each.target > found.target][:NAMED]
    return [
        f"At a margin of {needs(each, search.spare)} you could have {points(each.target)} ({each.label})."
        for each in steps
    ]


def _cost(search: SearchSummary) -> str:
    number = f"{search.trainings} {'training' if search.trainings == 1 else 'trainings'}"
    rest = "" if search.trainings >= search.allowed else f" of {search.allowed} that were allowed"
    return f"The search took {number}{rest}, {human_count(search.tokens)} tokens, and chose on validation items alone."


def _spare(spare: float) -> str:
    return f", {spare:g} standard error{'' if spare == 1 else 's'} of its loss allowed for" if spare else ""


def _up(fraction: float) -> str:
    """In points, to the next tenth, so that the printed margin does what is said of it."""
    return f"{math.ceil(1000 * max(fraction, 0.0) - 1e-6) / 10:.1f}"
