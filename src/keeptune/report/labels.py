"""Places the names beside the points of a chart so that they cover neither each other nor a marker nor a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Segment = tuple[float, float, float, float]  # from x, y to x, y in pixels

CHARACTER, BOLD = 7.3, 8.2  # mean width of a character at the label's size, pixels
LINE = 15.0  # height of a line of a label, pixels
GAP = 9.0  # between the centre of a marker and its label
SMALL = 6.6  # mean width of a character of the small labels in panels, pixels
RING = 12.0  # between the centre of a ringed marker and its small label
FAR = 14.0  # pixels from a marker to its label from which a line joins them
NEAR = 8  # places tried around a point before a small label is left out
THICK = 20.0  # a pixel of a line under a label is as bad as so many covered square pixels


def place(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    width: float,
    height: float,
    lines: Sequence[Segment] = (),
    others: Sequence[tuple[float, float]] = (),
    bold: Sequence[bool] = (),
) -> list[Box]:
    """One box per name: the first free place around its point, else the least covered; the best of several orders.

    Args:
        points: marker centres in pixels.
        names: one per point; it may have several lines.
        width, height: of the plot in pixels; labels stay inside.
        lines: what a label should not lie on, in pixels.
        others: markers without a name.
        bold: whether a name is set in bold; without it none is.
    """
    markers: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in [*points, *others]]
    wanted = []
    for (x, y), name, heavy in zip(points, names, bold or [False] * len(names), strict=True):
        boxes = _candidates(x, y, _size(name, BOLD if heavy else CHARACTER), width, height)
        wanted.append([(box, _covered(box, markers, lines)) for box in boxes])
    numbers = range(len(points))
    orders = (numbers, numbers[::-1], *(sorted(numbers, key=lambda n: points[n][axis]) for axis in (0, 1)))
    best: tuple[float, list[Box]] = (math.inf, [])
    for order in orders:
        best = min(best, _greedy(points, wanted, order), key=lambda found: found[0])
        if best[0] == 0:
            break
    return best[1]


def _greedy(
    points: Sequence[tuple[float, float]], wanted: Sequence[Sequence[tuple[Box, float]]], order: Sequence[int]
) -> tuple[float, list[Box]]:
    """What the boxes cover that are chosen in this order, and the boxes, one per point.

    Args:
        wanted: the places that are tried for every point, each with what it covers that is no label.
    """
    found: dict[int, Box] = {}
    ties: list[Segment] = []
    total = 0.0
    for number in order:
        at, labels, least = points[number], list(found.values()), math.inf
        for box, covered in wanted[number]:
            if covered < least:
                cost = covered + _covered(box, labels, ties) + _tied(at, box, labels)
                if cost < least:
                    least, found[number] = cost, box
            if least == 0:
                break
        total += least
        if tie := leader(at, found[number]):
            ties.append(tie)
    return total, [found[number] for number in range(len(points))]


def leader(at: tuple[float, float], box: Box) -> Segment | None:
    """The line from a marker to a label that had to go far away; None for one that is near."""
    x, y = min(max(at[0], box[0]), box[2]), min(max(at[1], box[1]), box[3])
    return (*at, x, y) if math.dist(at, (x, y)) >= FAR else None


def _tied(at: tuple[float, float], box: Box, labels: Sequence[Box]) -> float:
    """How badly the leader of a label would cross other labels; and a little for being far."""
    tie = leader(at, box)
    return 0.0 if tie is None else FAR + THICK * sum(inside(label, tie) for label in labels)


def place_free(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    width: float,
    height: float,
    others: Sequence[tuple[float, float]] = (),
    lines: Sequence[Segment] = (),
) -> list[Box | None]:
    """Like `place`, for small names that may be left out: None where a name finds no free place next to its point.

    The first names find a place first. ``others`` are markers without a name.
    """
    blocked: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in [*points, *others]]
    found: list[Box | None] = []
    for (x, y), name in zip(points, names, strict=True):
        candidates = _candidates(x, y, _size(name, SMALL), width, height, RING)[:NEAR]
        box = next((box for box in candidates if not _covered(box, blocked, lines)), None)
        found.append(box)
        if box:
            blocked.append(box)
    return found


def _size(name: str, character: float) -> tuple[float, float]:
    """Width and height of a name in pixels."""
    rows = name.split("\n")
    return character * max(map(len, rows)), LINE * len(rows)


def _candidates(
    x: float, y: float, size: tuple[float, float], width: float, height: float, gap: float = GAP
) -> list[Box]:
    """Right, left, above, below, then further away; moved inside the plot where they would leave it."""
    length, tall = size
    places = [(x + gap, y - tall / 2), (x - gap - length, y - tall / 2)]
    for away in range(7):
        above, below = y - gap - away * LINE + 2 - tall, y + gap + away * LINE - 2
        places += [(x - length / 2, above), (x - length / 2, below), (x + 4, above), (x - 4 - length, above)]
        places += [(x + 4, below), (x - 4 - length, below)]
    for away in range(1, 5):
        for left in (x + 30 * away, x - 30 * away - length):
            places += [(left, y + down * LINE) for down in (-3, -2, -1, 1, 2, 3, 5, 7, 9)]
    boxes = []
    for left, top in places:
        left = min(max(left, 0.0), max(width - length, 0.0))
        top = min(max(top, 0.0), height - tall)
        boxes.append((left, top, left + length, top + tall))
    return boxes


def _covered(box: Box, taken: Sequence[Box], lines: Sequence[Segment]) -> float:
    """How much a label in the box would cover, in square pixels."""
    return sum(_overlap(box, other) for other in taken) + THICK * sum(inside(box, segment) for segment in lines)


def _overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def inside(box: Box, segment: Segment) -> float:
    """Pixels of a segment that lie in a box (clipped as Liang and Barsky do it)."""
    x1, y1, x2, y2 = segment
    across, down = x2 - x1, y2 - y1
    first, last = 0.0, 1.0
    for step, low, high in ((across, box[0] - x1, box[2] - x1), (down, box[1] - y1, box[3] - y1)):
        if step == 0:
            if low >= 0 or high <= 0:
                return 0.0
            continue
        enter, leave = sorted((low / step, high / step))
        first, last = max(first, enter), min(last, leave)
    return math.hypot(across, down) * max(last - first, 0.0)
