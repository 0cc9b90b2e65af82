"""One worker answers, one request after another: what it says goes to whoever asked, as events."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from threading import Event, Lock
from typing import Any

from keeptune.chat.answers import answer, tokens_seen
from keeptune.chat.columns import Column
from keeptune.chat.models import Models
from keeptune.core.errors import DataError, KeeptuneError
from keeptune.core.tokens import Token

log = logging.getLogger(__name__)

Happened = dict[str, Any]  # one event, as JSON
PATIENCE = 1.0  # seconds without an event after which a listener is asked whether it is still there


class Asked:
    """A prompt that some columns answer, in turn."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.events: Queue[Happened | None] = Queue()
        self._stopped = Event()

    def stop(self) -> None:
        """End the answer that is written, and give no other."""
        self._stopped.set()

    def going(self) -> bool:
        """Whether nobody has stopped it."""
        return not self._stopped.is_set()

    def heard(self) -> Iterator[Happened | None]:
        """Its events in order, and None whenever there was none for a while; ends behind the last."""
        while True:
            try:
                event = self.events.get(timeout=PATIENCE)
            except Empty:
                yield None
                continue
            if event is None:
                return
            yield event


class Conversation:
    """Columns that answer prompts, by one thread: models are never asked by two at once.

    Args:
        columns: those that answer.
        models: what is behind them.
        max_new_tokens: of an answer.
    """

    def __init__(self, columns: Sequence[Column], models: Models, max_new_tokens: int) -> None:
        self.columns, self.models, self.max_new_tokens = columns, models, max_new_tokens
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")
        self._asked: dict[str, Asked] = {}
        self._lock = Lock()

    def ask(self, prompt: str, numbers: Sequence[int]) -> Asked:
        """Put a prompt to some columns, behind all prompts that wait.

        Raises:
            DataError: there is no such column.
        """
        chosen = [(number, self.column(number)) for number in numbers]
        asked = Asked()
        with self._lock:
            self._asked[asked.id] = asked
        self._worker.submit(self._answer, asked, prompt, chosen)
        return asked

    def stop(self, id: str) -> None:
        """Stop what was asked under this id; nothing where it is over."""
        with self._lock:
            asked = self._asked.get(id)
        if asked is not None:
            asked.stop()

    def tokens(self, prompt: str, number: int, ids: Sequence[int]) -> list[Token]:
        """What a column's model sees of a prompt, and what it wrote.

        Raises:
            KeeptuneError: see `tokens_seen`; or there is no such column.
        """
        column = self.column(number)
        return self._worker.submit(tokens_seen, self.models, column, prompt, self.max_new_tokens, ids).result()

    def close(self) -> None:
        """Stop everything, and wait for the worker."""
        with self._lock:
            for asked in self._asked.values():
                asked.stop()
        self._worker.shutdown(cancel_futures=True)

    def column(self, number: int) -> Column:
        """The column of a number.

        Raises:
            DataError: there is none.
        """
        if not 0 <= number < len(self.columns):
            raise DataError(f"there is no column {number}", remedy="load the page again")
        return self.columns[number]

    def _answer(self, asked: Asked, prompt: str, chosen: Sequence[tuple[int, Column]]) -> None:
        """Every column's answer as events; a column that cannot answer says why, and the next one goes on."""
        try:
            for number, column in chosen:
                if not asked.going():
                    break
                self._answer_of(asked, prompt, number, column)
        finally:
            with self._lock:
                del self._asked[asked.id]
            asked.events.put(None)

    def _answer_of(self, asked: Asked, prompt: str, number: int, column: Column) -> None:
        def tell(kind: str, **more: Any) -> None:
            asked.events.put({"kind": kind, "column": number, **more})

        if not self.models.loaded(column.place):
            tell("loading")
        try:
            done = answer(
                self.models,
                column,
                prompt,
                self.max_new_tokens,
                began=lambda fitted: tell(
                    "began", prompt_tokens=len(fitted.ids), shots=fitted.shots, dropped=fitted.dropped
                ),
                said=lambda text: tell("said", text=text) if text else None,
                going=asked.going,
            )
        except KeeptuneError as error:
            tell("refused", why=str(error))
        except Exception as error:  # of the model or the device: the page goes on, and the terminal shows where it was
            log.exception("%s did not answer", column.label)
            tell("refused", why=f"{type(error).__name__}: {error}")
        else:
            tell("done", text=done.text, ids=done.ids, ended=done.ended, seconds=done.seconds)
