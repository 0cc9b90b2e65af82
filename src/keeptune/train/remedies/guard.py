"""Training ends before the base's skills do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from typing_extensions import override

from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs

Check = Callable[[LanguageModel], bool]


@REMEDIES.register("guard")
class GuardConfig(RemedyConfig):
    """Training ends when a retained suite has lost more than its margin."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SUITES, Need.MARGINS})

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Guard:
        return Guard(inputs.within_margins)


class Guard(Remedy):
    """Ends training at the first checkpoint that ``check`` refuses, and keeps the best one before it.

    ``check`` is called with the model in evaluation mode and may score what it likes, on validation items.
    """

    def __init__(self, check: Check) -> None:
        self.check = check

    @override
    def describe(self) -> str:
        return "guard"

    @override
    def allows(self, lm: LanguageModel) -> bool:
        """What ``check`` says."""
        with evaluating(lm):
            return self.check(lm)
