"""A whole study: its plan, its findings and its decision; the summary holds everything."""

from __future__ import annotations

from keeptune.core.records.arms import ArmSummary, FrontierPoint, Matched
from keeptune.core.records.base import Record
from keeptune.core.records.items import Estimate, Interval, Score
from keeptune.core.records.manifest import Manifest
from keeptune.core.records.search import SearchSummary


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
    seconds: float | None  # all trainings of the arm, with what they are scored on
    training_seconds: float | None = None  # the steps of one training
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


class RehearsalCard(Record):
    """A source of rows that remedies drew on."""

    source: str  # "train rows of what is to be kept", "texts that the base writes"
    arms: tuple[str, ...]  # that drew on it
    rows: dict[str, int]  # by suite or text
    sha256: str  # of the token ids of all rows
    example: str  # the first of them, as the model sees it


class Summary(Record):
    """Everything that the report and the console table say (summary.json)."""

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
    search: SearchSummary | None = None
    matched: tuple[Matched, ...] = ()
    samples: tuple[SampleOutput, ...] = ()
    cards: tuple[DataCard, ...] = ()
    rehearsal: tuple[RehearsalCard, ...] = ()
    warnings: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()  # what the numbers could not tell
    manifest: Manifest
