"""A comparison for those who gate on it: JUnit XML for a CI server, Markdown for a pull request. Formats only."""

from __future__ import annotations

from xml.etree import ElementTree

from keeptune.core.records import SuiteVerdict, Summary
from keeptune.report.formatting import change_unit, change_with_interval, margin_text, metric_number

MARKS = {"Retained": "✅", "Harmed": "❌", "Worse": "⚠️", "Inconclusive": "⚠️", "Not measurable": "⚠️"}


def junit_xml(summary: Summary) -> str:
    """A test suite with a test case for every retained suite; what is not Retained is a failure of that name."""
    verdicts = judged(summary)
    failed = [verdict for verdict in verdicts if verdict.verdict != "Retained"]
    root = ElementTree.Element(
        "testsuite",
        name="keeptune compare",
        tests=str(len(verdicts)),
        failures=str(len(failed)),
        errors="0",
        time=f"{summary.wall_seconds:.1f}",
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(root, "testcase", classname=summary.title, name=verdict.suite)
        if verdict.verdict != "Retained":
            failure = ElementTree.SubElement(case, "failure", type=verdict.verdict, message=verdict.sentence)
            failure.text = _change(verdict)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def markdown_table(summary: Summary) -> str:
    """The decision, a row for every suite, and the command that does it again."""
    lines = [
        f"### {_cell(summary.recommendation.headline)}",
        "",
        f"{_cell(summary.title)}",
        "",
        "| | suite | before | after | change (95 %) | margin |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for verdict in judged(summary):
        sides = (metric_number(value, verdict.metric) for value in (verdict.before, verdict.after))
        mark = f"{MARKS[verdict.verdict]} {verdict.verdict}"
        cells = (mark, _cell(verdict.suite), *sides, _change(verdict), margin_text(verdict))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"`{summary.manifest.command}`", ""])


def judged(summary: Summary) -> tuple[SuiteVerdict, ...]:
    """The verdicts on the changed model."""
    return summary.arms[-1].suites


def _change(verdict: SuiteVerdict) -> str:
    return f"{change_with_interval(verdict.change, verdict.interval)} {change_unit(verdict)}"


def _cell(text: str) -> str:
    """A text on one line that holds no mark of a table."""
    return " ".join(text.split()).replace("|", r"\|")
