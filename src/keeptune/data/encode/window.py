"""The window of a model: which rows fit, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded, Rendered

OverlongPolicy = Literal["error", "drop", "truncate_prompt"]


def prompt_room(context: int, answer: int, *, encoder_decoder: bool) -> int:
    """Tokens that a prompt may have whose answer takes ``answer`` tokens; below 1 where the answer alone is too long.

    An encoder-decoder reads the two apart, each in a window of ``context`` tokens.
    """
    if not encoder_decoder:
        return context - answer
    return context if answer < context else 0  # a token is left to what the decoder starts from


@dataclass(frozen=True, slots=True)
class Overlong:
    """A row that was left out because it does not fit the context window."""

    id: str
    prompt_tokens: int
    completion_tokens: int
    reason: str
    path: str = ""
    line: int = 0


@dataclass(frozen=True)
class Window:
    """What a model can see: so many tokens, and all but some of the tokenizer's (see `Encoder`)."""

    tokenizer: Any
    context: int
    policy: OverlongPolicy
    unembedded: frozenset[int]
    start_ids: tuple[int, ...]
    encoder_decoder: bool = False

    def room(self, answer: int) -> int:
        """See `prompt_room`."""
        return prompt_room(self.context, answer, encoder_decoder=self.encoder_decoder)

    def holds(self, row: Encoded) -> bool:
        """Whether the model sees all of the row."""
        return len(row.prompt_ids) <= self.room(len(row.completion_ids))

    def too_long(self, row: Encoded) -> str:
        """What does not fit, in words."""
        what = f"{len(row):,} tokens do"
        if self.encoder_decoder:
            what = f"{len(row.prompt_ids):,} tokens to read, or {len(row.completion_ids):,} to write, do"
        return f"{what} not fit the window of {self.context:,}"

    def fitted(self, row: Encoded, rendered: Rendered) -> Encoded | Overlong:
        """The row inside the window, by the policy."""
        prompt, completion = row.prompt_ids, row.completion_ids
        lacks = self.lacks((*prompt, *completion))
        if lacks is not None:
            return self._unknown(rendered, row, lacks)
        if self.holds(row):
            return row
        too_long = self._overlong(rendered, len(prompt), len(completion))
        room = self.room(len(completion))
        if self.policy == "error":
            raise DataError(
                f"{too_long.reason}: {len(prompt)} prompt + {len(completion)} completion tokens, window {self.context}",
                path=rendered.path or None,
                line=rendered.line or None,
                remedy="set overlong to 'drop' or 'truncate_prompt', or use a model with a longer window",
            )
        if self.policy == "drop" or room <= len(self.start_ids):
            return too_long
        return replace(row, prompt_ids=self.cut(prompt, room))

    def lacks(self, ids: Sequence[int]) -> str | None:
        """Which token of ``ids`` the model does not know, in words; None where it knows all."""
        found = next((id for id in ids if id in self.unembedded), None) if self.unembedded else None
        if found is None:
            return None
        return f"it needs the token {self.tokenizer.convert_ids_to_tokens(found)!r}, which the model does not embed"

    def cut(self, prompt_ids: Sequence[int], room: int) -> tuple[int, ...]:
        """The last tokens of a prompt that fit into ``room`` tokens, BOS kept in front."""
        if len(prompt_ids) <= room:
            return tuple(prompt_ids)
        start = self.start_ids if tuple(prompt_ids[: len(self.start_ids)]) == self.start_ids else ()
        return (*start, *prompt_ids[len(prompt_ids) - (room - len(start)) :])

    def _unknown(self, rendered: Rendered, row: Encoded, reason: str) -> Overlong:
        """A row that needs a token without an embedding, by the policy."""
        if self.policy == "error":
            raise DataError(
                reason,
                path=rendered.path or None,
                line=rendered.line or None,
                remedy="remove the row, or drop such rows",
            )
        lengths = len(row.prompt_ids), len(row.completion_ids)
        return Overlong(rendered.id, *lengths, reason, rendered.path, rendered.line)

    def _overlong(self, rendered: Rendered, prompt: int, completion: int) -> Overlong:
        fits = self.room(completion) > len(self.start_ids)
        what = "the prompt exceeds" if self.encoder_decoder else "prompt and completion exceed"
        reason = f"{what} the window" if fits else "the completion alone exceeds the window"
        return Overlong(rendered.id, prompt, completion, reason, rendered.path, rendered.line)
