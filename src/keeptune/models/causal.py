"""Whether a model is what all else takes it for: each token is predicted from those before it, and rows go alone."""

from __future__ import annotations

import torch
from torch import Tensor

from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.models.engines.base import Engine
from keeptune.models.loaded import LoadedModel


@torch.no_grad()
def check_causal(lm: LoadedModel) -> None:
    """Run two short rows that begin alike, together and one alone.

    Raises:
        ModelError: a later token, or the row beside, changes what the model predicts.
    """
    draw = draw_tokens(lm, 28)
    first, second = [*draw[:8], *draw[8:16]], [*draw[:8], *draw[16:28]]  # the shorter one is padded on the right
    together = _logits(lm, [first, second])
    if distance(together[1, :8], together[0, :8]) > _tolerance(lm, 1e-4, 2e-2):
        raise ModelError(
            "what the model predicts depends on later tokens: it is no causal language model",
            where=lm.name,
            remedy="name a decoder-only model; an encoder, or a model made bidirectional, cannot be scored",
        )
    alone = _logits(lm, [first])
    if distance(together[0, : len(first)], alone[0]) > _tolerance(lm, 2e-3, 1e-1):
        raise ModelError(
            "what the model predicts depends on the rows beside: no score of it could be repeated",
            where=lm.name,
            remedy="use another model",
        )


def draw_tokens(lm: LoadedModel, n: int) -> list[int]:
    """Tokens that the model knows, drawn from a fixed seed."""
    vocabulary = min(len(lm.tokenizer), min(lm.unembedded, default=len(lm.tokenizer)))
    drawn: list[int] = torch.randint(vocabulary, (n,), generator=torch.Generator().manual_seed(0)).tolist()
    return drawn


@torch.no_grad()
def probe_logits(lm: LoadedModel, engine: Engine) -> Tensor:
    """[L, V] float32: what a model says of one row of drawn tokens, in evaluation mode."""
    drawn, training = draw_tokens(lm, 64), lm.model.training
    (batch,) = engine.score_batches([Encoded("", tuple(drawn[:33]), tuple(drawn[33:]))], len(drawn))
    lm.model.eval()
    try:
        return engine.logits(lm, batch.to(lm.device)).float()
    finally:
        lm.model.train(training)


def distance(found: Tensor, expected: Tensor) -> float:
    """The mean difference of logits, in spreads of the expected ones."""
    return float((found - expected).abs().mean() / expected.std())


def same_logits(lm: LoadedModel, found: Tensor, expected: Tensor) -> bool:
    """Whether logits of the model differ by rounding only."""
    return distance(found, expected) < _tolerance(lm, 2e-3, 5e-2)


def _tolerance(lm: LoadedModel, fp32: float, bf16: float) -> float:
    return fp32 if lm.dtype == torch.float32 else bf16


def _logits(lm: LoadedModel, rows: list[list[int]]) -> Tensor:
    """[B, L, V] float32, rows padded on the right as everywhere."""
    longest = max(map(len, rows))
    input_ids_BL = torch.full((len(rows), longest), lm.eos_ids[0])
    mask_BL = torch.zeros_like(input_ids_BL)
    for row, ids in enumerate(rows):
        input_ids_BL[row, : len(ids)] = torch.tensor(ids)
        mask_BL[row, : len(ids)] = 1
    output = lm.model(input_ids=input_ids_BL.to(lm.device), attention_mask=mask_BL.to(lm.device), use_cache=False)
    logits_BLV: Tensor = output.logits.float()
    return logits_BLV
