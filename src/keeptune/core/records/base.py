"""The base class of all records."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen row. Unknown fields are errors, so that old readers notice new files."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Part = Literal["train", "validation", "test"]
