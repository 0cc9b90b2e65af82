"""The study's arms, and what plain transformers and peft say of them."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from keeptune.export.check import log_probabilities
from keeptune.export.chosen import Chosen, choose

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}:\n{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"
)


def arm(run: Path, family: str) -> Chosen:
    names = [arm.name for arm in choose(run).summary.arms if arm.family == family]
    return choose(run, names[0])


def said(model: torch.nn.Module, chosen: Chosen) -> list[torch.Tensor]:
    return log_probabilities(model, AutoTokenizer.from_pretrained(chosen.base), chosen.prompts())


def scored(chosen: Chosen) -> list[torch.Tensor]:
    """What peft says of the adapter as the study stored it."""
    base = AutoModelForCausalLM.from_pretrained(chosen.base, dtype=torch.float32)
    return said(PeftModel.from_pretrained(base, chosen.weights), chosen)
