"""EWC that looks for the base's skills in texts that it wrote itself: for those who have no old data."""

from __future__ import annotations

from typing import ClassVar

from keeptune.train.remedies.base import REMEDIES, Need
from keeptune.train.remedies.ewc import MEASURED, EwcConfig


@REMEDIES.register("self-ewc")
class SelfEwcConfig(EwcConfig):
    """EWC with the Fisher information of texts that the base wrote itself before training."""

    needs: ClassVar[frozenset[Need]] = MEASURED | {Need.SELF_GENERATED_ROWS}
