"""`keeptune.compare`: what one model lost against another, whoever trained it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from keeptune.api.data import Data, source, sources
from keeptune.api.results import Result
from keeptune.core.errors import ConfigError
from keeptune.recipe.begun import begin, begun_comparison
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
    _check(samples, retain=retain, limit=limit, metric=metric, cluster=cluster)
    models = os.fspath(before), os.fspath(after)
    suites = sources(retain, "retained")
    settings: dict[str, object] = {
        "margin": margin,
        "limit": limit,
        "precision": precision,
        "metric": list(metric),
        "cluster": cluster,
    }
    settings |= {"margins": dict(margins)} if margins else {}
    aim = None if target is None else source(target, "target")
    entries = () if samples else with_margins(named_entries(suites, "drop", margin), dict(margins or {}))
    entry: Entry | str | None = aim if samples or aim is None else _target(aim)
    begun = begun_comparison(models, entries, entry, settings)
    console = console or Console(quiet=quiet)
    folder = run_folder(
        begun, Path("runs/compare"), None if out is None else Path(out), overwrite=overwrite, console=console
    )
    comparison: Comparison
    if samples:
        from keeptune.compare.samples import compare_samples
        from keeptune.evaluate.config import parse_margin

        comparison = compare_samples(
            *models,
            metrics=metric,
            margin=None if margin is None else margin / 100,
            margins={task: parse_margin(text).value for task, text in (margins or {}).items()},
            cluster=cluster,
            target=aim,
            command=command,
        )
    else:
        from keeptune.compare.models import compare_models  # imports torch: a wrong command is refused before

        comparison = compare_models(
            *models,
            suites,
            target=aim,
            margin=margin,
            margins=dict(margins or {}),
            limit=limit,
            precision=precision,
            console=console,
            command=command,
        )
    comparison.save(folder)
    begin(folder, begun)
    write_report(folder)
    return Result(folder, comparison.summary)


def _check(
    samples: bool,
    *,
    retain: object,
    limit: int | None,
    metric: Sequence[str],
    cluster: str | None,
) -> None:
    """Refuse what does not go together, before anything is read.

    Raises:
        ConfigError: options of logs without --samples, or the other way round; or nothing to compare on.
    """
    if samples and (retain or limit):
        raise ConfigError("--retain and --limit do not go with --samples", remedy="the logs say what was asked")
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
