"""Conversations as pairs of question and answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.recognise import canonical
from keeptune.data.formats.shapes.base import FORMATS, Columns, Fields, has_keys, items
from keeptune.data.formats.shapes.messages import HELPERS, Talk, conversation, with_helpers
from keeptune.data.formats.values import UnusableValue, as_text

ASKS, REPLIES = ("human", "user", "question", "prompt", "query"), ("assistant", "bot", "gpt", "answer", "response")
_is_pairs = has_keys(ASKS, REPLIES)
ASKED_WITH = ("input", "context")  # columns that stand behind the instruction in its turn


@FORMATS.register("turn-pairs")
class TurnPairs(Talk):
    """One column: ``[{"human": "Hello", "assistant": "Hi"}, ...]``."""

    words = "conversations, as lists of question and answer"
    order = 30

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        return with_helpers(columns.holding(_is_pairs), columns)

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        turns: list[dict[str, Any]] = []
        for pair in items(fields, taken[0]):
            if not isinstance(pair, Mapping):
                raise UnusableValue(f"field '{taken[0]}' is not a list of question and answer")
            for role, keys in (("user", ASKS), ("assistant", REPLIES)):
                turns.append({"role": role, "content": next((pair[key] for key in keys if key in pair), None)})
        yield conversation(turns, taken[0], fields, taken[1:], supervise)


@FORMATS.register("instruction-history")
class InstructionHistory(Talk):
    """Columns of text, and the turns before: ``"history": [["Hello", "Hi"], ...]``."""

    words = "conversations: a history of pairs, instruction + input -> output"
    order = 60
    covers = ("instruction", "question", "source-target")

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        found = [c for c in columns.any_of("history") if columns.values[c] and all(map(_is_history, columns.values[c]))]
        ask = columns.any_of("instruction", "query", "question")[:1]
        answer = columns.any_of("output", "response", "answer")[:1]
        if not (found and ask and answer and any(columns.values[found[0]])):
            return ()
        return [*found, *ask, *answer, *columns.any_of(*ASKED_WITH, *HELPERS)]

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        history, ask, answer, *more = taken
        turns: list[dict[str, Any]] = []
        if not _is_history(fields.get(history) or ()):
            raise UnusableValue(f"field '{history}' is not a list of question and answer")
        for question, reply in fields.get(history) or ():
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        given = [as_text(fields.get(c), c) for c in (ask, *(c for c in more if canonical(c) in ASKED_WITH))]
        turns.append({"role": "user", "content": "\n".join(text for text in given if text.strip())})
        turns.append({"role": "assistant", "content": as_text(fields.get(answer), answer)})
        yield conversation(turns, history, fields, [c for c in more if canonical(c) not in ASKED_WITH], supervise)


def _is_history(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
