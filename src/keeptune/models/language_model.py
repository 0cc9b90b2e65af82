"""What the rest of the package calls a model: weights, tokenizer and the facts about them that matter."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.batching.trie import Choices, choice_batch
from keeptune.batching.types import Batch
from keeptune.core.errors import DataError, ModelError
from keeptune.core.units import content_hash
from keeptune.data.encoded_cache import tokenizer_digest
from keeptune.data.tokenizer import unembedded_tokens
from keeptune.methods.base import Method, weight_delta
from keeptune.models.attention import check_windows
from keeptune.models.causal import check_causal, draw_tokens
from keeptune.models.forward import flat_logits, hidden_states, padded_logits
from keeptune.models.head import Head

log = logging.getLogger(__name__)


@dataclass(eq=False)
class LanguageModel:
    """A causal language model with its tokenizer. One loaded base serves many arms: see `adapt` and `restore`."""

    model: nn.Module  # a transformers causal LM, or a peft wrapper around one
    tokenizer: Any  # transformers' PreTrainedTokenizerBase
    name: str
    context: int  # tokens that fit
    eos_ids: tuple[int, ...]  # every token that ends a sequence; the tokenizer's own first
    device: torch.device
    dtype: torch.dtype
    unembedded: frozenset[int]  # tokens of the tokenizer that the model does not know
    hash: str | None  # of weights and tokenizer, by content; None once a method changed them: cache nothing about those
    chat: bool  # the tokenizer has a chat template
    flat: bool  # runs flat batches; otherwise everything is padded
    plain_head: bool = False  # its logits are those of `head.Head`: they can be made in chunks
    base_hash: str | None = None
    _drops_out: tuple[nn.Module, bool] | None = None

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
        parameter = next(model.parameters())
        eos_ids = _eos_ids(model, tokenizer, name)
        vocabulary = _embedded_tokens(model)
        model.eval()
        _exact_frequencies(model)
        lm = cls(
            model=model,
            tokenizer=tokenizer,
            name=name,
            context=_context(model, tokenizer),
            eos_ids=eos_ids,
            device=parameter.device,
            dtype=parameter.dtype,
            unembedded=unembedded_tokens(tokenizer, vocabulary, name),
            hash=weights_hash or content_hash([hash_parameters(model), tokenizer_digest(tokenizer), eos_ids]),
            chat=bool(getattr(tokenizer, "chat_template", None)),
            flat=False,
        )
        _refuse_virtual_tokens(lm)
        check_causal(lm)
        lm.look_how_it_runs()
        return lm

    @property
    def shares(self) -> bool:
        """Whether a prefix may be computed once for several rows: not where every row needs dropout of its own."""
        if self.flat and self.model.training and self._dropout():
            _say_once(f"{self.name} trains with dropout: prefixes are computed for every row anew")
            return False
        return self.flat

    def _dropout(self) -> bool:
        """Whether the model as it is adapted draws dropout; looked up once, since all modules have to be asked."""
        if self._drops_out is None or self._drops_out[0] is not self.model:
            self._drops_out = (self.model, _drops_out(self.model))
        return self._drops_out[1]

    @property
    def parameters(self) -> int:
        """How many weights the model has, tied ones counted once, those of an adapter included."""
        return sum(parameter.numel() for parameter in self.model.parameters())

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
        """Make the model trainable by ``method``."""
        self.base_hash, self.hash = self.base_hash or self.hash, None
        self.model = method.prepare(self.model)
        if _learns_prompts(self.model):
            _refuse_virtual_tokens(self)
            self.look_how_it_runs()

    def restore(self, method: Method) -> None:
        """Give the model back as it was before `adapt`, bit by bit."""
        prompted = _learns_prompts(self.model)
        self.model = method.restore(self.model)
        self.model.eval()
        self.hash = self.base_hash
        if prompted:
            self.look_how_it_runs()

    def look_how_it_runs(self) -> None:
        """Whether the model as it is runs flat batches, and whether its head is a plain one: tried, not assumed."""
        self.flat = _runs_flat(self)
        self.plain_head = self.flat and _has_plain_head(self)

    def accept(self, method: Method) -> None:
        """Keep what ``method`` learned as the model that the next method starts from."""
        self.model = weight_delta(method).merge(self.model)
        self.model.eval()
        self.hash = self.base_hash = None

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


def _embedded_tokens(model: Any) -> int:
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
    if not _learns_prompts(lm.model):
        return
    ids = torch.full((1, 4), lm.eos_ids[0], device=lm.device)
    length = lm.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape[1]
    if length != ids.shape[1]:
        raise ModelError(
            f"its adapter puts {length - ids.shape[1]} virtual tokens before the input, and cannot be judged",
            where=lm.name,
            remedy="judge an adapter that changes layers, such as LoRA",
        )


@torch.no_grad()
def _runs_flat(lm: LanguageModel) -> bool:
    """Whether flat logits equal padded ones on two small trees; says so once where they do not."""
    batch = _probe_batch(lm).to(lm.device)
    expected = padded_logits(lm, batch).float()
    try:
        with check_windows():
            got = flat_logits(lm, batch).float()
        error = float((got - expected).abs().mean() / expected.std())
        if not error < (2e-3 if lm.dtype == torch.float32 else 5e-2):
            raise ModelError(f"flat and padded logits differ by {error:.1%} of their spread")
    except Exception as reason:  # whatever the architecture stumbles over, padding still works
        log.warning("%s runs padded, which is slower: %s", lm.name, reason)
        return False
    return True


@torch.no_grad()
def _has_plain_head(lm: LanguageModel) -> bool:
    """Whether `head.Head` makes the model's own logits."""
    head, batch = Head.of(lm.model), _probe_batch(lm).to(lm.device)
    if head is None:
        return False
    expected = flat_logits(lm, batch).float()
    got = head.logits(hidden_states(lm, head, batch)).float()
    return bool((got - expected).abs().mean() <= 1e-3 * expected.std())


@functools.cache
def _say_once(line: str) -> None:
    log.warning(line)


def _drops_out(model: nn.Module) -> bool:
    """Whether the model draws dropout in training: by a module, or by a function with a rate that a module holds."""
    modules = list(model.modules())
    if any(isinstance(module, nn.Dropout) and module.p > 0 for module in modules):
        return True
    rates = (value for module in modules for name, value in vars(module).items() if "drop" in name)
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _probe_batch(lm: LanguageModel) -> Batch:
    """Two small trees of different size, one of which branches, drawn from a fixed seed."""
    draw = draw_tokens(lm, 64)
    return choice_batch([Choices(draw[:40], [draw[40:44], draw[44:47]]), Choices(draw[47:51], [draw[51:58]])])
