"""What may be done against forgetting. An object acts where it has to; every part that it leaves out does nothing."""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.train.objective import Term

Steps = Sequence[Sequence[Encoded]]  # the rows of every optimiser step of a run


class Remedy:
    """Base of all remedies. An instance belongs to one training: it may remember what it made."""

    def describe(self) -> str:
        """As people read it: 'KL to base 0.5'."""
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
