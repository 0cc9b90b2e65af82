"""How often verdicts and choices are wrong, by simulation: writes docs/calibration.md.

    python recipes/calibration/calibrate.py [--draws 4000]

Run from the repository's root, as `make calibration` does (about ten minutes on two cores).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cells import SECTIONS, Cell
from choices import against_itself, shares
from keeptune.core.units import human_seconds

PAGE = Path(__file__).parents[2] / "docs" / "calibration.md"
ARMS = (1, 2, 5, 10, 20)


def page(draws: int) -> Iterator[str]:
    """The page, block by block."""
    yield "# Calibration"
    yield (
        "How often the verdicts are wrong, and what the intervals cover, where the truth is known. Written by `make"
        f" calibration` ({draws:,} draws a row): every row is a simulated suite, judged by the code that judges real"
        " models. *False Retained* and *false Harmed* are counted where the true loss is exactly the margin, and should"
        " happen in 5 % of the draws at most; the interval should cover in 95 %. *Power* is the share of Retained at"
        " that margin where nothing was lost. A row is sound if errors are at most 6 % and coverage at least 93.5 %;"
        " conservative rows cover in more than 96.5 %, at the price of power. Of all suites together, *power* is how"
        " often a loss is shown that is there."
    )
    for title, cells in SECTIONS.items():
        found = cells(draws)
        yield f"## {title}"
        yield table(found)
        unsound = [cell.name for cell in found if not cell.sound]
        yield f"Not sound: {', '.join(unsound)}." if unsound else f"All {len(found)} rows are sound."
    yield from choices(draws // 4)


def table(cells: list[Cell]) -> str:
    """One section."""
    lines = [
        "| suite | false Retained | false Harmed, Worse or loss | coverage | power | |",
        "|---|---|---|---|---|---|",
    ]
    for cell in cells:
        numbers = (cell.false_retained, cell.false_harmed, cell.coverage, cell.power)
        mark = cell.withheld or ("not sound" if not cell.sound else "conservative" if cell.conservative else "")
        lines.append(f"| {cell.name} | {' | '.join(map(share, numbers))} | {mark} |")
    return "\n".join(lines)


def choices(draws: int) -> Iterator[str]:
    """Selection among arms, and a method against itself."""
    yield "## Choices"
    yield (
        "Arms that score alike and have all lost exactly their margin on one suite: how often is one of them taken"
        " firmly (a mistake), and does the interval of the chosen arm's gain over prompting hold its true gain? The"
        f" choice is made on 200 validation items and confirmed on 500 test items; {draws:,} studies a row."
    )
    lines = ["| arms | firm choice of an arm on its margin | coverage of the chosen arm's gain |", "|---|---|---|"]
    for arms in ARMS:
        firm, covered = shares(draws, arms)
        lines.append(f"| {arms} | {share(firm)} | {share(covered)} |")
    yield "\n".join(lines)
    yield "Two arms of one method, compared at equal target score: how often is one said to lose more?"
    lines = ["| seeds | said to differ |", "|---|---|"]
    for seeds in (3, 5):
        rng = np.random.default_rng(seeds)
        lines.append(f"| {seeds} | {share(sum(against_itself(rng, seeds) for _ in range(draws)) / draws)} |")
    yield "\n".join(lines)


def share(value: float | None) -> str:
    """'5.2 %'."""
    return "" if value is None else f"{100 * value:.1f} %"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4_000)
    draws, started = parser.parse_args().draws, time.monotonic()
    blocks = []
    for block in page(draws):
        blocks.append(block)
        print(f"{block}\n", flush=True)
    PAGE.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    print(f"{PAGE}: {human_seconds(time.monotonic() - started)}", file=sys.stderr)


if __name__ == "__main__":
    main()
