"""Replay of texts that the base wrote itself: for those who have no old data."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, RemedyInputs
from keeptune.train.remedies.replay import Replay, ReplayConfig


@REMEDIES.register("self-replay")
class SelfReplayConfig(ReplayConfig):
    """Texts that the base wrote itself before training are replayed."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SELF_GENERATED_ROWS})

    rows: int = Field(512, ge=1)
    """Texts that the base writes before training."""
    tokens: int = Field(64, ge=1)
    """Longest of them, in tokens."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Replay:
        return Replay(inputs.self_generated_rows(), self.share, self.name)
