"""Replay of a file of unlabelled text."""

from __future__ import annotations

from typing import ClassVar

from keeptune.train.remedies.base import REMEDIES, Need
from keeptune.train.remedies.replay import ReplayConfig


@REMEDIES.register("text-replay")
class TextReplayConfig(ReplayConfig):
    """Pieces of the recipe's unlabelled text are replayed."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_ROWS})
