"""Several LoRA adapters on one base in memory: requests for different ones are answered in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from keeptune.core.errors import ConfigError, ModelError
from keeptune.core.registry import either
from keeptune.methods.lora_layers.linear import additions, switched_off
from keeptune.models.adapters import adapter_tokenizer, attach, check_adapter
from keeptune.models.causal import distance, probe_logits, same_logits
from keeptune.models.engines.choose import choose_engine
from keeptune.models.language_model import LanguageModel, embedded_tokens
from keeptune.models.load import load
from keeptune.models.quantise import NONE

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class AdapterSet:
    """LoRA adapters by name on one base, of which one, or none, is in force at a time.

    Requests are grouped by adapter, for a flat row holds tokens of all its requests and knows no rows to tell apart:
    so every group is exactly what the adapter alone would answer to it.

    Example:
        >>> adapters = AdapterSet.load("builtin", {"orders": "runs/orders/adapter", "sums": "runs/sums/adapter"})
        >>> adapters.ask(["orders", None, "sums"], prompts, lambda lm, some: generate(lm, some, 16))
    """

    def __init__(self, lm: LanguageModel, places: Mapping[str, str]) -> None:
        self.lm, self._places = lm, places  # by name, what peft calls each adapter: it does not take every name

    @classmethod
    def load(
        cls,
        base: str,
        adapters: Mapping[str, str | Path],
        *,
        device: str = "auto",
        precision: str = "auto",
        quantise: str = NONE,
    ) -> AdapterSet:
        """Read the base once and every adapter; arguments are those of `load`.

        Raises:
            ConfigError: no adapter.
            ModelError: an adapter is not one of LoRA, does not fit the base, or brings tokens of its own.
        """
        if not adapters:
            raise ConfigError("no adapters", remedy="name one or more, or load the base by itself")
        for folder in adapters.values():
            check_kind(Path(folder))
        lm = load(base, device=device, precision=precision, quantise=quantise)
        template = lm.tokenizer.chat_template
        places = {name: f"adapter{number}" for number, name in enumerate(adapters)}
        for name, folder in adapters.items():
            own = adapter_tokenizer(Path(folder), lm.tokenizer)
            lm.tokenizer.chat_template = template  # an adapter's template is for whoever makes the prompts
            vocabulary = embedded_tokens(lm.model)
            lm.model = attach(lm.model, Path(folder), base, places[name])
            if own is not lm.tokenizer or embedded_tokens(lm.model) != vocabulary:
                raise ModelError("it brings tokens of its own", where=str(folder), remedy="load it by itself")
        lm.model.eval().requires_grad_(False)
        lm.hash = None  # nothing may be kept under the name of the base
        lm.base_engine = choose_engine(lm)
        return cls(lm, places)

    @contextmanager
    def using(self, name: str | None) -> Iterator[LanguageModel]:
        """Within, the model with one adapter in force; with None the base.

        Raises:
            ConfigError: there is no adapter of that name.
        """
        if name is None:
            with switched_off(self.lm.model):
                yield self.lm
            return
        if name not in self._places:
            raise ConfigError(f"no adapter '{name}'", remedy=f"use {either(name, tuple(self._places))}")
        self.lm.model.set_adapter(self._places[name])  # type: ignore[operator]
        self.lm.model.requires_grad_(False)  # which peft undoes
        yield self.lm

    def ask(
        self,
        names: Sequence[str | None],
        requests: Sequence[Asked],
        answer: Callable[[LanguageModel, list[Asked]], Sequence[Answer]],
    ) -> list[Answer]:
        """The answers to ``requests``, each by the adapter of that place in ``names``, in their order.

        ``answer`` is called once per adapter with all its requests: `generate`, `choice_logprobs`, `row_nats`.

        Raises:
            ConfigError: there is no adapter of a name.
            ValueError: not as many names as requests.
        """
        groups: dict[str | None, list[int]] = {}
        for place, (name, _) in enumerate(zip(names, requests, strict=True)):
            groups.setdefault(name, []).append(place)
        found: dict[int, Answer] = {}
        for name, places in groups.items():
            with self.using(name) as lm:
                answers = answer(lm, [requests[place] for place in places])
                found |= dict(zip(places, answers, strict=True))
        return [found[place] for place in range(len(requests))]

    @contextmanager
    def merged(self, name: str) -> Iterator[LanguageModel]:
        """Within, the adapter is a part of the base's weights and costs nothing; afterwards these are as before.

        The addition is made in float32 and rounded to the weights' dtype once.

        Raises:
            ConfigError: there is no adapter of that name.
            ModelError: merged, the model's logits differ from the adapter's by more than 0.2 % of their spread in
                float32, or 5 % in bfloat16.
        """
        with self.using(name) as lm:
            expected, before = probe_logits(lm, lm.engine), {}
            try:
                for addition in list(additions(lm.model)):
                    if addition.weight not in before:  # embedding and head may be one
                        before[addition.weight] = addition.weight.detach().to("cpu", copy=True)
                    addition.add()
                with switched_off(lm.model):
                    _check_merged(lm, name, probe_logits(lm, lm.engine), expected)
                    yield lm
            finally:
                with torch.no_grad():
                    for weight, saved in before.items():
                        weight.copy_(saved)


def check_kind(folder: Path) -> None:
    """Nothing, where the adapter in ``folder`` can share a base.

    Raises:
        ModelError: it is not one of LoRA, or changes more than the layers that LoRA adds to.
    """
    config, _ = check_adapter(folder)
    kind = config.get("peft_type", "keeptune's own")
    if kind != "LORA":
        raise ModelError(
            f"an adapter of kind {kind} stands on no shared base", where=str(folder), remedy="load it by itself"
        )
    more = [name for name in ("modules_to_save", "trainable_token_indices") if config.get(name)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if more:
        raise ModelError(
            f"it changes more than LoRA's layers ({', '.join(more)})", where=str(folder), remedy="load it by itself"
        )


def _check_merged(lm: LanguageModel, name: str, found: Tensor, expected: Tensor) -> None:
    if not same_logits(lm, found, expected):
        raise ModelError(
            f"merged, its logits differ from the adapter's by {distance(found, expected):.1%} of their spread",
            where=name,
            remedy="ask it as an adapter, or in float32",
        )
