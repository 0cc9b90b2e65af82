"""The end of a run in the terminal: the verdict in words, then one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keeptune.core.records import ArmSummary, SuiteVerdict, Summary
from keeptune.core.units import human_bytes, human_count, human_seconds
from keeptune.report.arms import MANY, not_run
from keeptune.report.formatting import (
    MISSING,
    change_text,
    change_unit,
    change_with_interval,
    count,
    headline_text,
    interval_text,
    known,
    margin_text,
    metric_name,
    metric_number,
    scored_in,
)
from keeptune.report.sections.sequences import SequenceTable, sequences
from keeptune.report.sections.trouble import hardest_rows, spike_rows

STYLES = {
    "Retained": "green",
    "Harmed": "red",
    "Worse": "dark_orange",
    "Inconclusive": "yellow",
    "Not measurable": "dim",
}
HEADS = {
    "Retained": "Re-\ntained",
    "Harmed": "Harmed",
    "Worse": "Worse",
    "Inconclusive": "Incon-\nclusive",
    "Not measurable": "Not\nmeas.",
}
APART = 95  # characters from which a column per verdict fits
SHORT = 5  # characters that a narrow table leaves on one line


def print_summary(summary: Summary, console: Console) -> None:
    """Print the recommendation, one row per arm, what a search found, and what became of tasks learned in turn.

    Every suite follows, a table per arm: before, after, and the change with its interval. Colour only repeats what the
    words say; columns in which no arm has a number are left out. More than six arms have a column per verdict, and of
    their suites only those are named that are not Retained.
    """
    advice = summary.recommendation
    headline = Text(headline_text(advice.headline, advice.provisional), style="bold")
    if advice.provisional:
        headline = Text("Provisional: ", style="bold yellow") + headline
    console.print()
    console.print(headline, highlight=False)
    console.print(Text(advice.paragraph), highlight=False)
    console.print()
    console.print(_table(summary, console.width), highlight=False)
    for warning in _fell(summary):
        console.print(warning, highlight=False)
    if _many(summary):
        for line in _named_briefly(summary.arms):
            console.print(line, highlight=False)
    else:
        for arm in summary.arms:
            if arm.suites and arm.not_run is None:
                console.print()
                console.print(_suites(arm), highlight=False)
    for line in _trouble(summary):
        console.print(line, highlight=False)
    if (planned := _against_plan(summary)) is not None:
        console.print(planned, highlight=False)
    if summary.search is not None:
        console.print()
        console.print(Text(" ".join(summary.search.sentences)), highlight=False)
    if found := sequences(summary):
        console.print()
        console.print(_in_turn(found), highlight=False)


def _trouble(summary: Summary) -> Iterator[Text]:
    """Why a training learned nothing, and the rows behind losses that stood out or, at the end, were the largest."""
    for arm in summary.arms:
        if arm.cause is not None:
            yield Text(f"{arm.label} learned nothing; likely cause: {arm.cause}", style="yellow")
        for spike in spike_rows(arm):
            yield Text(
                f"{arm.label}, step {spike.step}: loss {spike.loss} after {spike.usual}; {'; '.join(spike.rows)}"
            )
    named = [arm for arm in summary.arms if arm.hardest]
    if named:
        best = max(named, key=lambda arm: (arm.name == summary.recommendation.arm, arm.target.mean))
        yield Text(f"{best.label}, validation rows with the largest loss: {hardest_rows(best)}", style="dim")


def _against_plan(summary: Summary) -> Text | None:
    """What trainings were planned to need and what they needed; None where nothing was both planned and measured."""
    parts = []
    for planned in summary.plans:
        costs = next((arm.costs for arm in summary.arms if arm.arm == planned.arm and arm.costs.train_seconds), None)
        if costs is None:
            continue
        pairs = [
            (planned.memory_bytes, costs.peak_memory_bytes, human_bytes),
            (planned.training_seconds, costs.train_seconds, human_seconds),
        ]
        known = [f"{write(a)} planned, {write(b)} measured" for a, b, write in pairs if a is not None and b is not None]
        if known:
            parts.append(f"{planned.arm} {' and '.join(known)}")
    return Text(f"plan: {'; '.join(parts)}", style="dim") if parts else None


def _in_turn(found: Sequence[SequenceTable]) -> Table:
    """What became of tasks learned one after another, a row for every arm, order and seed."""
    meanings = "; ".join(f"{name.lower()}: {meaning}" for name, _, meaning in found[0].numbers)
    table = Table(
        title="Tasks learned one after another",
        title_justify="left",
        caption=f"points, 95 % intervals; {meanings}",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0),
        show_edge=False,
    )
    table.add_column("arm, order", min_width=11)
    for name, _, _ in found[0].numbers:
        table.add_column(name.lower().replace(" ", "\n"), justify="right", no_wrap=True)
    for one in found:
        order = Text(f"{', then '.join(one.summary.order)} · seed {one.summary.seed}", style="dim")
        table.add_row(Text(f"{one.summary.label}\n") + order, *(_above(text) for _, text, _ in one.numbers))
    return table


def _above(number: str) -> Text:
    """'−30.0 (−32.1 to −27.9)' with the interval below the number."""
    mean, _, interval = number.partition(" (")
    return Text(mean) + Text(f"\n{interval.rstrip(')')}", style="dim")


def _table(summary: Summary, width: int) -> Table:
    narrow = width < 110
    apart = _many(summary) and width >= APART
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if narrow else 1), show_edge=False)
    intervals = "intervals: 95 % over items; of a trained arm, of this checkpoint; over seeds mean, lowest and highest"
    said = [intervals] if any(arm.seed_scores for arm in summary.arms) else []
    if not _many(summary) and any(arm.gain_mean is not None for arm in summary.arms):
        said.append(f"gain: over {'the best prompting' if _prompted(summary) else 'the score before'}, paired")
    scored = scored_in(summary.manifest.precision, summary.manifest.config.get("quantise", "none"))
    table.caption = "; ".join(filter(None, [*said, scored])) or None
    table.add_column("arm", min_width=11)
    columns = [(title, [write(arm) for arm in summary.arms]) for title, write in _columns(summary, apart)]
    columns = [(title, cells) for title, cells in columns if any(cell.plain != MISSING for cell in cells)]
    for title, _ in columns:
        if title == "suites":
            table.add_column(title, min_width=14, width=14 if narrow else None)  # of a narrow table only names shrink
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for index, arm in enumerate(summary.arms):
        chosen = arm.name == summary.recommendation.arm
        name = Text(f"{arm.label}{' (take)' if chosen else ''}", style="bold" if chosen else "")
        if arm.not_run is not None:
            name += Text(f"\n{not_run(arm)}", style="dim")
        cells = (Text(MISSING) if arm.not_run is not None else column[index] for _, column in columns)
        table.add_row(name, *(_stack(cell) if narrow and not cell.spans else cell for cell in cells))
    return table


def _columns(summary: Summary, apart: bool) -> list[tuple[str, Callable[[ArmSummary], Text]]]:
    return [
        (metric_name(summary.metric), lambda arm: _score(arm, gain=not _many(summary))),
        *(_counts(summary.arms) if apart else [("suites", _verdicts)]),
        ("trained", lambda arm: _number(arm.costs.trainable_parameters or None, human_count)),
        ("memory", lambda arm: _number(arm.costs.peak_memory_bytes, human_bytes)),
        ("time", lambda arm: _number(arm.costs.train_seconds, human_seconds)),
        ("tokens/\nrequest", lambda arm: _number(arm.costs.tokens_per_request, count)),
        ("on disk", lambda arm: _number(arm.costs.bytes_on_disk, human_bytes)),
    ]


def _number(value: float | None, write: Callable[[float], str]) -> Text:
    return Text(write(value) if value is not None and known(value) else MISSING)


def _stack(cell: Text) -> Text:
    """A number above its unit: '412.0 MB' and '1 min 34 s' take half the width on two lines."""
    if len(cell.plain) <= SHORT:
        return cell
    words = cell.plain.split(" ")
    middle = (len(words) + 1) // 2
    return Text(" ".join(words[:middle]) + ("\n" if middle < len(words) else "") + " ".join(words[middle:]))


def _many(summary: Summary) -> bool:
    return len(summary.arms) > MANY


def _prompted(summary: Summary) -> bool:
    return any(arm.prompting for arm in summary.arms)


def _score(arm: ArmSummary, *, gain: bool) -> Text:
    """Mean above its interval: short lines keep the table narrow. Below them the gain, and what other seeds scored."""
    target, seeds = arm.target, arm.seed_scores
    if target.n == 0 or not known(target.mean):
        return Text(MISSING)
    text = Text(metric_number(target.mean, target.metric) + "\n")
    text += Text(interval_text(target.interval, target.metric), style="dim")
    if gain and known(arm.gain_mean):
        text += Text(f"\ngain {metric_number(arm.gain_mean, target.metric, signed=True)}")
        text += Text(f"\n{interval_text(arm.gain, target.metric, signed=True)}", style="dim")
    if len(seeds) > 1:
        ends = (sum(seeds) / len(seeds), min(seeds), max(seeds))
        mean, low, high = (metric_number(value, target.metric) for value in ends)
        text += Text(f"\n{len(seeds)} seeds: {mean}\n{low} to {high}", style="dim")
    return text


def _verdicts(arm: ArmSummary) -> Text:
    """The number of suites under each verdict, one line each."""
    found = [verdict.verdict for verdict in arm.suites]
    lines = [Text(f"{found.count(word)} {word}", style=style) for word, style in STYLES.items() if word in found]
    return Text("\n").join(lines) if lines else Text(MISSING)


def _counts(arms: Sequence[ArmSummary]) -> list[tuple[str, Callable[[ArmSummary], Text]]]:
    """A column per verdict that occurs: a row of a long table then takes two lines."""
    found = {verdict.verdict for arm in arms for verdict in arm.suites}

    def column(word: str) -> Callable[[ArmSummary], Text]:
        def write(arm: ArmSummary) -> Text:
            found = sum(verdict.verdict == word for verdict in arm.suites)
            return Text(str(found) if arm.suites else MISSING, style=STYLES[word] if found else "dim")

        return write

    return [(title, column(word)) for word, title in HEADS.items() if word in found]


def _fell(summary: Summary) -> Iterator[Text]:
    """A warning for every trained arm that scored less than the best prompting."""
    for arm in summary.arms:
        if arm.prompting or arm.gain is None or arm.gain_mean is None or arm.gain_mean >= 0 or not _prompted(summary):
            continue
        metric = arm.target.metric
        numbers = (
            f"{metric_number(arm.gain_mean, metric, signed=True)} ({interval_text(arm.gain, metric, signed=True)})"
        )
        how = "fell below" if arm.gain.high < 0 else "did not rise above"
        yield Text(f"warning: {arm.label} {how} the best prompting: {numbers}", style="yellow")


def _suites(arm: ArmSummary) -> Table:
    """Every suite of an arm before and after, and the change between them."""
    table = Table(
        title=arm.label,
        title_justify="left",
        title_style="bold",
        caption=None if arm.overall is None else Text(arm.overall.sentence),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    table.add_column("suite", overflow="fold")
    for title in ("before", "after", "change, 95 %", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    for verdict in arm.suites:
        sides = (metric_number(value, verdict.metric) for value in (verdict.before, verdict.after))
        change, margin = change_with_interval(verdict.change, verdict.interval), margin_text(verdict)
        table.add_row(Text(verdict.suite), *sides, change, margin, Text(verdict.verdict, style=STYLES[verdict.verdict]))
    return table


def _named_briefly(arms: Sequence[ArmSummary]) -> list[Text]:
    """A line per arm with what is not Retained; suites that cannot be measured are named once."""
    lines = [
        _line(
            arm,
            {
                "Harmed": [_loss(v) for v in _with(arm, "Harmed")],
                "Worse": [_loss(v) for v in _with(arm, "Worse")],
                "Inconclusive": [v.suite for v in _with(arm, "Inconclusive")],
            },
        )
        for arm in arms
    ]
    blind = dict.fromkeys(v.suite for arm in arms for v in _with(arm, "Not measurable"))
    last = [Text("Not measurable: ", style="dim") + Text(", ".join(blind))] if blind else []
    return [*(line for line in lines if line is not None), *last]


def _line(arm: ArmSummary, names: dict[str, list[str]]) -> Text | None:
    groups = [
        Text(f"{word} ", style=STYLES[word]) + Text(", ".join(found), style="default")
        for word, found in names.items()
        if found
    ]
    return Text(f"{arm.label}: ") + Text("; ").join(groups) if groups else None


def _with(arm: ArmSummary, word: str) -> list[SuiteVerdict]:
    """The suites under a verdict; an arm that was not run has none."""
    return [] if arm.not_run is not None else [verdict for verdict in arm.suites if verdict.verdict == word]


def _loss(verdict: SuiteVerdict) -> str:
    return f"{verdict.suite} {change_text(verdict.change)} {change_unit(verdict)}"
