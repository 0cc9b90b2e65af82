"""Whether a chat template prints all that a conversation says. Templates pass over turns that they do not know.

Compared are letters and digits alone, because templates trim, indent, merge turns and escape what a tool returned.
They may leave out what an earlier answer thought. A text that stands in the output by chance (a short one, or one that
another turn repeats) is told apart by rendering the same turns with other texts, once for every order of roles.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keeptune.core.errors import KeeptuneError

THOUGHTS = re.compile(
    r"\A.*(?:</\w*(?:think|thought|reason)\w*>|\[/THINK\]|<\|end_of_thought\|>)", re.DOTALL | re.IGNORECASE
)
_NO_LETTERS = re.compile(r"[\W_]+")
_PROBE_TOOL = {
    "name": "zq7name",
    "description": "zq7description",
    "parameters": {"type": "object", "properties": {"zq7parameter": {"type": "string", "description": "A text."}}},
}
_KNOWN: dict[tuple[str, Any], frozenset[int]] = {}  # template, kinds of messages -> which of them it passes over
MOST_KNOWN = 4_096

Message = Mapping[str, Any]
Render = Callable[[Sequence[Message]], str]


def left_out(template: str, messages: Sequence[Message], printed: str, render: Render) -> str | None:
    """What the template passed over, in words ("system text"); None where it printed everything.

    Args:
        template: its source.
        messages: with role and content, and tool_calls where there are some.
        printed: what the template made of them.
        render: prints other messages in the same way.
    """
    found = _letters(printed)
    at = 0
    passed_over = _passed_over(template, messages, render)
    for number, message in enumerate(messages):
        text = str(message.get("content") or "")
        place = _place(message["role"], text, printed, found, 0 if message["role"] == "system" else at)
        if place is None or number in passed_over:
            return f"{message['role']} text"
        if message["role"] != "system":  # some templates print it behind other turns
            at = place
        for call in message.get("tool_calls") or ():
            if not all(_stands(each, printed, found) for each in _values(call["function"])):
                return "tool calls"
    return None


def thoughts_left_out(answer: str, printed: str) -> bool:
    """Whether an answer was printed without what it thinks."""
    short = THOUGHTS.sub("", answer)
    return short != answer and short.strip() == printed.strip()


def tools_left_out(template: str, tools: Sequence[Message], printed: str, render: Render) -> bool:
    """Whether the template passes over a tool: its name, its description, or the names of its parameters.

    Args:
        template: its source.
        tools: as conversations have them.
        printed: what the template made of a conversation with them.
        render: prints the conversation with other tools.
    """
    found = _letters(printed)
    functions = [tool.get("function", tool) for tool in tools]
    if not all(_stands(text, printed, found) for function in functions for text in _described(function)):
        return True
    parts = {"name", *(key for function in functions for key in ("description", "parameters") if function.get(key))}
    probe = {key: value for key, value in _PROBE_TOOL.items() if key in parts}
    return bool(
        _unprinted(template, ("tools", *sorted(parts)), list(_described(probe)), lambda: render([_tool(probe)]))
    )


def _tool(function: Message) -> Message:
    return {"type": "function", "function": function}


def _described(function: Message) -> Iterator[str]:
    """The texts of a tool that a model cannot do without."""
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    texts = [function.get("name"), function.get("description")]
    texts += list(properties) if isinstance(properties, Mapping) else []
    return (text for text in texts if isinstance(text, str))


def _place(role: str, text: str, printed: str, found: str, start: int) -> int | None:
    """Where, among the letters that were printed, the text ends; None where it does not stand there."""
    if not _letters(text):  # signs alone: their place is not known
        return start if "".join(text.split()) in "".join(printed.split()) else None
    for form in _forms(text):
        at = found.find(_letters(form), start)
        if at >= 0:
            return at + len(_letters(form))
    answer = THOUGHTS.sub("", text) if role == "assistant" else text
    return _place("", answer, printed, found, start) if answer != text else None


def _stands(text: str, printed: str, found: str) -> bool:
    return _place("", text, printed, found, 0) is not None


def _forms(text: str) -> Iterator[str]:
    """The text as it is, and as templates escape it."""
    yield text
    bare = text.strip()
    for escaped in (bare, html.escape(bare), html.escape(bare).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")):
        yield escaped
        yield json.dumps(escaped, ensure_ascii=False)
        yield json.dumps(escaped)
    yield json.dumps(json.dumps(bare, ensure_ascii=False), ensure_ascii=False)
    markup = json.dumps(bare, ensure_ascii=False)  # as Jinja's own tojson does
    for sign in "<>&'":
        markup = markup.replace(sign, f"\\u{ord(sign):04x}")
    yield markup


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text).casefold()


def _values(value: Any) -> Iterator[str]:
    """Texts and whole numbers inside a call."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _values(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _values(each)
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        yield str(value)


def _passed_over(template: str, messages: Sequence[Message], render: Render) -> frozenset[int]:
    """The numbers of the messages whose text the template passes over, whatever it is."""
    kinds = tuple((each["role"], _said(each), bool(each.get("tool_calls"))) for each in messages)
    probes = [f"zq7n{number}qz" for number in range(len(messages))]
    others = [{**each, "content": probe if _said(each) else ""} for each, probe in zip(messages, probes, strict=True)]
    unprinted = _unprinted(template, kinds, probes, lambda: render(others))
    return frozenset(number for number in unprinted if _said(messages[number]))


def _unprinted(template: str, kind: Any, probes: Sequence[str], render: Callable[[], str]) -> frozenset[int]:
    """The numbers of the probes that a template does not print; found once for every kind of conversation."""
    if (template, kind) not in _KNOWN:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        try:
            printed = render().casefold()
            found = frozenset(number for number, probe in enumerate(probes) if probe not in printed)
        except KeeptuneError:  # the template wants texts of a certain form
            found = frozenset()
        _KNOWN[template, kind] = found
    return _KNOWN[template, kind]


def _said(message: Message) -> bool:
    return bool(str(message.get("content") or "").strip())
