"""What a check found, put into words, the first rows of every kind quoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keeptune.core.findings import Case, CheckPage, Finding, Quoted
from keeptune.data.check import CheckReport, answer_text, prompt_text
from keeptune.data.examples import Example, place
from keeptune.data.leakage import LeakPair
from keeptune.data.quality import Contamination, redacted
from keeptune.data.quarantine import Quarantined
from keeptune.data.recognise import Layout

HEAD, TAIL = 500, 150  # characters of a quoted text


def check_page(report: CheckReport) -> CheckPage:
    """The report as terminals and pages show it."""
    return CheckPage(
        source=report.source,
        sha256=report.sha256,
        layout=report.layout.describe(),
        rows=report.rows,
        examples=report.examples,
        clusters=report.clusters,
        most_references=report.most_references,
        parts=report.parts,
        lengths=report.lengths,
        labels=report.labels,
        findings=tuple(_findings(report)),
        notes=report.notes,
    )


def _findings(report: CheckReport) -> Iterator[Finding]:
    copies, layout = report.copies, report.layout
    text = f"{copies.exact:,} rows repeat an earlier prompt and completion"
    yield Finding("copies", copies.exact == 0, text, *_pairs(copies.repeats, copies.exact, layout))
    text = f"{copies.prompts:,} rows give another completion to an earlier prompt, case and white space aside"
    yield Finding("answers", copies.prompts == 0, text, *_pairs(copies.conflicts, copies.prompts, layout))
    text = f"{report.alike:,} rows nearly repeat another one that is to be divided; they stay in its part"
    yield Finding("alike", report.alike == 0, text)
    if report.leaks is not None:
        total = len(report.leaks.copies) + len(report.leaks.near)
        yield Finding("leaks", total == 0, report.leaks.sentence(), *_leaks(report.leaking, total, report))
    for found in report.contaminations:
        yield _against(found, layout)
    for hint in report.hints:
        text = f"{hint.rows:,} rows look as if they held a {hint.kind}"
        yield Finding("personal", False, text, *_rows(hint.shown, hint.rows, layout))
    for each in report.outliers:
        yield Finding(each.kind, False, f"{each.rows:,} rows {each.what}", *_rows(each.shown, each.rows, layout))
    unusable = sum(n for _, n, _ in report.quarantined)
    cases = tuple(
        Case(f"{n:,} x {why} (first: {row.path}:{row.line})", (_raw(row),)) for why, n, row in report.quarantined
    )
    yield Finding("unusable", not unusable, f"{unusable:,} rows are left out", cases)


Shown = tuple[tuple[Case, ...], int]  # the first cases, and how many more there are


def _rows(rows: Sequence[Example], total: int, layout: Layout) -> Shown:
    return tuple(Case(place(row), (quoted(row, layout),)) for row in rows), total - len(rows)


def _pairs(pairs: Sequence[tuple[Example, Example]], total: int, layout: Layout) -> Shown:
    cases = [
        Case(f"{place(first)} and {place(other)}", (quoted(first, layout), quoted(other, layout)))
        for first, other in pairs
    ]
    return tuple(cases), total - len(cases)


def _leaks(leaking: Sequence[tuple[LeakPair, Example, Example]], total: int, report: CheckReport) -> Shown:
    cases = [
        Case(
            str(pair).replace(f"{report.source}:", "line "),
            (quoted(row, report.layout, pair.part), quoted(other, report.layout, pair.other_part)),
        )
        for pair, row, other in leaking
    ]
    return tuple(cases), total - len(cases)


def _against(found: Contamination, layout: Layout) -> Finding:
    text = f"{len(found.pairs):,} rows are in {found.benchmark} too, which has {found.rows:,}"
    cases = [
        Case(
            f"{place(row)} = its {place(other)} ({pair.kind}, {pair.similarity:.2f})",
            (quoted(row, layout), quoted(other, found.layout, found.benchmark)),
        )
        for pair, row, other in found.shown
    ]
    return Finding("against", not found.pairs, text, tuple(cases), len(found.pairs) - len(cases))


def quoted(row: Example, layout: Layout, part: str = "") -> Quoted:
    """The row's own prompt and its completion; ``part`` says where it stands."""
    texts = {"prompt": prompt_text(row, layout), "completion": answer_text(row, layout)}
    return Quoted(f"{part} {place(row)}".strip(), tuple((name, shortened(text)) for name, text in texts.items()))


def _raw(row: Quarantined) -> Quoted:
    fields = tuple((name, shortened(str(value))) for name, value in row.fields.items())
    return Quoted(f"line {row.line}", fields)


def shortened(text: str) -> str:
    """Begin and end of a long text. Personal data go first: half an address is one still."""
    text = redacted(text)
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} […] {text[-TAIL:]}"
