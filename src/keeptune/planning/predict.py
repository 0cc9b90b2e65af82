"""From a recipe, a model on paper and the rows to what every arm needs on every layout of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from keeptune.core.errors import KeeptuneError
from keeptune.core.records import Forecast, ForecastRecord, MemoryAccount
from keeptune.data.examples import Encoded
from keeptune.methods.base import MethodConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.precision import pick_device, pick_dtype
from keeptune.models.progress import Progress
from keeptune.models.sketch import sketch
from keeptune.planning.devices import CONTEXT, UTILISATION, Device, link_of, parse_devices
from keeptune.planning.memory import Layout, Sizes, account, kernel_bytes
from keeptune.planning.overhead import BUDGET, measure_small_training, small_rows
from keeptune.planning.rows import assumed_steps, real_steps
from keeptune.planning.timing import Rates, StepTime, measured_rates, paper_rates, step_time
from keeptune.planning.trace import Trace, trace
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.search import SEARCH
from keeptune.study.messages import Messages, progress
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.settled import NAMES
from keeptune.train.estimate import Needs
from keeptune.train.memory import total_bytes
from keeptune.train.microbatch_autotune import WANTED, budgets
from keeptune.train.step import batches_for

SURE = 0.9  # of a device's memory may be planned: the account is right within ten per cent
SAMPLE = 32  # steps that are looked at for their rows


@dataclass(frozen=True)
class Overhead:
    """What a process takes beside its tensors."""

    fixed: int  # bytes of libraries, or of the device's context
    kernel: int = 0  # bytes of one compiled product


@dataclass(frozen=True)
class Machine:
    """What trainings are planned for."""

    kind: str  # "cpu" or "cuda"
    memory: int | None  # bytes of one device
    overhead: Overhead | None = None  # None: measured for each method
    here: torch.device | None = None  # the device at hand, on which rates are measured
    clock: Callable[[], float] = time.perf_counter  # that measures them
    paper: Device | None = None  # or the one of the table
    ring: float = math.inf  # bytes per second between processes at hand; without end where nobody measured it

    @classmethod
    def on_paper(cls, device: Device) -> Machine:
        """A device of the table."""
        return cls("cuda", device.memory, Overhead(CONTEXT), paper=device)

    @classmethod
    def at_hand(cls, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> Machine:
        """The device that there is."""
        if device.type == "cuda":
            memory = torch.cuda.get_device_properties(device).total_memory
            return cls("cuda", memory, Overhead(CONTEXT), here=device, clock=clock)
        return cls("cpu", total_bytes(), here=device, clock=clock)

    def link(self, ranks: int) -> float:
        """Bytes per second between neighbours of a ring of ``ranks``."""
        return self.ring if self.paper is None else link_of(self.paper, ranks)


@dataclass(frozen=True)
class Workload:
    """The rows of a training, and how it is split."""

    steps: Sequence[Sequence[Encoded]]
    budget: int  # tokens of a micro-batch

    @property
    def largest(self) -> Sequence[Encoded]:
        """Rows of the step with the most tokens, of those looked at."""
        return max(self.sample, key=lambda rows: sum(map(len, rows)))

    @property
    def typical(self) -> Sequence[Encoded]:
        """Rows of the step of middle size, of those looked at."""
        return sorted(self.sample, key=lambda rows: sum(map(len, rows)))[len(self.sample) // 2]

    def different_sizes(self, lm: LanguageModel) -> int:
        """Numbers of tokens that micro-batches have, by the steps looked at."""
        found = {batch.computed for rows in self.sample for batch in batches_for(lm, rows, self.budget)}
        return round(len(found) * len(self.steps) / len(self.sample))

    @property
    def tokens(self) -> int:
        """Real tokens of a training, by the steps looked at."""
        sample = self.sample
        return round(len(self.steps) / len(sample) * sum(len(row) for rows in sample for row in rows))

    @cached_property
    def sample(self) -> list[Sequence[Encoded]]:
        """Steps from beginning to end, evenly."""
        every = max(1, len(self.steps) // SAMPLE)
        return [self.steps[i] for i in range(0, len(self.steps), every)]


class MethodPlan:
    """One method on one machine: traced once, asked for many layouts."""

    def __init__(
        self,
        lm: LanguageModel,
        settings: MethodConfig,
        planned: Workload,
        machine: Machine,
        quantise: str = "none",
        *,
        timed: bool = True,
    ) -> None:
        self.lm, self.settings, self.planned, self.machine = lm, settings, planned, machine
        self._traces: dict[bool, tuple[Trace, Trace]] = {}
        self._adapted = settings.build()
        lm.adapt(self._adapted)
        try:
            self.sizes = Sizes.of(lm, self._adapted, quantise=quantise, copies_base=settings.copies_base)
            self._batches = batches_for(lm, planned.largest, planned.budget)
            self._largest = max(self._batches, key=lambda batch: batch.computed)
            self._sizes = planned.different_sizes(lm)
            for checkpointing in (False, True):
                self._traces[checkpointing] = self._traced(checkpointing)
        finally:
            lm.restore(self._adapted)
        self.rates = self._rates() if timed else Rates(0.0, 0.0)
        self.overhead = machine.overhead or measured_overhead(settings, lm.dtype)

    def _traced(self, checkpointing: bool) -> tuple[Trace, Trace]:
        """Of the largest micro-batch, and of one of about half its tokens before it."""
        rows, largest = sorted(self.planned.largest, key=len), self._largest
        fewer = batches_for(self.lm, rows[: max(1, len(rows) // 2)], max(1, largest.computed // 2))
        small = max(fewer, key=lambda batch: batch.computed)
        kind = self.machine.kind
        low, high = (
            trace(self.lm, self._adapted, each, device=kind, checkpointing=checkpointing) for each in (small, largest)
        )
        return low, high

    def _rates(self) -> Rates:
        if self.machine.here is not None:
            here = self.machine.here
            return measured_rates(
                *(self.lm, self.settings, self.planned.typical, self.planned.budget, here, self.machine.clock)
            )
        assert self.machine.paper is not None
        return paper_rates(self.machine.paper, self._traces[False][1], self._largest.tokens)

    @property
    def products(self) -> int:
        """Different ones that come with every new size of a micro-batch."""
        small, large = self._traces[False]
        return len(large.products - small.products)

    def micro_batch(self, layout: Layout) -> int:
        """Tokens that a rank computes at once at the most."""
        shares = [self.planned.largest[rank :: layout.ranks] for rank in range(layout.ranks)]
        found = [batch.computed for rows in shares if rows for batch in batches_for(self.lm, rows, self.planned.budget)]
        return max(found)

    def memory(self, layout: Layout, *, base_beside: bool = False) -> MemoryAccount:
        """Of one rank; ``base_beside``: the base runs on the device, too."""
        small, large = self._traces[layout.checkpointing]
        return account(
            self.sizes,
            small,
            large,
            layout,
            tokens=self.micro_batch(layout),
            overhead=self.overhead.fixed,
            kernels=kernel_bytes(small, large, self._sizes, self.overhead.kernel),
            device=self.machine.kind,
            batches=len(self._batches),
            base_beside=base_beside,
        )

    def step(self, layout: Layout) -> StepTime:
        """Of a step of middle size, for the slowest rank."""
        rows = self.planned.typical
        tokens = sum(map(len, rows))
        most = -(-len(rows) // layout.ranks) * layout.ranks / len(rows)  # a rank may have a row more than others
        share = rows[:: layout.ranks]
        batches = len(batches_for(self.lm, share, self.planned.budget))
        link = self.machine.link(layout.ranks)
        return step_time(self.rates, self.sizes, layout, round(tokens * most), batches, link, self.machine.paper)


def forecasts(
    config: StudyConfig,
    lm: LanguageModel,
    steps: Sequence[Sequence[Encoded]],
    machine: Machine,
    layouts: Sequence[Layout],
    price: float | None = None,
    update: Progress = lambda done, total: None,
) -> tuple[list[Forecast], list[str]]:
    """Everything that trains on every layout, and what could not be planned.

    Args:
        config: the recipe.
        lm: its model on paper.
        steps: the rows of every optimiser step of a training.
        machine: that it is planned for.
        layouts: of processes.
        price: of a device and hour.
        update: told how many methods are planned.
    """
    planned = Workload(steps, token_budget(config, steps, machine.kind))
    plans: dict[str, MethodPlan] = {}
    notes: list[str] = []
    for number, name in enumerate(config.methods):
        update(number, len(config.methods))
        try:
            plans[name] = MethodPlan(lm, config.method(name), planned, machine, config.quantise)
        except (KeeptuneError, NotImplementedError, RuntimeError) as error:
            notes.append(f"{name}: cannot be planned without weights: {error}")
    if config.curve is not None:
        notes.append("curve: the trainings of fewer rows are not in the table")
    left = _only(config, plans)
    return [each for layout in layouts for each in _forecasts(left, plans, planned, layout, price)], notes


def _only(config: StudyConfig, methods: Container[str]) -> StudyConfig:
    """The recipe with those arms alone that train by these methods."""
    arms = {arm.name for arm in (*config.training_arms, *config.sequence_arms) if arm.method.name in methods}
    in_turn = config.sequence and tuple(arm for arm in config.sequence.arms if arm in arms)
    return config.model_copy(
        update={
            "arms": tuple(arm for arm in config.arms if arm in arms or arm == SEARCH),
            "sequence": config.sequence and config.sequence.model_copy(update={"arms": in_turn}),
        }
    )


def measured_overhead(settings: MethodConfig, dtype: torch.dtype) -> Overhead:
    """What a CPU process takes beside the tensors of a training by a method (see `overhead`)."""
    found = measure_small_training(settings, NAMES[str(dtype)])
    planned, machine = Workload([small_rows()], BUDGET), Machine("cpu", None, Overhead(0))
    small = MethodPlan(sketch("builtin", dtype), settings, planned, machine, timed=False)
    kernel = found.size_bytes // max(1, small.products)
    small.overhead = Overhead(0, kernel)
    return Overhead(max(0, found.peak_bytes - small.memory(Layout()).total), kernel)


def token_budget(config: StudyConfig, steps: Sequence[Sequence[Encoded]], kind: str) -> int:
    """Tokens of a micro-batch: those of the recipe, or what suits the device."""
    given = config.train.token_budget
    return budgets(Workload(steps, 0).sample, WANTED[kind])[-1] if given == "auto" else given


def _forecasts(
    config: StudyConfig, plans: Mapping[str, MethodPlan], planned: Workload, layout: Layout, price: float | None
) -> Iterator[Forecast]:
    """Everything of a recipe that trains, on one layout."""
    steps, tokens = len(planned.steps), planned.tokens
    took = {name: plan.step(layout) for name, plan in plans.items()}
    estimates = Estimates(
        needs={
            name: Needs(step.compute * steps / tokens, step.update + step.network, None) for name, step in took.items()
        },
        tasks=len(config.target),
        rows=0,
        steps=steps,
        tokens=tokens,
        validation_seconds=0.0,
        test_seconds=0.0,
        bytes_of_model=0,
    )
    for name, arm, (trainings, seconds) in estimates.parts(config):
        plan = plans[arm.method.name]
        memory, room = plan.memory(layout, base_beside=arm.base_forwards > 0), plan.machine.memory
        yield Forecast(
            arm=name,
            layout=str(layout),
            ranks=layout.ranks,
            micro_batch=plan.micro_batch(layout),
            memory=memory,
            fits=room is None or memory.total <= SURE * room,
            trainings=trainings,
            seconds=seconds,
            network_share=took[arm.method.name].network / took[arm.method.name].seconds,
            cost=None if price is None else price * layout.ranks * seconds / 3600,
        )


def layouts_for(count: int, kind: str) -> Iterator[Layout]:
    """One process, and 2, 4, 8 … up to ``count``; on GPUs with and without shards, offloading, checkpointing."""
    ranks = [1]
    while ranks[-1] * 2 <= count:
        ranks.append(ranks[-1] * 2)
    for n in ranks:
        yield Layout(n)
        yield Layout(n, checkpointing=True)
        if n > 1:
            yield Layout(n, sharded=True)
            yield Layout(n, sharded=True, checkpointing=True)
        if kind == "cuda":
            yield Layout(n, sharded=True, offload=True, checkpointing=True)


def forecast(
    config: StudyConfig,
    data_root: Path,
    devices: str | None,
    price: float | None,
    assume: str | None,
    console: Console,
) -> ForecastRecord:
    """All that `keeptune plan` says of a recipe (see there for the arguments).

    Raises:
        KeeptuneError: whatever is wrong with recipe, model, data or devices.
    """
    count, paper = parse_devices(devices) if devices else (1, None)
    here = pick_device(config.device) if paper is None else torch.device("cuda")
    machine = Machine.on_paper(paper) if paper else Machine.at_hand(here)
    dtype = pick_dtype(config.precision, here)
    lm = sketch(config.model, dtype)
    steps = assumed_steps(assume, config.train, lm) if assume else real_steps(config, lm, data_root, Messages(console))
    layouts = tuple(layouts_for(count, machine.kind))
    with progress(console, "planning methods") as update:
        found, notes = forecasts(config, lm, steps, machine, layouts, price, update)
    rates = (
        f"times by {UTILISATION:.0%} of the {paper.flops / 1e12:.0f} TFLOP/s that its maker states, not measured"
        if paper
        else "times measured on this machine by a short probe"
    )
    return ForecastRecord(
        model=config.model,
        device=f"{count} x {paper.name}" if paper else str(here),
        rates=f"{rates}; scoring is not in them",
        tokens=Workload(steps, 0).tokens,
        steps=len(steps),
        forecasts=tuple(found),
        notes=tuple(notes),
    )
