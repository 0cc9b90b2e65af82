"""An arm: what trains and what is done against forgetting. Names of arms are read and written here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import ValidationError

from keeptune.core.records import PROMPTING, ArmParts, RemedyDose
from keeptune.core.registry import either
from keeptune.methods.base import METHODS, Method, MethodConfig
from keeptune.train.remedies.base import REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs

INTERPOLATE = "interpolate"  # not a training of its own: points between the base and the tuned model of the same arm


class ArmSettings(Protocol):
    """Where the settings of methods and remedies come from: a recipe."""

    def method(self, name: str) -> MethodConfig:
        """The settings of a method."""
        ...

    def remedy(self, name: str) -> RemedyConfig:
        """The settings of a remedy, before an arm's dose."""
        ...


@dataclass(frozen=True)
class ArmName:
    """An arm as it is written, 'lora+kl:0.5+interpolate', taken apart.

    Attributes:
        method: name of a registered method.
        dose: of the method, as it is written; None without.
        remedies: (name, dose or None) in alphabetical order.
        interpolated: the arm is a point between the base and the tuned model.
    """

    method: str
    dose: str | None = None
    remedies: tuple[tuple[str, str | None], ...] = ()
    interpolated: bool = False

    @classmethod
    def parse(cls, text: str) -> ArmName:
        """Read 'method+remedy:dose+…'.

        Raises:
            ValueError: a method or remedy that does not exist, or one that is named twice.

        Example:
            >>> ArmName.parse("lora + replay:5% + kl")
            ArmName(method='lora', dose=None, remedies=(('kl', None), ('replay', '5%')), interpolated=False)
        """
        first, *parts = (part.strip() for part in text.split("+"))
        method, _, dose_of_method = first.partition(":")
        if method not in METHODS:
            known = either(method, tuple(METHODS))
            raise ValueError(f"'{method}' is no method; an arm is {PROMPTING}, or {known}")
        remedies: list[tuple[str, str | None]] = []
        interpolated = False
        for part in parts:
            name, _, dose = part.partition(":")
            if name == INTERPOLATE and not dose:
                interpolated = True
            elif name in REMEDIES:
                remedies.append((name, dose or None))
            else:
                raise ValueError(f"'{part}' is no remedy; use {either(name, (*REMEDIES, INTERPOLATE))}")
        names = [name for name, _ in remedies]
        if len(set(names)) < len(names):
            raise ValueError(f"'{text}' names a remedy twice")
        return cls(method, dose_of_method or None, tuple(sorted(remedies)), interpolated)

    def __str__(self) -> str:
        """As a recipe names it, remedies in alphabetical order."""
        parts = [(self.method, self.dose), *self.remedies, *([(INTERPOLATE, None)] if self.interpolated else [])]
        return "+".join(f"{name}:{dose}" if dose else name for name, dose in parts)


