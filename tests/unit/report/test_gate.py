"""A comparison as JUnit XML and as Markdown."""

from __future__ import annotations

from xml.etree import ElementTree

import fixture_summary as fixture

from keeptune.core.records import Summary
from keeptune.report.gate import junit_xml, markdown_table


def comparison(*suites: str) -> Summary:
    """The comparison of the fixtures, its suites named otherwise."""
    found = fixture.compare()
    last = found.arms[-1]
    named = tuple(v.model_copy(update={"suite": name}) for v, name in zip(last.suites, suites, strict=True))
    return found.model_copy(update={"arms": (found.arms[0], last.model_copy(update={"suites": named}))})


def test_every_suite_is_a_test_case_and_what_is_not_retained_fails() -> None:
    root = ElementTree.fromstring(junit_xml(comparison('<a & "b">', "odd one out", "sorting")))
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuite", "3", "3")
    cases = root.findall("testcase")
    assert [case.get("name") for case in cases] == ['<a & "b">', "odd one out", "sorting"]
    failures = [case.find("failure") for case in cases]
    assert [failure is not None and failure.get("type") for failure in failures] == ["Harmed", "Harmed", "Inconclusive"]
    assert failures[0] is not None and failures[0].text == "−31.0 (−33.4 to −28.6) pt"

    kept = fixture.compare()
    arm = kept.arms[-1]
    suites = (arm.suites[0].model_copy(update={"verdict": "Retained"}),)
    kept = kept.model_copy(update={"arms": (kept.arms[0], arm.model_copy(update={"suites": suites}))})
    root = ElementTree.fromstring(junit_xml(kept))
    assert root.get("failures") == "0" and root.find("testcase/failure") is None


def test_the_table_has_a_row_for_every_suite() -> None:
    text = markdown_table(comparison("a|b", "odd one out", "sorting"))
    assert text.startswith("### Harmed: 2 of 3 suites lost more than chance explains.\n")
    rows = [line for line in text.splitlines() if line.startswith("| ") and line[2:4] in ("❌ ", "⚠️", "✅ ")]
    assert rows[0] == "| ❌ Harmed | a\\|b | 84.2 | 53.2 | −31.0 (−33.4 to −28.6) pt | 2 pt |"
    assert len(rows) == 3
    assert text.rstrip().endswith("`")
