"""`keeptune.compare`: what one model lost against another, whoever trained it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from keeptune.api.data import Data, source, sources
from keeptune.api.results import Result
from keeptune.core.errors import ConfigError
from keeptune.recipe.begun import Begun, begin, begun_comparison
from keeptune.recipe.files import named_entries, resolved, with_margins
from keeptune.recipe.run_folder import run_folder
from keeptune.report.html import write_report

if TYPE_CHECKING:
    from keeptune.compare.side_by_side import Comparison
    from keeptune.recipe.entries import Entry


def compare(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    retain: Data | Sequence[Data] | None = None,
    *,
    target: Data | None = None,
    margin: float | None = None,
    margins: Mapping[str, str] | None = None,
    limit: int | None = None,
    samples: bool = False,
    metric: Sequence[str] = (),
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    cluster: str | None = None,
    fast: bool = False,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    console: Console | None = None,
    command: str = "keeptune.compare",
) -> Result:
    """Did the second model lose anything? `keeptune.exit_code` makes a decision of the verdicts.

    Args:
        before: the base model; with ``samples`` a sample log of lm-eval, or a folder of logs.
        after: the tuned model or its adapter; with ``samples`` the logs of it.
        retain: what must not get worse: data files, rows, text files, a task's YAML file, builtin:name.
        target: the task that was trained for: reported, not judged.
        margin: points that a task may lose, where it does not say so itself.
        margins: suite -> its margin, "3" points or "1%".
        limit: score at most so many test items of each task.
        samples: compare logs; no model is loaded.
        metric: with ``samples``: metric, or "metric,filter"; the first that a task has.
        precision: of both models.
        cluster: with ``samples``: the field of the documents that names their source.
        fast: ask the items in blocks, and of every task no more than settles its verdict.
        out: the run folder; by default runs/compare, numbered where another comparison is there.
        overwrite: remove the comparison that is there, and begin anew.
        quiet: print nothing.
        console: where progress goes.
        command: as the report quotes it.

    Raises:
        KeeptuneError: anything foreseen.

    Example:
        >>> result = compare("builtin", "runs/demo/tuned", ["builtin:addition"])
        >>> [verdict.verdict for verdict in result.verdicts["after"]]
        >>> result.report()
    """
    _check(samples, retain=retain, limit=limit, metric=metric, cluster=cluster, fast=fast)
    models, suites = (os.fspath(before), os.fspath(after)), sources(retain, "retained")
    aim = None if target is None else source(target, "target")
    asked = _Asked(
        models, suites, aim, margin, dict(margins or {}), limit, samples, list(metric), precision, cluster, fast
    )
    return asked.run(None if out is None else Path(out), overwrite, console or Console(quiet=quiet), command)


@dataclass(frozen=True)
class _Asked:
    """A comparison of two models, or of two sets of logs; the fields are arguments of `compare`."""

    models: tuple[str, str]
    suites: list[str]
    target: str | None
    margin: float | None
    margins: dict[str, str]
    limit: int | None
    samples: bool
    metric: list[str]
    precision: Literal["auto", "bf16", "fp32"]
    cluster: str | None
    fast: bool

    def run(self, out: Path | None, overwrite: bool, console: Console, command: str) -> Result:
        """Compare, and write the records and the report into a run folder."""
        begun = self._begun()
        folder = run_folder(begun, Path("runs/compare"), out, overwrite=overwrite, console=console)
        comparison = self._logs(command) if self.samples else self._models(console, command)
        comparison.save(folder)
        begin(folder, begun)
        write_report(folder)
        return Result(folder, comparison.summary)

    def _begun(self) -> Begun:
        settings: dict[str, object] = {
            "margin": self.margin,
            "limit": self.limit,
            "precision": self.precision,
            "metric": self.metric,
            "cluster": self.cluster,
        }
        settings |= {"margins": self.margins} if self.margins else {}
        settings |= {"fast": True} if self.fast else {}
        if self.samples:
            return begun_comparison(self.models, (), self.target, settings)
        entries = with_margins(named_entries(self.suites, "drop", self.margin), self.margins)
        target = None if self.target is None else _target(self.target)
        return begun_comparison(self.models, entries, target, settings)

    def _logs(self, command: str) -> Comparison:
        from keeptune.compare.samples import compare_samples
        from keeptune.evaluate.config import parse_margin

        return compare_samples(
            *self.models,
            metrics=self.metric,
            margin=None if self.margin is None else self.margin / 100,
            margins={task: parse_margin(text).value for task, text in self.margins.items()},
            cluster=self.cluster,
            target=self.target,
            command=command,
        )

    def _models(self, console: Console, command: str) -> Comparison:
        from keeptune.compare.models import compare_models  # imports torch: a wrong command is refused before

        return compare_models(
            *self.models,
            self.suites,
            target=self.target,
            margin=self.margin,
            margins=self.margins,
            limit=self.limit,
            precision=self.precision,
            fast=self.fast,
            console=console,
            command=command,
        )


def _check(
    samples: bool,
    *,
    retain: object,
    limit: int | None,
    metric: Sequence[str],
    cluster: str | None,
    fast: bool,
) -> None:
    """Refuse what does not go together, before anything is read.

    Raises:
        ConfigError: options of logs without --samples, or the other way round; or nothing to compare on.
    """
    if samples and (retain or limit or fast):
        raise ConfigError("--retain, --limit and --fast do not go with --samples", remedy="the logs say what was asked")
    if not samples and (metric or cluster):
        raise ConfigError("--metric and --cluster need --samples", remedy="a task's YAML file names both")
    if not samples and not retain:
        raise ConfigError(
            "nothing to compare on",
            where="--retain",
            remedy="name a task, a data file or a text file; sample logs of lm-eval need --samples instead",
        )


def _target(name: str) -> Entry:
    """What was trained for.

    Raises:
        ConfigError: a free text, which has no answers to score.
    """
    from keeptune.evaluate.config import TextConfig

    (entry,) = named_entries([name], "drop")
    if isinstance(resolved(entry), TextConfig):
        raise ConfigError("a free text is no target", where="--target", remedy="name it under --retain")
    return entry
