"""An arm as the recipe names it: a method and what is done against forgetting, 'lora+replay:5%+kl'."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

METHODS = ("full", "lora")
REMEDIES = ("replay", "self-replay", "kl", "l2sp", "ewc", "talr", "freeze", "guard")
INTERPOLATE = "interpolate"  # not a training of its own: points between the base and the tuned model of the same arm


@dataclass(frozen=True)
class ArmSpec:
    """A method with remedies; every remedy with its dose where the name gives one."""

    method: str
    remedies: tuple[tuple[str, str | None], ...] = ()
    interpolated: bool = False

    @classmethod
    def parse(cls, text: str) -> ArmSpec:
        """Read 'method+remedy:dose+…'.

        Raises:
            ValueError: a method or remedy that does not exist, or one that is named twice.
        """
        method, *parts = (part.strip() for part in text.split("+"))
        if method not in METHODS:
            raise ValueError(f"'{method}' is no method; an arm is prompt, or {_either(method, METHODS)}")
        remedies: list[tuple[str, str | None]] = []
        interpolated = False
        for part in parts:
            name, _, dose = part.partition(":")
            if name == INTERPOLATE and not dose:
                interpolated = True
            elif name in REMEDIES:
                remedies.append((name, dose or None))
            else:
                raise ValueError(f"'{part}' is no remedy; use {_either(name, (*REMEDIES, INTERPOLATE))}")
        names = [name for name, _ in remedies]
        if len(set(names)) < len(names):
            raise ValueError(f"'{text}' names a remedy twice")
        return cls(method, tuple(sorted(remedies)), interpolated)

    @property
    def name(self) -> str:
        """As the recipe names it, remedies in alphabetical order."""
        doses = [f"{name}:{dose}" if dose else name for name, dose in self.remedies]
        return "+".join([self.method, *doses, *([INTERPOLATE] if self.interpolated else [])])

    @property
    def folder(self) -> str:
        """The name as a part of file names: 'lora+replay-5pct'."""
        return re.sub(r"[^\w+.-]+", "-", self.name.replace("%", "pct"))

    @property
    def trained(self) -> ArmSpec:
        """The arm that has to be trained for this one."""
        return ArmSpec(self.method, self.remedies)

    def without(self, *remedies: str) -> ArmSpec:
        """The arm with some remedies left out."""
        return ArmSpec(self.method, tuple(r for r in self.remedies if r[0] not in remedies), self.interpolated)

    @property
    def plain(self) -> bool:
        """Nothing is done against forgetting."""
        return not self.remedies and not self.interpolated


def _either(word: str, known: tuple[str, ...]) -> str:
    """The nearest known words, or all of them."""
    near = difflib.get_close_matches(word, known, n=2) or known
    return " or ".join(near) if len(near) < 3 else f"{', '.join(near[:-1])} or {near[-1]}"
