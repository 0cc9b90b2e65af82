"""The search as a recipe asks for it: its settings, and arms as the settings that a search decides."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, field_validator

from keeptune.core.config import Config
from keeptune.core.registry import either
from keeptune.recipe.arms import Arm, ArmName, ArmSettings
from keeptune.recommend.doses import DoseRange, Setting
from keeptune.recommend.search import SPARE
from keeptune.train.remedies.base import REMEDIES

SEARCH = "search"  # among the arms of a recipe
AT_ONCE = 2  # trainings that do not wait for each other, however many processes there are


class SearchConfig(Config):
    """How an arm is searched for that loses no more than the margins."""

    trainings: int = Field(12, ge=1)
    """Trainings at most, beside those of the other arms."""
    remedies: tuple[str, ...] = ("ewc", "replay")
    """Remedies whose doses are tried, each alone and two together."""
    longer: int = Field(3, ge=1)
    """Most times the recipe's epochs."""
    spare: float = Field(SPARE, ge=0)
    """Standard errors of a loss that its margin has to have room for."""

    @field_validator("remedies")
    @classmethod
    def _with_doses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = tuple(name for name in REMEDIES if REMEDIES[name].searched is not None)
        for name in value:
            if name not in known:
                raise ValueError(f"'{name}' is no remedy with a dose to search; use {either(name, known)}")
        if not value or len(set(value)) < len(value):
            raise ValueError("name one remedy or more, each once")
        return value


def searched_doses(plain: Arm, search: SearchConfig, settings: ArmSettings, stored: str) -> dict[str, DoseRange]:
    """The remedies that go with a plain arm on a base stored as ``stored`` ("none", "nf4"), and their doses."""
    found = {}
    for name in search.remedies:
        doses = REMEDIES[name].searched
        assert doses is not None  # checked with the settings
        try:
            arm = arm_of(Setting(plain.name, 1.0, ((name, doses.middle),)), settings)
            if stored != "none":
                arm.check_stored(stored)
        except ValueError:
            continue
        found[name] = doses
    return found


def arm_of(setting: Setting, settings: ArmSettings, *, interpolated: bool = False) -> Arm:
    """The arm that a setting trains, under the name that a recipe would give it.

    Raises:
        ValueError: parts that do not go together.
    """
    name = replace(
        ArmName.parse(setting.method),
        remedies=tuple((remedy, _written(remedy, dose)) for remedy, dose in setting.doses),
        interpolated=interpolated,
    )
    return Arm.of(str(name), settings)


def setting_of(arm: Arm, lr: float, longer: int = 1) -> Setting | None:
    """What a search would call a training of an arm; None where a remedy has no dose that is a number."""
    doses = [(remedy.name, remedy.dose_value()) for remedy in arm.remedies]
    if any(not isinstance(dose, int | float) or not dose for _, dose in doses):
        return None
    name = ArmName.parse(arm.name)
    return Setting(str(ArmName(name.method, name.dose)), lr, tuple(doses), longer)


def _written(remedy: str, dose: float) -> str:
    """A dose as recipes write it: '31', '30%'."""
    doses = REMEDIES[remedy].searched
    return f"{100 * dose:g}%" if doses is not None and doses.share else f"{dose:g}"
