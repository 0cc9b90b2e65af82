"""What may be done against forgetting. An object acts where it has to; every part that it leaves out does nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from keeptune.core.dosed import Dosed
from keeptune.core.registry import Registry
from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.recommend.doses import DoseRange
from keeptune.train.objective import Term

Steps = Sequence[Sequence[Encoded]]  # the rows of every optimiser step of a run
Rows = Callable[[], Mapping[str, Sequence[Encoded]]]  # by source; made when somebody asks


class Need(Enum):
    """What a remedy cannot do without, or draws on; a recipe is checked for it when it is read."""

    SUITES = "retained suites"
    REHEARSAL_ROWS = "train rows of what is to be kept"
    SELF_GENERATED_ROWS = "texts that the base writes"
    TEXT_ROWS = "a file of unlabelled text"
    MARGINS = "the margins of retained suites"
    WEIGHT_DELTAS = "a method that adds to the base's weights"
    PLAIN_WEIGHTS = "weights that are not quantised"
    WHOLE_WEIGHTS = "weights that are whole in every process"
    SAME_INPUT = "a method that leaves the input as the base reads it"


@dataclass(frozen=True)
class RemedyInputs:
    """What remedies may draw on in one training."""

    rehearsal_rows: Rows = dict  # rows of what is to be kept, by suite or task
    self_generated_rows: Rows = dict  # texts that the base wrote
    text_rows: Rows = dict  # pieces of the recipe's unlabelled text
    within_margins: Callable[[LanguageModel], bool] = lambda lm: True  # nothing lost more, on validation items

    def old_rows(self, needs: Collection[Need]) -> Mapping[str, Sequence[Encoded]]:
        """By source, rows that stand for what the base can do: of the first kind among the needs that has some."""
        kinds = {
            Need.REHEARSAL_ROWS: self.rehearsal_rows,
            Need.SELF_GENERATED_ROWS: self.self_generated_rows,
            Need.TEXT_ROWS: self.text_rows,
        }
        made = (rows() for need, rows in kinds.items() if need in needs)
        return next(filter(None, made), {})


NO_INPUTS = RemedyInputs()


class Remedy:
    """Base of all remedies. An instance belongs to one training: it may remember what it made.

    Example:
        >>> remedy = KlConfig(weight=0.5).build()
        >>> remedy.describe()
        'KL to base 0.5'
        >>> config = TrainConfig(max_steps=1)
        >>> fit(lm, LoraConfig().build(), rows, [], config, folder, lr=1e-3, remedies=[remedy]).steps
        1
    """

    def describe(self) -> str:
        """The remedy in a table or a sentence: 'KL to base 0.5'."""
        raise NotImplementedError

    def method(self, method: Method) -> Method:
        """The method with less of the model trainable (freezing); who makes the method asks, before `fit`."""
        return method

    def steps(self, steps: Steps, seed: int) -> Steps:
        """The rows of every optimiser step with others added or taken (replay)."""
        return steps

    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        """Additions to the loss; asked once, when ``lm`` is adapted and still equals the base.

        What a term keeps in memory is made here and not later: the probe for a token budget comes next.
        """
        return ()

    def allows(self, lm: LanguageModel) -> bool:
        """Asked before every validation but the first: False keeps this checkpoint out and ends training (a guard)."""
        return True


class RemedyConfig(Dosed):
    """Settings of a remedy, as a recipe gives them below ``remedies``; what it needs and what it costs."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    base_forwards: ClassVar[float] = 0.0  # forward passes of the base beside every one of training
    updates: ClassVar[float] = 0.0  # what a step costs more, in updates of the trained weights by the optimiser
    searched: ClassVar[DoseRange | None] = None  # doses that a search tries; None: it leaves the remedy alone

    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Remedy:
        """A fresh instance for one training."""
        raise NotImplementedError

    def token_factor(self) -> float:
        """Trained tokens of a training with this remedy, for each of one without."""
        return 1.0


REMEDIES: Registry[RemedyConfig] = Registry("remedy", "keeptune.train.remedies")
