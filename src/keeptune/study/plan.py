"""Before the first training: what every arm will need, which do not fit, and what a budget of time takes away.

Time is measured, not guessed: a probe trains a few micro-batches of every method, and the base's own evaluations say
what scoring takes. Where the sum exceeds the budget, trainings are dropped in this order, all arms alike so that the
comparison stays fair:

1. further seeds, the last one first;
2. sizes of the learning curve, the largest first;
3. rates, from the highest and the lowest in turn, down to one;
4. arms with remedies, the last one first, while an arm is left that trains.

Whether what is kept turns out to take as long as planned is watched by `deadline`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table

from keeptune.core.records import ArmPlan, write_json
from keeptune.core.units import human_bytes, human_seconds, parse_duration
from keeptune.data.lazy import Made
from keeptune.study.arms import KeyedRecord, finished
from keeptune.study.bench import Bench
from keeptune.study.config import StudyConfig
from keeptune.study.jobs import Job, ScoreTest, Sweep, Train, TrainAndTest
from keeptune.study.sequence import TaskSequence
from keeptune.study.spec import ArmSpec
from keeptune.study.trials import ALPHAS
from keeptune.train.estimate import Needs, probe
from keeptune.train.memory import available_bytes, used_bytes

FILE = "plan.json"
BASE_FORWARD = 1 / 3  # of a training step: what another model's forward costs beside it


@dataclass(frozen=True)
class Estimates:
    """What the parts of a study take."""

    needs: dict[str, Needs]  # by method
    tasks: int  # to learn
    rows: int  # to train on
    steps: int
    tokens: int  # of one training of all rows
    validation_seconds: float  # scoring one model on all validation parts
    test_seconds: float
    bytes_of_model: int

    def training(self, config: StudyConfig, spec: ArmSpec) -> float:
        """Seconds of one training and its validation."""
        needs = self.needs[spec.method]
        factor = 1.0
        for name, dose in spec.remedies:
            settings = config.remedies.of(name, dose)
            if name in ("replay", "self-replay"):
                factor /= 1 - settings.share
            elif name == "kl":
                factor += BASE_FORWARD
        looks = 1 + (config.train.epochs * config.train.validations_per_epoch - 1) * config.checkpoints
        return (
            factor * self.tokens * needs.seconds_per_token
            + self.steps * needs.seconds_per_step
            + looks * self.validation_seconds
        )

    def memory(self, spec: ArmSpec) -> int | None:
        """Peak bytes of one training."""
        memory = self.needs[spec.method].memory_bytes
        if memory is not None and spec.method == "full" and any(name == "kl" for name, _ in spec.remedies):
            memory += self.bytes_of_model
        return memory

    def arm(self, config: StudyConfig, spec: ArmSpec) -> tuple[int, float]:
        """(trainings, seconds) of an arm; an interpolated one trains with the arm that it belongs to."""
        trials = len(config.rates(spec.method)) + len(config.seeds) - 1
        if spec.interpolated:
            own = 0 if spec.trained in config.specs else trials  # of a model that is no arm itself
            points = len(config.seeds) * (self.sweep + self.test_seconds)
            return own, points + own * self.training(config, spec.trained)
        sizes = config.curve.sizes if config.curve and spec.name in config.curve.arms else ()
        curve = sum(size < self.rows for size in sizes)
        seconds = (trials + curve) * self.training(config, spec) + (len(config.seeds) + curve) * self.test_seconds
        return trials + curve, seconds

    def sequence(self, config: StudyConfig, spec: ArmSpec) -> tuple[int, float]:
        """(trainings, seconds) of an arm through all orders: every task in its turn, all tasks tested after each."""
        assert config.sequence is not None
        chains = max(1, len(config.sequence.orders)) * len(config.seeds)
        return chains * self.tasks * len(config.rates(spec.method)), chains * self.chain(config, spec)

    def chain(self, config: StudyConfig, spec: ArmSpec) -> float:
        """Seconds of an arm through one order."""
        return len(config.rates(spec.method)) * self.training(config, spec) + (self.tasks + 1) * self.test_seconds

    @property
    def sweep(self) -> float:
        """Seconds of the points between the base and one model."""
        return (len(ALPHAS) - 1) * self.validation_seconds

    def job(self, config: StudyConfig, job: Job) -> float:
        """Seconds that a job has in the plan; what has to be done again is not planned."""
        if isinstance(job, Train):
            return 0.0 if job.weights else self.training(config, job.trial.spec)
        if isinstance(job, TrainAndTest):
            return self.training(config, job.spec) + self.test_seconds
        if isinstance(job, TaskSequence):
            return self.chain(config, job.spec)
        return self.sweep if isinstance(job, Sweep) else self.test_seconds if isinstance(job, ScoreTest) else 0.0

    def total(self, config: StudyConfig) -> float:
        """Seconds of everything that trains, one worker."""
        arms = sum(self.arm(config, spec)[1] for spec in config.specs)
        return arms + sum(self.sequence(config, spec)[1] for spec in config.in_turn)


def estimate(bench: Bench, workers: int) -> Estimates:
    """Probe every method; ask while the model is the base and after it was scored."""
    rows = bench.training_rows(bench.config.seeds[0])
    methods = bench.config.methods
    engine = bench.config.train.engine
    steps = Made(rows.order, lambda step: [rows.train[i] for i in step])
    threads = max(1, torch.get_num_threads() // workers)
    chosen_by = [task.name for task in (*bench.targets, *bench.suites)]
    looked_at = [bench.evaluate(name, "test") for name in chosen_by] + [bench.look(view) for view in bench.views]
    return Estimates(
        needs={name: probe(bench.lm, bench.config.build_method(name), steps, engine, threads) for name in methods},
        tasks=len(bench.targets),
        rows=len(rows.train),
        steps=len(rows.order),
        tokens=sum(len(row) for step in steps for row in step),
        validation_seconds=sum(bench.evaluate(name, "validation").seconds for name in chosen_by),
        test_seconds=sum(run.seconds for run in looked_at),
        bytes_of_model=bench.parameters * bench.lm.dtype.itemsize,
    )


class PlanRecord(KeyedRecord):
    """plan.json: what was decided before the first training or dropped since; a study that goes on keeps to it."""

    estimates: Estimates
    plans: tuple[ArmPlan, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: dict[str, tuple[float, ...]]  # by method
    sizes: tuple[int, ...]  # of the learning curve

    @classmethod
    def of(
        cls,
        key: str,
        config: StudyConfig,
        kept: StudyConfig,
        estimates: Estimates,
        fits: Mapping[str, bool],
        workers: int,
        dropped: Sequence[str],
        late: Sequence[str] = (),
    ) -> PlanRecord:
        """A line for every arm of the recipe ``config``, and what is ``kept`` of it.

        Args:
            fits: whether there is memory for an arm, by its name.
            dropped: everything that the budget took away.
            late: of this, what it took away after the plan.
        """

        def line(arm: str, spec: ArmSpec, cost: tuple[int, float], fits: bool = True) -> ArmPlan:
            trials, seconds = cost
            return ArmPlan(
                arm=arm,
                trials=trials,
                memory_bytes=estimates.memory(spec),
                seconds=seconds / workers,
                fits=fits,
                dropped=tuple(dropped),
                late=tuple(late),
            )

        runs = set(kept.specs)
        plans = [
            line(spec.name, spec, estimates.arm(kept, spec) if spec in runs else (0, 0.0), fits[spec.name])
            for spec in config.specs
        ]
        plans += [line(f"{spec.name}, in turn", spec, estimates.sequence(kept, spec)) for spec in kept.in_turn]
        return cls(
            key=key,
            estimates=estimates,
            plans=tuple(plans),
            arms=kept.arms,
            seeds=kept.seeds,
            rates={method: kept.rates(method) for method in kept.methods},
            sizes=kept.curve.sizes if kept.curve else (),
        )

    def apply(self, config: StudyConfig) -> StudyConfig:
        """The recipe with what was dropped left out."""
        changes: dict[str, Any] = {"arms": self.arms, "seeds": self.seeds}
        for method, rates in self.rates.items():
            changes[method] = getattr(config, method).model_copy(update={"rates": rates})
        if config.curve is not None:
            changes["curve"] = config.curve.model_copy(update={"sizes": self.sizes})
        return config.model_copy(update=changes)

    def steps(self, config: StudyConfig) -> list[tuple[StudyConfig, str]]:
        """What is kept of the recipe, and then ever smaller ones, each with what it drops."""
        fitting = _fitting(config, {each.arm: each.fits for each in self.plans})
        return [(fitting, ""), *_smaller(fitting)][len(self.plans[0].dropped) :]

    def less(self, config: StudyConfig, kept: StudyConfig, names: Sequence[str], workers: int) -> PlanRecord:
        """The plan after more of the recipe was dropped."""
        fits = {each.arm: each.fits for each in self.plans}
        dropped, late = ((*before, *names) for before in (self.plans[0].dropped, self.plans[0].late))
        return PlanRecord.of(self.key, config, kept, self.estimates, fits, workers, dropped, late)


def plan(bench: Bench, workers: int, clock: Callable[[], float]) -> PlanRecord:
    """What is left of the recipe in memory and budget, and a line for every arm of it; in plan.json from then on.

    Args:
        workers: trainings at the same time.
        clock: seconds since the study started.
    """
    path, key = bench.folder / FILE, bench.key("plan", bench.config.digest())
    found = finished(path, PlanRecord, key)
    if found is not None and all(each.fits for each in found.plans):  # memory may be free by now
        return found
    record = _plan(bench, workers, clock, key)
    write_json(path, record)
    bench.console.print(plan_table(record.plans))
    return record


def _plan(bench: Bench, workers: int, clock: Callable[[], float], key: str) -> PlanRecord:
    config, estimates = bench.config, estimate(bench, workers)
    free = available_bytes(bench.lm.device)
    room = None if free is None else free + (used_bytes(bench.lm.device) or 0)  # what is held now is in the need, too
    fits = {spec.name: room is None or workers * (estimates.memory(spec) or 0) <= room for spec in config.specs}
    kept = _fitting(config, fits)
    dropped: list[str] = []
    if config.budget is not None:
        allowed = parse_duration(config.budget) - clock()
        kept, dropped = within(kept, estimates, allowed * workers)
        least = estimates.total(kept) / workers
        if least > allowed:
            bench.warn(
                f"budget: with all dropped that may be dropped {human_seconds(least)} of training are left, more than"
                f" the {human_seconds(max(0.0, allowed))} there are"
            )
    return PlanRecord.of(key, config, kept, estimates, fits, workers, dropped)


def _fitting(config: StudyConfig, fits: Mapping[str, bool]) -> StudyConfig:
    """The recipe without arms that do not fit."""
    return config.model_copy(update={"arms": tuple(arm for arm in config.arms if fits.get(arm, True))})


def within(config: StudyConfig, estimates: Estimates, allowed: float) -> tuple[StudyConfig, list[str]]:
    """The recipe with as much dropped as the budget (seconds of one worker) asks for, and what that was."""
    dropped: list[str] = []
    choices = _smaller(config)
    while estimates.total(config) > allowed:
        try:
            config, what = next(choices)
        except StopIteration:
            break
        dropped.append(what)
    return config, dropped


def _smaller(config: StudyConfig) -> Iterator[tuple[StudyConfig, str]]:
    """Ever smaller recipes, in the stated order."""
    while len(config.seeds) > 1:
        what = f"seed {config.seeds[-1]}"
        config = config.model_copy(update={"seeds": config.seeds[:-1]})
        yield config, what
    while config.curve is not None and config.curve.sizes:
        sizes = tuple(sorted(config.curve.sizes))
        config = config.model_copy(update={"curve": config.curve.model_copy(update={"sizes": sizes[:-1]})})
        yield config, f"{sizes[-1]} examples of the learning curve"
    highest = True
    while any(len(config.rates(method)) > 1 for method in config.methods):
        changes = {}
        for method in config.methods:
            rates = config.rates(method)
            if len(rates) > 1:
                left = rates[:-1] if highest else rates[1:]
                changes[method] = getattr(config, method).model_copy(update={"rates": left})
        config = config.model_copy(update=changes)
        yield config, f"the {'highest' if highest else 'lowest'} rates"
        highest = not highest
    while len(config.specs) > 1 and any(not spec.plain for spec in config.specs):
        last = next(spec for spec in reversed(config.specs) if not spec.plain)
        config = config.model_copy(update={"arms": tuple(arm for arm in config.arms if arm != last.name)})
        yield config, last.name


def plan_table(plans: Sequence[ArmPlan]) -> Table:
    """The plan as people read it."""
    table = Table(title="Plan", caption="measured by a short probe; time with all workers")
    for name in ("arm", "trainings", "memory", "time"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for each in plans:
        memory = human_bytes(each.memory_bytes) if each.memory_bytes is not None else "?"
        time = _time(each.seconds)
        table.add_row(each.arm, str(each.trials), memory, time if each.fits else f"not run: needs {memory}")
    if len(plans) > 1:
        seconds = [math.nan if each.seconds is None else each.seconds for each in plans]
        table.add_section()
        table.add_row("all arms", str(sum(each.trials for each in plans)), "", _time(sum(seconds)))
    return table


def _time(seconds: float | None) -> str:
    return human_seconds(seconds) if seconds is not None and math.isfinite(seconds) else "?"
