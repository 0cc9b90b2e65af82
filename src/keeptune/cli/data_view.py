"""How `data check` and `data preview` look in a terminal. Nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from keeptune.core.tokens import printable, visible
from keeptune.data.check import CheckReport, Lengths
from keeptune.data.preview import Segment, Shown
from keeptune.data.recognise import Layout

EIGHTHS = " ▏▎▍▌▋▊▉"
BAR = 24  # characters of the longest bar
MOST_LABELS = 12  # rows of the label table; the rest is summed up
MOST_PAIRS = 5
STYLES = {"prompt": "", "trained": "bold green underline", "expected": "cyan underline"}
SPECIAL_STYLE = "reverse"


def print_check(report: CheckReport, console: Console) -> None:
    """The whole report: the facts, then lengths and labels, then what needs attention."""
    console.print()
    console.print(Text.assemble((report.source, "bold"), f"   {report.layout.describe()}"))
    console.print(_headline(report))
    console.print()
    console.print(Padding(_parts_table(report), (0, 0, 1, 2)))
    histograms = Table.grid(padding=(0, 4))
    histograms.add_row(*(_histogram(lengths) for lengths in report.lengths))
    console.print(Padding(histograms, (0, 0, 1, 2)))
    if report.labels:
        console.print(Padding(_label_table(report), (0, 0, 1, 2)))
    for line in _findings(report):
        console.print(Padding(line, (0, 0, 0, 2)))
    console.print()


def bar(share: float, width: int = BAR) -> str:
    """A bar of ``share`` (0 to 1) of ``width`` characters, in eighths of a character; never empty above 0."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return "█" * full + (EIGHTHS[rest] if rest else "")


def _headline(report: CheckReport) -> Text:
    shared = report.examples - report.clusters
    text = f"{report.examples:,} examples from {report.rows:,} rows · {report.clusters:,} clusters"
    if shared:
        text += f" ({shared:,} rows share a prompt or a source with another)"
    if report.most_references > 1:
        text += f" · up to {report.most_references} references"
    return Text(f"{text} · sha256 {report.sha256[:12]}", style="dim")


