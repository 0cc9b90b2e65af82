"""The models behind the columns: the first base with all its LoRA adapters, and one other model at a time."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keeptune.chat.columns import Place
from keeptune.core.errors import ModelError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.tokenizer import read_tokenizer
from keeptune.inference.adapters import AdapterSet, check_kind
from keeptune.models.adapters import adapter_tokenizer
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load, model_folder


@dataclass(eq=False)
class _Loaded:
    """A base, with the adapters that share it where there are any; or a model with an adapter of another kind."""

    lm: LanguageModel
    adapters: AdapterSet | None = None

    @contextmanager
    def using(self, place: Place) -> Iterator[LanguageModel]:
        """Within, the model of a place."""
        if self.adapters is None:
            yield self.lm
            return
        with self.adapters.using(None if place.adapter is None else str(place.adapter)) as lm:
            yield lm


class Models:
    """Loads what is asked. Not for several threads at once.

    LoRA adapters of one base are in memory together and are put in force in turn. Of models that cannot share a base
    (whole ones, other kinds of adapters), the one that was asked last is in memory beside the first base.

    Args:
        places: of all columns; the first one's base is loaded at once.
        device: see `load`.

    Raises:
        KeeptuneError: the first base, or an adapter on it, cannot be loaded.
    """

    def __init__(self, places: Sequence[Place], device: str = "auto") -> None:
        self._device = device
        self._members: dict[Place, list[Place]] = {}  # what is loaded together, by the place that it is known by
        self._group = {place: _group(place) for place in places}
        for place, group in self._group.items():
            self._members.setdefault(group, []).append(place)
        self._encoders: dict[Place, Encoder] = {}
        self._first = self._group[places[0]]
        self._there: dict[Place, _Loaded] = {}
        self._load(self._first)

    @contextmanager
    def using(self, place: Place) -> Iterator[tuple[LanguageModel, Encoder]]:
        """Within, a model, and how prompts are encoded for it.

        Raises:
            KeeptuneError: it cannot be loaded.
        """
        group = self._group[place]
        if group not in self._there:
            for other in self._there.keys() - {self._first}:
                del self._there[other]
            gc.collect()  # modules and what peft wraps around them point at each other
            self._load(group)
        with self._there[group].using(place) as lm:
            yield lm, self._encoder(place, lm)

    def loaded(self, place: Place) -> bool:
        """Whether a model is in memory."""
        return self._group[place] in self._there

    def _load(self, group: Place) -> None:
        settings: Any = {"device": self._device, "precision": group.precision, "quantise": group.quantise}
        shared = {str(p.adapter): p.adapter for p in self._members[group] if p.adapter and group.adapter is None}
        if shared:
            adapters = AdapterSet.load(group.model, shared, **settings)
            self._there[group] = _Loaded(adapters.lm, adapters)
        else:
            self._there[group] = _Loaded(load(group.model, adapter=group.adapter, **settings))

    def _encoder(self, place: Place, lm: LanguageModel) -> Encoder:
        if place not in self._encoders:
            tokenizer = lm.tokenizer
            if place.adapter is not None and place != self._group[place]:  # it may bring a template of its own
                tokenizer = adapter_tokenizer(
                    place.adapter, read_tokenizer(str(model_folder(place.model)), place.model)
                )
            self._encoders[place] = Encoder.of(replace(lm, tokenizer=tokenizer, chat=bool(tokenizer.chat_template)))
        return self._encoders[place]


def _group(place: Place) -> Place:
    """The base that a place shares with others; the place itself where it cannot."""
    base = Place(place.model, precision=place.precision, quantise=place.quantise)
    return base if place.adapter is None or _shares(place.model, place.adapter) else place


def _shares(base: str, adapter: Path) -> bool:
    """Whether an adapter can be on its base together with others."""
    try:
        check_kind(adapter)
    except ModelError:  # whatever is wrong with it is said once it is loaded by itself
        return False
    tokenizer = read_tokenizer(str(model_folder(base)), base)
    return adapter_tokenizer(adapter, tokenizer) is tokenizer
