"""Before the first training: what every arm will need, which do not fit, and what a budget of time takes away.

Time is measured, not guessed: a probe trains a few micro-batches of every method, and the base's own evaluations say
what scoring takes. Where the sum exceeds the budget, trainings are dropped in this order, all arms alike so that the
comparison stays fair:

1. further seeds, the last one first;
2. sizes of the learning curve, the largest first;
3. trainings of the search, half of them at a time, down to four;
4. rates, from the highest and the lowest in turn, down to one;
5. arms with remedies, the last one first, while an arm is left that trains.

That is the reverse of the order in which they run: what is trained is not dropped for what is not.

Whether what is kept turns out to take as long as planned is watched by `deadline`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table

from keeptune.core.records import ArmPlan, write_json
from keeptune.core.units import human_bytes, human_seconds, parse_duration
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.study.records import KeyedRecord, finished
from keeptune.study.schedule.estimates import Estimates, estimate
from keeptune.study.schedule.runner import Runner
from keeptune.study.workplace import Workplace
from keeptune.train.memory import available_bytes, used_bytes

FILE = "plan.json"
FEWEST = 4  # trainings that a search is left with


class PlanRecord(KeyedRecord):
    """plan.json: what was decided before the first training or dropped since; a study that goes on keeps to it."""

    estimates: Estimates
    plans: tuple[ArmPlan, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: dict[str, tuple[float, ...]]  # by method
    sizes: tuple[int, ...]  # of the learning curve
    trainings: int = 0  # of the search

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

        costs = {name: cost for name, _, cost in estimates.parts(kept)}

        def line(name: str, arm: Arm) -> ArmPlan:
            trials, seconds = costs.get(name, (0, 0.0))
            return ArmPlan(
                arm=name,
                method=arm.method.name,
                trials=trials,
                memory_bytes=estimates.memory(arm),
                seconds=seconds / workers,
                training_seconds=estimates.steps_alone(arm),
                fits=fits.get(name, True),
                dropped=tuple(dropped),
                late=tuple(late),
            )

        plans = [line(name, arm) for name, arm, _ in estimates.parts(config)]
        return cls(
            key=key,
            estimates=estimates,
            plans=tuple(plans),
            arms=kept.arms,
            seeds=kept.seeds,
            rates={name: kept.method(name).learning_rates for name in kept.methods},
            sizes=kept.curve.sizes if kept.curve else (),
            trainings=kept.search.trainings,
        )

    def apply(self, config: StudyConfig) -> StudyConfig:
        """The recipe with what was dropped left out."""
        kept = config.with_learning_rates(self.rates).model_copy(
            update={
                "arms": self.arms,
                "seeds": self.seeds,
                "search": config.search.model_copy(update={"trainings": self.trainings}),
            }
        )
        if kept.curve is None:
            return kept
        return kept.model_copy(update={"curve": kept.curve.model_copy(update={"sizes": self.sizes})})

    def steps(self, config: StudyConfig) -> list[tuple[StudyConfig, str]]:
        """What is kept of the recipe, and then ever smaller ones, each with what it drops."""
        fitting = _fitting(config, {each.arm: each.fits for each in self.plans})
        return [(fitting, ""), *_smaller(fitting)][len(self.plans[0].dropped) :]

    def less(self, config: StudyConfig, kept: StudyConfig, names: Sequence[str], workers: int) -> PlanRecord:
        """The plan after more of the recipe was dropped."""
        fits = {each.arm: each.fits for each in self.plans}
        dropped, late = ((*before, *names) for before in (self.plans[0].dropped, self.plans[0].late))
        return PlanRecord.of(self.key, config, kept, self.estimates, fits, workers, dropped, late)


def plan(workplace: Workplace, config: StudyConfig, runner: Runner, clock: Callable[[], float]) -> PlanRecord:
    """What is left of the recipe in memory and budget, and a line for every arm of it; in plan.json from then on.

    Args:
        workplace: where the base is, scored.
        config: the recipe.
        runner: who will train; other machines of a cluster count as having this one's memory.
        clock: seconds since the study started.
    """
    ledger, workers = workplace.ledger, runner.workers
    path, key = ledger.folder / FILE, ledger.key("plan", config.digest())
    found = finished(path, PlanRecord, key)
    if found is not None and all(each.fits for each in found.plans):  # memory may be free by now
        return found
    estimates = estimate(workplace, config.methods, runner.threads)
    free = available_bytes(workplace.lm.device)
    room = None if free is None else free + (used_bytes(workplace.lm.device) or 0)  # what is held is in the need, too
    fits = {a.name: room is None or runner.sharing * (estimates.memory(a) or 0) <= room for a in config.training_arms}
    kept = _fitting(config, fits)
    dropped: list[str] = []
    if config.budget is not None:
        allowed = parse_duration(config.budget) - clock()
        kept, dropped = within(kept, estimates, allowed * workers)
        least = estimates.total(kept) / workers
        if least > allowed:
            workplace.messages.warn(
                f"budget: with all dropped that may be dropped {human_seconds(least)} of training are left, more than"
                f" the {human_seconds(max(0.0, allowed))} there are"
            )
    record = PlanRecord.of(key, config, kept, estimates, fits, workers, dropped)
    write_json(path, record)
    workplace.messages.console.print(plan_table(record.plans))
    return record


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
    while config.searches and config.search.trainings > FEWEST:
        trainings = max(config.search.trainings // 2, FEWEST)
        what = f"{config.search.trainings - trainings} trainings of the search"
        config = config.model_copy(update={"search": config.search.model_copy(update={"trainings": trainings})})
        yield config, what
    highest = True
    while any(len(config.method(name).learning_rates) > 1 for name in config.methods):
        rates = {name: config.method(name).learning_rates for name in config.methods}
        left = {name: tried[:-1] if highest else tried[1:] for name, tried in rates.items() if len(tried) > 1}
        config = config.with_learning_rates(left)
        yield config, f"the {'highest' if highest else 'lowest'} rates"
        highest = not highest
    while len(config.training_arms) > 1 and any(not arm.plain for arm in config.training_arms):
        last = next(arm for arm in reversed(config.training_arms) if not arm.plain)
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
