"""What the rest of the package calls a model: weights, tokenizer and the facts about them that matter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.core.errors import DataError, ModelError
from keeptune.core.units import content_hash
from keeptune.data.encode.tokenizer import tokenizer_digest, unembedded_tokens
from keeptune.methods.base import Method, is_encoder_decoder, weight_delta
from keeptune.methods.prompt_tuning import virtual_ids
from keeptune.models.causal import check_causal
from keeptune.models.engines.base import Engine
from keeptune.models.engines.choose import choose_engine
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.engines.soft_prompt import SoftPromptEngine
from keeptune.models.loaded import LoadedModel
from keeptune.models.quantise import keep_order, telling_of_merge, weights_in


@dataclass(eq=False)
class LanguageModel(LoadedModel):
    """A causal language model, or an encoder-decoder, with its tokenizer.

    One loaded base serves many arms: see `adapt` and `restore`.

    Example:
        >>> lm, method = load("builtin"), LoraConfig(rank=4).build()
        >>> base = lm.parameters
        >>> lm.adapt(method)
        >>> lm.parameters > base, lm.hash  # nothing is cached about weights that change
        (True, None)
        >>> lm.restore(method)
        >>> lm.parameters == base, lm.hash == lm.base_hash
        (True, True)
    """

    base_engine: Engine = field(default_factory=PaddedEngine)  # how the model runs that no method has changed
    adapted_engine: Engine | None = None  # and how it runs adapted, where that was tried anew
    _held_back: bool = False  # see `using`
    _wrap: Callable[[Engine], Engine] | None = None  # see `through`

    @classmethod
    def wrap(
        cls,
        model: nn.Module,
        tokenizer: Any,
        *,
        name: str = "model",
        weights_hash: str | None = None,
    ) -> LanguageModel:
        """A `LanguageModel` around a model in memory; the model is left in evaluation mode.

        ``weights_hash`` is computed from parameters and tokenizer where it is not given. A model that cannot run flat
        batches falls back to padded ones, and a log message says why.

        Raises:
            ModelError: the tokenizer has no end-of-sequence token, or plain text needs more tokens than the model has
                embeddings; or what the model says of a token depends on later ones, or on other rows.
        """
        lm = cls.sketch(model, tokenizer, name=name)
        keep_order(model)
        _exact_frequencies(model)
        lm.hash = weights_hash or content_hash([hash_parameters(model), tokenizer_digest(tokenizer), lm.eos_ids])
        _refuse_virtual_tokens(lm)
        if not lm.encoder_decoder:  # the decoder of one is what it is called
            check_causal(lm)
        lm.base_engine = _engine(lm)
        return lm

    @classmethod
    def sketch(cls, model: nn.Module, tokenizer: Any, *, name: str = "model") -> LanguageModel:
        """`wrap` for a model that may have no data (on the meta device): nothing is computed, and it has no hash.

        Raises:
            ModelError: as `wrap`, of the tokenizer alone.
        """
        parameter = next(model.parameters())
        lm = cls(
            model=model.eval(),
            tokenizer=tokenizer,
            name=name,
            context=_context(model, tokenizer),
            eos_ids=_eos_ids(model, tokenizer, name),
            device=parameter.device,
            dtype=parameter.dtype,
            unembedded=unembedded_tokens(tokenizer, embedded_tokens(model), name),
            hash=None,
            chat=bool(getattr(tokenizer, "chat_template", None)),
            encoder_decoder=is_encoder_decoder(model),
        )
        if parameter.is_meta:
            lm.base_engine = _engine(lm)
        return lm

    @property
    def engine(self) -> Engine:
        """How the model runs."""
        chosen = self.adapted_engine or self.base_engine
        chosen = chosen.reference if self._held_back else chosen
        return chosen if self._wrap is None else self._wrap(chosen)

    @contextmanager
    def through(self, wrap: Callable[[Engine], Engine]) -> Iterator[None]:
        """Within, the model runs by what ``wrap`` makes of the engine that is its own at the time."""
        before, self._wrap = self._wrap, wrap
        try:
            yield
        finally:
            self._wrap = before

    @contextmanager
    def using(self, engine: str) -> Iterator[None]:
        """Within, "padded" holds the model back to its slow reference; "flat" lets it run as fast as it can."""
        before = self._held_back
        self._held_back = before or engine == "padded"
        try:
            yield
        finally:
            self._held_back = before

    def keep_to(self, name: str) -> bool:
        """Run the base by the engine of this name from now on; False where it is neither the chosen one nor its
        reference.
        """
        found = next((each for each in (self.base_engine, self.base_engine.reference) if each.name == name), None)
        self.base_engine = found or self.base_engine
        return found is not None

    @property
    def parameters(self) -> int:
        """How many weights the model has, tied ones counted once, those of an adapter included."""
        return sum(map(weights_in, self.model.parameters()))

    def check_known(self, texts: Iterable[Sequence[int]]) -> None:
        """Nothing, where the model embeds every token of ``texts``.

        Raises:
            DataError: it does not.
        """
        if self.unembedded:
            found = next((id for ids in texts for id in ids if id in self.unembedded), None)
            if found is not None:
                token = self.tokenizer.convert_ids_to_tokens(found)
                raise DataError(
                    f"a text needs the token {token!r}, which {self.name} does not embed",
                    remedy="leave the text out, or use a model that knows the token",
                )

    def adapt(self, method: Method) -> None:
        """Make the model trainable by ``method``.

        A method that puts another module in the model's place may have changed how it runs, which is then tried anew;
        a model that runs padded goes on so.
        """
        before, self.model = self.model, method.prepare(self.model)
        self.base_hash, self.hash = self.base_hash or self.hash, None
        if self.model is not before:
            _refuse_virtual_tokens(self)
            padded = self.base_engine.reference is self.base_engine
            self.adapted_engine = None if padded else _engine(self)
        virtual = method.virtual_ids(self.model)
        if virtual:
            self.adapted_engine = SoftPromptEngine(self.adapted_engine or self.base_engine, virtual)

    def restore(self, method: Method) -> None:
        """Give the model back as it was before `adapt`, bit by bit."""
        self._take(method.restore(self.model))
        self.hash = self.base_hash

    def accept(self, method: Method) -> None:
        """Keep what ``method`` learned as the model that the next method starts from; its weights are plain ones."""
        with telling_of_merge(self, self.base_engine):
            self._take(weight_delta(method).merge(self.model))
        self.hash = self.base_hash = None

    def _take(self, plain: nn.Module) -> None:
        self.model = plain.eval()
        self.adapted_engine = None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Within, `accept` may change the weights; afterwards they are as they were before, bit by bit."""
        before = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.model.state_dict().items()}
        weights_hash = self.hash
        try:
            yield
        finally:
            self.model.load_state_dict(before)
            self.hash = self.base_hash = weights_hash


