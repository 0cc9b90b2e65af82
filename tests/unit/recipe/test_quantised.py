"""What a recipe may ask of a quantised base is known when it is read, without the packages that quantise."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from keeptune.methods.base import METHODS
from keeptune.recipe.config import StudyConfig

TRAINS = "it trains the base's own weights"
APART = "it takes the base's weights apart"


def study(arms: list[str], quantise: str = "nf4", **more: Any) -> StudyConfig:
    return StudyConfig(model="builtin", target=[{"task": "builtin:orders"}], arms=arms, quantise=quantise, **more)


@pytest.mark.parametrize("quantise", ["nf4", "int8"])
@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        ("full", TRAINS),
        ("full+interpolate", TRAINS),
        ("bitfit", TRAINS),
        ("norms", TRAINS),
        ("last-layers:4", TRAINS),
        ("matching", TRAINS),
        ("pissa", APART),
        ("osf", APART),
        ("peft:oft", "peft has no oft layers for weights in"),
        ("lora+ewc", "ewc needs weights that are not quantised"),
    ],
)
def test_arms_that_need_plain_weights_are_refused_by_name(arm: str, reason: str, quantise: str) -> None:
    with pytest.raises(ValidationError, match=f"'{re.escape(arm)}': .*{reason}"):
        study(["prompt", "lora", arm], quantise)
    study(["prompt", "lora", arm], "none")


def test_arms_that_fit_are_read() -> None:
    arms = ["prompt", "lora+kl:0.5", "lora+l2sp+interpolate", "lora+freeze", "lora+talr", "dora", "peft:hira"]
    assert study(arms).quantise == "nf4"
    assert [METHODS[name]().needs_plain("int8") is None for name in ("lora", "full")] == [True, False]


def test_what_peft_has_layers_for_depends_on_how_the_base_is_stored() -> None:
    study(["peft:hira"], "nf4")
    with pytest.raises(ValidationError, match="peft has no hira layers for weights in int8"):
        study(["peft:hira"], "int8")
    study(["ia3"], "int8")
    with pytest.raises(ValidationError, match="peft's ia3 layers for weights in nf4 compute in fp32"):
        study(["ia3"], "nf4")


def test_a_sequence_is_refused() -> None:
    with pytest.raises(ValidationError, match="a sequence merges every stage into the weights"):
        study(["lora"], sequence={"arms": ["lora"]})


def test_ways_to_store_are_few() -> None:
    with pytest.raises(ValidationError, match="'none', 'nf4' or 'int8'"):
        study(["lora"], "int4")
