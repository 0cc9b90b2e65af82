"""Text from token ids that come one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.data.encode.texts import Texts
from keeptune.data.encode.token_texts import BROKEN, PENDING


class TextStream:
    """What every new token adds to an answer: the pieces, one behind the other, are the text of all ids.

    A character whose bytes are spread over several tokens comes whole, with the last of them. What may be the
    beginning of a stop string is held back until it is known to be none; behind a stop string nothing more comes.

    Args:
        texts: of the tokenizer.
        stop: strings that end the answer and are no part of it.

    Example:
        >>> stream = TextStream(encoder.texts)
        >>> "".join(map(stream.add, ids)) + stream.end() == encoder.texts.said(ids)
        True
    """

    def __init__(self, texts: Texts, stop: Sequence[str] = ()) -> None:
        self._said, self._stop = texts.said, tuple(stop)
        self._ids: list[int] = []
        self._before = self._done = 0  # ids[before:done] are spelled, and say where the next ones begin
        self._held = ""
        self._over = False

    def add(self, id: int) -> str:
        """The text that can be shown since this token is there."""
        self._ids.append(id)
        new = self._spelled()
        if new.endswith(BROKEN) and len(self._ids) - self._done < PENDING:
            return ""
        self._before, self._done = self._done, len(self._ids)
        return self._shown(new)

    def end(self) -> str:
        """What was held back, once no token follows."""
        rest = self._shown(self._spelled()) + ("" if self._over else self._held)
        self._before, self._done, self._held, self._over = self._done, len(self._ids), "", True
        return rest

    def _spelled(self) -> str:
        """What the tokens that are not spelled yet add to those before them."""
        base, text = (self._said(self._ids[self._before : stop]) for stop in (self._done, len(self._ids)))
        return text[len(base) :] if text.startswith(base) else self._said(self._ids[self._done :])

    def _shown(self, new: str) -> str:
        if self._over:
            return ""
        text = self._held + new
        found = min((place for mark in self._stop if (place := text.find(mark)) >= 0), default=None)
        if found is not None:
            self._over, self._held = True, ""
            return text[:found]
        kept = max((n for mark in self._stop for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]
