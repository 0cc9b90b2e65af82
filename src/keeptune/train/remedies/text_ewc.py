"""EWC that looks for the base's skills in a file of unlabelled text."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, RemedyInputs
from keeptune.train.remedies.ewc import MEASURED, Ewc, EwcConfig


@REMEDIES.register("text-ewc")
class TextEwcConfig(EwcConfig):
    """EWC with the Fisher information of the recipe's unlabelled text."""

    needs: ClassVar[frozenset[Need]] = MEASURED | {Need.TEXT_ROWS}

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Ewc:
        return Ewc(self, inputs.text_rows())
