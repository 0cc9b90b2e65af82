"""Settings of which an arm's name may give one: 'kl:0.5', 'last-layers:2'."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from keeptune.core.config import Config


class Dosed(Config):
    """Settings of something that arms name, as a method or a remedy."""

    name: ClassVar[str]  # in an arm; set by the registry
    dose: ClassVar[str | None] = None  # the setting that an arm's dose replaces: 'weight'

    def with_dose(self, dose: str | None) -> Self:
        """These settings with the dose that an arm gives.

        Raises:
            ValueError: a dose where there is none to give, or one that the setting cannot have.
        """
        if dose is None:
            return self
        if self.dose is None:
            raise ValueError(f"'{self.name}' has no dose")
        return type(self).model_validate({**self.model_dump(), self.dose: dose})

    def dose_value(self) -> Any:
        """The setting that doses of an arm stand for; None where there is none."""
        return None if self.dose is None else getattr(self, self.dose)
