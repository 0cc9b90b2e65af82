"""The one place that decides how a model runs: tried, not assumed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from keeptune.batching.trie import ScoringRequest, choice_batch
from keeptune.batching.types import TrieBatch
from keeptune.core.errors import ModelError
from keeptune.models.attention import check_windows
from keeptune.models.causal import distance, draw_tokens, same_logits
from keeptune.models.engines.base import Engine
from keeptune.models.engines.encoder_decoder import EncoderDecoderEngine, decoder_start, probe_pairs
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.engines.trie import TrieEngine
from keeptune.models.forward import flat_logits, hidden_states, padded_logits
from keeptune.models.head import Head
from keeptune.models.loaded import LoadedModel

log = logging.getLogger(__name__)


@torch.no_grad()
def choose_engine(lm: LoadedModel) -> Engine:
    """The fastest engine that gives the model's own logits on two small trees; a log message says why it is slow."""
    if lm.device.type == "meta":
        return _engine_on_paper(lm)
    if lm.encoder_decoder:
        return _choose_for_pairs(lm)
    reference = PaddedEngine()
    batch = _probe_batch(lm).to(lm.device)
    with _without_dropout(lm.model):
        expected = padded_logits(lm, batch).float()
        try:
            with check_windows():
                found = flat_logits(lm, batch).float()
            if not same_logits(lm, found, expected):
                raise ModelError(f"flat and padded logits differ by {distance(found, expected):.1%} of their spread")
        except Exception as reason:  # whatever the architecture stumbles over, padding still works
            log.warning("%s runs padded, which is slower: %s", lm.name, reason)
            return reference
        plain_last_layer = _has_plain_last_layer(lm, batch, found)
        return TrieEngine(reference, plain_head=_has_plain_head(lm, batch), plain_last_layer=plain_last_layer)


def _engine_on_paper(lm: LoadedModel) -> Engine:
    """The engine that most models of the kind get: without weights there are no logits to compare."""
    if lm.encoder_decoder:
        return EncoderDecoderEngine(decoder_start(lm))
    return TrieEngine(PaddedEngine(), plain_head=Head.of(lm.model) is not None, plain_last_layer=True)


def _choose_for_pairs(lm: LoadedModel) -> Engine:
    """The engine that reads prompts once, where head and parts make the model's own logits."""
    engine = EncoderDecoderEngine(decoder_start(lm))
    batch = probe_pairs(lm, engine.start).to(lm.device)
    with _without_dropout(lm.model):
        expected = engine.reference.logits(lm, batch).float()
        try:
            found = engine.logits(lm, batch).float()
            if not same_logits(lm, found, expected):
                raise ModelError(f"its parts differ from the whole by {distance(found, expected):.1%} of the spread")
        except Exception as reason:  # whatever the architecture stumbles over, its own forward still works
            log.warning("%s reads every prompt anew for each answer, which is slower: %s", lm.name, reason)
            return engine.reference
    return engine


def _has_plain_last_layer(lm: LoadedModel, batch: TrieBatch, expected: Tensor) -> bool:
    """Whether the last layer at the kept rows alone gives the logits that the whole one gives."""
    try:
        found = flat_logits(lm, batch, cut=True).float()
    except Exception:  # whatever the architecture stumbles over, the whole layer works
        return False
    return distance(found, expected) <= (1e-4 if lm.dtype == torch.float32 else 5e-3)


def _has_plain_head(lm: LoadedModel, batch: TrieBatch) -> bool:
    """Whether `Head` makes the model's own logits."""
    head = Head.of(lm.model)
    if head is None:
        return False
    expected = flat_logits(lm, batch).float()
    got = head.logits(hidden_states(lm, head, batch)).float()
    return bool((got - expected).abs().mean() <= 1e-3 * expected.std())


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Within, evaluation mode; afterwards every module is in the mode it was in, whatever that of its parent."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _probe_batch(lm: LoadedModel) -> TrieBatch:
    """Two small trees of different size, one of which branches, drawn from a fixed seed."""
    draw = draw_tokens(lm, 64)
    return choice_batch(
        [ScoringRequest(draw[:40], [draw[40:44], draw[44:47]]), ScoringRequest(draw[47:51], [draw[51:58]])]
    )
