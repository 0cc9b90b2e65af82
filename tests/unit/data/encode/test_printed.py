"""What templates pass over is found, and what they may do with a text is not taken for that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from keeptune.core.errors import DataError
from keeptune.data.encode.printed import Message, left_out, tools_left_out

EACH = "{% for m in messages %}[{{ m.role }}]"
END = "[end]{% endfor %}"
CALLS = "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
PLAIN = EACH + "{{ m.content }}" + CALLS + END
NO_SYSTEM = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}" + END
NO_TOOL = "{% for m in messages if m.role != 'tool' %}[{{ m.role }}]{{ m.content }}" + CALLS + END
CALL_OR_TEXT = EACH + "{% if m.tool_calls %}" + CALLS + "{% else %}{{ m.content }}{% endif %}" + END
NO_ARGUMENTS = EACH + "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}" + END
FIRST_WORDS = EACH + "{{ m.content[:12] }}" + END
LAST_TWO = "{% for m in messages[-2:] %}[{{ m.role }}]{{ m.content }}" + END
TRIMS = EACH + "{{ m.content | trim }}" + END
SPACES = EACH + "{{ m.content.split() | join(' ') }}" + CALLS + END
INDENTS = EACH + "{{ m.content | indent(4) }}" + END
AS_HTML = EACH + "{{ m.content | e }}" + CALLS + END
AS_JSON = EACH + "{{ m.content | tojson }}" + CALLS + END
AS_PLAIN_JSON = EACH + "{{ dumps(m.content) }}" + CALLS + END
NO_THOUGHTS = EACH + "{{ m.content.split('</think>')[-1] }}" + END
IN_FIRST_USER = (
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = m.content %}"
    "{% else %}[{{ m.role }}]{% if loop.index0 == 1 %}{{ ns.s }}\n\n{% endif %}{{ m.content | trim }}{% endif %}"
    "{% endfor %}"
)
IN_LAST_USER = IN_FIRST_USER.replace("loop.index0 == 1", "loop.revindex == 2")
MERGED = EACH.replace("[{{ m.role }}]", "{% if loop.changed(m.role) %}[{{ m.role }}]{% endif %}") + (
    "{{ m.content }}\n{% endfor %}"
)

TALK = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": " Is <b>4</b> & 'five' \"even\"?\nThink.  "},
    {"role": "assistant", "content": "<think>\nFour is.\n</think>\n\nBoth?"},
    {"role": "user", "content": "Say é, 漢 and 👍!"},
    {"role": "assistant", "content": "Okay."},
]
CALLED = [
    {"role": "user", "content": "What is 3 + 4?"},
    {
        "role": "assistant",
        "content": "I add.",
        "tool_calls": [{"function": {"name": "add", "arguments": {"a": "three", "b": [4], "exact": True}}}],
    },
    {"role": "tool", "content": '{"sum": 7, "text": "se\\"ven"}'},
    {"role": "assistant", "content": "Seven."},
]


def found(template: str, messages: Sequence[Message]) -> str | None:
    environment = ImmutableSandboxedEnvironment()
    environment.globals["dumps"] = json.dumps
    compiled = environment.from_string(template)

    def render(messages: Sequence[Message]) -> str:
        return compiled.render(messages=messages)

    return left_out(template, messages, render(messages), render)


@pytest.mark.parametrize(
    ("template", "messages", "what"),
    [
        (NO_SYSTEM, TALK, "system text"),
        (LAST_TWO, TALK, "system text"),
        (LAST_TWO, TALK[1:], "user text"),
        (FIRST_WORDS, TALK, "system text"),
        (FIRST_WORDS, CALLED[-1:] + CALLED[:1], "user text"),
        (NO_TOOL, CALLED, "tool text"),
        (CALL_OR_TEXT, CALLED, "assistant text"),
        (NO_ARGUMENTS, CALLED, "tool calls"),
    ],
)
def test_what_a_template_passes_over_is_named(template: str, messages: Any, what: str) -> None:
    assert found(template, messages) == what


def test_a_text_that_stands_there_by_chance_is_missed_all_the_same() -> None:
    echo = [{"role": "system", "content": "User"}, {"role": "user", "content": "The user said: user."}]
    assert found(NO_SYSTEM, echo) == "system text"
    again = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}] * 2
    assert found(LAST_TWO, again) == "user text"


@pytest.mark.parametrize(
    "template",
    [PLAIN, TRIMS, SPACES, INDENTS, AS_HTML, AS_JSON, AS_PLAIN_JSON, NO_THOUGHTS, IN_FIRST_USER, IN_LAST_USER, MERGED],
)
def test_what_templates_do_with_texts_is_no_loss(template: str) -> None:
    assert found(template, TALK) is None
    assert found(template, TALK[1:3]) is None


@pytest.mark.parametrize("template", [PLAIN, SPACES, AS_HTML, AS_JSON, AS_PLAIN_JSON])
def test_what_templates_do_with_calls_and_results_is_no_loss(template: str) -> None:
    assert found(template, CALLED) is None


def test_a_template_that_refuses_other_texts_is_judged_by_the_row() -> None:
    def render(messages: Sequence[Message]) -> str:
        raise DataError("wants other texts")

    assert left_out("picky", TALK[-1:], "[assistant]Okay.", render) is None
    assert left_out("picky too", TALK[-1:], "[assistant]", render) == "assistant text"


FUNCTION = {
    "name": "add",
    "description": 'Adds "numbers".',
    "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "right": {"type": "number"}}},
}
DUMPED = "{% for t in tools %}{{ t | tojson(indent=2) }}{% endfor %}"
SIGNED = (
    "{% for t in tools %}// {{ t.function.description }}\n{{ t.function.name }}"
    "({% for p in (t.function.parameters or {}).properties or {} %}{{ p }}, {% endfor %})\n{% endfor %}"
)
NAMED = "{% for t in tools %}{{ t.function.name }}: {{ t.function.description }}{% endfor %}"
UNDESCRIBED = SIGNED.replace("t.function.description", "''")


@pytest.mark.parametrize(("template", "lost"), [(DUMPED, False), (SIGNED, False), (NAMED, True), (UNDESCRIBED, True)])
def test_tools(template: str, lost: bool) -> None:
    compiled = ImmutableSandboxedEnvironment().from_string(template)

    def render(tools: Sequence[Message]) -> str:
        return compiled.render(tools=tools)

    for function in (FUNCTION, {**FUNCTION, "parameters": {"properties": {"a": {}}}}):
        tools = [{"type": "function", "function": function}]
        assert tools_left_out(template, tools, render(tools), render) == lost
    bare = [{"type": "function", "function": {"name": "stop"}}]
    assert not tools_left_out(template, bare, render(bare), render)
    assert tools_left_out(template, [*bare, *tools], render(bare), render)
