"""The last layer at kept rows gives what the whole one gives there, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.batching.trie import flat_batch
from keeptune.data.examples import Encoded
from keeptune.methods.lora import LoraConfig
from keeptune.models.forward import flat_logits
from keeptune.models.language_model import LanguageModel
from keeptune.models.last_layer import last_layer_at

ROWS = [Encoded("a", (5, 6, 7, 8, 9, 10), (11, 12)), Encoded("b", (5, 6, 7, 13), (14,))]


def found(lm: LanguageModel, cut: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of the kept rows, and the gradients of a sum in which every logit weighs differently."""
    logits = flat_logits(lm, flat_batch(ROWS), cut=cut)
    (logits * torch.linspace(-1, 1, logits.numel()).view(logits.shape)).sum().backward()
    gradients = {name: p.grad.clone() for name, p in lm.model.named_parameters() if p.grad is not None}
    lm.model.zero_grad()
    return logits.detach(), gradients


@pytest.mark.parametrize("architecture", ["llama", "qwen3_moe", "gemma2", "olmo2"])
@pytest.mark.parametrize("lora", [False, True])
def test_equals_the_whole_layer(build: Callable[..., Any], tokenizer: Any, architecture: str, lora: bool) -> None:
    lm = LanguageModel.wrap(build(architecture), tokenizer)
    lm.model.requires_grad_(not lora)
    if lora:
        lm.adapt(LoraConfig(rank=2).build())
    (logits, gradients), (whole, wanted) = found(lm, True), found(lm, False)
    torch.testing.assert_close(logits, whole)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert float((gradients[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-9, name


def test_only_kept_rows_reach_the_feed_forward_layer(tiny: LanguageModel) -> None:
    """And afterwards the model is what it was."""
    batch, seen = flat_batch(ROWS), []
    layers = tiny.model.model.layers  # type: ignore[union-attr]
    watching = [layer.mlp.register_forward_hook(lambda *given: seen.append(given[1][0].shape[1])) for layer in layers]  # type: ignore[union-attr]
    for cut in (True, False):
        flat_logits(tiny, batch, cut=cut)
    assert len(batch.rows) < len(batch.input_ids)
    assert seen == [len(batch.input_ids), len(batch.rows), len(batch.input_ids), len(batch.input_ids)]
    for each in watching:
        each.remove()
    assert "forward" not in vars(layers[-1]) and not layers[-1].self_attn.o_proj._forward_pre_hooks  # type: ignore[union-attr]


def test_a_layer_that_backward_computes_again_is_computed_whole(tiny: LanguageModel) -> None:
    tiny.model.gradient_checkpointing_enable()  # type: ignore[operator]
    rows = torch.tensor([1])
    with last_layer_at(tiny.model, rows) as cut:
        assert cut  # nothing is computed again in evaluation mode
    with last_layer_at(tiny.model.train(), rows) as cut:
        assert not cut
