"""How `data check` and `data preview` look in a terminal. Nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from keeptune.core.findings import CheckPage, Finding, Lengths
from keeptune.core.tokens import Token, printable, visible
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.inspect.preview import Shown

EIGHTHS = " ▏▎▍▌▋▊▉"
BAR = 24  # characters of the longest bar
MOST_LABELS = 12  # rows of the label table; the rest is summed up
MOST_CASES = 5
WIDTH = 72  # characters of several cases in one line
STYLES = {"prompt": "", "trained": "bold green underline", "expected": "cyan underline"}
SPECIAL_STYLE = "reverse"


def print_check(page: CheckPage, console: Console) -> None:
    """The whole report: the facts, then lengths and labels, then what needs attention."""
    console.print()
    console.print(Text.assemble((page.source, "bold"), f"   {page.layout}"))
    console.print(Text(" · ".join((*page.facts, f"sha256 {page.sha256[:12]}")), style="dim"))
    console.print()
    console.print(Padding(_parts_table(page), (0, 0, 1, 2)))
    histograms = Table.grid(padding=(0, 4))
    histograms.add_row(*(_histogram(lengths) for lengths in page.lengths))
    console.print(Padding(histograms, (0, 0, 1, 2)))
    if page.labels:
        console.print(Padding(_label_table(page), (0, 0, 1, 2)))
    for found in page.findings:
        console.print(Padding(_finding(found), (0, 0, 0, 2)))
    for note in page.notes:
        console.print(Padding(Text.assemble(("· note     ", "dim"), printable(note)), (0, 0, 0, 2)))
    console.print()


def bar(share: float, width: int = BAR) -> str:
    """A bar of ``share`` (0 to 1) of ``width`` characters, in eighths of a character; never empty above 0."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return "█" * full + (EIGHTHS[rest] if rest else "")


def _parts_table(page: CheckPage) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("part", "examples", "clusters"):
        table.add_column(name, justify="left" if name == "part" else "right")
    table.add_column("")
    for part in page.parts:
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
        table.add_row(bin_.span, bar(bin_.n / most), f"{bin_.n:,}")
    return table


def _label_table(page: CheckPage) -> Table:
    parts = [part.name for part in page.parts]
    title = f"{len(page.labels)} labels"
    table = Table(
        box=None, title=title, title_justify="left", title_style="bold", header_style="dim", padding=(0, 2, 0, 0)
    )
    table.add_column("label", max_width=32, overflow="ellipsis", no_wrap=True)
    for name in parts:
        table.add_column(name, justify="right")
    table.add_column("")
    totals = {label: sum(counts.values()) for label, counts in page.labels.items()}
    shown = list(totals) if len(totals) <= MOST_LABELS else list(totals)[: MOST_LABELS - 1]
    everything, most = sum(totals.values()), max(totals.values())
    for label in shown:
        counts = page.labels[label]
        share = Text.assemble((bar(totals[label] / most, 16), "cyan"), f" {totals[label] / everything:.0%}")
        table.add_row(Text(printable(label)), *(f"{counts.get(name, 0):,}" for name in parts), share)
    if len(shown) < len(totals):
        rest = [totals[label] for label in totals if label not in shown]
        note = f"{len(rest)} more labels, {min(rest):,} to {max(rest):,} examples each"
        table.add_row(Text(note, style="dim"), *("" for _ in parts), "")
    return table


def _finding(found: Finding) -> Text:
    """A sign, a word and the numbers; below them the first cases, as many to a line as are short."""
    sign, style = ("✓", "green") if found.good else ("!", "bold yellow")
    text = Text.assemble((sign, style), f" {found.kind:<9}", printable(found.text))
    cases = [printable(case.text) for case in found.cases[:MOST_CASES]]
    together = ", ".join(cases)
    for line in cases if len(together) > WIDTH else [together][: len(cases)]:
        text.append(f"\n{'':11}{line}")
    more = found.more + len(found.cases) - len(cases)
    if more:
        text.append(f"\n{'':11}and {more:,} more", style="dim")
    return text


def print_preview(
    shown: Sequence[Shown],
    context: int,
    console: Console,
    layout: ColumnSchema | None = None,
    notes: Sequence[str] = (),
) -> None:
    """The format that was recognised, then every row in a panel, and a legend."""
    if layout is not None:
        console.print(Text.assemble(("read as ", "dim"), printable(layout.describe())))
    for note in notes:
        console.print(Text.assemble(("note    ", "dim"), printable(note)))
    for row in shown:
        title = Text.assemble((row.place, "bold"), f"  {row.part}")
        console.print(Panel(Group(*_body(row, context)), title=title, title_align="left", border_style="dim"))
    kind = "expected" if any(row.view.asked for row in shown) else "trained"
    legend = {"trained": "⟦trained on⟧", "expected": "⟦expected answer, not trained on⟧"}[kind]
    console.print(Text.assemble("prompt   ", (legend, STYLES[kind]), "   ", ("<special token>", SPECIAL_STYLE)))


def _body(row: Shown, context: int) -> list[RenderableType]:
    view = row.view
    kind = "expected" if view.asked else "trained"
    share = (view.prompt_tokens + view.completion_tokens) / context
    counts = f"{view.prompt_tokens:,} prompt + {view.completion_tokens:,} {kind} tokens"
    facts = f"{counts} · {share:.1%} of the window ({context:,})"
    if view.asked:
        facts += f" · {view.shots} worked examples"
    parts: list[RenderableType] = [model_text(view.tokens), Text(""), Text(facts, style="dim")]
    parts.append(Text.assemble(("boundary ", "dim"), row.boundary))
    parts.append(Text.assemble(("wording  ", "dim"), view.name))
    if row.choices:
        parts.append(Text.assemble(("choices  ", "dim"), " / ".join(visible(choice) for choice in row.choices)))
    for reference in row.references:
        parts.append(Text.assemble(("also     ", "dim"), printable(reference.strip())))
    if view.problem:
        label = "window   " if view.asked and view.tokens else "left out "
        parts.append(Text.assemble((label, "bold red"), printable(view.problem)))
    return parts


def model_text(tokens: Sequence[Token]) -> Text:
    """The text that the model reads; what it is trained on stands in brackets, underlined."""
    text = Text()
    previous = "prompt"
    for token in tokens:
        if previous == "prompt" and token.kind != "prompt":
            text.append("⟦", style=STYLES[token.kind])
        elif previous != "prompt" and token.kind == "prompt":
            text.append("⟧", style=STYLES[previous])
        previous = token.kind
        style = f"{STYLES[token.kind]} {SPECIAL_STYLE}".strip() if token.special else STYLES[token.kind]
        text.append(printable(token.text), style=style)
    if previous != "prompt":
        text.append("⟧", style=STYLES[previous])
    return text
