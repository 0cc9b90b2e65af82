"""A study from its recipe to its verdict. Finished arms are skipped, an interrupted one starts again."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from keeptune.core.errors import DataError
from keeptune.core.records import Part, Summary, read_json, write_json, write_records
from keeptune.core.units import human_seconds, parse_duration
from keeptune.report.console import print_summary
from keeptune.report.html import write_report
from keeptune.study.begun import begin, begun_study
from keeptune.study.bench import Bench
from keeptune.study.build import build, chance_of, data_card, margin_warnings
from keeptune.study.config import StudyConfig
from keeptune.study.curve import learning_curves
from keeptune.study.deadline import Deadline
from keeptune.study.jobs import Ask, Job, Train
from keeptune.study.manifest import engines, manifest_of
from keeptune.study.plan import FILE, PlanRecord, plan
from keeptune.study.prompting import prompting_arms
from keeptune.study.seeds import with_seeds
from keeptune.study.sequence import sequence_jobs, sequences
from keeptune.study.summarise import Measured, summarise
from keeptune.study.tuning import base_point, first_seed, further_trials, looks_of, tuned_arms
from keeptune.study.workers import Runner, choose_runner

PARTS: tuple[Part, ...] = ("validation", "test")
TUNED = "tuned"  # a name in the run folder that later commands can use


def run_study(
    config: StudyConfig,
    folder: Path,
    *,
    console: Console | None = None,
    data_root: Path = Path(),
    command: str | None = None,
) -> Summary:
    """Run every arm that is not finished; write summary.json and report.html; print verdict and table.

    Args:
        config: the recipe.
        folder: the run's folder; arms that finished there under the same recipe, data and model are kept.
        console: where progress and verdict go.
        data_root: relative data paths of the recipe are below it.
        command: as the report quotes it; by default this process's command line.

    Raises:
        KeeptuneError: anything foreseen; finished arms are kept.
    """
    console = console or Console()
    started, began = datetime.now(UTC), time.monotonic()
    bench = build(config, folder, console, data_root)
    begin(folder, begun_study(config, data_root))
    config = bench.config = with_seeds(bench)  # and with what is retained by default
    for task in bench.tasks.values():
        bench.say(f"{task.name}: {'; '.join(task.splits.notes) or 'parts as the source says'}")
        for note in task.loaded.notes if task.loaded else ():
            bench.say(f"{task.name}: {note}")
    measured = measure(bench, data_root, lambda: time.monotonic() - began)
    manifest = manifest_of(
        bench.lm,
        config.model_dump(mode="json"),
        [*bench.tasks.values()],
        seeds=bench.config.seeds,  # those that the budget left
        command=command or shlex.join(["keeptune", *sys.argv[1:]]),
        started=started,
        engines=engines(folder),
    )
    summary = summarise(
        measured,
        manifest,
        title=config.title or folder.name,
        wall_seconds=time.monotonic() - began,
        indifference=config.indifference / 100,
        requests=config.requests,
        harmless=config.forgetting == "harmless",
    )
    summary = _with_time_before(folder, summary)
    write_json(folder / "summary.json", summary)
    write_json(folder / "manifest.json", summary.manifest)
    page = write_report(folder)
    print_summary(summary, console)
    console.print()
    kept = link_tuned(folder, summary)
    if kept is not None:
        console.print(f"tuned model: {folder / TUNED} ({kept})", highlight=False)
    console.print(f"report: {page}", highlight=False)
    return summary


def measure(bench: Bench, data_root: Path, clock: Callable[[], float]) -> Measured:
    """Run every arm that is not finished; what was measured before is read.

    Args:
        bench: what every arm needs.
        data_root: relative data paths of the recipe are below it.
        clock: seconds since the study started.
    """
    for line in margin_warnings(bench):
        bench.warn(line)
    runner = choose_runner(bench, data_root)
    try:
        runner.run(base_jobs(bench))
        prompting, best, asked = prompting_arms(bench) if "prompt" in bench.config.arms else ([], "", {})
        trains = bool(bench.config.methods)
        if trains:
            follow_plan(bench, runner, clock)
        chosen = first_seed(bench, runner)
        curves = learning_curves(bench, runner, chosen)
        runner.run([*sequence_jobs(bench), *map(Train, further_trials(bench, chosen))])
        tuned, frontier = tuned_arms(bench, runner, chosen)
    finally:
        runner.close()
    _say_overrun(bench, clock())
    keep_base(bench)
    return Measured(
        metrics={task.name: (task.metric.name, task.metric.kind) for task in bench.targets},
        suites={suite.name: suite.suite() for suite in bench.suites},
        base_suites={suite.name: bench.evaluate(suite.name, "test").items for suite in bench.suites},
        base_views={view.name: bench.look(view).items for view in bench.views},
        views=bench.views,
        prompting=prompting,
        best_prompting=best,
        tuned=tuned,
        frontier=[base_point(bench), *frontier] if frontier else [],
        looks=looks_of(bench, chosen, asked),
        base_validation={name: run.items for name, run in bench.base_validation.items()},
        curves=curves,
        sequences=sequences(bench),
        plans=read_json(bench.folder / FILE, PlanRecord).plans if trains else (),
        chance=chance_of(bench),
        cached_token_price=bench.config.costs.cached_token_price,
        warnings=bench.warnings,
        cards=[data_card(bench, task) for task in bench.targets],
    )


def keep_base(bench: Bench) -> None:
    """Leave the base's items of every retained suite in the run's folder, so that it can be audited by itself."""
    for suite in bench.suites:
        for part in PARTS:
            items = bench.evaluate(suite.name, part).items
            write_records(bench.folder / "base" / part / f"{suite.name}.jsonl", items)


def follow_plan(bench: Bench, runner: Runner, clock: Callable[[], float]) -> None:
    """Plan, and let recipe and runner keep to it."""
    recipe = bench.config
    planned = plan(bench, runner.workers, clock)
    bench.config = planned.apply(recipe)
    if recipe.budget is not None:
        runner.schedule = Deadline(bench, recipe, planned, runner.workers, clock)


def _say_overrun(bench: Bench, seconds: float) -> None:
    """Where the least that is run took longer than the budget, that is said."""
    budget = bench.config.budget
    if budget is not None and seconds > parse_duration(budget):
        bench.warn(f"budget: the study took {human_seconds(seconds - parse_duration(budget))} longer than {budget}")


def base_jobs(bench: Bench) -> list[Job]:
    """All that the base is asked: prompting, and every retained suite before anything is trained."""
    jobs: list[Job] = []
    for part in ("test", "validation"):
        if "prompt" in bench.config.arms:
            for shots in bench.config.prompt.shots:
                draws = bench.config.prompt.draws if shots else 1
                jobs += [Ask(task.name, part, shots, draw) for task in bench.targets for draw in range(draws)]
        jobs += [Ask(suite.name, part) for suite in bench.suites]
        jobs += [Ask(task.name, "validation") for task in bench.targets if part == "validation"]
    jobs += [Ask(view.task, "test", wording=view.wording) for view in bench.views]
    return list(dict.fromkeys(jobs))


def _with_time_before(folder: Path, summary: Summary) -> Summary:
    """The summary with the time that earlier runs of the same recipe spent in this folder.

    A run that skipped every arm adds nothing: its time is not the study's.
    """
    try:
        earlier = read_json(folder / "summary.json", Summary)
    except DataError:
        return summary
    if earlier.manifest.config != summary.manifest.config:
        return summary
    now = 0.0 if earlier.arms == summary.arms else summary.wall_seconds
    return summary.model_copy(update={"wall_seconds": earlier.wall_seconds + now})


def link_tuned(folder: Path, summary: Summary) -> str | None:
    """Point ``folder/tuned`` at the weights of the recommended arm, or else of the one that validation chose.

    Where it chose prompting, the trained arm that scored best on validation stands there.

    Returns the arm's name; None where nothing was trained.
    """
    tuned = [arm for arm in summary.arms if arm.family != "prompt" and not arm.not_run]
    if not tuned:
        return None
    advice = summary.recommendation
    scores = {point.arm: point.target for point in summary.frontier if point.picked and point.seed == summary.seeds[0]}
    chosen = max(tuned, key=lambda a: (a.name == advice.arm, a.name == advice.chosen, scores.get(a.arm, 0.0)))
    weights = next(path for path in (folder / str(chosen.folder)).iterdir() if path.name in ("model", "adapter"))
    link = folder / TUNED
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    try:
        link.symlink_to(weights.relative_to(folder), target_is_directory=True)
    except OSError:  # a file system without links
        shutil.copytree(weights, link)
    return chosen.name
