"""Does an exported folder say what the study's model says? Asked through plain transformers and peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.methods.prompt_tuning import virtual_ids
from keeptune.models.adapters import is_adapter


@dataclass(frozen=True)
class Distance:
    """How far two models are apart at the positions of some prompts."""

    kl: float  # mean KL(a || b), nats per position
    agreement: float  # share of positions with the same most likely token
    largest: float  # largest difference of log-probabilities of a's most likely token, nats


@torch.no_grad()
def log_probabilities(model: nn.Module, tokenizer: Any, prompts: Sequence[str]) -> list[Tensor]:
    """What a model says after every token of each prompt: float32 [T, V] on the CPU, one prompt at a time.

    An encoder-decoder reads the prompt, and says how its answer begins: [1, V].
    """
    model.eval()
    device = next(model.parameters()).device
    front = torch.tensor([virtual_ids(model)], dtype=torch.long, device=device)
    found = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids.to(device)
        length = ids.shape[1]
        ids = torch.cat([front, ids], dim=1)
        further = {}
        if model.config.is_encoder_decoder:  # type: ignore[union-attr]
            start: Any = model.config.decoder_start_token_id  # type: ignore[union-attr]
            further["decoder_input_ids"] = torch.tensor([[start]], device=device)
            length = 1
        found.append(model(input_ids=ids, **further).logits[0, -length:].float().log_softmax(-1).cpu())
    return found


def distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Distance:
    """Between log-probabilities of the same prompts, [T, V] each; a vocabulary that is padded at its end is cut."""
    kl, same, largest, positions = 0.0, 0, 0.0, 0
    for one, other in zip(a, b, strict=True):
        width = min(one.shape[1], other.shape[1])
        p, q = one[:, :width], other[:, :width]
        kl += float((p.exp() * (p - q)).sum())
        first = p.argmax(-1, keepdim=True)
        same += int((first == q.argmax(-1, keepdim=True)).sum())
        largest = max(largest, float((p.gather(1, first) - q.gather(1, first)).abs().max()))
        positions += len(p)
    return Distance(max(0.0, kl / positions), same / positions, largest)


def plain_model(folder: Path, base: Path, dtype: torch.dtype | None = None) -> nn.Module:
    """A model folder, or an adapter on its base, as somebody without keeptune loads it."""
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    place = base if is_adapter(folder) else folder
    pairs = AutoConfig.from_pretrained(place, trust_remote_code=False).is_encoder_decoder
    loader = AutoModelForSeq2SeqLM if pairs else AutoModelForCausalLM
    model = loader.from_pretrained(place, dtype=dtype or "auto", use_safetensors=True, trust_remote_code=False)
    adapted: nn.Module = PeftModel.from_pretrained(model, folder) if is_adapter(folder) else model
    return adapted.eval()
