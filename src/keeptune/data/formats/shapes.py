"""Rows that are more than columns of text: conversations, segments, token ids, task files, plain texts.

A shape is recognised by what stands in the cells. Each is brought to the same fields: ``prompt`` (a text: what leak
checks compare and templates may print), ``completion``, and the whole row in one further field (``messages``,
``segments`` or ``tokens``), from which it is encoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
from keeptune.data.formats.quarantine import Quarantined
from keeptune.data.formats.recognise import COMPLETION, ColumnSchema, canonical
from keeptune.data.formats.values import UnusableValue, as_text
from keeptune.data.rows import Row
from keeptune.data.storage.lazy import LazyMap, materialize
from keeptune.data.storage.spill import Spill

LOOKED_AT = 100  # rows that a shape is recognised from
IGNORED = -100  # label of a token that is not trained, as transformers writes it
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the shapes: how it is found, and the fields that a row becomes.

    ``find`` gives the columns that it takes, or nothing where it is not there. ``read`` gives the fields of every
    example in a row; columns that it takes are left out of them.
    """

    name: str
    words: str  # as `data check` shows it
    find: Callable[[Columns], Sequence[str]]
    read: Callable[[Fields, Sequence[str], Supervise | None], Iterable[Fields]]
    roles: tuple[str, ...] = ("prompt", COMPLETION)
    covers: tuple[str, ...] = ()  # column layouts that would read a part of it only

    def layout(self, columns: Sequence[str]) -> ColumnSchema:
        """How the fields are read that the rows have become."""
        roles = {role: role for role in self.roles}
        return ColumnSchema(self.name, roles, metadata=tuple(c for c in columns if c not in roles), shape=self.words)


@dataclass(frozen=True)
class Columns:
    """Column -> its first values that are not null."""

    values: Mapping[str, Sequence[Any]]
    named: Mapping[str, str] = field(default_factory=dict)  # canonical name -> column

    @classmethod
    def of(cls, rows: Sequence[Row], columns: Sequence[str]) -> Columns:
        """Of the first rows of a source."""
        first = rows[:LOOKED_AT]
        values = {c: [v for row in first if (v := row.fields.get(c)) is not None] for c in columns}
        return cls(values, {canonical(column): column for column in reversed(columns)})

    def holding(self, test: Callable[[Any], bool]) -> list[str]:
        """Columns where more than half of the values pass the test."""
        return [c for c, values in self.values.items() if values and 2 * sum(map(test, values)) > len(values)]

    def any_of(self, *names: str) -> list[str]:
        """The columns of these names that are there."""
        return [self.named[name] for name in names if name in self.named]


def converted(
    rows: Sequence[Row], shape: Shape, taken: Sequence[str], supervise: Supervise | None
) -> tuple[Sequence[Row], Sequence[Quarantined]]:
    """The rows with the shape's fields, and those that cannot be read."""
    made: Spill[Row] = Spill()
    bad: Spill[Quarantined] = Spill()
    for row in rows:
        try:
            for number, fields in enumerate(shape.read(row.fields, taken, supervise)):
                rest = {k: v for k, v in row.fields.items() if k not in taken and k not in fields}
                made.append(replace(row, fields={**rest, **fields}, line=row.line + (number if len(rows) == 1 else 0)))
        except UnusableValue as error:
            bad.append(Quarantined(row.path, row.line, str(error), row.fields))
    return made.finish(), bad.finish()


def from_json(rows: Sequence[Row], columns: Sequence[str]) -> Sequence[Row]:
    """The rows with columns of turns, or of tools, that hold JSON text (as tables bring them back) as what it says."""
    first = rows[:LOOKED_AT]

    def says_turns(column: str) -> bool:
        texts = [v for row in first if (v := row.fields.get(column)) not in (None, "")]
        parsed = [_parsed(text) for text in texts]
        return bool(parsed) and all(isinstance(p, list) and p and isinstance(p[0], Mapping) for p in parsed)

    found = [column for column in columns if says_turns(column)]
    if not found:
        return rows

    def read(row: Row) -> Row:
        values = {column: _parsed(row.fields.get(column)) for column in found}
        known = {column: value for column, value in values.items() if value is not None}
        return replace(row, fields={**row.fields, **known})

    return materialize(LazyMap(rows, read))


