"""Conversations in one shape, whichever tool wrote them: turns of system, user, assistant and tool.

A turn is an object as chat templates read it: ``role``, ``content``, and where they occur ``tool_calls``,
``reasoning_content``, ``name`` and ``tool_call_id``; ``trained`` says whether an assistant's turn is learned from. One
rule for all other keys of a message: those that sound as if they changed what is said or learned set the row aside, the
rest is named in a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from keeptune.data.formats.values import UnusableValue

Turn = dict[str, Any]
Supervise = Literal["all", "last", "weights"]

ROLES: Mapping[str, str] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment"), "tool"),
    **dict.fromkeys(("tool_response", "function_response", "tool_result"), "tool"),
}
CALLERS = ("function_call", "tool_call")  # roles whose text is the call itself
WEIGHTS = ("weight", "loss_weight", "loss_scale", "loss_mask", "loss", "training", "trainable", "train")
DETAILS = ("training_detail", "train_detail")  # axolotl's weights of single characters
REASONING = ("reasoning_content", "reasoning", "thinking")
TOOLS = ("functions", "function_calls", "tools")  # in a message: read where the text says the same, else refused
ARGUMENTS = ("arguments", "parameters", "args", "input")  # of a call, as models write them
READ = {"role", "from", "content", "value", "tool_calls", "function_call", "name", "tool_call_id"}
READ |= {*WEIGHTS, *DETAILS, *REASONING, *TOOLS}
TELLING = re.compile(r"train|loss|mask|weight|learn|supervis|reason|think|tool|function", re.IGNORECASE)
NAMES = {"user": "User", "assistant": "Assistant", "tool": "Tool"}  # in the plain layout


def read_turns(messages: Any, field: str, system: str = "") -> list[Turn]:
    """Messages of any known spelling as turns, weights still inside (``weight``: 0, 1 or None).

    Args:
        messages: a list of objects with role (or from) and content (or value).
        field: its column, for the reason.
        system: the text of a column of its own.

    Raises:
        UnusableValue: an unknown role, roles out of order, an empty turn, or content that is no text.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise UnusableValue(f"field '{field}' holds no turns")
    turns = [_turn(message, f"{field}[{number}]") for number, message in enumerate(messages)]
    if system.strip():
        if turns[0]["role"] == "system":
            raise UnusableValue(f"two system turns: a column and the first turn of '{field}'")
        turns.insert(0, {"role": "system", "content": system, "weight": None})
    _in_order(turns, field)
    first = next((turn for turn in turns if turn["role"] != "system"), None)
    if first is not None and first["role"] == "assistant" and first["weight"] is None:
        first["weight"] = 0  # a greeting answers nobody
    return turns


