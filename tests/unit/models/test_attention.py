from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.testing import assert_close

from keeptune.batching.trie import Choices, choice_batch, flat_batch
from keeptune.data.examples import Encoded
from keeptune.models.attention import flat_attention, plan_trees
from keeptune.models.forward import logits
from keeptune.models.language_model import LanguageModel


def row(length: int) -> Encoded:
    return Encoded(str(length), (5,) * length, (6,))


def test_equal_rows_need_no_gathering() -> None:
    trees = plan_trees(flat_batch([row(7), row(7)]))
    assert len(trees.groups) == 1
    assert trees.groups[0].index is None
    assert trees.scatter is None
    assert trees.groups[0].mask(None) is None  # plain causal
    assert trees.groups[0].mask(7) is None  # a window that no row reaches


def test_no_tree_is_padded_to_more_than_twice_its_length() -> None:
    lengths = [3, 40, 22, 9, 41, 20, 4, 1]
    trees = plan_trees(flat_batch([row(n) for n in lengths]))
    shapes = [tuple(group.depth.shape) for group in trees.groups]
    assert shapes == [(3, 41), (1, 20), (1, 9), (2, 4), (1, 1)]


def test_scatter_undoes_the_gathering() -> None:
    batch = flat_batch([row(n) for n in (3, 40, 22, 9)])
    trees = plan_trees(batch)
    gathered = torch.cat([torch.arange(75)[:74][g.index] for g in trees.groups if g.index is not None])
    assert trees.scatter is not None
    assert gathered[trees.scatter].tolist() == list(range(74))


def test_mask_is_ancestors_and_self() -> None:
    batch = choice_batch([Choices((1, 2), [(3, 4, 5), (6, 7)])])  # tokens 0 1 | 2 3 | 4
    mask = plan_trees(batch).groups[0].mask(None)
    assert mask is not None
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_window_counts_depth_not_place_in_the_row() -> None:
    batch = choice_batch([Choices((1, 2), [(3, 4, 5), (6, 7)])])
    mask = plan_trees(batch).groups[0].mask(2)
    assert mask is not None
    assert mask[0, 0].int().tolist()[4] == [0, 1, 0, 0, 1]  # depth 2 sees depths 1 and 2
    assert mask[0, 0].int().tolist()[3] == [0, 0, 1, 1, 0]


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
