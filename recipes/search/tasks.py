"""Searches on six tasks with two methods: is an arm found that keeps, what does it score, and does the test agree?

    python recipes/search/tasks.py [--data data] [--out runs/search-tasks] [--only tallies-full] [--quick]

Run from the repository's root. The real targets start from runs/real-base/tuned (recipes/real-study.yaml says how it
is made) and are left out without `--data`. What was finished is not run again. Every case goes to the record
docs/search.json and its table in docs/search.md. `--quick` trains three steps and asks few items: its numbers mean
nothing, and are not kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from keeptune.core.records import ArmSummary, Interval, Record, Score, Summary, read_json, write_json
from keeptune.core.units import human_seconds, points
from keeptune.report.arms import verdict_counts
from keeptune.report.formatting import change_with_interval, score_text
from scripts import fill, leave, machine, markdown, options, study

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RECORD = DOCS / "search.md", DOCS / "search.json"
BEGIN, END = "<!-- tasks: written by recipes/search/tasks.py -->", "<!-- end of tasks -->"
NOT_RUN = "No record is kept: `python recipes/search/tasks.py --data data`."
METHODS = ("full", "lora")
QUICK = ("train.max_steps=3", "validation_items=30", "test_items=30", "search.trainings=2", "search.longer=1")
REAL = {
    "banking77": (),
    "clinc150": ("target.name=clinc150", "target.data=normalised/clinc150.jsonl"),
    "e2e": (
        "target.name=e2e",
        "target.data=normalised/e2e_nlg.jsonl",
        "target.metric=rougeL",
        "target.max_new_tokens=80",
    ),
}


@dataclass(frozen=True)
class Case:
    """One search of one task with one method."""

    task: str
    method: str
    file: str
    changes: tuple[str, ...]  # section.field=value

    @property
    def name(self) -> str:
        """'tallies-lora'."""
        return f"{self.task}-{self.method}"


CASES = (
    *(
        Case(task, method, "shop.yaml", (f"target.task=recipes/laws/tasks/{task}.yaml",))
        for task in ("tallies", "shelves", "parcels")
        for method in METHODS
    ),
    *(Case(task, method, "real.yaml", changes) for task, changes in REAL.items() for method in METHODS),
)


class Found(Record):
    """What one search came to, on test items."""

    task: str
    method: str
    metric: str
    base: Score
    plain: Score  # the plain arm at the rate that was picked
    plain_verdicts: str
    trainings: int
    label: str | None  # of the model that was found; None: nothing was
    score: Score | None
    kept: float | None  # share of the plain arm's gain
    verdicts: str | None
    harmed: tuple[str, ...]  # suites of the found model
    worst: str | None  # the suite that lost most in margins, and how much
    nearest: str  # where nothing was found: what a larger margin would have given
    decision: str
    seconds: float


class Results(Record):
    """docs/search.json."""

    date: str
    machine: str
    versions: dict[str, str]
    cases: tuple[Found, ...]


def found(case: Case, summary: Summary) -> Found:
    """What a study says of its search."""
    search = summary.search
    assert search is not None
    base = next(arm for arm in summary.arms if arm.prompting)
    plain = next(arm for arm in summary.arms if arm.arm == case.method)
    taken = next((arm for arm in summary.arms if arm.name == search.found), None)
    gain = plain.target.mean - base.target.mean
    return Found(
        task=case.task,
        method=case.method,
        metric=summary.metric,
        base=base.target,
        plain=plain.target,
        plain_verdicts=verdict_counts(plain),
        trainings=search.trainings,
        label=taken.label if taken else None,
        score=taken.target if taken else None,
        kept=(taken.target.mean - base.target.mean) / gain if taken and gain > 0 else None,
        verdicts=verdict_counts(taken) if taken else None,
        harmed=tuple(suite.suite for suite in taken.suites if suite.verdict == "Harmed") if taken else (),
        worst=_worst(taken) if taken else None,
        nearest="" if taken else " ".join(search.sentences),
        decision=summary.recommendation.headline,
        seconds=summary.wall_seconds,
    )


def _worst(arm: ArmSummary) -> str:
    measured = [suite for suite in arm.suites if suite.interval is not None and suite.verdict != "Not measurable"]
    suite = min(measured, key=lambda each: each.change / each.margin)
    interval: Interval | None = suite.interval
    assert interval is not None
    return f"{suite.suite} {change_with_interval(suite.change, interval)}{' %' if suite.relative else ''}"


def table(results: Results) -> str:
    """What stands in docs/search.md."""
    head = [
        "task",
        "method",
        "base",
        "plain",
        "its suites",
        "found",
        "score",
        "of the plain gain",
        "suites",
        "loses most",
    ]
    rows = [
        [
            each.task,
            each.method,
            points(each.base.mean),
            score_text(each.plain),
            each.plain_verdicts,
            each.label or "nothing",
            score_text(each.score) if each.score else "",
            f"{100 * each.kept:.0f} %" if each.kept is not None else "",
            each.verdicts or "",
            each.worst or "",
        ]
        for each in results.cases
    ]
    return markdown(head, rows, said(results))


def said(results: Results) -> Iterator[str]:
    """The table in sentences."""
    cases = results.cases
    taken = [case for case in cases if case.label]
    kept = [case for case in taken if not case.harmed]
    shares = [case.kept if case.kept is not None else 0.0 for case in cases]
    yield (
        f"Of {len(cases)} searches {len(taken)} found an arm on validation items; {len(kept)} of these are Harmed on no"
        f" suite on test items, {len(taken) - len(kept)} are. The median share of the plain gain that was kept, nothing"
        f" found counted as 0, is {100 * statistics.median(shares):.0f} %. Trainings beside the plain ones:"
        f" {', '.join(str(case.trainings) for case in cases)}."
    )
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    seconds = human_seconds(sum(case.seconds for case in cases))
    yield ""
    yield f"`python recipes/search/tasks.py`, {results.date}, {seconds} in all; {results.machine}; {versions}."


def run(case: Case, out: Path, data: Path | None, quick: bool, console: Console) -> Summary:
    """One study."""
    changes = (f"arms=[prompt, {case.method}, search]", *case.changes, *(QUICK if quick else ()))
    return study(case.file, changes, out / case.name, data, console)


def results(summaries: Mapping[Case, Summary]) -> Results:
    """What all searches came to."""
    manifest = next(iter(summaries.values())).manifest
    return Results(
        date=manifest.started[:10],
        machine=machine(manifest),
        versions={"keeptune": manifest.keeptune, "python": manifest.python, **manifest.versions},
        cases=tuple(found(case, summary) for case, summary in summaries.items()),
    )


def with_earlier(now: Results) -> Results:
    """What the record holds of other cases, and these."""
    earlier = read_json(RECORD, Results).cases if RECORD.is_file() else ()
    held = {(each.task, each.method): each for each in (*earlier, *now.cases)}
    ran = [held[case.task, case.method] for case in CASES if (case.task, case.method) in held]
    return now.model_copy(update={"cases": tuple(ran)})


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    chosen = options(__doc__, "runs/search-tasks", [case.name for case in CASES], arguments)
    console = Console()
    cases = [case for case in CASES if case.name in (chosen.only or [case.name])]
    cases = [case for case in cases if case.file == "shop.yaml" or chosen.data is not None]
    done: dict[Case, Summary] = {}
    for case in cases:
        done[case] = run(case, chosen.out, chosen.data, chosen.quick, console)
        came_to = results(done)
        if not chosen.quick:
            write_json(RECORD, with_earlier(came_to))
            fill(PAGE, BEGIN, END, table(read_json(RECORD, Results)))
    console.print(table(came_to), highlight=False)
    return 0


if __name__ == "__main__":
    leave(main)
