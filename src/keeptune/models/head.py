"""The language-model head at supervised rows only, in chunks: the logits of a whole batch never exist.

The gradient of the loss is formed in the forward pass, chunk by chunk, while a chunk's logits are at hand; backward
only hands it out. U kept rows, S targets, V vocabulary, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.batching.types import Batch
from keeptune.methods.base import is_encoder_decoder
from keeptune.models.loaded import unwrapped
from keeptune.models.paper import device_type

CHUNK = 2**25  # logits of a chunk: 64 MB in bfloat16


@dataclass(frozen=True)
class Head:
    """A linear head, and what some architectures do to its logits."""

    decoder: nn.Module  # everything in front of the head; called for the hidden states
    linear: nn.Linear
    scale: float = 1.0  # logits are multiplied by it (Cohere, Granite)
    softcap: float | None = None  # and squashed to (-softcap, softcap) (Gemma 2)

    @classmethod
    def of(cls, model: nn.Module) -> Head | None:
        """The head of a transformers language model, adapted by peft or not; None where there is no plain one.

        What is found is a guess by the names that transformers uses: compare its logits with the model's own.
        """
        inner = unwrapped(model)
        if inner is not model and model.active_peft_config.is_prompt_learning:  # type: ignore[union-attr]
            return None  # its virtual tokens are put in front by peft's own forward
        linear, decoder = inner.get_output_embeddings(), getattr(inner, "base_model", inner)
        if is_encoder_decoder(inner):
            decoder = inner.get_decoder()
        if decoder is inner or type(linear) is not nn.Linear:
            return None
        config = inner.config.get_text_config()
        scale = 1.0
        for name in ("logit_scale", "lm_head_multiplier"):
            scale *= getattr(config, name, None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        if getattr(config, "scale_decoder_outputs", False):  # T5 with tied embeddings
            scale *= config.d_model**-0.5
        return cls(decoder, linear, scale, getattr(config, "final_logit_softcapping", None))

    def logits(self, hidden_UD: Tensor) -> Tensor:
        """[U, V] logits in the model's dtype."""
        logits_UV: Tensor = self.linear(hidden_UD)
        if self.scale != 1.0:
            logits_UV = logits_UV * self.scale
        return logits_UV if self.softcap is None else torch.tanh(logits_UV / self.softcap) * self.softcap

    def logprobs(self, hidden_UD: Tensor, batch: Batch) -> Tensor:
        """[S] float32 log-probabilities (nats) of the batch's targets; builds no graph."""
        found = []
        with torch.no_grad():
            for rows, targets in chunks(batch, self.linear.out_features):
                logits = self.logits(hidden_UD[rows]).float()
                sources = batch.sources[targets] - rows.start
                found.append(logits[sources, batch.labels[targets]] - logits.logsumexp(-1)[sources])
        return torch.cat(found)

    def ranks(self, hidden_UD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """`logprobs`, and [S] bool: whether each target is the likeliest token; builds no graph."""
        found, likeliest = [], []
        with torch.no_grad():
            for rows, targets in chunks(batch, self.linear.out_features):
                logits = self.logits(hidden_UD[rows]).float()
                sources, labels = batch.sources[targets] - rows.start, batch.labels[targets]
                found.append(logits[sources, labels] - logits.logsumexp(-1)[sources])
                likeliest.append(logits.argmax(-1)[sources] == labels)
        return torch.cat(found), torch.cat(likeliest)

    def nll(self, hidden_UD: Tensor, batch: Batch, scale: float = 1.0) -> Tensor:
        """Weighted negative log-likelihood of the batch's targets times ``scale``: float32 scalar, in nats."""
        bias = self.linear.bias
        loss: Tensor = _ChunkedLoss.apply(hidden_UD, self.linear.weight, bias, self, batch, scale)  # type: ignore[no-untyped-call]
        return loss


def chunks(batch: Batch, vocabulary: int) -> list[tuple[slice, slice]]:
    """(rows, targets) of every chunk; offsets are on the CPU, so nothing waits for a GPU."""
    offsets = batch.offsets.tolist()
    size, count = max(1, CHUNK // vocabulary), len(offsets) - 1
    starts = range(0, count, size)
    return [(slice(i, min(i + size, count)), slice(offsets[i], offsets[min(i + size, count)])) for i in starts]


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: Head, batch: Batch, scale: float
    ) -> Tensor:
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        parts = chunks(batch, len(weight))
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        wide = torch.float32 if len(parts) > 1 else weight.dtype  # sums over chunks are formed in float32
        d_weight = torch.zeros_like(weight, dtype=wide) if need_weight and len(parts) > 1 else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias and bias is not None else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for rows, targets in parts:
            logits = head.logits(hidden[rows])
            nll, grad = _loss_and_gradient(
                logits, batch.sources[targets] - rows.start, batch.labels[targets], batch.weights[targets] * scale
            )
            total += nll
            if head.softcap is not None:
                grad *= 1 - (logits / head.softcap) ** 2
            if head.scale != 1.0:
                grad *= head.scale
            if d_hidden is not None:
                torch.mm(grad, weight, out=d_hidden[rows])
            if need_weight:
                chunk = grad.t() @ hidden[rows]
                d_weight = chunk if d_weight is None else d_weight.add_(chunk)
            if d_bias is not None:
                d_bias += grad.sum(0, dtype=torch.float32)
        ctx.save_for_backward(
            d_hidden,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None or bias is None else d_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if device_type(grad) == "cpu" and grad == 1:  # a pass over the weight's gradient saved
            return (*ctx.saved_tensors, None, None, None)
        return (
            *(None if saved is None else saved * grad.to(saved.dtype) for saved in ctx.saved_tensors),
            None,
            None,
            None,
        )


def _loss_and_gradient(logits: Tensor, sources: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of weighted nll, its gradient [U, V] in the logits' dtype) for the targets of one chunk.

    One pass of softmax serves loss and gradient; the log of the sum of exponentials comes from the largest logit and
    its probability, which is at least 1 / V. Where a label is almost certain, 1 - p matters, and a rounded p has
    lost it: it is the sum of all other probabilities, which are small and so are rounded finely. The labels of a row
    differ from one another.
    """
    highest, at = logits.max(-1, keepdim=True)
    grad = torch.softmax(logits, -1)
    lse = (highest.float() - grad.gather(1, at).float().log())[sources, 0]
    p = grad[sources, labels].float()
    grad[sources, labels] = 0.0
    unlabelled = grad.sum(-1, dtype=torch.float32)
    labelled, mass = torch.zeros((2, len(logits)), dtype=torch.float32, device=logits.device)
    labelled.index_add_(0, sources, p)
    mass.index_add_(0, sources, weights)
    others = unlabelled[sources] + (labelled[sources] - p)  # 1 - p
    nll = torch.where(others < 0.5, -torch.log1p(-others), lse - logits[sources, labels].float())
    grad *= mass[:, None].to(grad.dtype)
    grad[sources, labels] = ((mass[sources] - weights) * p - weights * others).to(grad.dtype)
    return (weights * nll).sum(), grad
