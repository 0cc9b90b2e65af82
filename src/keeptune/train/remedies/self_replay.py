"""Replay of texts that the base wrote itself: for those who have no old data."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, RemedyInputs
from keeptune.train.remedies.replay import Replay, ReplayConfig


@REMEDIES.register("self-replay")
class SelfReplayConfig(ReplayConfig):
    """Texts that the base wrote itself before training are replayed."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SELF_GENERATED_ROWS})

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Replay:
        return Replay(inputs.self_generated_rows(), self.share, self.name)
