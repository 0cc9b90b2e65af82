"""What a run leaves on disk: typed JSONL rows while it runs, one summary when it is done.

Everything that later reads a run (the report, the console table, `compare`) reads only these records.
Scores and changes are fractions in [0, 1] unless the field says otherwise; changes are oriented so that
positive is better, for every metric (bits per byte are negated before they become a change).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from keeptune.core.errors import DataError
from keeptune.core.files import write_whole

Verdict = Literal["Not measurable", "Retained", "Harmed", "Worse", "Inconclusive"]
OPEN: tuple[Verdict, ...] = ("Worse", "Inconclusive")  # more items would settle them
UNSETTLED: tuple[Verdict, ...] = (*OPEN, "Not measurable")  # neither Retained nor Harmed
Part = Literal["train", "validation", "test"]


class Record(BaseModel):
    """A frozen row. Unknown fields are errors, so that old readers notice new files."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepRecord(Record):
    """One optimiser step (steps.jsonl)."""

    step: int
    loss: float  # nats per trained token, mean over the global batch
    lr: float
    grad_norm: float  # before clipping
    tokens: int  # non-pad tokens of this step
    trained_tokens: int  # tokens with loss mask 1 of this step
    seconds: float  # wall time of this step


class ValidationRecord(Record):
    """Validation loss after a step (validation.jsonl)."""

    step: int
    loss: float  # nats per trained token
    best: bool


class EngineRecord(Record):
    """How a run was split into micro-batches (engine.json). Changes speed and memory; results in rounding only."""

    key: str  # hash of what the decision holds for: model, method, device, number format, lengths of rows
    token_budget: int  # distinct tokens per micro-batch
    checkpointing: bool = False  # activations computed again in backward, to save memory
    why: str
    probed: bool = False  # memory was measured; otherwise given or a default


class ItemRecord(Record):
    """One item of one suite answered by one arm (items/<suite>.jsonl)."""

    suite: str
    id: str
    cluster: str
    score: float  # higher is better; bits per byte of a text block are stored as they are, lower is better
    weight: float = 1.0  # bytes of a text block; 1 elsewhere
    label: str | None = None
    prediction: str | None = None
    prompt: str | None = None
    references: tuple[str, ...] = ()


class Interval(Record):
    """A two-sided confidence interval, in the unit of the number that it surrounds."""

    low: float
    high: float
    level: float = 0.95


class Score(Record):
    """A mean over items with its interval."""

    metric: str
    mean: float
    interval: Interval
    n: int  # items
    clusters: int
    higher_is_better: bool = True


class Estimate(Record):
    """A number with its interval."""

    mean: float
    interval: Interval


class SuiteVerdict(Record):
    """What happened to one retained suite under one arm. `change` = after - before, positive is better."""

    suite: str
    metric: str
    verdict: Verdict
    sentence: str  # the wording of the verdict, with its numbers
    n: int
    clusters: int
    before: float  # in the metric's own unit (fraction, or bits per byte)
    after: float
    chance: float | None  # larger of 1/k and the majority share; None where there is none
    change: float  # fraction, or relative change for bits per byte
    interval: Interval | None  # two-sided 95 % of change
    lower_bound: float | None  # one-sided 95 % lower bound of change: Retained where it is above -margin
    upper_bound: float | None = None  # one-sided upper bound at Holm's level: Harmed where it is below -margin
    margin: float
    margin_share: float | None = None  # of what the base has above chance
    largest_margin: float | None = None  # half of what the base has above chance; None where there is no limit
    measured_on: Literal["validation", "judged"] = "validation"  # items that decided what the base can do
    p: float | None  # one-sided: is it worse than before?
    p_holm: float | None  # adjusted over the suites of this arm
    p_harm: float | None = None  # one-sided: is the loss larger than the margin? Adjusted over the suites of this arm
    gained: int | None  # items 0 -> 1
    lost: int | None  # items 1 -> 0
    flips: float | None  # share of items that changed
    smallest_decidable: float | None  # smallest margin that this many items can decide with power .8
    n_needed: int | None  # items that would settle the margin; only where Worse or Inconclusive
    small_loss: bool = False  # Retained, yet the two-sided interval excludes 0
    relative: bool = False  # change and margin are relative (bits per byte)
    documents: int | None = None  # of a text with few: what is said is about these alone


class Overall(Record):
    """All measurable suites of one arm together: was anything lost at all? In margins, mean over the suites."""

    suites: int
    change: float  # -1: on the mean suite, as much as its margin was lost
    interval: Interval
    p: float  # one-sided: is it worse than before?
    sentence: str


class LossGroup(Record):
    """Items of one suite that share a label or a cluster, and what became of them. A description, not a test."""

    by: Literal["label", "cluster"]
    name: str
    n: int
    lost: int  # items whose score fell
    gained: int  # items whose score rose
    change: float  # of the group's mean score; relative for bits per byte


class LostItem(Record):
    """An item whose score fell, with both answers; texts are cut."""

    id: str
    label: str | None
    cluster: str
    prompt: str
    references: tuple[str, ...]
    before: str
    after: str
    change: float  # of its score; relative for bits per byte


class SuiteLosses(Record):
    """Where the losses of one suite lie: the groups that lost most, and the items that lost most."""

    suite: str
    n: int
    lost: int
    gained: int
    relative: bool = False  # bits per byte
    groups: tuple[LossGroup, ...] = ()
    samples: tuple[LostItem, ...] = ()


class Costs(Record):
    """What one arm costs. None: does not apply or was not measured."""

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
    label: str  # as people read it: "LoRA r=16, replay 5 %, lr 0.003"
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
    not_run: str | None = None  # "needs 18 GB": then nothing was measured

    @property
    def prompting(self) -> bool:
        """The base model as it is, with demonstrations or without."""
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


