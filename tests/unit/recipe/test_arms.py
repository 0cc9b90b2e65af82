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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dora+l2sp", "'dora\\+l2sp': l2sp needs a method that adds to the base's weights, and dora is none"),
        ("ia3+interpolate", "interpolate needs a method that adds"),
        ("prompt-tuning:8+kl", "kl needs a method that leaves the input as the base reads it"),
        ("p-tuning:8+kl", "kl needs a method that leaves the input as the base reads it, and p-tuning is none"),
        ("p-tuning+l2sp", "l2sp needs a method that adds to the base's weights, and p-tuning is none"),
        ("bottleneck:8+freeze", "freeze needs a method that adds to the base's weights, and bottleneck is none"),
        ("bottleneck+interpolate", "interpolate needs a method that adds"),
        ("last-layers:none", "valid integer"),
        ("full:2", "'full' has no dose"),
        ("full+guard:2", "'guard' has no dose"),
        ("peft:lohra", "peft has no tuner 'lohra'"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arm(text)


def test_a_method_may_have_a_dose() -> None:
    found = arm("last-layers:3+kl:0.5")
    assert (found.name, found.folder) == ("last-layers:3+kl:0.5", "last-layers-3+kl-0.5")
    assert found.parts.dose == 3 and found.parts.remedies[0].dose == 0.5
    assert found.settings()[:2] == ["last-layers", {"count": 3}]
    assert arm("last-layers") != found.trained
    assert arm("dora:4").parts.dose == 4 and arm("lora").parts.dose == 16  # the rank
