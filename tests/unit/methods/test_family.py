"""Every registered method: trained, saved, loaded, read by plain peft, taken out again, the base untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from keeptune.batching.trie import ScoringRequest
from keeptune.core.errors import ConfigError
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import choice_logprobs, row_nats
from keeptune.methods.base import METHODS, Method, WeightDelta
from keeptune.methods.peft import AnyPeftConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.load import load
from keeptune.train.loop import TrainConfig, fit

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "rslora": {"rank": 4},
    "dora": {"rank": 4},
    "pissa": {"rank": 4, "alpha": 4},
    "last-layers": {"count": 1},
    "bottleneck": {"size": 8},
    "peft": {"type": "loha", "settings": {"r": 4, "target_modules": ["q_proj", "v_proj"]}},
}
RATES = {"ia3": 3e-2, "p-tuning": 3e-3, "norms": 3e-2, "full": 3e-3, "osf": 3e-3, "last-layers": 3e-3, "matching": 3e-3}
OTHERS = [
    AnyPeftConfig(type=kind, settings={"target_modules": ["q_proj", "v_proj"], **more})
    for kind, more in (
        ("lokr", {"r": 4}),
        ("oft", {"oft_block_size": 8}),
        ("hra", {"r": 4}),
        ("vera", {"r": 16}),
        ("lora", {"r": 4, "rank_pattern": {"q_proj": 2}}),
    )
]
RANKS: dict[str, Any] = {"rank": 4, "alpha": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}}
FAMILY = [
    *(pytest.param(METHODS[name](**SETTINGS.get(name, {})), id=name) for name in METHODS if name != "bitfit"),
    *(pytest.param(config, id=f"peft-{config.type}") for config in OTHERS),
    *(pytest.param(METHODS[name](**RANKS), id=f"{name}-ranks") for name in ("lora", "rslora", "dora", "pissa")),
]
Rows = Callable[..., list[Encoded]]


IDS = tuple(range(3, 40))


def logits(model: Any, virtual: tuple[int, ...] = ()) -> torch.Tensor:
    """At every token of the text, behind the virtual ones; peft puts its own in front by itself."""
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.tensor([[*virtual, *IDS]])).logits
    return found[:, -len(IDS) :]


def scores(lm: LanguageModel, rows: list[Encoded]) -> tuple[Any, ...]:
    """What evaluation asks of a model, to the bit."""
    requests = [ScoringRequest(IDS[:length], [IDS[length : length + 2], (7, 9, 11)]) for length in (5, 9, 30)]
    return choice_logprobs(lm, requests), generate(lm, [IDS[:7], IDS[3:12]], 5), row_nats(lm, rows)


def scores_of_base(lm: LanguageModel, method: Method, rows: list[Encoded]) -> tuple[Any, ...]:
    """The same of the base of a model that is adapted."""
    with method.base(lm.model) as model:
        return scores(replace(lm, model=model, adapted_engine=None), rows)


@pytest.mark.parametrize("config", FAMILY)
def test_what_is_learned_is_saved_and_the_base_comes_back(
    tiny: LanguageModel, random_rows: Rows, tiny_folder: Path, tmp_path: Path, config: Any
) -> None:
    base, before = hash_parameters(tiny.model), logits(tiny.model)
    rows, method = random_rows(12), config.build()
    scores_before = scores(tiny, rows)
    settings = TrainConfig(epochs=4, global_batch=4)
    result = fit(tiny, method, rows, rows, settings, tmp_path, lr=RATES.get(config.name, 1e-2))
    assert result.best_loss is not None and result.best_step > 0
    virtual = method.virtual_ids(tiny.model)
    tuned, nats = logits(tiny.model, virtual), row_nats(tiny, rows)
    assert not torch.allclose(tuned, before, atol=1e-3)
    with method.base(tiny.model) as model:
        assert torch.equal(logits(model), before)
    assert scores_of_base(tiny, method, rows) == scores_before
    assert torch.equal(logits(tiny.model, virtual), tuned)
    weights = tmp_path / method.artifact
    tiny.restore(method)
    assert hash_parameters(tiny.model) == base
    assert torch.equal(logits(tiny.model), before) and scores(tiny, rows) == scores_before
    again = config.build()
    tiny.adapt(again)
    again.load(tiny.model, weights)
    assert torch.allclose(logits(tiny.model, virtual), tuned, atol=1e-6)
    tiny.restore(again)
    assert hash_parameters(tiny.model) == base
    if method.artifact == "adapter":
        kept = load(str(tiny_folder), device="cpu", precision="fp32", adapter=weights)
        assert row_nats(kept, rows) == pytest.approx(nats, rel=1e-5)
    if config.name != "bottleneck":  # which peft does not have
        plain = AutoModelForCausalLM.from_pretrained(tiny_folder if method.artifact == "adapter" else weights)
        plain = peft.PeftModel.from_pretrained(plain, weights) if method.artifact == "adapter" else plain
        assert torch.allclose(logits(plain.eval()), tuned, atol=2e-5)


@pytest.mark.parametrize("config", FAMILY)
def test_the_capability_is_what_the_settings_say(tiny: LanguageModel, random_rows: Rows, config: Any) -> None:
    method, rows = config.build(), random_rows(3)
    before = scores(tiny, rows)
    assert isinstance(method, WeightDelta) == config.weight_deltas
    tiny.adapt(method)
    trained = method.trainable(tiny.model)
    assert trained and all(parameter.requires_grad for parameter in trained.values())
    assert scores_of_base(tiny, method, rows) == before
    assert method.trainable(tiny.model).keys() == trained.keys()


def test_what_the_model_lacks_is_named(tiny: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="the model has no such weights") as caught:
        tiny.adapt(METHODS["bitfit"]().build())
    assert "lm_head" in caught.value.remedy or "norm" in caught.value.remedy
    with pytest.raises(ConfigError, match="peft refuses"):
        tiny.adapt(AnyPeftConfig(type="oft", settings={"target_modules": ["q_proj"], "blocks": 7}).build())


@pytest.mark.parametrize(
    ("kind", "said"), [("lohha", "peft has no tuner 'lohha'; use loha"), ("prompt-tuning", "virtual tokens")]
)
def test_types_that_peft_or_we_do_not_have_are_refused(kind: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AnyPeftConfig(type=kind)
