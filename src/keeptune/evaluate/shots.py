"""Worked examples in the prompt: which ones, how many fit, and what they cost per request.

Demonstrations come from the train part only. One draw is one fixed list for all items, so every request of a draw
begins with the same text; the spread over several draws is the variance that the choice of examples brings. The
list of k examples is the beginning of the list of k + 1 from the same draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example, Rendered, Segments, Tokens

SEED = 0  # of all draws


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request as token ids. ``shots`` were kept, ``dropped`` found no room; ``cut`` counts lost prompt tokens."""

    ids: tuple[int, ...]
    shots: int
    dropped: int
    cut: int = 0


def draw_shots(pool: Sequence[Example], k: int, draw: int) -> tuple[Example, ...]:
    """k examples of the train part, the same in every draw of one number whatever the order of the pool.

    Raises:
        ConfigError: the pool has fewer than k examples.

    Example:
        >>> pool = [Example.make({"question": f"{i} + {i}?", "answer": f"{2 * i}"}) for i in range(20)]
        >>> two, three = draw_shots(pool[::-1], 2, draw=0), draw_shots(pool, 3, draw=0)
        >>> three[:2] == two, draw_shots(pool, 2, draw=1) == two
        (True, False)
    """
    if k > len(pool):
        raise ConfigError(
            f"{k} demonstrations are asked for, the train part has {len(pool)} examples",
            where="shots",
            remedy="ask for fewer shots or give the task more training rows",
        )
    return tuple(sorted(pool, key=lambda example: content_hash([SEED, draw, example.id]))[:k])


def takes_shots(rendered: Rendered) -> bool:
    """Whether demonstrations can stand in front of this row: not before segments and tokens, which are as they are."""
    return not isinstance(rendered.whole, Segments | Tokens)


def fit_prompt(encoder: Encoder, rendered: Rendered, shots: Sequence[Rendered], room: int) -> Prompt | None:
    """The prompt with as many of the first ``shots`` as the window holds beside ``room`` tokens for the answer.

    Where even the bare prompt is too long, the encoder's policy decides: ``truncate_prompt`` cuts it at its left
    end, ``drop`` gives None. An item that needs a token which the model does not embed gives None.

    Raises:
        DataError: the prompt is too long and the policy is ``error``, or the answer alone fills the window.
    """
    if encoder.unembedded:
        asked = [encoder.prompt(rendered), *map(encoder.choice, rendered.choices or ())]
        if any(encoder.lacks(ids) is not None for ids in asked):
            return None
    limit = encoder.window.room(room)
    for kept in range(len(shots) if takes_shots(rendered) else 0, -1, -1):
        ids = encoder.prompt(rendered, shots[:kept])
        if len(ids) <= limit and encoder.lacks(ids) is None:
            return Prompt(ids, kept, len(shots) - kept)
    if limit <= len(encoder.start_ids):
        raise DataError(
            f"the answer needs {room} tokens, the window has {encoder.context}",
            path=rendered.path or None,
            line=rendered.line or None,
            remedy="lower max_new_tokens or use a model with a longer window",
        )
    if encoder.overlong == "drop":
        return None
    if encoder.overlong == "error":
        raise DataError(
            f"a prompt of {len(ids)} tokens and {room} of answer do not fit a window of {encoder.context}",
            path=rendered.path or None,
            line=rendered.line or None,
            remedy="set overlong to 'truncate_prompt' or 'drop', or use a model with a longer window",
        )
    return Prompt(encoder.cut(ids, limit), 0, len(shots), cut=len(ids) - limit)


def stop_texts(encoder: Encoder, shots: Sequence[Rendered], separator: str) -> tuple[str, ...]:
    """What ends a generated answer beside the end token.

    A model that has seen "question answer, blank line, question answer, blank line" goes on with the next question
    and prints no end token, so a plain k-shot answer ends at the blank line, unless the demonstrated answers
    themselves contain one. Chat turns end themselves.
    """
    if encoder.chat or not shots or any(separator in shot.completion.strip() for shot in shots):
        return ()
    return (separator,)


def before_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """What stands before any of the texts that end an answer, and whether there was one."""
    ended = any(mark in text for mark in stop)
    for mark in stop:
        text = text.split(mark, 1)[0]
    return text, ended
