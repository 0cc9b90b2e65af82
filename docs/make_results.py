"""Write docs/results.md, a page per study and the tables of README.md and docs/methods.md from the records of runs.

No number is typed by hand.

    python docs/make_results.py add RUN NAME   # keep the numbers of a run as docs/results/NAME.json
    python docs/make_results.py check RUN NAME # does a run say what docs/results/NAME.json says? Exit code 1 if not
    python docs/make_results.py                # write all pages, and the tables in README.md and docs/methods.md

The order of the studies stands in docs/results/order.json, the origin of data in sources.json. What is to be said
before a study's numbers stands in NAME.md above the markers, and is left as it is. Of a run's summary.json all is kept
but texts: answers and examples belong to the data sets.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import methods_table
from keeptune.core.errors import DataError
from keeptune.core.records import ArmSummary, ItemRecord, RowLoss, Summary, read_json, read_records, write_json
from keeptune.core.units import human_seconds
from keeptune.evaluate.metrics.base import METRICS as METRICS_OF_ITEMS
from keeptune.evaluate.metrics.base import Answer
from keeptune.report.formatting import score_text
from results_tables import MANY_ROWS, folded_if, gain, kept, scored, suite_change, table, tables, target_text

DOCS = Path(__file__).parent
README, GUIDE, FIRST = DOCS.parent / "README.md", DOCS / "methods.md", DOCS / "tutorial.md"
README_ROWS = 8
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
BUILTIN = "builtin:"
RESULTS = "results"
STUDY = "study"
TUTORIAL, BOOKS = "tutorial", "books"
TUTORIAL_PAGE = "Every suite of it: [its page](results/{}.md)."
METHODS = "methods"  # also the name of the stored study that they were measured in


def keep(run: Path, name: str) -> None:
    """Store the numbers of a run, without the texts of its data."""
    summary = read_json(run / "summary.json", Summary)
    cards = tuple(
        card.model_copy(
            update={
                "example_prompt": "",
                "example_completion": "",
                "example_tokens": (),
                "source": Path(card.source).name,
            }
        )
        for card in summary.cards
    )
    arms = tuple(
        arm.model_copy(
            update={
                "hardest": tuple(map(in_its_file, arm.hardest)),
                "spikes": tuple(
                    spike.model_copy(update={"rows": tuple(map(in_its_file, spike.rows))}) for spike in arm.spikes
                ),
            }
        )
        for arm in summary.arms
    )
    drawn = tuple(card.model_copy(update={"example": ""}) for card in summary.rehearsal)
    without = {"samples": (), "arms": arms, "cards": cards, "rehearsal": drawn}
    write_json(DOCS / "results" / f"{name}.json", summary.model_copy(update=without))
    if summary.metric in ROUGE:
        found = {arm.label: rouge(run / arm.folder / "items" / f"{summary.target}.jsonl") for arm in tested(summary)}
        (DOCS / "results" / f"{name}.rouge.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def in_its_file(row: RowLoss) -> RowLoss:
    """The row, its file by name alone: where that lies is nobody else's."""
    return row.model_copy(update={"path": Path(row.path).name})


def tested(summary: Summary) -> list[ArmSummary]:
    """The arms that were scored on test items."""
    return [arm for arm in summary.arms if arm.not_run is None]


def rouge(items: Path) -> dict[str, float]:
    """All four ROUGE figures of the answers to a task's test items."""
    records = read_records(items, ItemRecord)
    answers = [Answer(record.id, record.prediction, record.references) for record in records]
    return {name: fmean(METRICS_OF_ITEMS[name]().score(answers).values) for name in ROUGE}


def rouge_table(name: str) -> Iterator[str]:
    """What `keep` left of them, in points; nothing for a study without."""
    path = DOCS / "results" / f"{name}.rouge.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = ([label, *(f"{100 * scores[each]:.1f}" for each in ROUGE)] for label, scores in found.items())
        yield "All four ROUGE figures of the same answers:"
        yield table(["arm", *ROUGE], rows)


def results() -> dict[str, Summary]:
    """Stored runs by name, in the order of docs/results/order.json."""
    order = json.loads((DOCS / "results" / "order.json").read_text(encoding="utf-8"))
    return {name: stored(name) for name in order}


def stored(name: str) -> Summary:
    """One stored run.

    Raises:
        SystemExit: another version wrote it, whose numbers may mean something else.
    """
    try:
        return read_json(DOCS / "results" / f"{name}.json", Summary)
    except DataError as error:
        raise SystemExit(f"{error}: run the study again, then: python docs/make_results.py add RUN {name}") from error


