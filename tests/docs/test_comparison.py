"""The pages of speed, and the README's table, say what the kept reports of benchmarks say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import write_comparison
import write_page
from common import measured


def test_tables_are_written_from_the_reports() -> None:
    for path, written in (
        (write_page.PAGE, write_page.sections()),
        (write_page.README, {"speed": write_page.headline()}),
    ):
        page = path.read_text(encoding="utf-8")
        assert write_page.filled(path, written) == page, "python benchmarks/write_page.py"


def test_a_report_older_than_the_code_it_measures_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "batching").mkdir()
    (tmp_path / "inference").mkdir()
    code = tmp_path / "models" / "attention.py"
    code.write_text("BLOCK = 64\n")

    def measured_now() -> str:
        return measured.code_hash("generate", tmp_path)

    found = measured_now()
    (tmp_path / "cli.py").write_text("print()\n")
    assert measured_now() == found
    code.write_text("BLOCK = 32\n")
    assert measured_now() != found
    code.rename(code.with_name("other.py"))
    assert len({found, measured_now()}) == 2


def test_every_part_that_a_benchmark_measures_is_there() -> None:
    assert all((measured.SOURCE / part).exists() for parts in measured.CODE.values() for part in parts)
    assert {report["benchmark"] for name in write_page.SECTIONS for report in write_page.reports(name)} <= set(
        measured.CODE
    )
    now = {"benchmark": "train", "code": measured.code_hash("train")}
    assert measured.is_current(now) and not measured.is_current({**now, "code": "an earlier one"})
    assert not measured.is_current({"benchmark": "train"}) and measured.is_current({"benchmark": "ceiling"})


def test_the_comparison_names_versions_from_the_reports() -> None:
    page = write_comparison.PAGE.read_text(encoding="utf-8")
    assert write_comparison.page() == page, "python benchmarks/write_comparison.py"
    assert all(report["versions"]["trl"] in page for report in write_page.reports("train"))
