"""Replay of texts that the base wrote itself: for those who have no old data."""

from __future__ import annotations

from typing import ClassVar

from keeptune.train.remedies.base import REMEDIES, Need
from keeptune.train.remedies.replay import ReplayConfig


@REMEDIES.register("self-replay")
class SelfReplayConfig(ReplayConfig):
    """Texts that the base wrote itself before training are replayed."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SELF_GENERATED_ROWS})
