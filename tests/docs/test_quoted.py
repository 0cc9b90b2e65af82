"""Figures that pages quote in their own words are those of the stored records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import make_results
from keeptune.core.records import ArmSummary

DOCS = Path(__file__).parents[2] / "docs"


def arm(study: str, method: str) -> ArmSummary:
    """The first arm of a stored study that trains by a method."""
    return next(each for each in make_results.stored(study).arms if each.family == method and each.not_run is None)


def quoted() -> Iterator[tuple[str, str]]:
    """(page, what it has to say) for every figure that is not written by a script."""
    least = {name: 100 * arm("methods", name).target.mean for name in ("last-layers", "osf")}
    yield (
        "harmed.md",
        f"`last-layers` and `osf` harmed least, and scored {least['last-layers']:.1f} and {least['osf']:.1f}",
    )


@pytest.mark.parametrize(("page", "text"), list(quoted()))
def test_a_page_quotes_the_record(page: str, text: str) -> None:
    assert text in " ".join((DOCS / page).read_text(encoding="utf-8").split())


def test_what_pages_say_of_several_records_holds() -> None:
    """harmed.md on the comparison of methods, which-method.md on the built-in task."""
    trained = [each for each in make_results.stored("methods").arms if not each.prompting and each.not_run is None]
    harmed = {each.family: sum(verdict.verdict == "Harmed" for verdict in each.suites) for each in trained}
    assert sorted(harmed, key=harmed.__getitem__)[:2] == ["last-layers", "osf"]
    assert arm("seeds", "full").target.interval.low > arm("seeds", "lora").target.interval.high