def _parts_table(report: CheckReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("part", "examples", "clusters"):
        table.add_column(name, justify="left" if name == "part" else "right")
    table.add_column("")
    for part in report.parts:
        where = "would be carved out of train" if part.carved else ""
        table.add_row(part.name, f"{part.examples:,}", f"{part.clusters:,}", Text(where, style="dim"))
    return table


def _histogram(lengths: Lengths) -> Table:
    numbers = f"median {lengths.median:,}, 95 % {lengths.p95:,}, longest {lengths.longest:,}"
    title = Text.assemble((lengths.name, "bold"), f", in {lengths.unit}\n", (numbers, "dim"))
    table = Table(box=None, title=title, title_justify="left", title_style="", show_header=False, padding=(0, 1, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column(style="cyan", min_width=BAR, no_wrap=True)
    table.add_column(justify="right")
    most = max(bin_.n for bin_ in lengths.bins)
    for bin_ in lengths.bins:
        last = bin_.low if bin_.high is None else bin_.high - 1
        span = (
            f"{bin_.low:,}+" if bin_.high is None else f"{bin_.low:,}" if last == bin_.low else f"{bin_.low:,}-{last:,}"
        )
        table.add_row(span, bar(bin_.n / most), f"{bin_.n:,}")
    return table


def _label_table(report: CheckReport) -> Table:
    parts = [part.name for part in report.parts]
    title = f"{len(report.labels)} labels"
    table = Table(
        box=None, title=title, title_justify="left", title_style="bold", header_style="dim", padding=(0, 2, 0, 0)
    )
    table.add_column("label", max_width=32, overflow="ellipsis", no_wrap=True)
    for name in parts:
        table.add_column(name, justify="right")
    table.add_column("")
    totals = {label: sum(counts.values()) for label, counts in report.labels.items()}
    shown = list(totals) if len(totals) <= MOST_LABELS else list(totals)[: MOST_LABELS - 1]
    everything, most = sum(totals.values()), max(totals.values())
    for label in shown:
        counts = report.labels[label]
        share = Text.assemble((bar(totals[label] / most, 16), "cyan"), f" {totals[label] / everything:.0%}")
        table.add_row(Text(printable(label)), *(f"{counts.get(name, 0):,}" for name in parts), share)
    if len(shown) < len(totals):
        rest = [totals[label] for label in totals if label not in shown]
        note = f"{len(rest)} more labels, {min(rest):,} to {max(rest):,} examples each"
        table.add_row(Text(note, style="dim"), *("" for _ in parts), "")
    return table


def _findings(report: CheckReport) -> list[RenderableType]:
    """One line per thing to know: a word and a sign, then the numbers."""
    copies = report.copies
    lines: list[RenderableType] = [
        _finding(copies.exact == 0, "copies", f"{copies.exact:,} rows repeat an earlier prompt and completion"),
        _finding(
            copies.prompts == 0,
            "answers",
            f"{copies.prompts:,} rows give another completion to an earlier prompt"
            + (f" (first: {copies.example})" if copies.example else ""),
        ),
        _finding(
            report.alike == 0,
            "alike",
            f"{report.alike:,} rows nearly repeat another one that is to be divided; they stay in its part",
        ),
        *_leak_lines(report),
        *_against_lines(report),
        *(
            _finding(False, "personal", f"{hint.rows:,} rows look as if they held a {hint.kind} (first: {hint.first})")
            for hint in report.hints
        ),
        *(
            _finding(False, each.kind, f"{each.rows:,} rows {each.what} (first: {', '.join(each.places)})")
            for each in report.outliers
        ),
        _finding(
            not report.quarantined,
            "unusable",
            f"{sum(n for _, n, _ in report.quarantined):,} rows are left out",
        ),
    ]
    lines += [
        Text(f"           {n:,} x {reason} (first: {first.path}:{first.line})")
        for reason, n, first in report.quarantined
    ]
    return lines + [Text.assemble(("· note     ", "dim"), note) for note in report.notes]


def _leak_lines(report: CheckReport) -> list[Text]:
    leaks = report.leaks
    if leaks is None:
        return []
    pairs = [*leaks.copies, *leaks.near]
    lines = [_finding(not pairs, "leaks", leaks.sentence())]
    lines += [Text(f"           {str(pair).replace(report.source + ':', 'line ')}") for pair in pairs[:MOST_PAIRS]]
    if len(pairs) > MOST_PAIRS:
        lines.append(Text(f"           and {len(pairs) - MOST_PAIRS:,} more", style="dim"))
    return lines


def _against_lines(report: CheckReport) -> list[Text]:
    lines: list[Text] = []
    for found in report.contaminations:
        text = f"{len(found.pairs):,} rows are in {found.benchmark} too, which has {found.rows:,}"
        lines.append(_finding(not found.pairs, "against", text))
        for pair in found.pairs[:MOST_PAIRS]:
            here, there = (where.rpartition(":")[2] for where in (pair.where, pair.other_where))
            lines.append(Text(f"           line {here} = its line {there} ({pair.kind}, {pair.similarity:.2f})"))
        if len(found.pairs) > MOST_PAIRS:
            lines.append(Text(f"           and {len(found.pairs) - MOST_PAIRS:,} more", style="dim"))
    return lines


def _finding(good: bool, name: str, text: str) -> Text:
    return Text.assemble(("✓ " if good else "! ", "green" if good else "bold yellow"), f"{name:<9}", text)


def print_preview(
    shown: Sequence[Shown], context: int, console: Console, layout: Layout | None = None, note: str | None = None
) -> None:
    """The format that was recognised, then every row in a panel, and a legend."""
    if layout is not None:
        console.print(Text.assemble(("read as ", "dim"), printable(layout.describe())))
    if note is not None:
        console.print(Text.assemble(("note    ", "dim"), note))
    for row in shown:
        title = Text.assemble((row.place, "bold"), f"  {row.part}")
        console.print(Panel(Group(*_body(row, context)), title=title, title_align="left", border_style="dim"))
    kind = "expected" if any(row.shots for row in shown) else "trained"
    legend = {"trained": "⟦trained on⟧", "expected": "⟦expected answer, not trained on⟧"}[kind]
    console.print(Text.assemble("prompt   ", (legend, STYLES[kind]), "   ", ("<special token>", SPECIAL_STYLE)))


def _body(row: Shown, context: int) -> list[RenderableType]:
    kind = "expected" if row.shots else "trained"
    share = (row.prompt_tokens + row.completion_tokens) / context
    counts = f"{row.prompt_tokens:,} prompt + {row.completion_tokens:,} {kind} tokens"
    facts = f"{counts} · {share:.1%} of the window ({context:,})"
    if row.shots:
        facts += f" · {row.shots} worked examples"
    parts: list[RenderableType] = [model_text(row.segments), Text(""), Text(facts, style="dim")]
    parts.append(Text.assemble(("boundary ", "dim"), row.boundary))
    parts.append(Text.assemble(("wording  ", "dim"), row.wording))
    if row.choices:
        parts.append(Text.assemble(("choices  ", "dim"), " / ".join(visible(choice) for choice in row.choices)))
    for reference in row.references:
        parts.append(Text.assemble(("also     ", "dim"), printable(reference.strip())))
    if row.problem:
        parts.append(Text.assemble(("left out ", "bold red"), printable(row.problem)))
    return parts


def model_text(segments: Sequence[Segment]) -> Text:
    """The text that the model reads; what it is trained on stands in brackets, underlined."""
    text = Text()
    previous = "prompt"
    for segment in segments:
        if previous == "prompt" and segment.kind != "prompt":
            text.append("⟦", style=STYLES[segment.kind])
        elif previous != "prompt" and segment.kind == "prompt":
            text.append("⟧", style=STYLES[previous])
        previous = segment.kind
        style = f"{STYLES[segment.kind]} {SPECIAL_STYLE}".strip() if segment.special else STYLES[segment.kind]
        text.append(printable(segment.text), style=style)
    if previous != "prompt":
        text.append("⟧", style=STYLES[previous])
    return text
