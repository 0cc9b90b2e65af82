"""A study from its recipe to its verdict. Finished arms are skipped, an interrupted one goes on."""

from __future__ import annotations

import logging
import math
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from keeptune.core import allocator
from keeptune.core.errors import DataError
from keeptune.core.lines import print_line, print_lines
from keeptune.core.lock import locked
from keeptune.core.records import Part, Summary, read_json, write_json
from keeptune.core.units import human_seconds, parse_duration
from keeptune.core.verbose import speaking
from keeptune.launch.world import ALONE, World
from keeptune.recipe.begun import Begun, begin, begun_study
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.next_steps import next_steps
from keeptune.report.console import print_summary
from keeptune.report.html import write_report
from keeptune.study.cards import chance_of, data_card, margin_warnings, rehearsal_cards, say_formats
from keeptune.study.curve import learning_curves
from keeptune.study.elsewhere import NOTHING, Elsewhere, reaching
from keeptune.study.frontier import frontier_points, validation_results
from keeptune.study.jobs.base import Amount, Job
from keeptune.study.jobs.baseline import MeasureBaseline, ScoreBase, WriteTexts
from keeptune.study.jobs.sequence import read_sequence, sequence_jobs
from keeptune.study.jobs.train import Train
from keeptune.study.manifest import engines, manifest_of
from keeptune.study.messages import Messages
from keeptune.study.mirror import Mirrored
from keeptune.study.prepare import Prepared, load_base, prepare, suit, workplace_of
from keeptune.study.prompting import prompting_arms
from keeptune.study.records import Tuned
from keeptune.study.schedule.board import Board
from keeptune.study.schedule.cluster import cluster_launcher
from keeptune.study.schedule.deadline import Deadline
from keeptune.study.schedule.layout import trainings
from keeptune.study.schedule.pace import Pace
from keeptune.study.schedule.plan import FILE, PlanRecord, plan
from keeptune.study.schedule.pool import Pool
from keeptune.study.schedule.processes import ProcessLauncher, fitting_workers
from keeptune.study.schedule.runner import Everything, InProcess, Paced, Runner
from keeptune.study.schedule.together import Together
from keeptune.study.schedule.total import Total
from keeptune.study.schedule.work import Work
from keeptune.study.schedule.worker import Start
from keeptune.study.search import Found, Search, finish_search, found_trials
from keeptune.study.settled import settle_workers
from keeptune.study.summarise import Measured, summarise
from keeptune.study.trouble import courses
from keeptune.study.tuning import Chosen, choose_rates, finish_arms, further_trials
from keeptune.study.watching import Watching
from keeptune.study.workplace import Workplace
from keeptune.train.remedies.base import Need

log = logging.getLogger(__name__)

TUNED = "tuned"  # a name in the run folder that later commands can use


def run_study(
    config: StudyConfig,
    folder: Path,
    *,
    console: Console | None = None,
    data_root: Path = Path(),
    command: str | None = None,
    on: str | None = None,
    mirror: str | None = None,
    world: World = ALONE,
) -> Summary:
    """Run every arm that is not finished; write summary.json and report.html; print verdict and table.

    Args:
        config: the recipe.
        folder: the run's folder; arms that finished there under the same recipe, data and model are kept.
        console: where progress and verdict go.
        data_root: relative data paths of the recipe are below it.
        command: as the report quotes it; by default this process's command line.
        on: where its jobs are done: "ray" or "ray://host:6379" (see `RayCluster`); by default on this machine.
        mirror: URL of a storage that holds a copy of the run's folder (see `Mirror`).
        world: the processes that do every job together; this is the main one, and the others `follow`.

    Raises:
        KeeptuneError: anything foreseen, such as another process in the folder; finished arms are kept.

    Example:
        >>> config = StudyConfig(model="builtin", target=[{"task": "builtin:orders"}], retain="none")
        >>> summary = run_study(config, Path("runs/orders"))
        >>> summary.recommendation.headline
    """
    messages, begun = Messages(console or Console()), begun_study(config, data_root)
    command = command or shlex.join(["keeptune", *sys.argv[1:]])
    with locked(folder), reaching(on, mirror, folder, begun, messages) as found:
        elsewhere = replace(found, world=world)
        return _run(config, folder, begun, messages, data_root, command, elsewhere)


