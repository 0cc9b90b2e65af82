"""What `keeptune evaluate` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from keeptune.core.config import Config


class ScoringConfig(Config):
    """What to score."""

    model: str
    tasks: tuple[str, ...]
    adapter: Path | None = None
    shots: tuple[int, ...] = (0,)
    draws: int = Field(3, ge=1)
    part: Literal["validation", "test"] = "test"
    limit: int | None = None
    template: Literal["fixed", "each"] = "fixed"
    on_leak: Literal["error", "drop"] = "error"
    fields: dict[str, str] | None = None  # role -> column, of data files
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    quantise: Literal["none", "nf4", "int8"] = "none"

    @field_validator("shots")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(k < 0 for k in value):
            raise ValueError("give numbers of shots, 0 or more")
        return value