@dataclass(frozen=True)
class Arm:
    """An arm with its settings. Two arms of one recipe are the same where they have the same name."""

    name: str  # as the recipe names it, remedies in alphabetical order
    method: MethodConfig = field(compare=False)
    remedies: tuple[RemedyConfig, ...] = field(default=(), compare=False)
    interpolated: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, text: str, settings: ArmSettings) -> Arm:
        """The arm that a recipe names.

        Raises:
            ValueError: an unknown name, a dose that a remedy cannot have, or parts that do not go together.
        """
        name = ArmName.parse(text)
        try:
            method = settings.method(name.method).with_dose(name.dose)
            remedies = tuple(settings.remedy(each).with_dose(dose) for each, dose in name.remedies)
        except ValidationError as error:
            raise ValueError(f"'{name}': {error.errors()[0]['msg']}") from error
        except ValueError as error:
            raise ValueError(f"'{name}': {error}") from error
        arm = cls(str(name), method, remedies, name.interpolated)
        arm._check()
        return arm

    def _check(self) -> None:
        """Refuse parts that do not go together."""
        lacking = {Need.WEIGHT_DELTAS: not self.method.weight_deltas, Need.SAME_INPUT: not self.method.same_input}
        for need in (need for need, lacks in lacking.items() if lacks):
            needing = self.needs(need)
            if need is Need.WEIGHT_DELTAS and self.interpolated:
                needing.append(INTERPOLATE)
            if needing:
                raise ValueError(f"'{self.name}': {needing[0]} needs {need.value}, and {self.method.name} is none")

    def check_stored(self, stored: str) -> None:
        """Nothing where the arm works on a base that is stored as ``stored`` ("nf4", "int8").

        Raises:
            ValueError: its method or one of its remedies does not.
        """
        why = self.method.needs_plain(stored)
        if why:
            raise ValueError(f"'{self.name}': {self.method.name} cannot work on a quantised base: {why}")
        needing = self.needs(Need.PLAIN_WEIGHTS)
        if needing:
            raise ValueError(
                f"'{self.name}': {needing[0]} needs {Need.PLAIN_WEIGHTS.value}: it looks at the gradient of each"
            )

    def check_sharded(self) -> None:
        """Nothing where the arm trains with its weights spread over several processes.

        Raises:
            ValueError: its method or one of its remedies needs them whole.
        """
        needing = [] if self.method.shards else [self.method.name]
        needing += self.needs(Need.WHOLE_WEIGHTS)
        if needing:
            raise ValueError(f"'{self.name}': {needing[0]} needs {Need.WHOLE_WEIGHTS.value}, which fsdp has not")

    @property
    def folder(self) -> str:
        """The name as a part of file names: 'lora+replay-5pct'."""
        return re.sub(r"[^\w+.-]+", "-", self.name.replace("%", "pct"))

    @property
    def trained(self) -> Arm:
        """The arm that has to be trained for this one."""
        name = replace(ArmName.parse(self.name), interpolated=False)
        return replace(self, name=str(name), interpolated=False)

    def without(self, need: Need) -> Arm:
        """The arm without the remedies that have a need."""
        kept = tuple(remedy for remedy in self.remedies if need not in remedy.needs)
        names, name = {remedy.name for remedy in kept}, ArmName.parse(self.name)
        short = replace(name, remedies=tuple(each for each in name.remedies if each[0] in names))
        return replace(self, name=str(short), remedies=kept)

    def needs(self, need: Need) -> list[str]:
        """Names of the remedies that have a need."""
        return [remedy.name for remedy in self.remedies if need in remedy.needs]

    @property
    def plain(self) -> bool:
        """Nothing is done against forgetting."""
        return not self.remedies and not self.interpolated

    @property
    def base_forwards(self) -> float:
        """Forward passes of the base beside every one of training."""
        return sum(remedy.base_forwards for remedy in self.remedies)

    @property
    def parts(self) -> ArmParts:
        """What a record says of the arm."""
        return ArmParts(
            method=self.method.name,
            dose=self.method.dose_value(),
            remedies=tuple(RemedyDose(name=remedy.name, dose=remedy.dose_value()) for remedy in self.remedies),
            interpolated=self.interpolated,
        )

    def settings(self) -> list[Any]:
        """Everything that decides how it trains, but the rate, as JSON-able values."""
        remedies = [[remedy.name, remedy.model_dump(mode="json")] for remedy in self.remedies]
        return [self.method.name, self.method.without_rates(), remedies]

    def build(self, inputs: RemedyInputs) -> tuple[Method, list[Remedy]]:
        """Fresh objects for one training: the method on what the remedies leave to train, and the remedies."""
        remedies = [remedy.build(inputs) for remedy in self.remedies]
        method = self.method.build()
        for remedy in remedies:
            method = remedy.method(method)
        return method, remedies

    def describe(self, remedies: Sequence[Remedy]) -> str:
        """'LoRA r=16, replay 5 %, KL to base 0.5'."""
        return ", ".join([self.method.build().describe(), *(remedy.describe() for remedy in remedies)])
