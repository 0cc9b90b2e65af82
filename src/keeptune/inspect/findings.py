"""What a check found, put into words, the first rows of every kind quoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keeptune.core.findings import Case, CheckPage, Finding, Quoted
from keeptune.data.examples import Example, place
from keeptune.data.formats.quarantine import Quarantined, reasons
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.inspect.check import CheckReport, answer_text, prompt_text
from keeptune.inspect.quality import Contamination, redacted

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
    yield _finding("copies", copies.exact, text, _pairs(copies.repeats, layout))
    text = f"{copies.prompts:,} rows give another completion to an earlier prompt, case and white space aside"
    yield _finding("answers", copies.prompts, text, _pairs(copies.conflicts, layout))
    text = f"{report.alike:,} rows nearly repeat another one that is to be divided; they stay in its part"
    yield _finding("alike", report.alike, text)
    if report.leaks is not None:
        total = len(report.leaks.copies) + len(report.leaks.near)
        yield _finding("leaks", total, report.leaks.sentence(), _leaks(report))
    for found in report.contaminations:
        text = f"{len(found.pairs):,} rows are in {found.benchmark} too, which has {found.rows:,}"
        yield _finding("against", len(found.pairs), text, _shared(found, layout))
    for hint in report.hints:
        text = f"{hint.rows:,} rows look as if they held a {hint.kind}"
        yield _finding("personal", hint.rows, text, _rows(hint.shown, layout))
    for each in report.outliers:
        yield _finding(each.kind, each.rows, f"{each.rows:,} rows {each.what}", _rows(each.shown, layout))
    unusable = sum(n for _, n, _ in report.quarantined)
    yield Finding("unusable", not unusable, f"{unusable:,} rows are left out", _reasons(report.quarantined))
    if report.survey is not None:
        bad = list(report.survey.unusable.values())
        yield Finding("model", not bad, f"{len(bad):,} rows cannot be used with this model", _reasons(reasons(bad)))
    elif report.ends.rows:
        text = f"{report.ends.rows:,} rows have an answer that spells an end token ({report.ends.named()}); models that"
        text += " stop there cannot use them (--model names yours)"
        yield _finding("tokens", report.ends.rows, text, _rows(report.ends.first, layout))


def _reasons(found: Sequence[tuple[str, int, Quarantined]]) -> tuple[Case, ...]:
    return tuple(Case(f"{n:,} x {why} (first: {row.path}:{row.line})", (_raw(row),)) for why, n, row in found)


def _finding(kind: str, total: int, text: str, cases: Sequence[Case] = ()) -> Finding:
    """What was found ``total`` times, with its first cases, if any are shown."""
    return Finding(kind, total == 0, text, tuple(cases), total - len(cases) if cases else 0)


def _rows(rows: Sequence[Example], layout: ColumnSchema) -> list[Case]:
    return [Case(place(row), (quoted(row, layout),)) for row in rows]


def _pairs(pairs: Sequence[tuple[Example, Example]], layout: ColumnSchema) -> list[Case]:
    return [
        Case(f"{place(first)} and {place(other)}", (quoted(first, layout), quoted(other, layout)))
        for first, other in pairs
    ]


def _leaks(report: CheckReport) -> list[Case]:
    return [
        Case(
            str(pair).replace(f"{report.source}:", "line "),
            (quoted(row, report.layout, pair.part), quoted(other, report.layout, pair.other_part)),
        )
        for pair, row, other in report.leaking
    ]


def _shared(found: Contamination, layout: ColumnSchema) -> list[Case]:
    return [
        Case(
            f"{place(row)} = its {place(other)} ({pair.kind}, {pair.similarity:.2f})",
            (quoted(row, layout), quoted(other, found.layout, found.benchmark)),
        )
        for pair, row, other in found.shown
    ]


def quoted(row: Example, layout: ColumnSchema, part: str = "") -> Quoted:
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
