"""A prompt for one column: the tokens that the model sees, and its answer while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from keeptune.chat.columns import Column
from keeptune.chat.models import Models
from keeptune.core.errors import DataError
from keeptune.core.tokens import Token
from keeptune.data.encode.encoder import SHOT_SEPARATOR, Encoder
from keeptune.data.encode.text_stream import TextStream
from keeptune.data.encode.token_texts import row_tokens
from keeptune.data.examples import Encoded
from keeptune.evaluate.shots import Prompt, before_stop, fit_prompt, stop_texts
from keeptune.inference.generate import stream


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    ids: tuple[int, ...]  # new tokens, without an end token
    ended: Literal["end", "limit", "stopped"]  # by itself, at the limit of new tokens, by the user
    seconds: float


def answer(
    models: Models,
    column: Column,
    prompt: str,
    max_new_tokens: int,
    *,
    began: Callable[[Prompt], None],
    said: Callable[[str], None],
    going: Callable[[], bool],
) -> Answer:
    """The likeliest tokens behind a prompt, as a study's evaluation generates them.

    Args:
        models: where the column's is.
        column: who answers.
        prompt: as it was typed; template, system text and demonstrations are put around it here.
        max_new_tokens: at most so many; never more than half of the window.
        began: told of the prompt once it is known to fit.
        said: told of every piece of text.
        going: asked before every token whether to go on.

    Raises:
        DataError: an empty prompt, or one that is too long.
        KeeptuneError: the model cannot be loaded.
    """
    with models.using(column.place) as (lm, encoder):
        limit = answer_limit(encoder, max_new_tokens)
        fitted = fit(column, encoder, prompt, limit)
        began(fitted)
        marks = stop_texts(encoder, column.behind.shots(encoder.chat)[: fitted.shots], SHOT_SEPARATOR)
        text, started = TextStream(encoder.texts, marks), time.perf_counter()
        stopped = False

        def told(token: int) -> bool:
            nonlocal stopped
            stopped = not going()
            if not stopped:
                said(text.add(token))
            return not stopped

        ids = stream(lm, fitted.ids, limit, told, end_ids=(encoder.end_id,), stop=marks)
        ids = ids[:-1] if stopped else ids  # the last one was not shown
        said(text.end())
        seconds = time.perf_counter() - started
    whole, over = before_stop(encoder.text(ids), marks)
    ended: Literal["end", "limit", "stopped"] = "stopped" if stopped else "end"
    if not stopped and not over and len(ids) == limit:
        ended = "limit"
    return Answer(encoder.answer(whole, ()), ids, ended, seconds)


def tokens_seen(models: Models, column: Column, prompt: str, max_new_tokens: int, ids: Sequence[int]) -> list[Token]:
    """Every token that the column's model is sent for a prompt, and those that it wrote.

    Raises:
        DataError: an empty prompt, or one that is too long.
        KeeptuneError: the model cannot be loaded.
    """
    with models.using(column.place) as (_, encoder):
        fitted = fit(column, encoder, prompt, answer_limit(encoder, max_new_tokens))
        return row_tokens(encoder.tokenizer, Encoded("", fitted.ids, tuple(ids)), "written")


def answer_limit(encoder: Encoder, max_new_tokens: int) -> int:
    """New tokens at most: half of the window is the prompt's."""
    return min(max_new_tokens, encoder.context // 2)


def fit(column: Column, encoder: Encoder, prompt: str, limit: int) -> Prompt:
    """The prompt as ids, with as many demonstrations as fit.

    Raises:
        DataError: it is empty, too long, or needs a token that the model does not embed.
    """
    if not prompt.strip():
        raise DataError("an empty prompt", remedy="write something to ask")
    rendered = column.behind.ask(prompt, encoder.chat)
    fitted = fit_prompt(encoder, rendered, column.behind.shots(encoder.chat), limit)
    if fitted is not None:
        return fitted
    ids = encoder.prompt(rendered)
    if (lacks := encoder.lacks(ids)) is not None:
        raise DataError(f"the prompt cannot be read: {lacks}", remedy="leave the character out")
    room = encoder.window.room(limit)
    raise DataError(
        f"the prompt has {len(ids):,} tokens, and there is room for {room:,} beside an answer of {limit:,}",
        remedy="shorten it, or allow fewer new tokens (--max-new-tokens)",
    )
