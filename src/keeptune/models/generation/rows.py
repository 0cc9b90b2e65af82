"""The rows that are being generated, on the host: which prompt, how far, what came out. No tensors.

Shapes: B active rows, W slots, N new tokens at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keeptune.models.generation.stops import StopTexts

Ints = NDArray[np.int64]


class Rows:
    """Active rows are the first ``active`` ones. A row that is done stays where it is until it is closed up."""

    def __init__(self, width: int, new_tokens: int, ends: tuple[int, ...], stops: StopTexts) -> None:
        self.active = 0
        self._ends = np.array(ends)
        self._stops = stops
        self._prompt = np.zeros(width, dtype=np.int64)  # index of the row's prompt
        self._length = np.zeros(width, dtype=np.int64)  # tokens of the prompt
        self._limit = np.zeros(width, dtype=np.int64)  # new tokens at most
        self._count = np.zeros(width, dtype=np.int64)  # new tokens so far, an end token included
        self._new = np.zeros((width, new_tokens), dtype=np.int64)
        self._done = np.zeros(width, dtype=bool)

    def add(self, prompts: Ints, lengths: Ints, limits: Ints, tokens: Ints) -> None:
        """Rows behind the active ones, each with its first new token."""
        fresh = np.arange(self.active, self.active + len(prompts))
        self._prompt[fresh], self._length[fresh], self._limit[fresh] = prompts, lengths, limits
        self._count[fresh], self._done[fresh] = 0, False
        self.active += len(prompts)
        self._push(fresh, tokens)

    def prompts(self) -> Ints:
        """[B] the index of every row's prompt."""
        return self._prompt[: self.active]

    def newest(self) -> Ints:
        """[B] the last new token of every row."""
        newest: Ints = self._new[np.arange(self.active), self._count[: self.active] - 1]
        return newest

    def positions(self) -> Ints:
        """[B] where the newest token of every row stands; it is not in the cache yet."""
        return self._length[: self.active] + self._count[: self.active] - 1

    def append(self, tokens: Ints) -> None:
        """The next token of every row [B]; what rows get that are done is not kept."""
        live = np.flatnonzero(~self._done[: self.active])
        self._push(live, tokens[live])

    def finished(self) -> Ints:
        """Indices of the active rows that are done."""
        return np.flatnonzero(self._done[: self.active])

    def results(self, rows: Ints) -> list[tuple[int, tuple[int, ...]]]:
        """(index of the prompt, new tokens, an end token included) of ``rows``."""
        return [(int(self._prompt[row]), tuple(self._new[row, : self._count[row]].tolist())) for row in rows]

    def close_up(self, finished: Ints) -> tuple[Ints, Ints]:
        """Drop ``finished`` rows: the last rows move to the places that are returned, (from [n], to [n])."""
        left = self.active - len(finished)
        targets = finished[finished < left]
        sources = np.setdiff1d(np.arange(left, self.active), finished, assume_unique=True)
        columns: tuple[NDArray[Any], ...]
        columns = (self._prompt, self._length, self._limit, self._count, self._new, self._done)
        for column in columns:
            column[targets] = column[sources]
        self.active = left
        return sources, targets

    def _push(self, rows: Ints, tokens: Ints) -> None:
        self._new[rows, self._count[rows]] = tokens
        self._count[rows] += 1
        self._done[rows] = np.isin(tokens, self._ends) | (self._count[rows] >= self._limit[rows])
        if self._stops:
            tails = [self._new[row, max(0, self._count[row] - self._stops.tail) : self._count[row]] for row in rows]
            self._done[rows] |= np.array(self._stops.found([tail.tolist() for tail in tails]), dtype=bool)
