"""Prompt tuning: learned embeddings in front of every prompt, the model untouched (Lester et al. 2021, 2104.08691)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.errors import ConfigError, ModelError
from keeptune.methods.base import METHODS, Method, MethodConfig, task_type
from keeptune.methods.peft import WEIGHTS

KEY = "prompt_embeddings"  # in peft's files


@METHODS.register("prompt-tuning")
class PromptTuningConfig(MethodConfig):
    """Prompt tuning: the embeddings of virtual tokens are learned."""

    weight_deltas: ClassVar[bool] = False
    same_input: ClassVar[bool] = False
    shards: ClassVar[bool] = True
    dose: ClassVar[str] = "tokens"

    tokens: int = Field(20, ge=1)
    """Virtual tokens in front of every prompt."""
    start: Literal["vocabulary", "random", "text"] = "vocabulary"
    """Embeddings of drawn tokens, vectors as scattered as embeddings are, or the embeddings of a text."""
    text: str = ""
    """For 'start: text'; repeated or cut to so many tokens."""
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 1e-1)

    @model_validator(mode="after")
    def _text_is_read(self) -> Self:
        if bool(self.text) != (self.start == "text"):
            raise ValueError("'start: text' and 'text' belong together")
        return self

    @override
    def build(self) -> PromptTuning:
        return PromptTuning(self)


class Vectors(nn.Module):
    """Vectors that are learned as they are."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start)  # [virtual tokens, width]

    def forward(self) -> Tensor:
        """[virtual tokens, width]."""
        return self.weight


class SoftEmbedding(nn.Module):
    """The model's embedding for its own ids, and learned vectors for those behind them.

    Args:
        base: the model's own.
        prompt: called without arguments for the vectors, [virtual tokens, width].
        tokens: how many they are.
    """

    def __init__(self, base: nn.Embedding, prompt: nn.Module, tokens: int) -> None:
        super().__init__()
        self.base, self.prompt = base, prompt
        self.num_embeddings, self.embedding_dim = base.num_embeddings, base.embedding_dim
        self.virtual_ids = tuple(range(self.num_embeddings, self.num_embeddings + tokens))

    @property
    def weight(self) -> Tensor:
        """The model's own."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """[..., width] of ids [...]."""
        virtual = ids >= self.num_embeddings
        embedded: Tensor = self.base(ids.masked_fill(virtual, 0))
        learned = self.prompt()[(ids - self.num_embeddings).clamp(min=0)]
        return torch.where(virtual.unsqueeze(-1), learned.to(embedded.dtype), embedded)


def virtual_ids(model: nn.Module) -> tuple[int, ...]:
    """Ids that stand in front of every row that ``model`` reads; none where it embeds its own vocabulary alone."""
    found = (module.virtual_ids for module in model.modules() if isinstance(module, SoftEmbedding))
    return next(found, ())  # whatever a method may have put around the model


def put_in_front(model: nn.Module, prompt: nn.Module) -> nn.Module:
    """``model`` with the vectors of ``prompt`` behind its vocabulary, in its own dtype; the model's weights are frozen.

    Raises:
        ModelError: it has virtual tokens already, or its embeddings are of another width.
    """
    base = model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(base, SoftEmbedding):
        raise ModelError("the model has virtual tokens already", remedy="load it without its adapter")
    tokens, width = prompt().shape
    if width != base.embedding_dim:
        raise ModelError(f"virtual tokens of width {width} for embeddings of width {base.embedding_dim}")
    model.requires_grad_(False)
    model.set_input_embeddings(  # type: ignore[operator]
        SoftEmbedding(base, prompt.to(base.weight.device, base.weight.dtype), tokens)
    )
    return model


class PromptTuning(Method):
    """Trains the vectors that virtual tokens are embedded as. Saved as peft saves prompt tuning."""

    def __init__(self, config: PromptTuningConfig) -> None:
        self.config = config

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """Put the learned vectors beside the embedding; what is drawn comes from torch's global generator.

        Raises:
            ConfigError: the vectors begin at a text, and the model came from no folder with a tokenizer.
            ModelError: the model has virtual tokens already.
        """
        return put_in_front(model, Vectors(self._start(model)))

    def _start(self, model: Any) -> Tensor:
        """Where the vectors begin, [virtual tokens, width]."""
        base, tokens = model.get_input_embeddings(), self.config.tokens
        if self.config.start == "random":
            spread = float(base.weight.detach().float().std())
            return spread * torch.randn(tokens, base.weight.shape[1])
        if self.config.start == "text":
            ids = torch.tensor(list(itertools.islice(itertools.cycle(_ids(model, self.config.text)), tokens)))
        else:
            ids = torch.randint(len(base.weight), (tokens,))
        with torch.no_grad():
            start: Tensor = base(ids.to(base.weight.device)).clone()  # by a call: some scale what they embed
        return start

    @override
    def virtual_ids(self, model: nn.Module) -> tuple[int, ...]:
        return virtual_ids(model)

    def peft(self) -> Any:
        """The class of peft's config that says what is stored."""
        from peft import PromptTuningConfig as PeftConfig

        return PeftConfig

    @override
    @torch.no_grad()
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """An adapter folder that plain peft reads."""
        folder.mkdir(parents=True, exist_ok=True)
        soft = _soft(model)
        peft = self.peft()(
            task_type=task_type(model),
            num_virtual_tokens=len(soft.virtual_ids),
            num_transformer_submodules=1,  # before the encoder's input alone, where there is one
            token_dim=soft.embedding_dim,
            base_model_name_or_path=getattr(model, "name_or_path", None),
            inference_mode=True,
        )
        peft.save_pretrained(folder)
        save_file({KEY: soft.prompt().detach().contiguous()}, folder / WEIGHTS, metadata={"format": "pt"})

    @override
    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the vectors back in place.

        Raises:
            ModelError: they are not as many or not as wide.
        """
        stored, prompt = load_file(folder / WEIGHTS)[KEY], _soft(model).prompt()
        if stored.shape != prompt.shape:
            raise ModelError(
                f"{stored.shape[0]} virtual tokens of width {stored.shape[1]} are stored, and"
                f" {prompt.shape[0]} of width {prompt.shape[1]} are wanted",
                where=str(folder),
            )
        prompt.copy_(stored)

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


def _ids(model: nn.Module, text: str) -> list[int]:
    """The tokens of ``text``, those that the tokenizer adds included, as in peft."""
    from transformers import AutoTokenizer

    folder = str(getattr(model.config, "_name_or_path", ""))
    try:
        ids: list[int] = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)(text)["input_ids"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the model came from no folder with a tokenizer, which the text needs",
            where="prompt_tuning.text",
            remedy="load the model from its folder, or let the vectors start from the vocabulary",
        ) from error
    if not ids:
        raise ConfigError("the text has no tokens", where="prompt_tuning.text", remedy="give a longer text")
    return ids


def _soft(model: nn.Module) -> SoftEmbedding:
    found: SoftEmbedding = model.get_input_embeddings()  # type: ignore[operator]
    return found
