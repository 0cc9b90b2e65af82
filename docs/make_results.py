"""Write docs/results.md and the README's table from the records of finished runs. No number is typed by hand.

    python docs/make_results.py add RUN NAME   # keep the numbers of a run as docs/results/NAME.json
    python docs/make_results.py                # write docs/results.md and the table in README.md

Of a run's summary.json everything is kept but texts: answers and examples belong to the data sets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from keeptune.core.records import ArmSummary, SuiteVerdict, Summary, read_json, write_json
from keeptune.core.units import human_bytes, human_count, human_seconds, points

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- results: written by docs/make_results.py -->", "<!-- end of results -->"


def keep(run: Path, name: str) -> None:
    """Store the numbers of a run, without the texts of its data."""
    summary = read_json(run / "summary.json", Summary)
    cards = tuple(
        card.model_copy(update={"example_prompt": "", "example_completion": "", "source": Path(card.source).name})
        for card in summary.cards
    )
    write_json(DOCS / "results" / f"{name}.json", summary.model_copy(update={"samples": (), "cards": cards}))


def results() -> dict[str, Summary]:
    """Stored runs by name, in the order of docs/results/order.json."""
    order = json.loads((DOCS / "results" / "order.json").read_text(encoding="utf-8"))
    return {name: read_json(DOCS / "results" / f"{name}.json", Summary) for name in order}


def page() -> str:
    """All of docs/results.md."""
    parts = [
        "# Results",
        "Every number on this page was written by `docs/make_results.py` from the records of a run (`docs/results/`)."
        " Intervals are 95 %; n is the number of test items. Negative changes are losses.",
    ]
    for name, summary in results().items():
        parts += section(name, summary)
    return "\n\n".join(parts) + "\n"


def section(name: str, summary: Summary) -> Iterator[str]:
    """One study."""
    yield f"## {summary.title}"
    note = DOCS / "results" / f"{name}.md"
    if note.is_file():
        yield note.read_text(encoding="utf-8").strip()
    yield f"**{summary.recommendation.headline}** {summary.recommendation.paragraph}"
    yield arms_table(summary)
    if any(arm.tasks for arm in summary.arms):
        yield tasks_table(summary)
    if any(arm.suites for arm in summary.arms):
        yield suites_table(summary)
    manifest = summary.manifest
    versions = ", ".join(f"{key} {value}" for key, value in manifest.versions.items())
    yield "\n".join(
        [
            f"- Command: `{manifest.command}`",
            f"- {summary.date}, {human_seconds(summary.wall_seconds)} (runs that finished), {manifest.device},"
            f" {manifest.precision}, {manifest.platform}, Python {manifest.python}",
            f"- keeptune {manifest.keeptune}, {versions}",
            f"- Model {manifest.model} (content hash {manifest.model_hash}), seeds {list(manifest.seeds)},"
            f" configuration {manifest.config_hash}",
        ]
    )
    sources = json.loads((DOCS / "results" / "sources.json").read_text(encoding="utf-8"))
    lines = ["| data | public source | licence | SHA-256 of the file |", "|---|---|---|---|"]
    for task, digest in manifest.data_hashes.items():
        source = sources["demo" if name == "demo" else "real data"][task]
        lines.append(f"| {task} | {source['source']} | {source['licence']} | `{digest[:16]}` |")
    yield "\n".join(lines)


def arms_table(summary: Summary) -> str:
    """Arm by arm: score, gain, verdicts, costs."""
    lines = [
        f"| arm | {summary.target}: {summary.metric} | over the best prompting | retained suites | trainable | training"
        " | peak memory | tokens per request | on disk |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in summary.arms:
        costs, score = arm.costs, arm.target
        cells = [
            f"**{arm.label}**" if arm.name == summary.recommendation.arm else arm.label,
            f"{points(score.mean)} ({points(score.interval.low)} to {points(score.interval.high)}), n {score.n:,}",
            _gain(arm),
            _verdicts(arm),
            human_count(costs.trainable_parameters) if costs.trainable_parameters else "none",
            human_seconds(costs.train_seconds) if costs.train_seconds else "none",
            human_bytes(costs.peak_memory_bytes) if costs.peak_memory_bytes else "",
            f"{costs.tokens_per_request:.0f}" if costs.tokens_per_request else "",
            human_bytes(costs.bytes_on_disk) if costs.bytes_on_disk else "nothing",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gain(arm: ArmSummary) -> str:
    if arm.gain is None or arm.gain_mean is None:
        return ""
    low, high = (points(value, signed=True) for value in (arm.gain.low, arm.gain.high))
    return f"{points(arm.gain_mean, signed=True)} ({low} to {high})"


def _verdicts(arm: ArmSummary) -> str:
    if not arm.suites:
        return "unchanged weights" if arm.family == "prompt" else ""
    counts = {
        word: sum(s.verdict == word for s in arm.suites)
        for word in ("Retained", "Harmed", "Inconclusive", "Not measurable")
    }
    return ", ".join(f"{n} {word}" for word, n in counts.items() if n)


def tasks_table(summary: Summary) -> str:
    """Task by arm, where several targets were learned together."""
    arms = [arm for arm in summary.arms if arm.tasks]
    lines = ["| task | n | " + " | ".join(arm.label for arm in arms) + " |", "|---|---|" + "---|" * len(arms)]
    for row in zip(*(arm.tasks for arm in arms), strict=True):
        cells = [
            f"{points(s.mean)} ({points(s.interval.low)} to {points(s.interval.high)})" for s in (t.score for t in row)
        ]
        lines.append(f"| {row[0].task} | {row[0].score.n:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def suites_table(summary: Summary) -> str:
    """Suite by arm: change with interval, and verdict."""
    arms = [arm for arm in summary.arms if arm.suites]
    lines = [
        "| suite | n | margin | before | " + " | ".join(arm.label for arm in arms) + " |",
        "|---|---|---|---|" + "---|" * len(arms),
    ]
    for row in zip(*(arm.suites for arm in arms), strict=True):
        first = row[0]
        before = f"{first.before:.3f} bits per byte" if first.relative else points(first.before)
        margin = f"{points(first.margin)} {'%' if first.relative else 'points'}"
        lines.append(f"| {first.suite} | {first.n:,} | {margin} | {before} | " + " | ".join(map(_change, row)) + " |")
    return "\n".join(lines)


def _change(suite: SuiteVerdict) -> str:
    if suite.verdict == "Not measurable" or suite.interval is None:
        return suite.verdict
    low, high = (points(value, signed=True) for value in (suite.interval.low, suite.interval.high))
    return f"{suite.verdict}: {points(suite.change, signed=True)} ({low} to {high})"


def readme_table() -> str:
    """The first stored study, as the README shows it."""
    summary = next(iter(results().values()))
    lines = [
        "| arm | target score | over the best prompting | retained skills | tokens per request |",
        "|---|---|---|---|---|",
    ]
    for arm in summary.arms:
        low, high = points(arm.target.interval.low), points(arm.target.interval.high)
        cells = [arm.label, f"{points(arm.target.mean)} ({low} to {high})", _gain(arm), _verdicts(arm)]
        lines.append(f"| {' | '.join(cells)} | {arm.costs.tokens_per_request:.0f} |")
    n = summary.arms[0].target.n
    caption = (
        f"`{summary.manifest.command}`, {summary.date}, {summary.manifest.device};"
        f" {summary.metric}, {n:,} test items, 95 % intervals. {summary.recommendation.headline}"
    )
    return "\n".join([*lines, "", caption])


def with_table(readme: str) -> str:
    """The README with a fresh table between its markers."""
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n{readme_table()}\n{END}{rest.split(END)[1]}"


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments[:1] == ["add"]:
        keep(Path(arguments[1]), arguments[2])
        return
    (DOCS / "results.md").write_text(page(), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
