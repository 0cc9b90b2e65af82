"""A conversation as stretches of text: what is read, and every answer, its borders taken from the template itself.

With a chat template the borders of an answer come from its generation markers (``{% generation %}``) where it has
them. Elsewhere they come from rendering prefixes: what the template prints for the turns before an answer, with the
generation prompt, and for these turns with the answer. Both must be beginnings of the whole conversation as it is
printed; a template that prints a turn otherwise once others follow (some drop earlier reasoning) is an error. Nothing
is searched for in the text.

Without a chat template turns are laid out plainly: the system text, then ``User: ...`` and ``Assistant: ...`` with a
blank line between, every answer closed by the end token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from keeptune.core.errors import DataError
from keeptune.data.encode.chat import REFUSALS, THINKING, AssistantTurn, not_printed
from keeptune.data.encode.printed import left_out, thoughts_left_out, tools_left_out
from keeptune.data.examples import Conversation
from keeptune.data.formats.conversation import NAMES, own_text

MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")  # how transformers recognises a template with markers
PLAIN_NOTE = (
    "no chat template is used, so conversations are laid out as 'User: ...' and 'Assistant: ...'; to train the turns "
    "that a model is served with, use one whose folder has a chat template (chat_template.jinja)"
)
BREAK = "\n\n"  # between the turns of the plain layout


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a rendered conversation. An answer's text is without its end token, which stands behind it."""

    text: str
    turn: int | None = None  # the number of the assistant's turn that it is; None: read only
    trained: bool = False
    ends: bool = False  # an end token follows, and is trained as the piece is


def with_shots(talk: Conversation, shots: Sequence[Conversation]) -> Conversation:
    """The conversation up to the turn that is asked, worked examples as earlier turns behind its system turn."""
    own = talk.turns[: talk.asked + 1]
    system = [turn for turn in own[:1] if turn["role"] == "system"]
    earlier = [turn for shot in shots for turn in shot.turns[: shot.asked + 1] if turn["role"] != "system"]
    turns = (*system, *earlier, *own[len(system) :])
    return replace(talk, turns=turns, asked=len(turns) - 1)


def plain_pieces(talk: Conversation) -> list[Piece]:
    """The conversation in the plain layout."""
    pieces: list[Piece] = []
    text = ""
    if talk.tools:
        listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in talk.tools)
        text = f"Tools:\n{listed}{BREAK}"
    for number, turn in enumerate(talk.turns):
        said = own_text(turn).strip()
        if turn["role"] == "system":
            text = f"{said}{BREAK}{text}"
        elif turn["role"] == "assistant":
            pieces.append(Piece(f"{text}{NAMES['assistant']}:"))
            pieces.append(Piece(f" {said}", number, turn["trained"], ends=True))
            text = BREAK
        else:
            text += f"{NAMES[turn['role']]}: {said}{BREAK}"
    return pieces


def chat_pieces(tokenizer: Any, talk: Conversation, frame: AssistantTurn) -> list[Piece]:
    """The conversation as the chat template prints it, cut at the borders of every trained answer.

    Raises:
        DataError: the template refuses the conversation, prints an answer otherwise than it stands in the row, leaves
            out a turn's text, tools, calls or reasoning, does not preserve prefixes, or has markers that do not fit
            the answers.
    """
    template = str(tokenizer.get_chat_template(tools=list(talk.tools) or None))
    if MARKER.search(template):
        full, spans = _marked(tokenizer, talk, template)
        # the template prints white space behind the end token, which some markers include
        spans = {number: _to_end(full, span, frame) for number, span in spans.items()}
    else:
        full, spans = _by_prefixes(tokenizer, talk, frame)
    pieces: list[Piece] = []
    at = 0
    last = max(spans)
    for number, (start, stop) in sorted(spans.items()):
        if frame.end == "" and number != last:
            raise DataError(
                f"turn {number + 1} is trained, but the chat template prints no end token behind it",
                remedy="set supervise: last, or use a chat template that ends every assistant turn with a token",
            )
        body = full[start : stop - len(frame.end)]
        _faithful(tokenizer, talk, number, body, frame)
        pieces += [Piece(full[at:start]), Piece(body, number, trained=True, ends=True)]
        at = stop
    _printed(tokenizer, talk, full, template)
    return pieces


def as_served(tokenizer: Any, talk: Conversation, before: Sequence[Piece], frame: AssistantTurn) -> None:
    """Nothing, where the pieces before an answer are what a server renders to ask for it.

    Raises:
        DataError: they are not; generation markers alone do not make sure of it.
    """
    trained = "".join(piece.text + (frame.end if piece.ends else "") for piece in before)
    if trained != _render(tokenizer, talk, talk.asked, generate=True):
        raise DataError(
            f"the chat template prints turn {talk.asked + 1} behind another text than its generation prompt, so the "
            "model would be asked what it was never shown",
            remedy="use a chat template whose generation prompt is what it prints before an answer, or set chat: false",
        )


def _render(tokenizer: Any, talk: Conversation, turns: int, *, generate: bool, **parts: Any) -> str:
    messages = [_message(turn) for turn in parts.get("messages", talk.turns)[:turns]]
    tools = list(parts.get("tools", talk.tools)) or None
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=generate)
    except REFUSALS as error:
        raise _refused(error) from error
    return str(text)