def said(summary: Summary) -> dict[str, str]:
    """What a run says, as the page and the command say it: choice, scores, gains, verdicts, comparisons. No times."""
    found = {"choice": summary.recommendation.headline}
    for arm in summary.arms:
        if arm.not_run is None:
            found[arm.label] = f"{score_text(arm.target)}, {gain(arm) or 'no gain'}"
            found |= {f"{arm.label}: {suite.suite}": suite_change(suite) for suite in arm.suites}
    return found | {" against ".join(pair.labels): pair.sentence for pair in summary.matched}


def differing(kept: Summary, run: Summary) -> list[str]:
    """A line for everything that two records of one study say otherwise."""
    before, now = said(kept), said(run)
    return [
        f"{name}: '{before.get(name, 'nothing')}' is stored, '{now.get(name, 'nothing')}' is what the run says"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def pages() -> dict[Path, str]:
    """Path and text of every page of results: the summary first, then the studies in their order."""
    found = results()
    return {DOCS / "results.md": overview(found)} | {
        page_of(name): study_page(name, summary) for name, summary in found.items()
    }


def page_of(name: str) -> Path:
    """Where the page of a study is."""
    return DOCS / RESULTS / f"{name}.md"


def overview(found: dict[str, Summary]) -> str:
    """All of docs/results.md: one line for every study."""
    head = ["study", "base", "target, n", "best prompting", "trained arm that scores best", "its suites", "decision"]
    parts = [
        "# Results",
        "Every number here and on the pages of the studies was written by `docs/make_results.py` from the records of a"
        " run (`docs/results/`). Intervals are 95 %; n is the number of test items.",
        table(head, (overview_row(name, summary) for name, summary in found.items())),
        "What a verdict means: [Verdicts](verdicts.md). Ten questions put to the built-in model: [Laws](laws.md).",
    ]
    return "\n\n".join(parts) + "\n"


def overview_row(name: str, summary: Summary) -> list[str]:
    """One study: what was asked, the best of either kind, and what was decided."""
    prompting = best([arm for arm in tested(summary) if arm.family == "prompt"])
    trained = best([arm for arm in tested(summary) if arm.family != "prompt"])
    items = (prompting or trained or summary.arms[0]).target.n
    return [
        f"[{summary.title}]({RESULTS}/{name}.md)",
        f"`{summary.manifest.model}`",
        f"{target_text(summary)}, {items:,}",
        score_text(prompting.target) if prompting else "",
        f"{trained.label}: {scored(trained)}" if trained else "",
        kept(trained) if trained else "",
        summary.recommendation.headline,
    ]


def best(arms: Sequence[ArmSummary]) -> ArmSummary | None:
    """The arm with the highest score on test items; None where there is none."""
    return max(arms, key=lambda arm: arm.target.mean, default=None)


def study_page(name: str, summary: Summary) -> str:
    """All of docs/results/NAME.md: the title, what its page says above the markers, and the numbers between them."""
    begin, end = markers(STUDY)
    path = page_of(name)
    note = path.read_text(encoding="utf-8").partition(begin)[0] if path.is_file() else ""
    said = re.sub(r"\A# .*\n", "", note).strip()
    body = "\n\n".join(section(name, summary))
    return "\n\n".join(filter(None, [f"# {summary.title}", said, f"{begin}\n\n{body}\n\n{end}"])) + "\n"


def section(name: str, summary: Summary) -> Iterator[str]:
    """What the records of one study say."""
    yield f"**{summary.recommendation.headline}** {summary.recommendation.paragraph}"
    yield from tables(summary)
    yield from rouge_table(name)
    yield provenance(summary)
    yield data_table(summary)


def provenance(summary: Summary) -> str:
    """What was run, with which versions, and what a budget took away."""
    manifest = summary.manifest
    versions = ", ".join(f"{key} {value}" for key, value in manifest.versions.items())
    dropped = [f"{plan.arm} ({', '.join(plan.dropped)})" for plan in summary.plans if plan.dropped]
    return "\n".join(
        [
            f"- Command: `{manifest.command}`",
            f"- {summary.date}, {human_seconds(summary.wall_seconds)} (runs that finished), {manifest.device},"
            f" {manifest.precision}, {manifest.platform}, Python {manifest.python}",
            f"- keeptune {manifest.keeptune}, {versions}",
            f"- Model {manifest.model} (content hash {manifest.model_hash}), seeds {list(manifest.seeds)},"
            f" configuration {manifest.config_hash}",
            *([f"- Left out for the budget: {', '.join(dropped)}"] if dropped else []),
        ]
    )


def data_table(summary: Summary) -> str:
    """Where every data set of a study comes from."""
    rows = []
    for task, digest in summary.manifest.data_hashes.items():
        source = source_of(task, summary.manifest.config)
        rows.append([task, source["source"], source["licence"], f"`{digest[:16]}`"])
    body = table(["data", "public source", "licence", "SHA-256 of the file"], rows)
    return folded_if(len(rows) > MANY_ROWS, f"Sources of {len(rows)} data sets", body)


def source_of(task: str, config: dict[str, Any]) -> dict[str, str]:
    """The entry of docs/results/sources.json: a built-in task by its name, other data by the file's name."""
    sources = json.loads((DOCS / "results" / "sources.json").read_text(encoding="utf-8"))
    kind, key = files(config).get(task, ("real data", task))
    if key not in sources[kind]:
        raise SystemExit(f"docs/results/sources.json has no source of {task}: add '{key}' under '{kind}'")
    entry: dict[str, str] = sources[kind][key]
    return entry


def files(config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Task -> part of sources.json and key in it, from the entries of a study's configuration."""
    found = {}
    for entry in (entry for part in ("target", "retain", "held_out") for entry in config.get(part) or ()):
        place = str(entry.get("task") or entry.get("data") or entry.get("text"))
        kind = "demo" if place.startswith(BUILTIN) else "real data"
        key = Path(place.removeprefix(BUILTIN)).stem
        found[entry.get("name") or key] = (kind, key)
    return found


def plain_arm(arm: ArmSummary) -> bool:
    """True for prompting and for methods as they are: measured, without a remedy."""
    return arm.not_run is None and arm.alpha is None and "+" not in arm.arm


def readme_table() -> str:
    """The plain arms of the first stored study, and the one to take, as the README shows them."""
    summary = next(iter(results().values()))
    taken = summary.recommendation.arm
    shown = [arm for arm in summary.arms if plain_arm(arm) or arm.name == taken][:README_ROWS]
    more = len(summary.arms) - len(shown)
    return short_table(summary, shown) + (f" {more} more arms: [docs/results.md](docs/results.md)." if more else "")


def short_table(summary: Summary, shown: Sequence[ArmSummary]) -> str:
    """What the arms scored and kept, and below it which study this was and what it decided."""
    rows = [[arm.label, scored(arm), gain(arm), kept(arm), f"{arm.costs.tokens_per_request:.0f}"] for arm in shown]
    lines = table(["arm", "target score", "over the best prompting", "retained skills", "tokens per request"], rows)
    caption = (
        f"`{summary.manifest.command}`, {summary.date}, {summary.manifest.device};"
        f" {summary.metric}, {shown[0].target.n:,} test items, 95 % intervals. {summary.recommendation.headline}"
    )
    return f"{lines}\n\n{caption}"


def markers(name: str) -> tuple[str, str]:
    """What a written part of a page stands between."""
    return f"<!-- {name}: written by docs/make_results.py -->", f"<!-- end of {name} -->"


def between(page: str, name: str, body: str) -> str:
    """The page with a fresh body between the markers of a name."""
    begin, end = markers(name)
    head, rest = page.split(begin)
    return f"{head}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def with_tables(readme: str) -> str:
    """The README with fresh tables."""
    return between(between(readme, RESULTS, readme_table()), METHODS, methods_table.readme_table(stored(METHODS)))


def with_methods(guide: str) -> str:
    """docs/methods.md with a fresh table of methods."""
    return between(guide, METHODS, methods_table.study_table(stored(METHODS)))


def with_tutorial(page: str) -> str:
    """docs/tutorial.md with the table of its study."""
    summary = stored(BOOKS)
    return between(page, TUTORIAL, f"\n{short_table(summary, tested(summary))}\n\n{TUTORIAL_PAGE.format(BOOKS)}\n")


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments[:1] == ["add"]:
        keep(Path(arguments[1]), arguments[2])
        return
    if arguments[:1] == ["check"]:
        lines = differing(stored(arguments[2]), read_json(Path(arguments[1]) / "summary.json", Summary))
        if lines:
            raise SystemExit("\n".join(lines))
        return
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    for path, fresh in ((README, with_tables), (GUIDE, with_methods), (FIRST, with_tutorial)):
        path.write_text(fresh(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
