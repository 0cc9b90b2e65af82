"""Replay of a file of unlabelled text."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, RemedyInputs
from keeptune.train.remedies.replay import Replay, ReplayConfig


@REMEDIES.register("text-replay")
class TextReplayConfig(ReplayConfig):
    """Pieces of the recipe's unlabelled text are replayed."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_ROWS})

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Replay:
        return Replay(inputs.text_rows(), self.share, self.name)
