"""Arms as recipes name them."""

from __future__ import annotations

import pytest

from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig

RECIPE = StudyConfig.model_validate({"model": "builtin", "target": {"task": "builtin:orders"}})


def arm(text: str) -> Arm:
    return Arm.of(text, RECIPE)


@pytest.mark.parametrize(
    ("text", "name", "folder"),
    [
        ("full", "full", "full"),
        ("lora + replay:5%", "lora+replay:5%", "lora+replay-5pct"),
        ("lora+replay:0.05+kl", "lora+kl+replay:0.05", "lora+kl+replay-0.05"),
        ("full+interpolate", "full+interpolate", "full+interpolate"),
        ("full+kl:0.5+interpolate", "full+kl:0.5+interpolate", "full+kl-0.5+interpolate"),
    ],
)
def test_names(text: str, name: str, folder: str) -> None:
    spec = arm(text)
    assert spec.name == name
    assert spec.folder == folder
    assert arm(spec.name) == spec


def test_order_of_remedies_does_not_matter() -> None:
    assert arm("full+kl+replay") == arm("full+replay+kl")


def test_an_interpolated_arm_rests_on_a_trained_one() -> None:
    spec = arm("lora+kl+interpolate")
    assert spec.trained == arm("lora+kl")
    assert not spec.plain
    assert arm("lora").plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lorra", "'lorra' is no method; an arm is prompt, or lora"),
        ("full+reply:5%", "'reply:5%' is no remedy; use .*replay"),
        ("full+kl+kl:2", "names a remedy twice"),
        ("full+interpolate:0.5", "no remedy"),
        ("", "is no method"),
    ],
)
def test_what_does_not_exist_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arm(text)