def _message(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in turn.items() if key != "trained"}


def _refused(error: Exception) -> DataError:
    return DataError(
        f"the chat template refuses the conversation: {error}",
        remedy="remove what it does not know (a system turn, tools), use another chat template, or set chat: false",
    )


def _by_prefixes(tokenizer: Any, talk: Conversation, frame: AssistantTurn) -> tuple[str, dict[int, tuple[int, int]]]:
    """(the whole text, first and last character of every trained answer with its end token)."""
    full = _render(tokenizer, talk, len(talk.turns), generate=False)
    spans = {}
    for number in talk.trained:
        before = _render(tokenizer, talk, number, generate=True)
        after = _render(tokenizer, talk, number + 1, generate=False)
        if after.endswith(frame.end + frame.tail):  # some templates print more behind the last turn alone
            after = after[: len(after) - len(frame.tail)]
        if not (after.startswith(before) and full.startswith(after)):
            raise DataError(
                f"the chat template is not prefix-preserving: it prints turn {number + 1} (assistant) otherwise when "
                "turns follow or when it is still to be answered, so training would show what serving never does",
                remedy="set supervise: last, use a chat template with {% generation %} markers, or set chat: false",
            )
        spans[number] = _to_end(full, (len(before), len(after)), frame)
    return full, spans


def _to_end(full: str, span: tuple[int, int], frame: AssistantTurn) -> tuple[int, int]:
    """The span up to its end token, without what the template prints behind it.

    Raises:
        DataError: it does not reach its end token.
    """
    start, stop = span
    text = full[start:stop]
    if not text.endswith(frame.end) and text.endswith(frame.end + frame.tail):
        stop -= len(frame.tail)
    elif not text.endswith(frame.end):
        raise DataError(
            f"the end of an answer is not supervised: the template's stretch ends in {text[-20:]!r}, not in "
            f"{frame.end!r}, so the model would never learn to stop",
            remedy="put the end token before {% endgeneration %} in the chat template",
        )
    return start, stop


def _marked(tokenizer: Any, talk: Conversation, template: str) -> tuple[str, dict[int, tuple[int, int]]]:
    """(the whole text, the marked stretch of every trained answer)."""
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [_message(turn) for turn in talk.turns]
    try:
        texts, marked = render_jinja_template(
            conversations=[messages],
            tools=list(talk.tools) or None,
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=False,
            **tokenizer.special_tokens_map,
        )
    except REFUSALS as error:
        raise _refused(error) from error
    answers = [number for number, turn in enumerate(talk.turns) if turn["role"] == "assistant"]
    spans = [(int(start), int(stop)) for start, stop in marked[0]]
    if len(spans) != len(answers) or any(a[1] > b[0] for a, b in pairwise(spans)):
        raise DataError(
            f"the chat template marks {len(spans)} stretches as generated, the conversation has {len(answers)} "
            "assistant turns",
            remedy="put {% generation %} and {% endgeneration %} around what is printed for one assistant turn",
        )
    return str(texts[0]), {n: span for n, span in zip(answers, spans, strict=True) if talk.turns[n]["trained"]}


def _faithful(tokenizer: Any, talk: Conversation, number: int, body: str, frame: AssistantTurn) -> None:
    """Nothing, where an answer of text alone is printed as it stands in the row (stripped, if the template strips).

    Raises:
        DataError: it is not.
    """
    turn = talk.turns[number]
    if turn.get("tool_calls") or turn.get("reasoning_content"):
        return
    content = turn["content"].strip() if frame.trims else turn["content"]
    if thoughts_left_out(content, body):
        raise not_printed(tokenizer, THINKING)
    if body not in (frame.wrap(content), content):
        raise DataError(
            f"the chat template prints turn {number + 1} as {body[:60]!r}, the row has {content[:60]!r}",
            remedy="correct the template: its generation markers belong around the answer and its end token alone",
        )


def _printed(tokenizer: Any, talk: Conversation, full: str, template: str) -> None:
    """Nothing, where the template prints all that is said: texts, calls, reasoning of what is learned, tools.

    Raises:
        DataError: it leaves something out.
    """

    def render(messages: Sequence[Mapping[str, Any]]) -> str:
        return _render(tokenizer, talk, len(messages), generate=False, messages=messages)

    def with_tools(tools: Sequence[Mapping[str, Any]]) -> str:
        return _render(tokenizer, talk, len(talk.turns), generate=False, tools=tools)

    for key, what in (("tool_calls", "tool calls"), ("reasoning_content", "reasoning")):
        if any(turn.get(key) for turn in talk.turns if turn["trained"]):
            without = [{k: v for k, v in turn.items() if k != key or not turn["trained"]} for turn in talk.turns]
            if render(without) == full:
                raise not_printed(tokenizer, what)
    if talk.tools and (with_tools(()) == full or tools_left_out(template, talk.tools, full, with_tools)):
        raise not_printed(tokenizer, "tools")
    passed_over = left_out(template, talk.turns, full, render)
    if passed_over is not None:
        raise not_printed(tokenizer, passed_over)