class SequenceSummary(Record):
    """One arm that learned tasks one after another: the score matrix and what it comes to. Test items.

    Transfer is oriented so that positive is better; forgetting so that positive is a loss.
    """

    arm: str  # as the recipe names it
    label: str
    order: tuple[str, ...]  # the tasks in the order of training
    matrix: tuple[tuple[float, ...], ...]  # R[t][i]: score on task i after stage t; row 0 is the base
    average_accuracy: Estimate
    backward_transfer: Estimate
    forward_transfer: Estimate
    forgetting: Estimate
    n: tuple[int, ...]  # items of every task
    seed: int  # of the training


class HeldOut(Record):
    """A task that no arm was trained on, before and after: what carried over (zero-shot, as FLAN measured it)."""

    arm: str
    label: str
    task: str
    before: Score
    after: Score
    change: float
    interval: Interval  # paired, 95 %


class CurvePoint(Record):
    """One size of the training data, scored on test items."""

    examples: int
    score: Score


class LearningCurve(Record):
    """Target score by number of training examples, at the same number of steps."""

    arm: str
    label: str
    points: tuple[CurvePoint, ...]
    prompting: Score | None  # the best prompting: the line to beat
    enough: int | None  # smallest size that is non-inferior to the largest by the indifference margin
    sentence: str  # the answer to "are 500 to 1,000 enough here?"


class WordingGap(Record):
    """The target in wordings that training saw and in wordings that it did not, on the same test items."""

    arm: str
    label: str
    seen: Score
    unseen: Score
    gap: float  # seen minus unseen
    interval: Interval  # paired, 95 %


class ArmPlan(Record):
    """What an arm is expected to need, before it is run."""

    arm: str
    method: str = ""
    trials: int  # trainings in all: rates, and further seeds
    memory_bytes: int | None
    seconds: float | None  # all trainings of the arm
    fits: bool = True
    dropped: tuple[str, ...] = ()  # what the budget took away: "seed 2", "the highest rates", an arm's name
    late: tuple[str, ...] = ()  # of this, what was taken away after the plan, because jobs took longer


class Recommendation(Record):
    """The decision, in words that the numbers carry."""

    arm: str | None  # None: nothing is feasible
    chosen: str | None = None  # by validation items; another than `arm` where the test did not confirm it
    headline: str  # one line: "Take LoRA (rank 16, lr 2e-3)."
    paragraph: str
    provisional: bool
    binding: str | None  # the constraint that decided
    runner_up: str | None


class SampleOutput(Record):
    """One test item, answered by several arms."""

    id: str
    prompt: str
    references: tuple[str, ...]
    outputs: dict[str, str]  # arm name -> text
    scores: dict[str, float]


class DataCard(Record):
    """What was learned from and measured on."""

    name: str
    source: str  # path, hub name or "builtin:name"
    sha256: str
    rows: int
    counts: dict[str, int]  # part -> examples
    clusters: int
    quarantined: int
    duplicates: int
    near_duplicates: int  # left train
    leaks: str  # one sentence
    prompt_tokens: tuple[int, int, int]  # median, 95th percentile, max
    completion_tokens: tuple[int, int, int]
    templates: tuple[str, ...]
    example_prompt: str
    example_completion: str
    example_tokens: tuple[tuple[str, str], ...] = ()  # (text, look as `core.tokens` names it), around the border


class Manifest(Record):
    """What made this run: enough to do it again."""

    keeptune: str
    command: str
    started: str  # ISO 8601, UTC
    python: str
    platform: str
    device: str
    precision: str
    versions: dict[str, str]
    seeds: tuple[int, ...]
    config: dict[str, object]  # the resolved study configuration
    config_hash: str
    model: str
    model_hash: str
    data_hashes: dict[str, str]
    engines: dict[str, EngineRecord] = {}  # trained arm -> how it was split into micro-batches


class Summary(Record):
    """summary.json: all that the report and the console table say."""

    title: str
    model: str
    target: str
    metric: str
    date: str
    wall_seconds: float
    seeds: tuple[int, ...]
    arms: tuple[ArmSummary, ...]
    recommendation: Recommendation
    frontier: tuple[FrontierPoint, ...] = ()
    curves: tuple[LearningCurve, ...] = ()
    wordings: tuple[WordingGap, ...] = ()
    held_out: tuple[HeldOut, ...] = ()
    plans: tuple[ArmPlan, ...] = ()
    sequences: tuple[SequenceSummary, ...] = ()
    matched: tuple[Matched, ...] = ()
    samples: tuple[SampleOutput, ...] = ()
    cards: tuple[DataCard, ...] = ()
    warnings: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()  # what the numbers could not tell
    manifest: Manifest


R = TypeVar("R", bound=Record)


def write_records(path: Path, records: Iterable[Record], *, append: bool = False) -> None:
    """Write records as JSONL; whole files appear at once (written beside, then renamed)."""
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    if append:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)
        return
    write_whole(path, lines)


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Read a JSONL file of one kind of record.

    Raises:
        DataError: a line that is not such a record, with file and line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise DataError(
                    f"not a {kind.__name__}: {error.errors()[0]['msg']}",
                    path=path,
                    line=number,
                    remedy="the file was cut short or written by another version; run the arm again",
                ) from error


def write_json(path: Path, record: Record) -> None:
    """Write one record as indented JSON, whole or not at all."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_whole(path, text + "\n")


def read_json(path: Path, kind: type[R]) -> R:
    """Read one record written by `write_json`.

    Raises:
        DataError: the file is missing or is not such a record.
    """
    if not path.is_file():
        raise DataError("no such file", path=path, remedy="name a run folder that finished")
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(f"not a {kind.__name__}: {error.errors()[0]['msg']}", path=path) from error
