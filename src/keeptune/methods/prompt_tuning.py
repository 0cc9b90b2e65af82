"""Prompt tuning: learned embeddings in front of every prompt, the model untouched (Lester et al. 2021, 2104.08691)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.errors import ModelError
from keeptune.methods.base import METHODS, Method, MethodConfig
from keeptune.methods.peft import WEIGHTS

KEY = "prompt_embeddings"  # in peft's files


@METHODS.register("prompt-tuning")
class PromptTuningConfig(MethodConfig):
    """How many virtual tokens are learned, and where they begin."""

    weight_deltas: ClassVar[bool] = False
    same_input: ClassVar[bool] = False
    dose: ClassVar[str] = "tokens"

    tokens: int = Field(20, ge=1)
    start: Literal["vocabulary", "random"] = "vocabulary"  # the embeddings of drawn tokens, or as scattered as they are
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 1e-1)

    @override
    def build(self) -> PromptTuning:
        return PromptTuning(self)


class SoftEmbedding(nn.Module):
    """The model's embedding for its own ids, and learned vectors for those behind them."""

    def __init__(self, base: nn.Embedding, prompt: Tensor) -> None:
        super().__init__()
        self.base = base
        self.prompt = nn.Parameter(prompt)  # [virtual tokens, width]
        self.num_embeddings, self.embedding_dim = base.num_embeddings, base.embedding_dim

    @property
    def weight(self) -> Tensor:
        """The model's own."""
        return self.base.weight

    @property
    def virtual_ids(self) -> tuple[int, ...]:
        """The ids of the learned vectors."""
        return tuple(range(self.num_embeddings, self.num_embeddings + len(self.prompt)))

    def forward(self, ids: Tensor) -> Tensor:
        """[..., width] of ids [...]."""
        virtual = ids >= self.num_embeddings
        embedded: Tensor = self.base(ids.masked_fill(virtual, 0))
        learned = self.prompt[(ids - self.num_embeddings).clamp(min=0)]
        return torch.where(virtual.unsqueeze(-1), learned.to(embedded.dtype), embedded)


def virtual_ids(model: nn.Module) -> tuple[int, ...]:
    """Ids that stand in front of every row that ``model`` reads; none where it embeds its own vocabulary alone."""
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    return embedding.virtual_ids if isinstance(embedding, SoftEmbedding) else ()


def put_in_front(model: nn.Module, prompt: Tensor) -> nn.Module:
    """``model`` with learned vectors [virtual tokens, width] behind its vocabulary, in its own dtype; all frozen.

    Raises:
        ModelError: it has virtual tokens already, or its embeddings are of another width.
    """
    base = model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(base, SoftEmbedding):
        raise ModelError("the model has virtual tokens already", remedy="load it without its adapter")
    if prompt.shape[1] != base.embedding_dim:
        raise ModelError(f"virtual tokens of width {prompt.shape[1]} for embeddings of width {base.embedding_dim}")
    model.set_input_embeddings(SoftEmbedding(base, prompt.to(base.weight)))  # type: ignore[operator]
    return model.requires_grad_(False)


class PromptTuning(Method):
    """Trains the vectors that virtual tokens are embedded as. Saved as peft saves prompt tuning."""

    def __init__(self, config: PromptTuningConfig) -> None:
        self.config = config

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """Put the learned vectors beside the embedding; draws them from torch's global generator."""
        base = model.get_input_embeddings()  # type: ignore[operator]
        weight = base.weight.detach()
        if self.config.start == "vocabulary":
            prompt = weight[torch.randint(len(weight), (self.config.tokens,)).to(weight.device)].clone()
        else:
            prompt = torch.randn(self.config.tokens, weight.shape[1]) * weight.float().std().cpu()
        put_in_front(model, prompt)
        _soft(model).prompt.requires_grad_(True)
        return model

    @override
    def virtual_ids(self, model: nn.Module) -> tuple[int, ...]:
        return virtual_ids(model)

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """An adapter folder that plain peft reads."""
        from peft import PromptTuningConfig as PeftConfig

        folder.mkdir(parents=True, exist_ok=True)
        soft = _soft(model)
        peft = PeftConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.config.tokens,
            token_dim=soft.embedding_dim,
            base_model_name_or_path=getattr(model, "name_or_path", None),
            inference_mode=True,
        )
        peft.save_pretrained(folder)
        save_file({KEY: soft.prompt.detach().contiguous()}, folder / WEIGHTS, metadata={"format": "pt"})

    @override
    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the vectors back in place.

        Raises:
            ModelError: they are not as many or not as wide.
        """
        stored, soft = load_file(folder / WEIGHTS)[KEY], _soft(model)
        if stored.shape != soft.prompt.shape:
            raise ModelError(
                f"{stored.shape[0]} virtual tokens of width {stored.shape[1]} are stored, and"
                f" {soft.prompt.shape[0]} of width {soft.prompt.shape[1]} are wanted",
                where=str(folder),
            )
        soft.prompt.copy_(stored)

    @override
    def restore(self, model: nn.Module) -> nn.Module:
        """The embedding stands alone again."""
        model.set_input_embeddings(_soft(model).base)  # type: ignore[operator]
        return model

    @override
    def describe(self) -> str:
        return f"prompt tuning, {self.config.tokens} tokens"

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` itself: without virtual ids in its input it is the base."""
        yield model


def _soft(model: nn.Module) -> SoftEmbedding:
    found: SoftEmbedding = model.get_input_embeddings()  # type: ignore[operator]
    return found
