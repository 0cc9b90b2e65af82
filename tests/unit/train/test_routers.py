from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.data.examples import Encoded
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.routers import say_what_routers_miss

LEFT_OUT = "moe trains without the auxiliary loss that balances its routers (router_aux_loss_coef: 0.001)"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "keeptune.train.routers"]


def test_training_says_once_that_routers_are_not_balanced(
    build: Callable[..., Any],
    tokenizer: Any,
    random_rows: Callable[..., list[Encoded]],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    lm = LanguageModel.wrap(build("qwen3_moe"), tokenizer, name="moe")
    assert said(caplog) == []
    for number in range(2):
        method = LoraConfig(rank=2).build()
        settings = TrainConfig(max_steps=1, token_budget=256)
        fit(lm, method, random_rows(2), [], settings, tmp_path / str(number), lr=1e-3)
        lm.restore(method)
    assert said(caplog) == [LEFT_OUT]


def test_a_loss_that_the_configuration_asks_for_is_said_to_be_left_out(
    build: Callable[..., Any], tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers would add it to its own loss; what the model says of tokens is the same."""
    lm = LanguageModel.wrap(build("qwen3_moe", output_router_logits=True), tokenizer, name="moe")
    say_what_routers_miss(lm)
    assert said(caplog) == [f"{LEFT_OUT}, which its configuration asks for"]
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(lm.model(ids).logits, build("qwen3_moe")(ids).logits)
        assert lm.engine.name == "flat"


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("llama", {}), ("qwen3_moe", {"router_aux_loss_coef": 0.0}), ("granitemoehybrid", {})],
)
def test_models_without_such_a_loss_say_nothing(
    build: Callable[..., Any],
    tokenizer: Any,
    caplog: pytest.LogCaptureFixture,
    architecture: str,
    settings: dict[str, float],
) -> None:
    say_what_routers_miss(LanguageModel.wrap(build(architecture, **settings), tokenizer))
    assert said(caplog) == []
