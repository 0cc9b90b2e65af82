"""Settings of the remedies that arms may name. An arm's own dose, 'replay:5%', replaces the main setting."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from keeptune.core.config import Config
from keeptune.study.spec import ArmSpec
from keeptune.train.remedies.config import (
    EwcConfig,
    FreezeConfig,
    GuardConfig,
    KlConfig,
    L2SpConfig,
    ReplayConfig,
    TalrConfig,
)

DOSES = {  # remedy -> the setting that a dose in an arm's name replaces
    "replay": "share",
    "self-replay": "share",
    "kl": "weight",
    "l2sp": "strength",
    "ewc": "strength",
    "talr": "floor",
    "freeze": "share",
}


class SelfReplayConfig(ReplayConfig):
    """Replay of rows that the base made itself: as many texts, of at most so many tokens."""

    rows: int = 512
    tokens: int = 64


class RemediesConfig(Config):
    """The defaults of every remedy."""

    replay: ReplayConfig = ReplayConfig()
    self_replay: SelfReplayConfig = SelfReplayConfig()
    kl: KlConfig = KlConfig()
    l2sp: L2SpConfig = L2SpConfig()
    ewc: EwcConfig = EwcConfig()
    talr: TalrConfig = TalrConfig()
    freeze: FreezeConfig = FreezeConfig()
    guard: GuardConfig = GuardConfig()

    def of(self, name: str, dose: str | None) -> Any:
        """The settings of one remedy of an arm.

        Raises:
            ValueError: a dose that the remedy cannot have.
        """
        settings: Config = getattr(self, name.replace("-", "_"))
        if dose is None:
            return settings
        if name not in DOSES:
            raise ValueError(f"'{name}' has no dose")
        return type(settings).model_validate({**settings.model_dump(), DOSES[name]: dose})

    def check(self, spec: ArmSpec) -> None:
        """Refuse doses that do not fit, while the recipe is read.

        Raises:
            ValueError: with the arm's name.
        """
        for name, dose in spec.remedies:
            try:
                self.of(name, dose)
            except ValidationError as error:
                raise ValueError(f"'{spec.name}': {error.errors()[0]['msg']}") from error
