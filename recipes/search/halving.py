"""Would rates dropped after a third of the steps have been chosen? Eight tasks, two methods, four rates each.

    python recipes/search/halving.py [--data data] [--out runs/halving] [--only orders] [--quick]

Run from the repository's root. Every rate is trained to its end with its validation scores on the way, and the records
say what successive halving would have kept after a third of the steps: half of the rates, by their validation loss, and
beside it the same with every rate that keeps the suites better than a kept one. The choice among what is left is held
against the choice among all. The record docs/halving.json and its table in docs/performance.md are written when all
were run. What was finished is not run again. `--quick` trains three steps: its numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from keeptune.core.records import ItemRecord, Record, Summary, read_json, read_records, write_json
from keeptune.recommend.pick import Candidate, gap, pick_kept
from keeptune.study.records import Checkpoint, TrialRecord
from keeptune.study.tuning import candidate_of
from scripts import fill, leave, machine, markdown, options, study

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RECORD = DOCS / "performance.md", DOCS / "halving.json"
BEGIN, END = "<!-- halving: written by recipes/search/halving.py -->", "<!-- end of halving -->"
QUICK = ("train.max_steps=4", "train.validations_per_epoch=75", "validation_items=20", "test_items=20")
SHOP = ("tallies", "shelves", "parcels", "diary")
TASKS: Mapping[str, tuple[str, ...]] = {
    "orders": (),
    **{name: (f"target.task=recipes/laws/tasks/{name}.yaml",) for name in SHOP},
    "category": ("target.task=builtin:category",),
    "trec": ("target={name: trec, data: normalised/trec.jsonl, split: {on_leak: drop}}",),
    "banking77": (
        "target={name: banking77, data: normalised/banking77.jsonl, split: {on_leak: drop}, metric: exact_match}",
    ),
}
NOT_RUN = "No record is kept: `python recipes/search/halving.py --data data`."
METHODS = ("full", "lora")
REAL = ("trec", "banking77")
PART = 1 / 3  # of the steps, after which rates are dropped
ENOUGH = 0.9  # of the arms have to come to the same choice, or to one that ties with it


class Dropped(Record):
    """What one way of dropping rates would have come to in one arm."""

    chosen: str
    score: float  # of the choice, on validation items
    same: bool
    tied: bool  # within one standard error of the choice among all rates, paired
    steps: float  # share of the steps of all rates


class Arm(Record):
    """One arm: the choice among all rates, and those after dropping some."""

    task: str
    method: str
    chosen: str
    score: float
    by_loss: Dropped
    by_both: Dropped


class Results(Record):
    """docs/halving.json."""

    date: str
    machine: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Rate:
    """One training, and how it stood after a third of its steps."""

    record: TrialRecord
    then: Checkpoint

    @classmethod
    def of(cls, record: TrialRecord) -> Rate:
        """The first checkpoint that has a third of the steps behind it; a training that ended before has its last."""
        late = [each for each in record.checkpoints if each.step >= PART * record.steps]
        return cls(record, (late or record.checkpoints[-1:])[0])


def by_loss(rates: Sequence[Rate]) -> list[Rate]:
    """The better half by validation loss."""
    return sorted(rates, key=lambda rate: rate.then.validation_loss)[: (len(rates) + 1) // 2]


def by_both(rates: Sequence[Rate]) -> list[Rate]:
    """Those, and whatever keeps the suites better than the worst of them does."""
    kept = by_loss(rates)
    room = min(rate.then.validation.room for rate in kept)
    return [rate for rate in rates if rate in kept or rate.then.validation.room > room]


def dropped(
    rates: Sequence[Rate], best: Candidate, base: np.ndarray, way: Callable[[Sequence[Rate]], list[Rate]]
) -> Dropped:
    """What a way of dropping would have come to."""
    kept = way(rates)
    choice = pick_kept([candidate_of(rate.record) for rate in kept], base)
    part = len(kept) / len(rates)
    return Dropped(
        chosen=choice.name,
        score=float(choice.scores.mean()),
        same=choice.name == best.name,
        tied=abs(gap(best.scores - choice.scores)) <= 1,
        steps=PART + (1 - PART) * part,
    )


def run(task: str, out: Path, data: Path | None, quick: bool, console: Console) -> list[Arm]:
    """The arms of one task."""
    folder = out / task
    study("halving.yaml", (*TASKS[task], *(QUICK if quick else ())), folder, data, console)
    base = np.array([item.score for item in read_records(folder / "base" / "validation" / f"{task}.jsonl", ItemRecord)])
    records = [read_json(path, TrialRecord) for path in sorted((folder / "arms").glob("*/trial.json"))]
    return [arm(task, method, [each for each in records if each.method == method], base) for method in METHODS]


def arm(task: str, method: str, records: Sequence[TrialRecord], base: np.ndarray) -> Arm:
    """The choices among the rates of one method."""
    rates = [Rate.of(record) for record in records]
    best = pick_kept([candidate_of(record) for record in records], base)
    return Arm(
        task=task,
        method=method,
        chosen=best.name,
        score=float(best.scores.mean()),
        by_loss=dropped(rates, best, base, by_loss),
        by_both=dropped(rates, best, base, by_both),
    )


def table(results: Results) -> str:
    """What stands in docs/performance.md."""
    head = ["task", "method", "chosen among all", "by loss", "steps", "by loss and suites", "steps"]
    rows = [
        [
            each.task,
            each.method,
            f"{_rate(each.chosen)}: {100 * each.score:.1f}",
            *_cells(each.by_loss),
            *_cells(each.by_both),
        ]
        for each in results.arms
    ]
    return markdown(head, rows, said(results))


def _cells(found: Dropped) -> list[str]:
    how = (
        "the same" if found.same else f"{_rate(found.chosen)}: {100 * found.score:.1f}{', ties' if found.tied else ''}"
    )
    return [how, f"{100 * found.steps:.0f} %"]


def _rate(name: str) -> str:
    """'0.001' of 'full-lr0.001-seed0'."""
    return name.split("-lr")[1].split("-seed")[0]


def said(results: Results) -> Iterator[str]:
    """The table in sentences."""
    for way, name in (("by_loss", "By loss alone"), ("by_both", "By loss and suites")):
        found: list[Dropped] = [getattr(each, way) for each in results.arms]
        right = sum(each.same or each.tied for each in found)
        steps = sum(each.steps for each in found) / len(found)
        enough = "which is enough" if right >= ENOUGH * len(found) else f"and {100 * ENOUGH:.0f} % are asked for"
        yield (
            f"- {name}: the same choice, or one that ties with it, in {right} of {len(found)} arms ({enough}), for"
            f" {100 * steps:.0f} % of the steps."
        )
    yield ""
    yield f"`python recipes/search/halving.py --data data`, {results.date}; {results.machine}."


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    chosen = options(__doc__, "runs/halving", list(TASKS), arguments)
    console = Console()
    tasks = [task for task in TASKS if task in (chosen.only or TASKS) and (chosen.data or task not in REAL)]
    arms = [arm for task in tasks for arm in run(task, chosen.out, chosen.data, chosen.quick, console)]
    manifest = read_json(chosen.out / tasks[0] / "summary.json", Summary).manifest
    results = Results(date=manifest.started[:10], machine=machine(manifest), arms=tuple(arms))
    console.print(table(results), highlight=False)
    if tasks == list(TASKS) and not chosen.quick:
        write_json(RECORD, results)
        fill(PAGE, BEGIN, END, table(read_json(RECORD, Results)))
    return 0


if __name__ == "__main__":
    leave(main)