def supervised(turns: Sequence[Turn], supervise: Supervise | None) -> list[Turn]:
    """The turns up to the last that is learned from, each marked ``trained`` or not.

    Args:
        turns: as `read_turns` gives them.
        supervise: all assistant turns, the last one, or those whose weight is not 0; None: by weight where a turn
            has one, else all.

    Raises:
        UnusableValue: nothing is left to learn from.
    """
    answers = [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not answers:
        raise UnusableValue("no assistant turn")
    greeting = answers[0] if all(turn["role"] == "system" for turn in turns[: answers[0]]) else None
    weighted = any(turns[number]["weight"] is not None for number in answers)
    if supervise == "last":
        chosen = answers[-1:]
    elif supervise == "weights" or (supervise is None and weighted):
        chosen = [number for number in answers if turns[number]["weight"] != 0]
    else:
        chosen = [number for number in answers if number != greeting]
    if not chosen:
        raise UnusableValue("no assistant turn is trained: all have weight 0")
    kept = turns[: chosen[-1] + 1]
    return [
        {**{key: value for key, value in turn.items() if key != "weight"}, "trained": number in chosen}
        for number, turn in enumerate(kept)
    ]


def asked_turn(turns: Sequence[Mapping[str, Any]]) -> int:
    """The answer that evaluation asks for: the last trained one that is text; a call only where all are calls."""
    trained = [number for number, turn in enumerate(turns) if turn["trained"]]
    return next((number for number in reversed(trained) if not turns[number].get("tool_calls")), trained[-1])


def own_text(turn: Mapping[str, Any]) -> str:
    """What a turn says in plain text: its content, and its calls as JSON, one in a line."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in turn.get("tool_calls", ())]
    return "\n".join([turn["content"], *calls] if turn["content"] else calls)


def plain_prompt(turns: Sequence[Mapping[str, Any]]) -> str:
    """Turns before an answer as one text, without the system turn; a single turn is its text alone."""
    turns = [turn for turn in turns if turn["role"] != "system"]
    if len(turns) == 1:
        return own_text(turns[0])
    return "\n\n".join(f"{NAMES[turn['role']]}: {own_text(turn)}" for turn in turns)


def read_tools(value: Any, field: str) -> list[dict[str, Any]]:
    """Tool descriptions, each as {"type": "function", "function": {...}}.

    Raises:
        UnusableValue: no list of objects with a name.
    """
    if isinstance(value, str):
        value = _json(value, field) if value.strip() else None
    if value is None:
        return []
    tools = value if isinstance(value, list | tuple) else [value]
    for tool in tools:
        if not isinstance(tool, Mapping) or "name" not in _function(tool):
            raise UnusableValue(f"field '{field}' is not a list of tools with names")
    return [dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)} for tool in tools]


def _turn(message: Any, field: str) -> Turn:
    if not isinstance(message, Mapping):
        raise UnusableValue(f"field '{field}' is not an object with role and content")
    said = message.get("role", message.get("from"))
    role = ROLES.get(str(said).strip().lower())
    if role is None:
        raise UnusableValue(f"field '{field}' has the unknown role '{said}' (known: {', '.join(ROLES)})")
    _refuse_telling(message, field)
    content, reasoning, calls = _content(message.get("content", message.get("value")), field)
    if str(said).strip().lower() in CALLERS:
        calls, content = _calls(content, field), ""
    calls += _calls(message.get("tool_calls"), field) + _calls(message.get("function_call"), field)
    reasoning = reasoning or _reasoning(message, field)
    for key in TOOLS:
        if message.get(key) and str(message[key]).strip() not in content:
            raise UnusableValue(f"field '{field}' brings '{key}' beside its text; put tools into a column 'tools'")
    if not content.strip() and not calls:
        raise UnusableValue(f"field '{field}' ({role}) is empty")
    if calls and role != "assistant":
        raise UnusableValue(f"field '{field}' calls a tool in the role '{said}'")
    turn: Turn = {"role": role, "content": content, "weight": _weight(message, field)}
    if calls:
        turn["tool_calls"] = calls
    if reasoning:
        turn["reasoning_content"] = reasoning
    for key in ("name", "tool_call_id"):
        if role == "tool" and isinstance(message.get(key), str):
            turn[key] = message[key]
    return turn


def _refuse_telling(message: Mapping[str, Any], field: str) -> None:
    """Nothing, unless a key that is not read sounds as if it changed what is said or learned.

    Raises:
        UnusableValue: with the key.
    """
    for key, value in message.items():
        if key not in READ and value not in (None, "", [], {}) and TELLING.search(str(key)):
            raise UnusableValue(f"field '{field}' has the key '{key}', which is not known; rename or remove it")


def unread_keys(messages: Any) -> set[str]:
    """Keys of messages that are passed over: dates, sources and the like."""
    if not isinstance(messages, list | tuple):
        return set()
    turns = [each for each in messages if isinstance(each, Mapping) and ("role" in each or "from" in each)]
    return {str(key) for turn in turns for key, value in turn.items() if value} - READ


def _reasoning(message: Mapping[str, Any], field: str) -> str:
    """What the message says it thought before its answer."""
    found = [message[key] for key in REASONING if message.get(key)]
    if not all(isinstance(text, str) for text in found) or len(set(found)) > 1:
        raise UnusableValue(f"field '{field}' brings reasoning that is no text, or two different ones")
    return str(found[0]) if found else ""


def _content(value: Any, field: str) -> tuple[str, str, list[dict[str, Any]]]:
    """(text, reasoning, calls) of a text or a list of blocks."""
    if value is None or isinstance(value, str):
        return value or "", "", []
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False), "", []  # a tool's result
    if not isinstance(value, list | tuple):
        raise UnusableValue(f"field '{field}' is neither a text nor a list of blocks")
    pieces: dict[str, list[str]] = {"text": [], "reasoning": []}
    calls: list[dict[str, Any]] = []
    for block in value:
        if isinstance(block, str):
            pieces["text"].append(block)
            continue
        kind = str(block.get("type")) if isinstance(block, Mapping) else "?"
        text = block.get("text", block.get("value", block.get(kind))) if isinstance(block, Mapping) else None
        if kind == "tool_call":
            calls += _calls(text, field)
        elif kind in ("text", "reasoning", "thinking") and isinstance(text, str):
            pieces["text" if kind == "text" else "reasoning"].append(text)
        else:
            raise UnusableValue(f"field '{field}' holds a block of type '{kind}', only text can be read")
    return "".join(pieces["text"]), "".join(pieces["reasoning"]), calls


def _calls(value: Any, field: str) -> list[dict[str, Any]]:
    """Tool calls as templates read them, arguments as objects."""
    if isinstance(value, str):
        value = _json(value, field)
    if not value:
        return []
    calls = []
    for call in value if isinstance(value, list | tuple) else [value]:
        function = _function(call) if isinstance(call, Mapping) else {}
        if not isinstance(function.get("name"), str):
            raise UnusableValue(f"field '{field}' holds a tool call without a name")
        arguments: Any = next((function[key] for key in ARGUMENTS if function.get(key) is not None), {})
        if isinstance(arguments, str):
            arguments = _json(arguments, field) if arguments.strip() else {}
        made = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
        calls.append({"id": call["id"], **made} if isinstance(call.get("id"), str) else made)
    return calls


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function", call)
    return function if isinstance(function, Mapping) else {}


def _json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableValue(f"field '{field}' should hold JSON: {str(error)[:80]}") from error


def _weight(message: Mapping[str, Any], field: str) -> int | None:
    """0, 1, or None where the message has no weight.

    Raises:
        UnusableValue: a weight between: a token is trained or it is not; weights of parts of the text.
    """
    detail = next((key for key in DETAILS if message.get(key)), None)
    if detail is not None:
        raise UnusableValue(f"field '{field}' has '{detail}'; a turn is learned from as a whole or not at all")
    value = next((message[key] for key in WEIGHTS if message.get(key) is not None), None)
    if value is None:
        return None
    if isinstance(value, bool | int | float) and value in (0, 1):
        return int(value)
    raise UnusableValue(f"field '{field}' has the weight {value!r}; only 0 and 1 are known")


FOLLOWS = {
    "system": (None,),
    "user": (None, "system", "assistant"),
    "assistant": (None, "system", "user", "tool"),  # a greeting may come first
    "tool": ("assistant", "tool"),  # a call may stand in the answer as text
}


def _in_order(turns: Iterable[Turn], field: str) -> None:
    """Nothing, where system comes first, user and assistant alternate, and results follow answers.

    Raises:
        UnusableValue: they do not.
    """
    before: str | None = None
    for number, turn in enumerate(turns):
        role = turn["role"]
        if before not in FOLLOWS[role]:
            place = "first" if before is None else f"after {before}"
            raise UnusableValue(f"roles out of order in '{field}': turn {number + 1} ({role}) comes {place}")
        before = role
