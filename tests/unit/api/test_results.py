"""Results show themselves in a notebook and as frames; nothing of it needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keeptune.api.check import check
from keeptune.api.results import Result
from keeptune.core.records import Summary, write_json
from keeptune.report.tables import arm_rows, markdown_table, shown_arms, suite_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import fixture_summary


@pytest.fixture
def result(tmp_path: Path) -> Result:
    write_json(tmp_path / "summary.json", fixture_summary.study())
    return Result.read(tmp_path)


def test_verdicts_by_arm(result: Result) -> None:
    trained = {arm.name: arm.suites for arm in result.summary.arms if arm.suites}
    assert result.verdicts == trained and trained


def test_frames_hold_the_records_numbers(result: Result) -> None:
    pytest.importorskip("pandas")
    arms, suites = result.to_frame(), result.to_frame("suites")
    assert list(arms["score"]) == [arm.target.mean for arm in result.summary.arms]
    changes = [verdict.change for arm in result.summary.arms for verdict in arm.suites]
    assert list(suites["change"]) == pytest.approx(changes, nan_ok=True)
    assert len(arms) == len(arm_rows(result.summary)) and len(suites) == len(suite_rows(result.summary))


def test_a_notebook_shows_headline_arms_and_verdicts_escaped(result: Result) -> None:
    summary: Summary = result.summary
    hostile = summary.arms[0].model_copy(update={"label": "<script>alert(1)</script>"})
    shown = Result(result.folder, summary.model_copy(update={"arms": (hostile, *summary.arms[1:])}))._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    for arm in summary.arms[1:]:
        assert arm.label in shown
        assert all(verdict.verdict in shown for verdict in arm.suites)


def test_the_report_is_a_page_in_a_frame(result: Result) -> None:
    page = result.report()
    assert page.path == result.folder / "report.html" and page.path.is_file()
    assert page._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')


def test_markdown_tables_keep_their_columns(result: Result) -> None:
    rows = [{"arm": "a|b", "score": None}, {"arm": "two\nlines", "score": 1}]
    assert markdown_table(rows) == "| arm | score |\n| --- | --- |\n| a\\|b | — |\n| two lines | 1 |\n"
    assert markdown_table([]) == ""
    assert len(markdown_table(shown_arms(result.summary)).splitlines()) == 2 + len(result.summary.arms)


def test_a_check_says_what_needs_attention(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i} + 1 =", "completion": f" {i + 1}"} for i in range(40)]
    copies = [{"prompt": "7 + 1 =", "completion": " 8"}] * 3
    clean, dirty = check(rows, quiet=True), check([*rows, *copies], quiet=True)
    assert clean.page.rows == 40 and dirty.page.rows == 43
    assert set(dirty.problems) - set(clean.problems)
    assert "<iframe" in dirty._repr_html_()
    assert dirty.report(tmp_path / "check.html").path.is_file()


def test_no_torch_until_it_is_needed(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", fixture_summary.study())
    code = (
        "import sys\nimport keeptune as kt\n"
        "rows = [{'prompt': f'{i} + 1 =', 'completion': f' {i + 1}'} for i in range(40)]\n"
        "kt.check(rows, quiet=True)\n"
        "result = kt.Result.read('.')\nresult._repr_html_(), result.report(), result.verdicts\n"
        "kt.train, kt.evaluate, kt.compare\n"
        "assert not {'torch', 'transformers', 'peft'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
