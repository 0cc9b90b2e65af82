"""What studies, comparisons, evaluations and checks come to, as programs and notebooks use it. Needs no torch."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keeptune.core.errors import MissingExtra
from keeptune.core.files import write_whole
from keeptune.core.findings import CheckPage
from keeptune.core.records import Recommendation, SuiteVerdict, Summary, read_json
from keeptune.report.check import render_check
from keeptune.report.html import write_report
from keeptune.report.tables import Row, arm_rows, html_summary, html_tables, suite_rows

if TYPE_CHECKING:
    from pandas import DataFrame

    from keeptune.compare.scores import TaskShots

HEIGHT = 640  # pixels of a page inside a notebook


@dataclass(frozen=True)
class Page:
    """A page of HTML: a notebook shows it in a frame, other programs open ``path``."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        return _frame(self.path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Result:
    """A study or a comparison that is finished, and the folder that holds its records.

    Example:
        >>> result = Result.read(Path("runs/demo"))
        >>> result.recommendation.headline
        >>> result.to_frame("suites").query("verdict == 'Harmed'")
    """

    folder: Path
    summary: Summary

    @classmethod
    def read(cls, folder: Path | str) -> Result:
        """The result of a run folder.

        Raises:
            DataError: it has no summary.json, or one of another version.
        """
        return cls(Path(folder), read_json(Path(folder) / "summary.json", Summary))

    @property
    def recommendation(self) -> Recommendation:
        """The decision, in words."""
        return self.summary.recommendation

    @property
    def verdicts(self) -> dict[str, tuple[SuiteVerdict, ...]]:
        """Name of every arm that was judged -> its verdicts on the retained suites."""
        return {arm.name: arm.suites for arm in self.summary.arms if arm.suites}

    @property
    def model(self) -> Path | None:
        """The folder of the tuned model, or of its adapter: see `keeptune.study.run.link_tuned`."""
        place = self.folder / "tuned"
        return place if place.exists() else None

    def to_frame(self, rows: Literal["arms", "suites"] = "arms") -> DataFrame:
        """A pandas frame with a row for every arm, or for every verdict. Scores and changes are fractions.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return _to_frame({"arms": arm_rows, "suites": suite_rows}[rows](self.summary))

    def report(self) -> Page:
        """The page of the run, made again from its records."""
        return Page(write_report(self.folder))

    def _repr_html_(self) -> str:
        return str(html_summary(self.summary))


@dataclass(frozen=True)
class Scores:
    """What one model scored on tasks, without a verdict."""

    model: str
    rows: tuple[TaskShots, ...]

    def __iter__(self) -> Iterator[TaskShots]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> DataFrame:
        """A pandas frame with a row for every task and number of shots; scores are fractions (see `ItemRecord`).

        Raises:
            MissingExtra: pandas is not installed.
        """
        return _to_frame(self._plain())

    def _plain(self) -> list[Row]:
        return [
            {
                "task": row.task,
                "shots": row.shots,
                "metric": row.score.metric,
                "score": row.score.mean,
                "score_low": row.score.interval.low,
                "score_high": row.score.interval.high,
                "n": row.score.n,
                "tokens_per_request": row.tokens_per_request,
            }
            for row in self.rows
        ]

    def _repr_html_(self) -> str:
        rows = [{key: f"{v:.3f}" if isinstance(v, float) else v for key, v in row.items()} for row in self._plain()]
        return str(html_tables(self.model, "", [rows]))


@dataclass(frozen=True)
class Checked:
    """What `keeptune data check` finds in a data set."""

    page: CheckPage

    @property
    def problems(self) -> tuple[str, ...]:
        """What needs attention, a sentence for each."""
        return tuple(finding.text for finding in self.page.findings if not finding.good)

    def to_frame(self) -> DataFrame:
        """A pandas frame with a row for everything that was looked for.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return _to_frame([{"kind": each.kind, "good": each.good, "text": each.text} for each in self.page.findings])

    def report(self, path: Path | str) -> Page:
        """Write the page that quotes the rows in question."""
        write_whole(Path(path), render_check(self.page))
        return Page(Path(path))

    def _repr_html_(self) -> str:
        return _frame(render_check(self.page))


def _frame(page: str) -> str:
    """A page inside a notebook: it keeps its own style, and its policy, under which nothing is fetched."""
    return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{HEIGHT}" style="border:0"></iframe>'


def _to_frame(rows: Sequence[Any]) -> DataFrame:
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise MissingExtra("pandas", "pandas") from error
    return DataFrame(list(rows))
