"""Training ends before the base's skills do."""

from __future__ import annotations

from collections.abc import Callable

from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.train.remedies.base import Remedy

Check = Callable[[LanguageModel], bool]


class Guard(Remedy):
    """Ends training at the first checkpoint that ``check`` refuses, and keeps the best one before it.

    ``check`` is called with the model in evaluation mode and may score what it likes, on validation items.
    """

    def __init__(self, check: Check) -> None:
        self.check = check

    def describe(self) -> str:
        """As people read it."""
        return "guard"

    def allows(self, lm: LanguageModel) -> bool:
        """What ``check`` says."""
        with evaluating(lm):
            return self.check(lm)
