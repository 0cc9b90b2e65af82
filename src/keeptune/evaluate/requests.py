"""The request kinds: how prompts become answers. Choices are scored, texts are generated, free text is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from typing_extensions import override

from keeptune.batching.trie import ScoringRequest
from keeptune.data.encode.encoder import SHOT_SEPARATOR, Encoder
from keeptune.data.examples import Rendered
from keeptune.evaluate.metrics.base import Answer
from keeptune.evaluate.prompts import Item
from keeptune.evaluate.shots import before_stop, stop_texts
from keeptune.inference.generate import generate
from keeptune.inference.score import choice_logprobs
from keeptune.models.language_model import LanguageModel
from keeptune.models.progress import Progress


class RequestKind(Protocol):
    """How items are put to a model."""

    def answer(
        self,
        lm: LanguageModel,
        encoder: Encoder,
        items: Sequence[Item],
        shots: Sequence[Rendered],
        progress: Progress | None,
    ) -> list[Answer]:
        """What the model says to every item, in order."""
        ...


@dataclass(frozen=True)
class ChoiceScoring(RequestKind):
    """The most likely of the given choices; its reference is the right choice.

    Log-probabilities are summed over a choice's tokens without the end token; with ``per_byte`` the sum is divided
    by the UTF-8 bytes of the choice's text (white space around it not counted). Ties go to the first choice.
    """

    per_byte: bool = False

    @override
    def answer(
        self,
        lm: LanguageModel,
        encoder: Encoder,
        items: Sequence[Item],
        shots: Sequence[Rendered],
        progress: Progress | None,
    ) -> list[Answer]:
        requests = [
            ScoringRequest(item.prompt.ids, [encoder.choice(choice) for choice in _choices(item.rendered)])
            for item in items
        ]
        answers = []
        for item, sums in zip(items, choice_logprobs(lm, requests, progress=progress), strict=True):
            texts = [choice.strip() for choice in _choices(item.rendered)]
            sizes = [len(text.encode()) for text in texts] if self.per_byte else [1] * len(texts)
            best = int(np.argmax(np.array(sums) / sizes))
            right = item.rendered.answer
            answers.append(Answer(item.rendered.id, texts[best], (texts[right if right is not None else 0],)))
        return answers


@dataclass(frozen=True)
class Generation(RequestKind):
    """Greedy text up to the end token, a stop text after demonstrations, or ``max_new_tokens``."""

    max_new_tokens: int

    @override
    def answer(
        self,
        lm: LanguageModel,
        encoder: Encoder,
        items: Sequence[Item],
        shots: Sequence[Rendered],
        progress: Progress | None,
    ) -> list[Answer]:
        stop = stop_texts(encoder, shots, SHOT_SEPARATOR)
        generated = generate(
            lm,
            [item.prompt.ids for item in items],
            self.max_new_tokens,
            end_ids=(encoder.end_id,),
            stop=stop,
            progress=progress,
        )
        answers = []
        for item, ids in zip(items, generated, strict=True):
            text, stopped = before_stop(encoder.text(ids).lstrip(), stop)
            ended = stopped or encoder.end_id in ids
            references = tuple(reference.strip() for reference in item.rendered.references)
            cut = not ended and len(ids) >= self.max_new_tokens
            answers.append(Answer(item.rendered.id, encoder.answer(text.strip(), references), references, cut))
        return answers


def _choices(rendered: Rendered) -> tuple[str, ...]:
    if rendered.choices is None:
        raise TypeError(f"example {rendered.id} was rendered without choices")
    return rendered.choices
