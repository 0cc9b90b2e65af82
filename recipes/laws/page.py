"""The laws on paper: lines for the console, and docs/laws.md from docs/laws.json. No number is typed by hand.

python recipes/laws/page.py     (writes the page anew from the kept record)
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from keeptune.core.records import read_json
from keeptune.core.units import human_seconds
from outcomes import Law, Part, Results

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RECORD = DOCS / "laws.md", DOCS / "laws.json"
PLURAL = {"holds": "hold", "fails": "fail", "cannot tell": "cannot tell"}
HEAD = """\
# Ten laws

What is said about fine-tuning and forgetting, asked of the built-in base model: small enough that every law is
measured within the hour, large enough to know a few things that it can forget. This page is written by
`recipes/laws/laws.py` from the records of its runs. Recipes and thresholds are committed before their results, and no
number of laws has to hold.

**How to read it.** Every part of a law is one number with its one-sided 95 % bounds on either side and a threshold.
It *holds* where both bounds are on the right side of the threshold, *fails* where both are on the wrong side, and
*cannot tell* otherwise; a law holds where all its parts do and fails where one does. A comparison of methods is about
seeds: one value per seed, Student's t over them. Drops are means over nine retained suites (eight of questions, one of
prose), on validation items, which the frontiers are made of. What holds for a model of 4.7 million parameters need not
hold for a large one.
"""


def plain(law: Law) -> str:
    """Law, measured statistic with interval, threshold, outcome and what was found instead, as lines."""
    lines = [f"Law {law.number}, {law.title}: {law.outcome}"]
    for each in law.parts:
        found = f"; {each.found}" if each.found else ""
        lines.append(
            f"  {each.outcome}: {each.claim}: {each.measured}, {each.threshold} asked ({each.statistic}{found})"
        )
    return "\n".join(lines)


def page(found: Results) -> str:
    """docs/laws.md."""
    counts = Counter(law.outcome for law in found.laws)
    said = ", ".join(f"{n} {PLURAL[outcome] if n > 1 else outcome}" for outcome, n in counts.items())
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    overview = ["| law | outcome |", "|---|---|"]
    overview += [f"| {law.number}. {law.title} | {law.outcome} |" for law in found.laws]
    made = [
        f"- Command: `{found.command}`",
        f"- {found.date}, {human_seconds(found.wall_seconds)} in all runs; {found.machine}",
        f"- Model: {found.model}",
        f"- {versions}",
    ]
    return (
        "\n\n".join(
            [
                HEAD.rstrip(),
                f"Of {len(found.laws)} laws: {said}.",
                "\n".join(overview),
                "\n".join(made),
                *map(_section, found.laws),
            ]
        )
        + "\n"
    )


def _section(law: Law) -> str:
    rows = ["| claim | measured | threshold | outcome |", "|---|---|---|---|", *map(_row, law.parts)]
    notes = [f"- {each.claim}: {each.statistic}{'; ' + each.found if each.found else ''}." for each in law.parts]
    return "\n\n".join(
        [
            f"## {law.number}. {law.title}: {law.outcome}",
            law.statement,
            "\n".join(rows),
            "\n".join(notes),
            f"Rests on: {law.rests_on}.",
        ]
    )


def _row(each: Part) -> str:
    return f"| {each.claim} | {each.measured} | {each.threshold} | {each.outcome} |"


if __name__ == "__main__":
    PAGE.write_text(page(read_json(RECORD, Results)), encoding="utf-8")
