"""EWC that looks for the base's skills in a file of unlabelled text."""

from __future__ import annotations

from typing import ClassVar

from keeptune.train.remedies.base import REMEDIES, Need
from keeptune.train.remedies.ewc import MEASURED, EwcConfig


@REMEDIES.register("text-ewc")
class TextEwcConfig(EwcConfig):
    """EWC with the Fisher information of the recipe's unlabelled text."""

    needs: ClassVar[frozenset[Need]] = MEASURED | {Need.TEXT_ROWS}
