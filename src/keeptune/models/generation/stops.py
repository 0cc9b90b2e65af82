"""Stop strings: where a completion ends because of its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class StopTexts:
    """Finds stop strings in the last tokens of a row: a string of n bytes spans at most n + 1 tokens."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._texts = tuple(texts)
        self.tail = max((len(text.encode()) for text in texts), default=0) + 1  # tokens to look at

    def __bool__(self) -> bool:
        return bool(self._texts)

    def found(self, tails: Sequence[Sequence[int]]) -> list[bool]:
        """Whether any stop string stands in the text of each tail."""
        decoded = self._tokenizer.batch_decode(tails, skip_special_tokens=False)
        return [any(text in tail for text in self._texts) for tail in decoded]
