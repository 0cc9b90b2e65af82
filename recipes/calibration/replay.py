"""What stopping would have saved in studies that are finished: writes its section of docs/calibration.md.

    python recipes/calibration/replay.py runs/demo [RUN ...]

The scores that a study recorded are read in the order in which `keeptune compare --fast` would have asked for them.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from calibrate import REPLAYED, put
from keeptune.compare.asking import Answered, Items, ask_until_settled
from keeptune.core.records import ItemRecord, SuiteVerdict, Summary, read_json, read_records
from keeptune.retention.pairs import Suite, pair
from keeptune.retention.verdict import judge

SUMMED = ("macro_f1", "bleu", "chrf")  # metrics of all answers together


def main() -> None:
    """Write the section."""
    put(REPLAYED, _section([Path(name) for name in sys.argv[1:]]))


def _section(runs: Sequence[Path]) -> Iterator[str]:
    yield (
        "The items that studies recorded, in the order in which `keeptune compare --fast` would have asked for them:"
        " how many would have settled the verdicts on every arm, and which verdicts are not those of all items. Written"
        " by `python recipes/calibration/replay.py RUN`."
    )
    lines = ["| study | arm | suites | items | asked | other verdicts |", "|---|---|---|---|---|---|"]
    rows = [row for run in runs for row in _replay(run)]
    for study, arm, verdicts, changed in rows:
        asked, left = (sum(getattr(v, name) for v in verdicts) for name in ("n", "unasked"))
        share = f"{100 * asked / (asked + left):.0f} %"
        lines.append(
            f"| {study} | {arm} | {len(verdicts)} | {asked + left:,} | {share} | {'; '.join(changed) or 'none'} |"
        )
    yield "\n".join(lines)
    every = [verdict for _, _, verdicts, _ in rows for verdict in verdicts]
    asked, left = (sum(getattr(v, name) for v in every) for name in ("n", "unasked"))
    yield (
        f"Together {100 * asked / (asked + left):.0f} % of the items were asked, and"
        f" {len(every) - sum(len(changed) for *_, changed in rows)} of {len(every)} verdicts are those of all items."
    )


def _replay(run: Path) -> Iterator[tuple[str, str, Sequence[SuiteVerdict], list[str]]]:
    """Of every arm: its name, the verdicts in the end, and those that are other than those of all items."""
    summary = read_json(run / "summary.json", Summary)
    suites = {v.suite: _suite(v) for arm in summary.arms for v in arm.suites}
    base = {name: (_items(run / "base" / "test", name), _items(run / "base" / "validation", name)) for name in suites}
    for folder in sorted((run / "arms").glob("*/items")):
        after = {name: _items(folder, name) for name in suites if (folder / f"{name}.jsonl").is_file()}
        if not after:
            continue
        pairs, stops = [], {}
        for name, items in after.items():
            before, validation = base[name]
            whole = suites[name].metric in SUMMED
            seen, stops[name] = ask_until_settled(
                suites[name], before, _Recorded(before, items), validation, len(after), whole=whole
            )
            pairs.append((suites[name], pair(seen.before, seen.after)))
        able = {name: validation for name, (_, validation) in base.items()}
        found = judge(pairs, able, stops=stops)
        of_all = judge([(suites[name], pair(base[name][0], items)) for name, items in after.items()], able)
        changed = [
            f"{a.suite}: {a.verdict}, {b.verdict}" for a, b in zip(of_all, found, strict=True) if a.verdict != b.verdict
        ]
        yield summary.title, folder.parent.name, found, changed


class _Recorded:
    """Both models' answers as they were written down."""

    def __init__(self, *sides: Items) -> None:
        self.sides: list[Mapping[str, ItemRecord]] = [{item.id: item for item in side} for side in sides]

    def __call__(self, only: Collection[str]) -> Answered:
        before, after = (tuple(side[each] for each in only) for side in self.sides)
        return Answered(before, after)


def _suite(verdict: SuiteVerdict) -> Suite:
    kind = "bits_per_byte" if verdict.relative else "mean"
    return Suite(verdict.suite, verdict.metric, kind, verdict.margin, verdict.chance, verdict.documents)


def _items(folder: Path, name: str) -> Items:
    return tuple(read_records(folder / f"{name}.jsonl", ItemRecord))


if __name__ == "__main__":
    main()
