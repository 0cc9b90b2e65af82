"""How many tokens a micro-batch holds: what suits the device, as far as memory reaches.

Larger micro-batches share more prefixes and start fewer kernels; smaller ones stay in a CPU's caches and fit small
memories. Results depend on the choice in rounding only, so it is no setting of a study unless somebody makes it one;
and rounding is enough for no stopwatch to decide it: a busy machine would train another model than a quiet one. A
decision is kept by a `MicrobatchMemory`; the first one holds, also where memory is shorter when a study goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from keeptune.core.errors import DataError
from keeptune.core.files import write_first
from keeptune.core.records import EngineRecord, json_text, read_json
from keeptune.core.units import content_hash, human_bytes
from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.train.memory import available_bytes, peak_bytes, release, reset_peak, used_bytes
from keeptune.train.objective import Objective
from keeptune.train.optim import optimizer_bytes
from keeptune.train.step import batches_for

log = logging.getLogger(__name__)

DEFAULT = 4096  # tokens of a batch that is not trained on
CANDIDATES = (1024, 2048, 4096, 8192, 16384)
# What was fastest or tied on every shape that was timed: a CPU's caches end there, a GPU's kernels are full by then.
WANTED: Mapping[str, int] = {"cpu": 1024, "cuda": 8192}
FEW_STEPS = 50  # a shorter run is over before a probe of memory pays
FEW_TOKENS = 256  # of a batch that shows what a token takes
MARGIN = 0.8  # of the available memory may be used
FILE = "engine.json"


@dataclass(frozen=True)
class Planned:
    """The run that a budget is wanted for."""

    steps: Sequence[Sequence[Encoded]]  # the rows of every optimiser step
    objective: Objective
    engine: str  # "flat" or "padded"


class MicrobatchMemory:
    """What was decided before, so that trainings of one kind split their steps alike.

    Args:
        folder: where decisions are kept for other processes and other days: one file for each.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._known: dict[str, EngineRecord] = {}

    def find_budget(self, lm: LanguageModel, method: Method, planned: Planned) -> EngineRecord:
        """The budget that suits the device, or the largest below it that fits, for a model that is adapted.

        Weights and random state stay as they are. Gradient checkpointing is chosen only where nothing fits without.
        """
        candidates = budgets(planned.steps, WANTED.get(lm.device.type, DEFAULT))
        key = _key(lm, method, planned, candidates)
        if key not in self._known:
            found = self._read(key)
            if found is not None:
                log.info("%s: micro-batches of %d tokens, as before", method.describe(), found.token_budget)
            if found is None and len(planned.steps) < FEW_STEPS:
                why = f"{len(planned.steps)} steps are too few to probe memory"
                return EngineRecord(key=key, token_budget=candidates[-1], why=why)
            if found is None:
                found = self._settle(_probed(lm, method, planned, key, candidates))
                log.info("%s: micro-batches of %d tokens, %s", method.describe(), found.token_budget, found.why)
            self._known[key] = found
        return self._known[key]

    def _settle(self, decided: EngineRecord) -> EngineRecord:
        """The decision that holds: another process may have been faster."""
        if self.folder is None:
            return decided
        write_first(self._path(decided.key), json_text(decided))
        return self._read(decided.key) or decided

    def _read(self, key: str) -> EngineRecord | None:
        try:
            return None if self.folder is None else read_json(self._path(key), EngineRecord)
        except DataError:
            return None

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.json"


def _probed(lm: LanguageModel, method: Method, planned: Planned, key: str, candidates: tuple[int, ...]) -> EngineRecord:
    with torch.random.fork_rng([lm.device] if lm.device.type == "cuda" else []):
        return Probe(lm, method, planned).decide(key, candidates)


def sharded_budget(lm: LanguageModel, steps: Sequence[Sequence[Encoded]], given: int | None) -> EngineRecord:
    """What suits the device, or what is given; who shards is short of memory, so activations are recomputed.

    Memory is not probed: a probe would train with all weights in every process.
    """
    chosen = given or budgets(steps, WANTED.get(lm.device.type, DEFAULT))[-1]
    why = "what suits the device" if given is None else "given in the settings"
    return EngineRecord(key="", token_budget=chosen, checkpointing=True, why=f"{why}; checkpointing, with shards")


@contextmanager
def running(lm: LanguageModel, engine: str, *, checkpointing: bool = False) -> Iterator[None]:
    """Within, ``lm`` trains: dropout on, by ``engine`` (see `using`); afterwards as before, dropout off."""
    lm.model.train()
    try:
        with lm.using(engine), _checkpointing(lm) if checkpointing else nullcontext():
            yield
    finally:
        lm.model.eval()


@contextmanager
def _checkpointing(lm: LanguageModel) -> Iterator[None]:
    """Within, the activations at layer borders alone are kept, and the rest is computed again in backward."""
    model = lm.model
    name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # the older name
    settings = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), lm.engine.recomputing(lm))}
    getattr(model, f"{name}_checkpointing_enable")(**{f"{name}_checkpointing_kwargs": settings})
    try:
        yield
    finally:
        getattr(model, f"{name}_checkpointing_disable")()


