"""What `keeptune evaluate` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from keeptune.core.config import Config


class ScoringConfig(Config):
    """What to score."""

    model: str
    """Hub name, local folder, or builtin."""
    tasks: tuple[str, ...]
    """What is scored, as the command line names it."""
    adapter: Path | None = None
    """An adapter folder, as peft saves it."""
    shots: tuple[int, ...] = (0,)
    """Numbers of demonstrations."""
    draws: int = Field(3, ge=1)
    """Draws of the demonstrations, over which the score of an item is averaged."""
    part: Literal["validation", "test"] = "test"
    """The part of the rows that is scored."""
    limit: int | None = None
    """Largest number of items that are scored."""
    template: Literal["fixed", "each"] = "fixed"
    """Whether to ask in the first wording, or to average over each."""
    on_leak: Literal["error", "drop"] = "error"
    """What happens to train rows that stand in another part, too: an error, or they leave train."""
    fields: dict[str, str] | None = None
    """Role to column, of data files."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Format that the model computes in."""
    quantise: Literal["none", "nf4", "int8"] = "none"
    """How the linear layers of the base are stored."""

    @field_validator("shots")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(k < 0 for k in value):
            raise ValueError("give numbers of shots, 0 or more")
        return value
