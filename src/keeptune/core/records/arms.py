"""Arms: what they are, what they scored, kept and cost."""

from __future__ import annotations

from typing import Literal

from keeptune.core.records.base import Record
from keeptune.core.records.items import Estimate, Interval, Score
from keeptune.core.records.training import RowLoss, SpikeRecord
from keeptune.core.records.verdicts import Overall, SuiteLosses, SuiteVerdict


class Costs(Record):
    """What one arm costs. A field is None where it does not apply or was not measured."""

    trainable_parameters: int = 0
    total_parameters: int = 0
    peak_memory_bytes: int | None = None
    train_seconds: float | None = None
    tokens_per_second: float | None = None  # real tokens in training
    train_tokens: int | None = None  # all tokens of the training run
    sweep_tokens: int | None = None  # of all trainings that it took to choose the rate, this one included
    base_forwards: float = 0.0  # forward passes of the base for every token that is trained on, as KL needs
    trained_tokens: int | None = None  # those with loss mask 1
    tokens_per_request: float | None = None  # mean prompt tokens, shots included
    shared_tokens: float | None = None  # of which demonstrations, the same for all requests: a server may cache them
    cached_token_price: float = 1.0  # of a cached token, where a fresh one costs 1
    window_share: float | None = None  # tokens_per_request / context window
    shots_dropped: float | None = None  # mean demonstrations per request left out for lack of room
    seconds_per_request: float | None = None
    bytes_on_disk: int | None = None  # what has to be stored beside the base model
    break_even_requests: int | None = None  # after which one training is cheaper than prompting that caches nothing
    break_even_most: int | None = None  # after which the whole sweep is cheaper than prompting that caches; None: never


class TaskScore(Record):
    """The score on one task of a mixture of targets."""

    task: str
    score: Score


class Drift(Record):
    """How far a model's predictions moved away from the base's: a warning, never a verdict (arXiv 2509.04259).

    Measured at the trained positions of target validation rows, the base's completions given.
    """

    kl: float  # forward KL(base || tuned), nats per position, mean
    agreement: float  # share of positions with the same most likely token
    positions: int
    weight_l2: float | None = None  # Euclidean length of what was added to the weights


PROMPTING = "prompt"  # family of the arms that train nothing


class RemedyDose(Record):
    """A remedy of an arm, with how much of it."""

    name: str  # "replay"
    dose: float | str | None = None  # the setting that an arm's dose stands for: 0.05 of the trained tokens


class ArmParts(Record):
    """What an arm's name stands for."""

    method: str
    dose: float | str | None = None  # of the method: the setting that an arm's dose stands for
    remedies: tuple[RemedyDose, ...] = ()
    interpolated: bool = False


class ArmSummary(Record):
    """One row of the table."""

    name: str  # of the arm's folder: "prompt-4shot", "lora-lr0.003-seed0"
    label: str  # on pages and in tables: "LoRA r=16, replay 5 %, lr 0.003"
    family: str  # "prompt" or the method's name
    arm: str = ""  # as the recipe names it: "lora+replay:5%"
    parts: ArmParts | None = None  # of an arm that trains
    target: Score
    gain: Interval | None = None  # target score minus the best prompting's, paired
    gain_mean: float | None = None
    suites: tuple[SuiteVerdict, ...] = ()
    overall: Overall | None = None  # of the suites together; None with fewer than two that were tested
    losses: tuple[SuiteLosses, ...] = ()  # of the suites on which something got worse
    costs: Costs = Costs()
    lr: float | None = None
    shots: int | None = None
    seed: int | None = None  # of the checkpoint that target, gain and suites are about
    seed_scores: tuple[float, ...] = ()  # target score of every seed
    target_seeds: Estimate | None = None  # target score over seeds and items; None with fewer than three seeds
    gain_seeds: Estimate | None = None  # the same of the gain over the best prompting
    tasks: tuple[TaskScore, ...] = ()  # the score on each task, where there are several targets
    pareto: bool = False  # no other arm is better on target and on worst retained change
    folder: str | None = None  # relative to the run folder
    note: str | None = None  # "diverged", "base model, zero-shot"
    drift: Drift | None = None
    alpha: float | None = None  # interpolated arms: 0 is the base, 1 the tuned model
    spikes: tuple[SpikeRecord, ...] = ()  # steps of its training whose loss stood out
    hardest: tuple[RowLoss, ...] = ()  # validation rows that its checkpoint finds least likely, the largest loss first
    cause: str | None = None  # likely, where it learned nothing: "rate: ..."
    not_run: str | None = None  # "needs 18 GB": then nothing was measured

    @property
    def prompting(self) -> bool:
        """Whether the arm is the base model as it is, with demonstrations or without."""
        return self.family == PROMPTING


class FrontierPoint(Record):
    """One model on validation items: what it gained and what it kept.

    A rate tried, a checkpoint on its way, or a point between the base (alpha 0) and a tuned model (alpha 1).
    """

    arm: str  # as the recipe names it
    method: str = ""  # "" is the base
    lr: float
    seed: int
    kind: Literal["rate", "checkpoint", "interpolation"] = "rate"
    step: int | None = None  # optimiser steps done
    alpha: float | None = None  # interpolation
    drift: Drift | None = None
    target: float
    retained_change: float | None  # mean change over the measurable suites in margins (-1: a whole one), validation
    worst_change: float | None = None  # smallest change over them, in margins
    validation_loss: float | None  # nats per trained token
    picked: bool
    diverged: bool = False


class Matched(Record):
    """Two arms at equal target score: which of them lost more of the retained suites? Validation items.

    A difference is loss(a) - loss(b) in units of margins, mean over the retained suites. Negative: `a` lost less.
    """

    arms: tuple[str, str]  # as the recipe names them
    labels: tuple[str, str]
    level: float | None  # target score at which both are read; None where not comparable
    seeds: tuple[int, ...] = ()
    differences: tuple[float, ...] = ()  # one per seed
    mean: float | None = None
    interval: Interval | None = None  # two-sided 95 %, over seeds and items; None with fewer than three seeds
    upper_bound: float | None = None  # one-sided 95 % upper bound of the mean: a lost at most this much more
    comparable: bool
    sentence: str
