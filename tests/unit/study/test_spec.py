"""Arms as recipes name them."""

from __future__ import annotations

import pytest

from keeptune.study.spec import ArmSpec


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
    spec = ArmSpec.parse(text)
    assert spec.name == name
    assert spec.folder == folder
    assert ArmSpec.parse(spec.name) == spec


def test_order_of_remedies_does_not_matter() -> None:
    assert ArmSpec.parse("full+kl+replay") == ArmSpec.parse("full+replay+kl")


def test_an_interpolated_arm_rests_on_a_trained_one() -> None:
    spec = ArmSpec.parse("lora+kl+interpolate")
    assert spec.trained == ArmSpec.parse("lora+kl")
    assert not spec.plain
    assert ArmSpec.parse("lora").plain


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
        ArmSpec.parse(text)
