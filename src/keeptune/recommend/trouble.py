"""What went wrong in a training that learned nothing: rate, data, mask or length, from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from keeptune.core.records import Costs, DataCard, RowLoss, SkippedRecord, SpikeRecord, StepRecord, ValidationRecord

ENDS = 10  # the first and the last of so many parts of a training are compared
MOVED = 0.05  # share of a loss below which it counts as unmoved
SKIPPED = 0.1  # share of steps without a finite loss from which the rate is to blame
MASKED = 0.25  # of the tokens that completions have; where fewer are trained, the mask is to blame


@dataclass(frozen=True)
class Training:
    """What one training wrote down."""

    lr: float
    rates: Sequence[float]  # all that were tried for the arm
    steps: Sequence[StepRecord] = ()
    validation: Sequence[ValidationRecord] = ()
    skipped: Sequence[SkippedRecord] = ()
    spikes: Sequence[SpikeRecord] = ()
    hardest: Sequence[RowLoss] = ()  # validation rows with the largest loss


def likely_cause(training: Training, cards: Sequence[DataCard], costs: Costs) -> str:
    """'rate: ...', 'mask: ...', 'length: ...' or 'data: ...', with the numbers that say so.

    Ask it of a training whose score did not rise. Causes that hide others come first: a loss that exploded says
    nothing of the data.
    """
    return (
        _too_high(training)
        or _masked(training, cards)
        or _too_long(cards, costs)
        or _too_low(training)
        or _not_general(training)
        or _too_short(training)
        or "data: training and validation loss fell and the answers score no better; read the answers, and how they "
        "are cut and compared"
    )


def _ends(training: Training) -> tuple[float, float] | None:
    """Mean loss of the first and of the last tenth; None without steps."""
    losses = [record.loss for record in training.steps]
    part = max(1, len(losses) // ENDS)
    return (fmean(losses[:part]), fmean(losses[-part:])) if len(losses) > 1 else None


def _too_high(training: Training) -> str | None:
    number, taken = len(training.skipped), len(training.steps)
    if number and number >= SKIPPED * (number + taken):
        return (
            f"rate: {number} of {number + taken} steps had no finite loss or gradient; lr {training.lr:g} is too high"
        )
    ends = _ends(training)
    if ends and ends[1] > (1 + MOVED) * ends[0]:
        return f"rate: the training loss rose from {ends[0]:.3f} to {ends[1]:.3f}; lr {training.lr:g} is too high"
    return None


def _masked(training: Training, cards: Sequence[DataCard]) -> str | None:
    """Fewer tokens were trained than the completions have."""
    tokens = sum(record.tokens for record in training.steps)
    typical = [(card.prompt_tokens[0], card.completion_tokens[0]) for card in cards]
    whole = sum(map(sum, typical))
    if not tokens or not whole:
        return None
    trained = sum(record.trained_tokens for record in training.steps) / tokens
    expected = sum(completion for _, completion in typical) / whole
    if trained >= MASKED * expected:
        return None
    return f"mask: {100 * trained:.1f} % of the tokens were learned from, where completions are {100 * expected:.1f} %"


def _too_long(cards: Sequence[DataCard], costs: Costs) -> str | None:
    """More than one row in twenty is longer than the window that requests are a share of."""
    if not costs.tokens_per_request or not costs.window_share:
        return None
    window = round(costs.tokens_per_request / costs.window_share)
    longest = max((card.prompt_tokens[1] + card.completion_tokens[1] for card in cards), default=0)
    if longest <= window:
        return None
    return f"length: one row in twenty has {longest:,} tokens or more, and the model's window {window:,}"


def _too_low(training: Training) -> str | None:
    ends = _ends(training)
    if ends is None or ends[1] < (1 - MOVED) * ends[0]:
        return None
    highest = " (the highest that was tried)" if training.lr == max(training.rates, default=training.lr) else ""
    return (
        f"rate: the training loss stayed where it was ({ends[0]:.3f}, {ends[1]:.3f} at the end); "
        f"lr {training.lr:g}{highest} is too low, or {len(training.steps):,} steps are too few"
    )


def _not_general(training: Training) -> str | None:
    """What was learned of the training rows holds for no others."""
    ends, losses = _ends(training), [record.loss for record in training.validation]
    if ends is None or len(losses) < 2 or min(losses[1:]) < (1 - MOVED) * losses[0]:
        return None
    return (
        f"data: the training loss fell from {ends[0]:.3f} to {ends[1]:.3f}, the validation loss did not "
        f"({losses[0]:.3f}, {min(losses[1:]):.3f} at best); the rows are too few, or unlike those of validation"
    )


def _too_short(training: Training) -> str | None:
    """Ended while it was learning."""
    losses = [record.loss for record in training.validation]
    if len(losses) < 2 or losses[-1] > min(losses):
        return None
    return (
        f"rate: the validation loss was still falling at the end ({losses[0]:.3f} to {losses[-1]:.3f}); "
        f"lr {training.lr:g} is too low, or {len(training.steps):,} steps are too few"
    )