def budgets(steps: Sequence[Sequence[Encoded]], wanted: int) -> tuple[int, ...]:
    """Budgets that hold the longest row, up to the one that is wanted; the smallest of them where that is too small."""
    longest = max(len(row) for rows in steps for row in rows)
    useful = [c for c in CANDIDATES if c >= longest] or [CANDIDATES[-1]]
    return tuple(c for c in useful if c <= wanted) or (useful[0],)


def _key(lm: LanguageModel, method: Method, planned: Planned, candidates: tuple[int, ...]) -> str:
    """What a decision holds for. Terms of the objective cost memory, too; rows count by the budgets they allow."""
    terms = [type(term).__name__ for term in planned.objective.terms]
    with lm.using(planned.engine):
        engine = lm.engine.name
    return content_hash(
        [lm.base_hash, method.describe(), str(lm.device), str(lm.dtype), engine, terms, list(candidates)]
    )


@dataclass(frozen=True)
class Measured:
    """One micro-batch, the best of some."""

    seconds: float  # per real token
    tokens: int  # distinct ones
    memory: int  # bytes of activations, and of what the terms of the objective take

    @property
    def per_token(self) -> float:
        """Bytes per distinct token."""
        return self.memory / self.tokens


@dataclass(frozen=True)
class Taken:
    """Bytes of a micro-batch by its tokens: pulls on the weights take as much beside one row as beside many."""

    always: float
    per_token: float

    @classmethod
    def of(cls, small: Measured, large: Measured) -> Taken:
        """A straight line through two batches; through one and nothing where they are of one size."""
        if large.tokens <= small.tokens:
            return cls(0.0, small.per_token)
        slope = max(0.0, (large.memory - small.memory) / (large.tokens - small.tokens))
        return cls(max(0.0, small.memory - slope * small.tokens), slope)

    def by(self, tokens: int) -> int:
        """Bytes of so many tokens."""
        return round(self.always + self.per_token * tokens)


@dataclass
class Probe:
    """Forward and backward over micro-batches of the first step's rows; gradients are thrown away."""

    lm: LanguageModel
    method: Method
    planned: Planned
    checkpointing: bool = False
    clock: Callable[[], float] = time.perf_counter  # seconds

    def __post_init__(self) -> None:
        self.trainable = list(self.method.trainable(self.lm.model).values())
        self.rows = max(self.planned.steps, key=lambda rows: sum(map(len, rows)))
        self.longest = max(len(row) for rows in self.planned.steps for row in rows)
        self.gradients = sum(p.numel() * p.element_size() for p in self.trainable)
        release()
        free = available_bytes(self.lm.device)
        self.limit = math.inf if free is None else MARGIN * free - optimizer_bytes(self.trainable)

    def decide(self, key: str, candidates: Sequence[int]) -> EngineRecord:
        """The largest of ``candidates`` (ascending) that memory holds."""
        self.first()  # libraries load and workspaces are made: neither is the model's doing
        taken = self.taken()
        if not self._fits(candidates[0], taken):
            self.checkpointing = True
            taken = self.taken()
        chosen = max((c for c in candidates if self._fits(c, taken)), default=candidates[0])
        reasons = ["what suits the device" if chosen == candidates[-1] else "what memory holds"]
        if taken.by(chosen):
            reasons.append(f"{human_bytes(taken.by(chosen))} of activations")
        if self.checkpointing:
            reasons.append("checkpointing, because memory ends below the smallest budget")
        return EngineRecord(
            key=key, token_budget=chosen, checkpointing=self.checkpointing, why="; ".join(reasons), probed=True
        )

    def _fits(self, budget: int, taken: Taken) -> bool:
        return taken.by(max(budget, self.longest)) <= self.limit - self.gradients

    def taken(self) -> Taken:
        """Bytes by tokens, from batches that cannot take much: the longest row alone, and a few rows."""
        small = self.first()
        return Taken.of(small, self.measure(FEW_TOKENS) if small.tokens < FEW_TOKENS else small)

    def first(self) -> Measured:
        """One row alone, the longest of the step: a first idea of speed and memory that cannot take much of either."""
        return self.measure(1)

    def measure(self, budget: int) -> Measured:
        """A micro-batch of the middle of the step."""
        device = self.lm.device
        with running(self.lm, self.planned.engine, checkpointing=self.checkpointing):
            batches = batches_for(self.lm, self.rows, budget)
            batch = batches[0 if budget == 1 else (len(batches) - 1) // 2].to(device)  # the first holds the longest
            release()
            reset_peak(device)
            before, times = used_bytes(device), []
            try:
                for _ in range(max(2, min(5, 2 * DEFAULT // budget))):  # short ones are easily disturbed
                    started = self.clock()
                    loss, _ = self.planned.objective(self.lm, batch)
                    loss.backward()  # type: ignore[no-untyped-call]
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    times.append(self.clock() - started)
                    self._drop_gradients()
            finally:
                self._drop_gradients()
        peak = peak_bytes(device)
        taken = 0 if peak is None or before is None else max(peak - before - self.gradients, 0)
        return Measured(min(times) / batch.tokens, batch.computed, taken)

    def _drop_gradients(self) -> None:
        for parameter in self.trainable:
            parameter.grad = None
