"""From the remedies that an arm names to the objects that training asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.study.config import StudyConfig
from keeptune.study.spec import ArmSpec
from keeptune.train.remedies.base import Remedy


@dataclass(frozen=True)
class Surroundings:
    """What remedies may draw on in one training."""

    old: Callable[[], Mapping[str, Sequence[Encoded]]]  # rows of what is to be kept, by source
    own: Callable[[], Mapping[str, Sequence[Encoded]]]  # rows that the base made itself
    harmless: Callable[[LanguageModel], bool]  # nothing lost beyond its margin, on validation items


def build_remedies(config: StudyConfig, spec: ArmSpec, around: Surroundings) -> list[Remedy]:
    """A fresh object for every remedy of an arm, in the order of its name."""
    return [_build(config.remedies.of(name, dose), name, around) for name, dose in spec.remedies]


def _build(settings: Any, name: str, around: Surroundings) -> Remedy:
    built: Remedy
    if name == "guard":
        built = settings.build(around.harmless)
    elif name == "replay":
        built = settings.build(around.old() or around.own())
    elif name == "self-replay":
        built = settings.build(around.own(), name="self-replay")
    elif name == "ewc":
        built = settings.build(around.old())
    else:
        built = settings.build()
    return built


def limited(method: Method, remedies: Sequence[Remedy]) -> Method:
    """The method on what the remedies leave to train."""
    for remedy in remedies:
        method = remedy.method(method)
    return method


def remedy_settings(config: StudyConfig, spec: ArmSpec) -> list[Any]:
    """Everything that decides what the arm's remedies do, as JSON-able values."""
    settings = [[name, config.remedies.of(name, dose).model_dump(mode="json")] for name, dose in spec.remedies]
    own = config.remedies.self_replay.model_dump(mode="json")  # what replay falls back to
    return [*settings, own] if "replay" in dict(spec.remedies) else settings


def describe(method: Method, remedies: Sequence[Remedy]) -> str:
    """'LoRA r=16, replay 5 %, KL to base 0.5'; ``method`` as it is without them."""
    return ", ".join([method.describe(), *(remedy.describe() for remedy in remedies)])
