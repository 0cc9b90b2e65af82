"""How often verdicts and choices are wrong, by simulation: writes docs/calibration.md.

    python recipes/calibration/calibrate.py [--draws 4000] [--only SECTION]

Run from the repository's root, as `make calibration` does (about a quarter of an hour).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

import fewer
from cells import SECTIONS, Cell
from keeptune.core.units import human_seconds
from keeptune.retention.sequential import LOOKS

PAGE = Path(__file__).parents[2] / "docs" / "calibration.md"
ARMS = (1, 2, 5, 10, 20)
POWERS = (0.8, 0.95, 0.99, 0.999)
CHOICES, STOPPED, REPLAYED = "Choices", "Stopped when settled", "Stopped when settled: studies"
TITLES = [*SECTIONS, CHOICES, STOPPED, REPLAYED]


def opening(draws: int) -> str:
    """What stands above the sections."""
    return (
        "# Calibration\n\n"
        "How often the verdicts are wrong, and what the intervals cover, where the truth is known. Written by `make"
        f" calibration` ({draws:,} draws a row): every row is a simulated suite, judged by the code that judges real"
        " models. *False Retained* and *false Harmed* are counted where the true loss is exactly the margin, and should"
        " happen in 5 % of the draws at most; the interval should cover in 95 %. *Power* is the share of Retained at"
        " that margin where nothing was lost. A row is sound if errors are at most 6 % and coverage at least 93.5 %;"
        " conservative rows cover in more than 96.5 %, at the price of power. Of all suites together, *power* is how"
        " often a loss is shown that is there."
    )


def section(title: str, draws: int) -> Iterator[str]:
    """A section of the page, block by block."""
    if title == CHOICES:
        yield from choices(draws // 4)
    elif title == STOPPED:
        yield from stopped(draws // 8)
    else:
        found = SECTIONS[title](draws)
        yield table(found)
        yield verdict_on(found)


def verdict_on(found: Sequence[Cell | fewer.Fewer]) -> str:
    """Which rows are not sound."""
    unsound = [cell.name for cell in found if not cell.sound]
    return f"Not sound: {', '.join(unsound)}." if unsound else f"All {len(found)} rows are sound."


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
    from choices import against_itself, shares  # imports torch, which the processes of `fewer` need not

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


def stopped(draws: int) -> Iterator[str]:
    """Suites whose items are asked in blocks until their verdict is settled."""
    yield (
        f"`keeptune compare --fast` asks the items in at most {LOOKS} blocks and stops a suite that is Retained or"
        f" Harmed ([how](verdicts.md#fewer-items)). The same suites, {draws:,} draws a row, and half as many where"
        " nothing was lost: there, the power with all items stands beside the power of stopping, and the share of the"
        " items that were asked. A row is sound if errors are at most 5 % and coverage at least 95 %, but for three"
        " standard errors of so many draws. Macro-F1 is asked whole."
    )
    found = fewer.single(draws)
    lines = [
        "| suite | false Retained | false Harmed | coverage | nothing lost: coverage | power | of all items | asked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        numbers = (one.false_retained, one.false_harmed, one.coverage, one.covered, one.power, one.power_of_all)
        lines.append(f"| {one.name} | {' | '.join(map(share, numbers))} | {100 * one.asked:.0f} % |")
    yield "\n".join(lines)
    yield verdict_on(found)
    alone = [one for one in found if one.name.startswith("right/wrong")]
    yield (
        f"Over the {len(alone)} rows of items by themselves: {share(mean(one.false_retained for one in alone))} false"
        f" Retained, {share(mean(one.false_harmed for one in alone))} false Harmed, coverage"
        f" {share(mean(one.coverage for one in alone))}, and {share(mean(one.covered for one in alone))} where nothing"
        " was lost."
    )
    arms = fewer.arms(draws // 3)
    yield f"The suites of an arm, {draws // 3:,} draws a row:"
    yield table(arms)
    yield verdict_on(arms)
    yield (
        "How the levels are spent over the blocks, by integration: power of Retained, and the share of the items that"
        " is asked, where all items would say Retained with the probability above. Verdicts that all items would give"
        " should stay as they are, so the power counts first; `keeptune` spends by the square of the share."
    )
    lines = [
        f"| spending | {' | '.join(f'{100 * power:g} %' for power in POWERS)} |",
        f"|---|{'---|' * len(POWERS)}",
    ]
    for name, row in fewer.spent(POWERS):
        lines.append(f"| {name} | {' | '.join(f'{share(kept)}, {100 * asked:.0f} % asked' for kept, asked in row)} |")
    yield "\n".join(lines)


def put(title: str, blocks: Iterable[str], head: str | None = None) -> None:
    """Write a section into the page, in its place, and print it; `head` where what stands above is new too."""
    old_head, *old = PAGE.read_text(encoding="utf-8").rstrip().split("\n\n## ")
    kept = {text.partition("\n")[0]: text.partition("\n")[2].strip() for text in old}
    written = []
    for block in blocks:
        written.append(block)
        print(f"{block}\n", flush=True)
    kept[title] = "\n\n".join(written)
    sections = [f"## {each}\n\n{kept[each]}" for each in TITLES if each in kept]
    PAGE.write_text("\n\n".join([head or old_head, *sections]) + "\n", encoding="utf-8")


def share(value: float | None) -> str:
    """'5.2 %'."""
    return "" if value is None else f"{100 * value:.1f} %"


def main() -> None:
    """Write the page, or some of its sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4_000)
    parser.add_argument("--only", choices=TITLES[:-1], help="this section alone; the others stay as they are")
    asked, started = parser.parse_args(), time.monotonic()
    for title in [asked.only] if asked.only else TITLES[:-1]:
        put(title, section(title, asked.draws), None if asked.only else opening(asked.draws))
    print(f"{PAGE}: {human_seconds(time.monotonic() - started)}", file=sys.stderr)


if __name__ == "__main__":
    main()