def _run(
    config: StudyConfig,
    folder: Path,
    begun: Begun,
    messages: Messages,
    data_root: Path,
    command: str,
    elsewhere: Elsewhere,
) -> Summary:
    started, began, console = datetime.now(UTC), time.monotonic(), messages.console
    prepared, workplace = open_study(config, folder, messages, data_root, elsewhere.cache)
    begin(folder, begun)
    config, watching = prepared.config, Watching.of(workplace)
    runner = choose_runner(prepared, workplace, elsewhere)
    measured, left = measure(prepared, workplace, runner, watching, lambda: time.monotonic() - began)
    manifest = manifest_of(
        workplace.lm,
        config.model_dump(mode="json"),
        prepared.tasks,
        seeds=left.seeds,  # those that the budget left
        command=command,
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
    watching.end(summary)
    print_summary(summary, console)
    console.print()
    if (kept := link_tuned(folder, summary)) is not None:
        print_line(f"tuned model: {folder / TUNED} ({kept})", console)
    print_line(f"report: {page}", console)
    print_lines(next_steps(summary, folder), console)
    return summary


def open_study(
    config: StudyConfig, folder: Path, messages: Messages, data_root: Path = Path(), cache: Path | None = None
) -> tuple[Prepared, Workplace]:
    """Tasks built, the model loaded, everything settled that the recipe left open; nothing has run yet.

    Raises:
        KeeptuneError: whatever is wrong with recipe, data or model.
    """
    prepared = prepare(config, folder, messages, data_root, cache)
    lm = load_base(prepared)
    prepared = suit(prepared, lm, messages)
    workplace = workplace_of(prepared, lm, messages)
    say_formats(prepared.tasks, workplace.encoder, messages)
    for line in margin_warnings(prepared.suites, workplace.config.test_items):
        messages.warn(line)
    return replace(prepared, config=workplace.config), workplace


def measure(
    prepared: Prepared, workplace: Workplace, runner: Runner, watching: Watching, clock: Callable[[], float]
) -> tuple[Measured, StudyConfig]:
    """Run every arm that is not finished; what was measured before is read.

    Args:
        prepared: the study's tasks.
        workplace: where the base is.
        runner: who does its jobs; closed in the end.
        watching: told of the arms that are scored on test items.
        clock: seconds since the study started.

    Returns:
        What was measured, and what a budget left of the recipe.
    """
    config, ledger, scorer = prepared.config, workplace.ledger, workplace.scorer
    asked_first = base_jobs(prepared)
    total = _total(workplace, config, asked_first)
    work = Work(runner, total)
    watching.start()
    with total.showing(), closing(runner):
        work.do(asked_first)
        work.do([MeasureBaseline()])
        baseline, ledger = workplace.baseline, ledger.at_margins(workplace.baseline.margins)
        prompting, best, asked = prompting_arms(ledger, scorer) if config.prompts else ([], "", {})
        watching.tested(prompting)
        if config.methods:
            _go_by_a_plan(total, prepared, workplace, runner, clock)
        chosen = choose_rates(work, ledger, baseline)
        found = _search(work, workplace, chosen)
        curves = learning_curves(work, ledger, chosen)
        tuned = _finished(work, workplace, chosen, found)
        watching.tested(arm for each in tuned for arm in each.seeds)
    left = work.recipe
    _say_overrun(config.budget, clock(), workplace.messages)
    measured = Measured(
        metrics={task.name: (task.metric.name, task.metric.kind) for task in prepared.targets},
        suites={suite.name: suite.suite() for suite in prepared.suites},
        base_suites=baseline.test,
        base_extras={extra.name: scorer.evaluate_extra(extra).items for extra in scorer.extras},
        extras=scorer.extras,
        prompting=prompting,
        best_prompting=best,
        tuned=tuned,
        frontier=frontier_points(left, ledger, baseline, chosen),
        validation=validation_results(left, ledger, baseline, chosen, asked, found),
        search=found.summary if found else None,
        base_validation=baseline.validation,
        curves=curves,
        sequences=[read_sequence(ledger, job) for job in sequence_jobs(left, scorer.targets)],
        plans=read_json(ledger.folder / FILE, PlanRecord).plans if config.methods else (),
        chance=chance_of(prepared.targets, config.test_items),
        cached_token_price=config.costs.cached_token_price,
        warnings=workplace.messages.warnings,
        cards=[data_card(task, workplace.encoder) for task in prepared.targets],
        rehearsal=rehearsal_cards(workplace.rehearsal, prepared.drawing_on, config.seeds[0]),
        trainings=courses(tuned, left, prepared.tasks),
    )
    return measured, left


def _go_by_a_plan(
    total: Total, prepared: Prepared, workplace: Workplace, runner: Runner, clock: Callable[[], float]
) -> None:
    """Plan the arms, and let the plan say what comes next and how long all of it takes."""
    planned = plan(workplace, prepared.config, runner, clock)
    total.go_by(schedule_of(planned, prepared, workplace, runner, clock))


def _finished(work: Work, workplace: Workplace, chosen: Chosen, found: Found | None) -> list[Tuned]:
    """Further seeds, tasks in turn, and every arm scored on test items."""
    baseline = workplace.baseline
    ledger = workplace.ledger.at_margins(baseline.margins)
    further = [Train(t) for t in (*further_trials(work.recipe, chosen), *found_trials(work.recipe, found)[1:])]
    work.do([*sequence_jobs(work.recipe, workplace.scorer.targets), *further])
    tuned = finish_arms(work, ledger, baseline, chosen)
    return tuned + finish_search(work, ledger, found, tuned)


def _say_overrun(budget: str | None, seconds: float, messages: Messages) -> None:
    """Warn where a study has taken longer than it was given."""
    if budget is not None and seconds > parse_duration(budget):
        over = human_seconds(seconds - parse_duration(budget))
        messages.warn(f"budget: the study took {over} longer than {budget}")


def _search(work: Work, workplace: Workplace, chosen: Chosen) -> Found | None:
    """The search, where the recipe has one."""
    if not work.recipe.searches:
        return None
    there = {
        Need.REHEARSAL_ROWS: bool(workplace.data.rehearsal_rows(work.recipe.seeds[0])),
        Need.SELF_GENERATED_ROWS: not workplace.lm.encoder_decoder,
    }
    rows = [need for need, has in there.items() if has]
    ledger = workplace.ledger.at_margins(workplace.baseline.margins)
    return Search(work, ledger, workplace.baseline, chosen, rows).run()


def choose_runner(prepared: Prepared, workplace: Workplace, elsewhere: Elsewhere = NOTHING) -> Runner:
    """As the recipe says; by default several processes where a small model on a CPU has several trainings to do.

    On a cluster workers have the threads that they would have here, so that results are the same, and there are as many
    as have room, unless the recipe says how many.
    """
    if elsewhere.world.size > 1:
        return _mirrored(Together(prepared, workplace, elsewhere.world), elsewhere)
    config, messages = prepared.config, workplace.messages
    fitting = fitting_workers(workplace.lm, workplace.parameters)
    workers = settle_workers(prepared.folder, fitting) if config.workers == "auto" else config.workers
    jobs = trainings(config)
    workers = min(workers, jobs)
    start = Start(prepared, Path.cwd(), max(1, torch.get_num_threads() // workers), allocator.kept(), speaking())
    log.info("%d processes, %d threads each", workers, start.threads)
    board = Board(messages.console, prepared.folder / "arms")
    runner: Runner
    if elsewhere.cluster is not None:
        most = jobs if config.workers == "auto" else workers
        runner = Pool(cluster_launcher(elsewhere.cluster, workplace, start, most), start.threads, messages, board)
    elif workers > 1:
        runner = Pool(ProcessLauncher(start, workers), start.threads, messages, board)
    else:
        runner = InProcess(workplace)
    return _mirrored(runner, elsewhere)


def _mirrored(runner: Runner, elsewhere: Elsewhere) -> Runner:
    return runner if elsewhere.mirror is None else Mirrored(runner, elsewhere.mirror)


def schedule_of(
    planned: PlanRecord, prepared: Prepared, workplace: Workplace, runner: Runner, clock: Callable[[], float]
) -> Paced:
    """What is left of the recipe by the plan; where there is a budget, it is watched."""
    config = prepared.config
    if config.budget is None:
        return Everything(planned.apply(config), Pace(planned.estimates, runner.workers, clock))
    return Deadline(prepared.folder, config, planned, runner.workers, clock, workplace.messages.warn)


def _total(workplace: Workplace, config: StudyConfig, base: Sequence[Job]) -> Total:
    """The line of the whole study, before anything is done of it."""
    rows = len(workplace.data.rows(config.seeds[0]).train) if config.curve is not None else math.inf
    asked = sum((job.amount for job in base), Amount())
    log.info("seeds %s; %d questions to the base", ", ".join(map(str, config.seeds)), len(base))
    return Total(Everything(config), workplace.messages.console, asked, workplace.scorer.targets, rows)


def base_jobs(prepared: Prepared) -> list[Job]:
    """All that the base is asked: prompting, and every retained suite before anything is trained."""
    config = prepared.config
    targets, suites = ([task.name for task in tasks] for tasks in (prepared.targets, prepared.suites))
    parts: tuple[Part, ...] = ("test", "validation")
    jobs: list[Job] = []
    for part in parts:
        if config.prompts:
            for shots in config.prompt.shots:
                draws = config.prompt.draws if shots else 1
                jobs += [ScoreBase(task, part, shots, draw) for task in targets for draw in range(draws)]
        jobs += [ScoreBase(suite, part) for suite in suites]
        jobs += [ScoreBase(task, "validation") for task in targets if part == "validation"]
    jobs += [ScoreBase(extra.task, "test", wording=extra.wording) for extra in prepared.extras]
    if prepared.drawing_on(Need.SELF_GENERATED_ROWS):
        jobs.append(WriteTexts())
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
    tuned = [arm for arm in summary.arms if not arm.prompting and not arm.not_run]
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
