"""Generation, greedy, sampled or told token by token: checks, then the model's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from keeptune.models.engines.base import Generation
from keeptune.models.generation.choose import Choose, Ints, Sampler, likeliest
from keeptune.models.generation.stops import StopTexts
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.progress import Progress


def generate(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    limits: Sequence[int] | None = None,
    end_ids: Sequence[int] = (),
    stop: Sequence[str] = (),
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[int, ...]]:
    """The most likely next token, again and again, until an end token, a stop string or ``max_new_tokens``.

    Args:
        lm: the model; its settings for sampling, penalties and forced tokens are not used.
        prompts: token ids, BOS included where the model wants one.
        max_new_tokens: at most so many tokens per prompt.
        limits: for every prompt, at most so many new tokens, where that differs.
        end_ids: further tokens that end a completion, beside the model's own ``eos_ids``.
        stop: a completion also ends once its text contains one of these.
        token_budget: prompt and new tokens that are held at once; by default what suits the device.
        progress: called with (prompts done, prompts in all) whenever some are done.

    Returns:
        New token ids in the order of the prompts, without the end token; a stop string may be followed by the rest
        of its last token.

    Raises:
        ValueError: a prompt is empty or leaves no room for its new tokens in the context, or a limit is not between
            1 and ``max_new_tokens``.
    """
    allowed = [max_new_tokens] * len(prompts) if limits is None else list(limits)
    if len(allowed) != len(prompts) or not all(1 <= limit <= max_new_tokens for limit in allowed):
        raise ValueError(f"every prompt needs a limit between 1 and {max_new_tokens} new tokens")
    ends = _ends(lm, end_ids)
    stops = StopTexts(lm.tokenizer, stop)
    found = _continue(lm, prompts, allowed, ends, stops, token_budget, progress, lambda: likeliest)
    return [ids[:-1] if ids and ids[-1] in ends else ids for ids in found]


def sample(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    seed: int,
    end_ids: Sequence[int] = (),
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[int, ...]]:
    """Tokens drawn from the model's own distribution (temperature 1), until an end token or ``max_new_tokens``.

    Arguments and errors are those of `generate`. What is drawn for a prompt depends on ``seed`` and on its place in
    ``prompts``, not on batches: equal prompts get different completions.

    Returns:
        New token ids in the order of the prompts. Unlike in `generate`, the end token is the last of them where one
        was drawn: it is part of the sample.
    """
    if max_new_tokens < 1:
        raise ValueError(f"{max_new_tokens} new tokens are none")
    allowed, stops = [max_new_tokens] * len(prompts), StopTexts(lm.tokenizer, ())
    return _continue(lm, prompts, allowed, _ends(lm, end_ids), stops, token_budget, progress, lambda: Sampler(seed))


def stream(
    lm: LanguageModel,
    prompt: Sequence[int],
    max_new_tokens: int,
    told: Callable[[int], bool],
    *,
    end_ids: Sequence[int] = (),
    stop: Sequence[str] = (),
) -> tuple[int, ...]:
    """As `generate` answers one prompt, every token told as soon as it is found.

    Args:
        lm: the model.
        prompt: its token ids.
        max_new_tokens: at most so many.
        told: called with every new token but an end token; False ends the answer there.
        end_ids: further tokens that end it.
        stop: it also ends once its text contains one of these.

    Returns:
        The tokens that were told.

    Raises:
        ValueError: see `generate`.
    """
    ends = _ends(lm, end_ids)
    heard: list[int] = []

    def choose(logits_BV: Tensor, prompts_B: Ints) -> Ints:
        found = likeliest(logits_BV)
        token = int(found[0])
        if token in ends:
            return found
        heard.append(token)
        return found if told(token) else np.full_like(found, ends[0])

    _continue(lm, [prompt], [max_new_tokens], ends, StopTexts(lm.tokenizer, stop), None, None, lambda: choose)
    return tuple(heard)


def _ends(lm: LanguageModel, more: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((*lm.eos_ids, *more)))


def _continue(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: tuple[int, ...],
    stops: StopTexts,
    token_budget: int | None,
    progress: Progress | None,
    make_choose: Callable[[], Choose],
) -> list[tuple[int, ...]]:
    """New token ids of every prompt, the end token included."""
    for prompt, limit in zip(prompts, limits, strict=True):
        if not prompt or len(prompt) > lm.prompt_room(limit):
            raise ValueError(f"a prompt of {len(prompt)} tokens and {limit} new ones do not fit {lm.context} tokens")
    if not prompts:
        return []
    lm.check_known(prompts)
    asked = Generation(prompts, limits, ends, stops, make_choose, token_budget, progress)
    with evaluating(lm):
        return lm.engine.generate(lm, asked)