def _engine(lm: LanguageModel) -> Engine:
    """The fastest one, with the virtual tokens in front that the model may have learned."""
    engine, virtual = choose_engine(lm), virtual_ids(lm.model)
    return SoftPromptEngine(engine, virtual) if virtual else engine


@contextmanager
def evaluating(lm: LanguageModel) -> Iterator[None]:
    """Within, the model is in evaluation mode and builds no graph; afterwards in the mode it was in."""
    training = lm.model.training
    lm.model.eval()
    try:
        with torch.no_grad():  # not inference_mode: buffers made in it could not take part in later training
            yield
    finally:
        lm.model.train(training)


def hash_parameters(model: nn.Module) -> str:
    """Hex SHA-256 (16 digits) over names and bytes of the model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _eos_ids(model: nn.Module, tokenizer: Any, name: str) -> tuple[int, ...]:
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has no end-of-sequence token",
            where=name,
            remedy='add "eos_token" to tokenizer_config.json: completions have to end somewhere',
        )
    generation = getattr(model, "generation_config", None)
    more = getattr(generation, "eos_token_id", None)
    more = [] if more is None else [more] if isinstance(more, int) else list(more)
    return tuple(dict.fromkeys([int(tokenizer.eos_token_id), *map(int, more)]))


def _exact_frequencies(model: nn.Module) -> None:
    """Undo the rounding of rotary frequencies by ``model.to(torch.bfloat16)``: loading keeps them in float32, too."""
    for module in model.modules():
        frequencies = getattr(module, "inv_freq", None)
        if isinstance(frequencies, Tensor) and frequencies.dtype != torch.float32 and hasattr(module, "config"):
            fresh = type(module)(module.config).to(frequencies.device)
            for name, buffer in fresh.named_buffers(recurse=False):
                setattr(module, name, buffer)


def embedded_tokens(model: Any) -> int:
    """How many tokens the model embeds; what peft wrapped around its embedding does not say."""
    embedding = model.get_input_embeddings()
    for inner in ("original_module", "base_layer"):
        embedding = getattr(embedding, inner, embedding)
    return int(embedding.num_embeddings)


def _context(model: nn.Module, tokenizer: Any) -> int:
    """Tokens that fit: the smaller of what the model and its tokenizer state (2,048 where neither does)."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    stated = [getattr(text, field, None) for field in ("max_position_embeddings", "n_positions", "max_seq_len")]
    limits = [n for n in (*stated, tokenizer.model_max_length) if isinstance(n, int) and 0 < n < 10**9]
    return min(limits, default=2048)


def _learns_prompts(model: nn.Module) -> bool:
    """Whether a peft adapter of the model changes the input rather than the layers."""
    config = getattr(model, "active_peft_config", None)
    return bool(getattr(config, "is_prompt_learning", False))


@torch.no_grad()
def _refuse_virtual_tokens(lm: LanguageModel) -> None:
    """Adapters that lengthen the input change which logits belong to which token: none of our paths expects that.

    Raises:
        ModelError: the model's adapter does.
    """
    if not _learns_prompts(lm.model) or lm.device.type == "meta":
        return
    ids = torch.full((1, 4), lm.eos_ids[0], device=lm.device)
    length = lm.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape[1]
    if length != ids.shape[1]:
        raise ModelError(
            f"its adapter puts {length - ids.shape[1]} virtual tokens before the input, and cannot be judged",
            where=lm.name,
            remedy="judge an adapter that changes layers, such as LoRA",
        )