def _parsed(text: Any) -> Any:
    """What a JSON text says; None for anything else."""
    if not isinstance(text, str) or not text.lstrip().startswith("[{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _keys(*wanted: tuple[str, ...]) -> Callable[[Any], bool]:
    """Whether a value is a list of objects whose first has one key of every group."""

    def test(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not value or not isinstance(value[0], Mapping):
            return False
        return all(any(key in value[0] for key in group) for group in wanted)

    return test


_is_messages = _keys(("role",), ("content", "tool_calls", "value"))
_is_sharegpt = _keys(("from",), ("value", "content"))
ASKS, REPLIES = ("human", "user", "question", "prompt", "query"), ("assistant", "bot", "gpt", "answer", "response")
_is_pairs = _keys(ASKS, REPLIES)


def _items(fields: Fields, column: str) -> Sequence[Any]:
    """The list in a column; nothing for null.

    Raises:
        UnusableValue: it is no list.
    """
    value = fields.get(column)
    if value is not None and not isinstance(value, list | tuple):
        raise UnusableValue(f"field '{column}' is not a list")
    return value or ()


def _messages(columns: Columns) -> Sequence[str]:
    if _both_sides(columns) or _asked_and_output(columns):
        return ()
    found = columns.holding(_is_messages) or [
        c for c in columns.any_of("messages") if all(v == [] for v in columns.values[c]) and columns.values[c]
    ]
    return _with_helpers(found, columns)


def _sharegpt(columns: Columns) -> Sequence[str]:
    if _asked_and_output(columns):
        return ()
    return _with_helpers(columns.holding(_is_sharegpt), columns)


def _with_helpers(found: list[str], columns: Columns) -> Sequence[str]:
    """One column of turns, and the columns that belong to it."""
    if len(found) != 1:
        return ()
    return [*found, *columns.any_of("system", "system_prompt", "tools", "functions")]


def _read_conversation(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    yield conversation(fields.get(taken[0]), taken[0], fields, taken[1:], supervise)


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


def _pairs(columns: Columns) -> Sequence[str]:
    return _with_helpers(columns.holding(_is_pairs), columns)


def _read_pairs(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    turns: list[dict[str, Any]] = []
    for pair in _items(fields, taken[0]):
        if not isinstance(pair, Mapping):
            raise UnusableValue(f"field '{taken[0]}' is not a list of question and answer")
        for role, keys in (("user", ASKS), ("assistant", REPLIES)):
            turns.append({"role": role, "content": next((pair[key] for key in keys if key in pair), None)})
    yield conversation(turns, taken[0], fields, taken[1:], supervise)


def _both_sides(columns: Columns) -> Sequence[str]:
    sides = [*columns.any_of("prompt"), *columns.any_of(COMPLETION)]
    found = set(columns.holding(_is_messages))
    return [*sides, *columns.any_of("tools")] if len(sides) == 2 and set(sides) <= found else ()


def _read_both_sides(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    sides = [_items(fields, column) for column in taken[:2]]
    if not all(isinstance(turn, Mapping) for side in sides for turn in side):
        raise UnusableValue("prompt or completion is not a list of turns")
    turns = [{**turn, "weight": 0} for turn in sides[0]]
    turns += [turn if any(turn.get(key) is not None for key in WEIGHTS) else {**turn, "weight": 1} for turn in sides[1]]
    yield conversation(turns, "prompt + completion", fields, taken[2:], supervise)


ANSWERS = ("output", "response", "completion", "answer")


def _asked_and_output(columns: Columns) -> Sequence[str]:
    """A column of turns that ends with the user's, and the answer as text beside it."""
    found = columns.holding(_ends_with_the_user)
    answer = [c for c in columns.any_of(*ANSWERS) if c in columns.holding(lambda value: isinstance(value, str))]
    if len(found) != 1 or len(answer) != 1:
        return ()
    return [*found, *answer, *columns.any_of("system", "system_prompt", "tools", "functions")]


def _ends_with_the_user(value: Any) -> bool:
    if not (_is_messages(value) or _is_sharegpt(value)) or not isinstance(value[-1], Mapping):
        return False
    return ROLES.get(str(value[-1].get("role", value[-1].get("from"))).lower()) in ("user", "tool")


def _read_asked_and_output(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    asked, answer, *helpers = taken
    turns = [dict(turn) if isinstance(turn, Mapping) else turn for turn in _items(fields, asked)]
    if turns and isinstance(turns[0], Mapping) and ROLES.get(str(turns[0].get("role")).lower()) == "system":
        helpers = [column for column in helpers if not canonical(column).startswith("system")]
    before = [{**turn, "weight": 0} if isinstance(turn, Mapping) else turn for turn in turns]
    said = {"role": "assistant", "content": as_text(fields.get(answer), answer), "weight": 1}
    yield conversation([*before, said], f"{asked} + {answer}", fields, helpers, supervise)


def _is_history(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)


ASKED_WITH = ("input", "context")  # columns that stand behind the instruction in its turn


def _history(columns: Columns) -> Sequence[str]:
    found = [c for c in columns.any_of("history") if columns.values[c] and all(map(_is_history, columns.values[c]))]
    ask = columns.any_of("instruction", "query", "question")[:1]
    answer = columns.any_of("output", "response", "answer")[:1]
    if not (found and ask and answer and any(columns.values[found[0]])):
        return ()
    return [*found, *ask, *answer, *columns.any_of(*ASKED_WITH, "system", "system_prompt", "tools", "functions")]


def _read_history(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
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


def _segments(columns: Columns) -> Sequence[str]:
    return columns.holding(_keys(("label",), ("text",)))[:1]


def _read_segments(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    pieces = _items(fields, taken[0])
    for piece in pieces:
        if not isinstance(piece, Mapping) or not isinstance(piece.get("text"), str):
            raise UnusableValue(f"field '{taken[0]}' is not a list of texts with labels")
        if not isinstance(piece.get("label"), bool):
            raise UnusableValue(f"field '{taken[0]}' has the label {piece.get('label')!r}; true or false was expected")
    segments = [[piece["text"], piece["label"]] for piece in pieces if piece["text"]]
    while segments and not segments[-1][1]:
        segments.pop()
    if not segments:
        raise UnusableValue(f"field '{taken[0]}' has no segment to learn from")
    yield {
        "prompt": "".join(text for text, _ in segments[:-1]),
        COMPLETION: segments[-1][0],
        "segments": segments,
    }


def _is_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is int for item in value[:64])


def _tokens(columns: Columns) -> Sequence[str]:
    found = columns.any_of("input_ids")
    if not found or not set(found) <= set(columns.holding(_is_ids)):
        return ()
    return [*found, *columns.any_of("labels", "attention_mask", "token_type_ids", "position_ids")]


def _read_tokens(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    names = {canonical(column): column for column in taken}
    ids = fields.get(names["input_ids"])
    if not ids or not _is_ids(ids) or not all(type(item) is int and item >= 0 for item in ids):
        raise UnusableValue("field 'input_ids' is not a list of token ids")
    labels, seen = (
        fields.get(names[name]) if name in names else default
        for name, default in (("labels", ids), ("attention_mask", [1] * len(ids)))
    )
    if not isinstance(labels, list | tuple) or not isinstance(seen, list | tuple):
        raise UnusableValue("field 'labels' or 'attention_mask' is not a list")
    if len(labels) != len(ids) or len(seen) != len(ids):
        raise UnusableValue(f"{len(ids)} input_ids, {len(labels)} labels and {len(seen)} of attention_mask")
    real = [i for i, bit in enumerate(seen) if bit]
    ids, labels = [ids[i] for i in real], [labels[i] for i in real]
    wrong = next((i for i, label in enumerate(labels) if label not in (IGNORED, ids[i])), None)
    if wrong is not None:
        raise UnusableValue(f"label {labels[wrong]} at token {wrong} is neither its id {ids[wrong]} nor {IGNORED}")
    mask = [label != IGNORED for label in labels]
    if not any(mask):
        raise UnusableValue("no token is supervised: every label is -100")
    last = max(i for i, bit in enumerate(mask) if bit)
    first = last
    while first and mask[first - 1]:
        first -= 1
    yield {
        "prompt": " ".join(map(str, ids[:first])),
        COMPLETION: " ".join(map(str, ids[first : last + 1])),
        "tokens": {"ids": ids, "trained": [int(bit) for bit in mask]},
    }


DEFINITIONS = ("definition", "instruction")


def _instances(columns: Columns) -> Sequence[str]:
    found = columns.any_of("instances")
    if not found or not columns.any_of(*DEFINITIONS) or not columns.holding(_keys(("input",), ("output",))):
        return ()
    return list(columns.values)


def _read_instances(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    named = {canonical(column): value for column, value in fields.items()}
    said = next((named[name] for name in DEFINITIONS if name in named), None)
    definition = "\n".join(as_text(line, "definition") for line in (said if isinstance(said, list) else [said]))
    if not definition.strip():
        raise UnusableValue("field 'definition' is empty")
    shown = _positive(named)
    for number, instance in enumerate(_items(named, "instances")):
        if not isinstance(instance, Mapping) or "output" not in instance:
            raise UnusableValue(f"field 'instances[{number}]' has no output")
        example = {"instruction": definition, "input": as_text(instance.get("input"), f"instances[{number}].input")}
        more = {"positive_examples": shown} if shown else {}
        yield {**example, **more, COMPLETION: instance["output"]}


def _positive(named: Mapping[str, Any]) -> list[dict[str, str]]:
    """The task's worked examples, for templates that print them."""
    nested = named.get("examples")
    found = named.get("positive_examples") or (nested.get("Positive Examples") if isinstance(nested, Mapping) else None)
    found = found if isinstance(found, list) else []
    return [
        {"input": str(each.get("input", "")), "output": str(each.get("output", ""))}
        for each in found
        if isinstance(each, Mapping)
    ]


BESIDE_TEXT = frozenset(
    ("id", "text", "meta", "metadata", "url", "timestamp", "source", "title", "date", "lang", "language", "split")
)


def _text(columns: Columns) -> Sequence[str]:
    found = columns.any_of("text")
    plain = set(columns.named) <= BESIDE_TEXT and found and set(found) <= set(columns.holding(_is_text))
    return found if plain else ()


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _read_text(fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
    text = fields.get(taken[0])
    if not isinstance(text, str) or not text.strip():
        raise UnusableValue(f"field '{taken[0]}' is not a text, or empty")
    yield {COMPLETION: text, "segments": [[text, True]]}


_TALK = ("system", "prompt", COMPLETION)
SHAPES: tuple[Shape, ...] = (
    Shape("messages", "conversations, as lists of role and content", _messages, _read_conversation, _TALK),
    Shape("sharegpt", "conversations, as lists of from and value", _sharegpt, _read_conversation, _TALK),
    Shape("turn-pairs", "conversations, as lists of question and answer", _pairs, _read_pairs, _TALK),
    Shape(
        "prompt-completion-messages",
        "turns in a prompt and turns in a completion",
        _both_sides,
        _read_both_sides,
        _TALK,
        ("prompt-completion",),
    ),
    Shape(
        "messages-output",
        "turns up to the user's, and the answer as text",
        _asked_and_output,
        _read_asked_and_output,
        _TALK,
        ("prompt-completion", "source-target", "instruction", "question"),
    ),
    Shape(
        "instruction-history",
        "conversations: a history of pairs, instruction + input -> output",
        _history,
        _read_history,
        _TALK,
        ("instruction", "question", "source-target"),
    ),
    Shape("segments", "segments of text, learned from where the label is true", _segments, _read_segments),
    Shape("tokenised", "token ids with labels", _tokens, _read_tokens),
    Shape(
        "natural-instructions",
        "a task's definition and instances -> output",
        _instances,
        _read_instances,
        ("instruction", "input", COMPLETION),
    ),
    Shape("text", "whole texts", _text, _read_text, (COMPLETION,)),
)
