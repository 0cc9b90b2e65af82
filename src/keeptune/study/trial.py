"""A training as a thing to be done: which arm, at which rate, with which seed."""

from __future__ import annotations

from dataclasses import dataclass

from keeptune.recipe.arms import Arm


@dataclass(frozen=True)
class Trial:
    """What is trained: an arm at a rate with a seed, on all training rows or on the first so many."""

    arm: Arm
    lr: float
    seed: int
    examples: int | None = None
    longer: int = 1  # times the recipe's epochs

    @property
    def name(self) -> str:
        """Name of the folder."""
        size = f"-n{self.examples}" if self.examples is not None else ""
        epochs = f"-{self.longer}x" if self.longer > 1 else ""
        return f"{self.arm.folder}-lr{self.lr:g}-seed{self.seed}{size}{epochs}"
