"""Conversations in one column, and what all conversations become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from keeptune.data.formats.conversation import (
    ROLES,
    WEIGHTS,
    Supervise,
    asked_turn,
    own_text,
    plain_prompt,
    read_tools,
    read_turns,
    supervised,
)
from keeptune.data.formats.recognise import COMPLETION, canonical
from keeptune.data.formats.shapes.base import FORMATS, Columns, Fields, Format, has_keys, items
from keeptune.data.formats.values import UnusableValue, as_text

is_messages = has_keys(("role",), ("content", "tool_calls", "value"))
is_sharegpt = has_keys(("from",), ("value", "content"))
HELPERS = ("system", "system_prompt", "tools", "functions")  # columns that belong to one of turns
ANSWERS = ("output", "response", "completion", "answer")


class Talk(Format):
    """A format of conversations: of one column of turns, unless it reads otherwise."""

    roles = ("system", "prompt", COMPLETION)

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        yield conversation(fields.get(taken[0]), taken[0], fields, taken[1:], supervise)


@FORMATS.register("messages")
class Messages(Talk):
    """One column: ``[{"role": "user", "content": "Hello"}, ...]``."""

    words = "conversations, as lists of role and content"
    order = 10

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        if BothSides().find(columns) or AskedAndOutput().find(columns):
            return ()
        found = columns.holding(is_messages) or [
            c for c in columns.any_of("messages") if all(v == [] for v in columns.values[c]) and columns.values[c]
        ]
        return with_helpers(found, columns)


@FORMATS.register("sharegpt")
class ShareGPT(Talk):
    """One column: ``[{"from": "human", "value": "Hello"}, ...]``."""

    words = "conversations, as lists of from and value"
    order = 20

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        if AskedAndOutput().find(columns):
            return ()
        return with_helpers(columns.holding(is_sharegpt), columns)


@FORMATS.register("prompt-completion-messages")
class BothSides(Talk):
    """Messages in the column ``prompt`` and messages in the column ``completion``, which are learned from."""

    words = "turns in a prompt and turns in a completion"
    order = 40
    covers = ("prompt-completion",)

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        sides = [*columns.any_of("prompt"), *columns.any_of(COMPLETION)]
        found = set(columns.holding(is_messages))
        return [*sides, *columns.any_of("tools")] if len(sides) == 2 and set(sides) <= found else ()

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        sides = [items(fields, column) for column in taken[:2]]
        if not all(isinstance(turn, Mapping) for side in sides for turn in side):
            raise UnusableValue("prompt or completion is not a list of turns")
        turns = [{**turn, "weight": 0} for turn in sides[0]]
        turns += [
            turn if any(turn.get(key) is not None for key in WEIGHTS) else {**turn, "weight": 1} for turn in sides[1]
        ]
        yield conversation(turns, "prompt + completion", fields, taken[2:], supervise)


@FORMATS.register("messages-output")
class AskedAndOutput(Talk):
    """Messages, the last of them the user's, and the answer in a column of text."""

    words = "turns up to the user's, and the answer as text"
    order = 50
    covers = ("prompt-completion", "source-target", "instruction", "question")

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        """A column of turns that ends with the user's, and the answer as text beside it."""
        found = columns.holding(_ends_with_the_user)
        answer = [c for c in columns.any_of(*ANSWERS) if c in columns.holding(lambda value: isinstance(value, str))]
        if len(found) != 1 or len(answer) != 1:
            return ()
        return [*found, *answer, *columns.any_of(*HELPERS)]

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        asked, answer, *helpers = taken
        turns = [dict(turn) if isinstance(turn, Mapping) else turn for turn in items(fields, asked)]
        if turns and isinstance(turns[0], Mapping) and ROLES.get(str(turns[0].get("role")).lower()) == "system":
            helpers = [column for column in helpers if not canonical(column).startswith("system")]
        before = [{**turn, "weight": 0} if isinstance(turn, Mapping) else turn for turn in turns]
        said = {"role": "assistant", "content": as_text(fields.get(answer), answer), "weight": 1}
        yield conversation([*before, said], f"{asked} + {answer}", fields, helpers, supervise)


def conversation(
    messages: Any, name: str, fields: Fields, helpers: Sequence[str], supervise: Supervise | None
) -> Fields:
    """The fields of one conversation.

    Raises:
        UnusableValue: see `read_turns`.
    """
    system, tools = "", []
    for column in helpers:
        if canonical(column).startswith("system"):
            system = as_text(fields.get(column), column)
        else:
            tools += read_tools(fields.get(column), column)
    turns = supervised(read_turns(messages, name, system), supervise)
    asked = asked_turn(turns)
    made = {
        "system": turns[0]["content"] if turns[0]["role"] == "system" else "",
        "prompt": plain_prompt(turns[:asked]),
        COMPLETION: own_text(turns[asked]),
        "messages": turns,
    }
    return {**made, "tools": tools} if tools else made


def with_helpers(found: list[str], columns: Columns) -> Sequence[str]:
    """One column of turns, and the columns that belong to it."""
    if len(found) != 1:
        return ()
    return [*found, *columns.any_of(*HELPERS)]


def _ends_with_the_user(value: Any) -> bool:
    if not (is_messages(value) or is_sharegpt(value)) or not isinstance(value[-1], Mapping):
        return False
    return ROLES.get(str(value[-1].get("role", value[-1].get("from"))).lower()) in ("user", "tool")
