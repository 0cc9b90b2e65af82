"""What one training of a search is, and the doses that a remedy may have in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DoseRange:
    """Doses of a remedy that a search tries: positive numbers, spread over their logarithms.

    Attributes:
        low: the smallest; what is below it does next to nothing.
        high: the largest.
        share: doses are shares of the trained tokens, below 1, and spread over their log odds instead.

    Example:
        >>> DoseRange(1.0, 1000.0).spread(4)
        (1.0, 10.0, 100.0, 1000.0)
    """

    low: float
    high: float
    share: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high or (self.share and self.high >= 1):
            raise ValueError(f"no range of doses: {self.low:g} to {self.high:g}")

    @property
    def middle(self) -> float:
        """The dose halfway between the ends."""
        return self.spread(3)[1]

    def spread(self, count: int) -> tuple[float, ...]:
        """So many doses from end to end, evenly on the scale, two digits of each."""
        low, high = self._odds(np.array([self.low, self.high])).tolist()
        places = np.geomspace(low, high, count)
        doses = places / (1 + places) if self.share else places
        return tuple(float(f"{dose:.2g}") for dose in doses)

    def reach(self, dose: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far along the scale doses lie [N]: 0 without the remedy, 1 at the largest dose."""
        low, high = self._odds(np.array([self.low, self.high]))
        found: NDArray[np.float64] = np.log1p(self._odds(dose) / low) / np.log1p(high / low)
        return found

    def _odds(self, dose: NDArray[np.float64]) -> NDArray[np.float64]:
        return dose / (1 - dose) if self.share else dose


@dataclass(frozen=True)
class Setting:
    """What one training is: all that a search decides."""

    method: str
    lr: float
    doses: tuple[tuple[str, float], ...] = ()  # remedies and their doses, in alphabetical order
    longer: int = 1  # times the recipe's epochs

    def dose(self, remedy: str) -> float:
        """Of a remedy; 0 without it."""
        return dict(self.doses).get(remedy, 0.0)

    def with_dose(self, remedy: str, dose: float) -> Setting:
        """The setting with another dose of a remedy; 0 leaves it out."""
        doses = {**dict(self.doses), remedy: dose}
        return replace(self, doses=tuple(sorted((name, dose) for name, dose in doses.items() if dose)))
