"""EWC that looks for the base's skills in texts that it wrote itself: for those who have no old data."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, RemedyInputs
from keeptune.train.remedies.ewc import MEASURED, Ewc, EwcConfig


@REMEDIES.register("self-ewc")
class SelfEwcConfig(EwcConfig):
    """EWC with the Fisher information of texts that the base wrote itself before training."""

    needs: ClassVar[frozenset[Need]] = MEASURED | {Need.SELF_GENERATED_ROWS}

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Ewc:
        return Ewc(self, inputs.self_generated_rows())
