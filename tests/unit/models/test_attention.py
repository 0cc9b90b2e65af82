from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from keeptune.batching.arrange import arrange
from keeptune.batching.trie import flat_batch
from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.models.attention import check_windows, flat_attention, trie_attention
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import logits


def row(length: int) -> Encoded:
    return Encoded(str(length), (5,) * length, (6,))


def test_own_attention_is_back_after_the_block(build: Callable[..., Any]) -> None:
    model = build("llama")
    before = model.config._attn_implementation
    with flat_attention(model), flat_attention(model):
        assert model.config._attn_implementation == "keeptune"
    assert model.config._attn_implementation == before


def test_dropout_reaches_attention(build: Callable[..., Any], tokenizer: Any) -> None:
    lm = LanguageModel.wrap(build("llama", attention_dropout=0.5), tokenizer)
    batch = flat_batch([row(9)])
    assert_close(logits(lm, batch), logits(lm, batch))
    lm.model.train()
    assert not torch.allclose(logits(lm, batch), logits(lm, batch))


def test_dropout_in_attention_keeps_to_ancestors(build: Callable[..., Any], tokenizer: Any) -> None:
    """With everything but a few scores dropped a row still depends on nothing outside of it."""
    lm = LanguageModel.wrap(build("llama", attention_dropout=0.5), tokenizer)
    lm.model.train()
    results = []
    for neighbour in (7, 8):
        torch.manual_seed(0)
        results.append(logits(lm, flat_batch([row(9), Encoded("n", (neighbour,) * 9, (6,))]))[0])
    assert_close(*results)


def test_what_attention_cannot_do_is_refused() -> None:
    x = torch.zeros(1, 2, 3, 4)
    arrangement = arrange(flat_batch([row(3)]))
    with pytest.raises(ModelError, match="does not pass its keyword arguments on to attention"):
        trie_attention(nn.Module(), x, x, x, None)
    for name in ("position_bias", "s_aux"):
        with pytest.raises(ModelError, match=f"attention with {name} does not run flat"):
            trie_attention(nn.Module(), x, x, x, None, keeptune_arrangement=arrangement, **{name: x})


def test_the_default_scale_is_one_over_the_root_of_the_width() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 9, 16, generator=draw).unbind()
    ours, _ = trie_attention(nn.Module(), q, k, v, None, keeptune_arrangement=arrange(flat_batch([row(9)])))
    assert_close(ours, nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2))


def test_a_window_that_stays_in_the_mask_is_noticed(build: Callable[..., Any]) -> None:
    from keeptune.models import attention

    with pytest.raises(ModelError, match="keeps its local attention window"), check_windows():
        attention._no_mask(local_size=8)
    with check_windows() as windows:
        attention._no_mask(local_size=8)
        windows.given.add(8)
