"""What a job is. Each finds on disk what it needs and leaves on disk what it made, so any process may do any of them:
one that was done before is not done again, one that was interrupted starts again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from keeptune.recipe.config import StudyConfig
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.workplace import Workplace


@dataclass(frozen=True)
class Amount:
    """Trainings, and tests: something that the base is asked, or a model on all test parts."""

    trainings: int = 0
    tests: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.trainings + other.trainings, self.tests + other.tests)


class Job(Protocol):
    """Small enough to be sent to another process."""

    @property
    def name(self) -> str:
        """As progress shows it."""
        ...

    @property
    def amount(self) -> Amount:
        """What progress counts of it."""
        ...

    def perform(self, workplace: Workplace) -> bool:
        """Do it, unless its result is there: then it says False."""
        ...

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """What the plan has for it; 0 for what is not planned."""
        ...

    def belongs_to(self, config: StudyConfig) -> bool:
        """Whether a recipe has it: a budget may have dropped trainings. What was trained is tested."""
        ...


class Unplanned:
    """Base of jobs that the plan does not count, and that no budget drops."""

    amount: ClassVar[Amount] = Amount()

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """Not planned."""
        return 0.0

    def belongs_to(self, config: StudyConfig) -> bool:
        """Always."""
        return True
