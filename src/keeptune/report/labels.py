"""Places the names beside the points of a scatter so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

CHARACTER = 7.3  # mean width of a character at the label's size, pixels
LINE = 15.0  # height of a label, pixels
GAP = 9.0  # between the centre of a marker and its label
SMALL = 6.2  # mean width of a character of the small labels in panels, pixels
RING = 12.0  # between the centre of a ringed marker and its small label
NEAR = 8  # places tried around a point before a small label is left out


def place(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    width: float,
    height: float,
    avoid: Sequence[tuple[float, float]] = (),
) -> list[Box]:
    """One box per name, greedily: the first free place around its point, else the least covered.

    Args:
        points: marker centres in pixels.
        names: one per point.
        width, height: of the plot in pixels; labels stay inside.
        avoid: further places in pixels that are better left uncovered.
    """
    markers = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    markers += [(x - 3, y - 3, x + 3, y + 3) for x, y in avoid]
    taken: list[Box] = []
    for (x, y), name in zip(points, names, strict=True):
        candidates = _candidates(x, y, len(name) * CHARACTER, width, height)
        best = min(candidates, key=lambda box: sum(_overlap(box, other) for other in [*markers, *taken]))
        taken.append(best)
    return taken


def place_free(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    width: float,
    height: float,
    avoid: Sequence[tuple[float, float]] = (),
) -> list[Box | None]:
    """Like `place`, for small names that may be left out: None where a name finds no free place next to its point.

    The first names find a place first.
    """
    blocked: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in [*points, *avoid]]
    found: list[Box | None] = []
    for (x, y), name in zip(points, names, strict=True):
        candidates = _candidates(x, y, len(name) * SMALL, width, height, RING)[:NEAR]
        free = (box for box in candidates if not any(_overlap(box, other) for other in blocked))
        box = next(free, None)
        found.append(box)
        if box:
            blocked.append(box)
    return found


def _candidates(x: float, y: float, length: float, width: float, height: float, gap: float = GAP) -> list[Box]:
    """Right, left, above, below, then further away; moved inside the plot where they would leave it."""
    places = [(x + gap, y - LINE / 2), (x - gap - length, y - LINE / 2)]
    for away in (1, 2, 3, 4, 5):
        above, below = y - gap - away * LINE + 2, y + gap + (away - 1) * LINE - 2
        places += [(x - length / 2, above), (x - length / 2, below), (x + 4, above), (x - 4 - length, above)]
        places += [(x + 4, below), (x - 4 - length, below)]
    boxes = []
    for left, top in places:
        left = min(max(left, 0.0), max(width - length, 0.0))
        top = min(max(top, 0.0), height - LINE)
        boxes.append((left, top, left + length, top + LINE))
    return boxes


def _overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0
