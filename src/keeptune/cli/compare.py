"""`keeptune compare`: the verdict for a checkpoint that any tool trained, with an exit code for CI."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, print_decision, progress_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from keeptune.compare.side_by_side import Comparison
    from keeptune.recipe.entries import Entry


def compare(
    before: Annotated[str, typer.Argument(help="The base model; with --samples a sample log, or a folder of logs.")],
    after: Annotated[str, typer.Argument(help="The tuned model or its adapter; with --samples the logs of it.")],
    retain: Annotated[
        list[str] | None,
        typer.Option(
            help="What must not get worse: a data file, a text file, a task's YAML, builtin:name. May be repeated."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The task that was trained for: reported, not judged.")] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POINTS|SUITE=POINTS",
            help="Points that a task may lose, or one suite: --margin 2 --margin addition=3. Default: its own, or 5 %"
            " of what the base has above chance (1 to 3).",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score at most so many test items of each task.")] = None,
    samples: Annotated[bool, typer.Option(help="Compare two sets of lm-eval sample logs; no model is loaded.")] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="With --samples: metric, or metric,filter; the first that a task has.")
    ] = None,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="Of both models.")] = "auto",
    cluster: Annotated[
        str | None, typer.Option(help="With --samples: the document field that names the source.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the verdicts as JUnit XML, a test case for a suite.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a table for a pull request's comment.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/compare, numbered where another comparison is there."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Did the tuned model lose anything? Exit code 0: every suite Retained, 10: one is Harmed, 11: undecided."""
    from keeptune.cli.run_folder import run_folder
    from keeptune.compare.gate import exit_code
    from keeptune.core.files import write_whole
    from keeptune.recipe.begun import begin, begun_comparison
    from keeptune.recipe.files import named_entries, with_margins
    from keeptune.recommend.next_steps import next_steps
    from keeptune.report.console import print_summary
    from keeptune.report.gate import junit_xml, markdown_table
    from keeptune.report.html import write_report

    _check(samples, retain=retain, limit=limit, metric=metric, cluster=cluster)
    common, margins = read_margins(margin or ())
    settings: dict[str, object] = {
        "margin": common,
        "limit": limit,
        "precision": precision,
        "metric": metric or [],
        "cluster": cluster,
    }
    settings |= {"margins": margins} if margins else {}
    entries = () if samples else with_margins(named_entries(retain or (), "drop", common), margins)
    aim = target if samples or target is None else _target(target)
    begun = begun_comparison((before, after), entries, aim, settings)
    console = progress_console(quiet, as_json)
    folder = run_folder(begun, Path("runs/compare"), out, overwrite=overwrite, console=console)
    command = shlex.join(["keeptune", *sys.argv[1:]])
    if samples:
        comparison = _of_samples(before, after, metric, common, margins, cluster, target, command)
    else:
        comparison = _of_models(
            before, after, retain or (), target, common, margins, limit, precision, console, command
        )
    comparison.save(folder)
    begin(folder, begun)
    page = write_report(folder)
    print_summary(comparison.summary, console)
    console.print(f"report: {page}", highlight=False)
    for step in next_steps(comparison.summary, folder):
        console.print(str(step), highlight=False, markup=False, soft_wrap=True)
    if junit is not None:
        write_whole(junit, junit_xml(comparison.summary))
    if markdown is not None:
        write_whole(markdown, markdown_table(comparison.summary))
    print_decision(comparison.summary, folder, quiet, as_json)
    raise typer.Exit(exit_code(comparison.verdicts))


def read_margins(texts: Sequence[str]) -> tuple[float | None, dict[str, str]]:
    """['2', 'addition=3', 'prose=1%'] -> (2.0, {'addition': '3', 'prose': '1%'}).

    Raises:
        ConfigError: no number above 0 and below 100, or two for all suites.
    """
    from keeptune.core.errors import ConfigError
    from keeptune.evaluate.config import parse_margin

    common: float | None = None
    margins: dict[str, str] = {}
    for text in texts:
        suite, equals, value = text.rpartition("=")
        try:
            found = parse_margin(value)
        except ValueError as error:
            raise ConfigError(f"'{text}': {error}", where="--margin") from error
        if equals:
            margins[suite] = value
        elif common is not None or found.relative:
            raise ConfigError(
                f"'{text}'", where="--margin", remedy="give one number of points for all, or SUITE=POINTS"
            )
        else:
            common = 100 * found.value
    return common, margins


def _of_models(
    before: str,
    after: str,
    retain: Sequence[str],
    target: str | None,
    margin: float | None,
    margins: dict[str, str],
    limit: int | None,
    precision: Literal["auto", "bf16", "fp32"],
    console: Console,
    command: str,
) -> Comparison:
    from keeptune.compare.models import compare_models  # imports torch: a wrong command is refused before

    return compare_models(
        before,
        after,
        retain,
        target=target,
        margin=margin,
        margins=margins,
        limit=limit,
        precision=precision,
        console=console,
        command=command,
    )


def _of_samples(
    before: str,
    after: str,
    metric: list[str] | None,
    margin: float | None,
    margins: dict[str, str],
    cluster: str | None,
    target: str | None,
    command: str,
) -> Comparison:
    from keeptune.compare.samples import compare_samples
    from keeptune.evaluate.config import parse_margin

    return compare_samples(
        before,
        after,
        metrics=metric or (),
        margin=None if margin is None else margin / 100,
        margins={task: parse_margin(text).value for task, text in margins.items()},
        cluster=cluster,
        target=target,
        command=command,
    )


def _check(
    samples: bool,
    *,
    retain: list[str] | None,
    limit: int | None,
    metric: list[str] | None,
    cluster: str | None,
) -> None:
    """Refuse what does not go together, before anything is read.

    Raises:
        ConfigError: options of logs without --samples, or the other way round; or nothing to compare on.
    """
    from keeptune.core.errors import ConfigError

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
    from keeptune.core.errors import ConfigError
    from keeptune.evaluate.config import TextConfig
    from keeptune.recipe.files import named_entries, resolved

    (entry,) = named_entries([name], "drop")
    if isinstance(resolved(entry), TextConfig):
        raise ConfigError("a free text is no target", where="--target", remedy="name it under --retain")
    return entry
