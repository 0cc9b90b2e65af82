"""What a tokenizer's chat template puts around a turn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, TemplateError, nodes

from keeptune.core.errors import DataError, ModelError
from keeptune.data.encode.printed import left_out, thoughts_left_out
from keeptune.data.examples import Rendered

_PROBE = "zq7"  # an answer that no template contains
THINKING = "thinking of an answer that is learned"
REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)  # what templates raise
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # transformers' own tags


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """The text around an assistant's answer, between the generation prompt and the end token."""

    before: str
    after: str
    trims: bool  # the template strips the answer
    end_id: int
    end: str = ""  # the end token as the template prints it; "" where it prints none
    tail: str = ""  # what it prints behind
    marks: tuple[str, ...] = ()  # texts that the template looks for: an answer that has one is printed in its own way

    def wrap(self, text: str) -> str:
        """An answer as the template prints it, without the end token."""
        return self.before + (text.strip() if self.trims else text) + self.after

    def unwrap(self, text: str, references: Sequence[str]) -> str:
        """A generated answer without what the template prints around one, as far as the references have none of it.

        Where the template prints an empty block of thoughts, a model's block goes whatever is in it.
        """
        before, after = self.before.strip(), self.after.strip()
        if after and text.endswith(after) and not any(one.endswith(after) for one in references):
            text = text[: -len(after)].rstrip()
        if not before or any(one.startswith(before.split()[0]) for one in references):
            return text
        if text.startswith(before):
            return text[len(before) :].lstrip()
        if re.fullmatch(r"</[^<>/\s]+>", before):  # the generation prompt opens the block
            return text if any(before in one for one in references) else text.split(before, 1)[-1].lstrip()
        block = re.fullmatch(r"(<([^<>/\s]+)>)\s*(</\2>)", before)
        if block and text.startswith(block[1]) and block[3] in text:
            return text.split(block[3], 1)[1].lstrip()
        return text


def render_chat(tokenizer: Any, rendered: Rendered, shots: Sequence[Rendered] = ()) -> str:
    """The conversation up to the point where the assistant answers; worked examples are earlier turns.

    Raises:
        ModelError: the chat template refuses the conversation, for example its system message.
        DataError: it leaves out a text, for example that of the system.
    """
    messages = [{"role": "system", "content": rendered.system}] if rendered.system else []
    for shot in shots:
        messages.append({"role": "user", "content": shot.prompt})
        messages.append({"role": "assistant", "content": shot.completion})
    messages.append({"role": "user", "content": rendered.prompt})
    text = _apply(tokenizer, messages, generate=True)
    what = left_out(template_of(tokenizer), messages, text, lambda others: _apply(tokenizer, others, generate=True))
    if what is not None:
        raise not_printed(tokenizer, what)
    return text


def not_printed(tokenizer: Any, what: str) -> DataError:
    """The chat template passes over something that the row says."""
    return DataError(
        f"the chat template of {tokenizer_name(tokenizer)} does not print the {what}",
        remedy=f"use a chat template that does, leave the {what} out of the data, or set chat: false",
    )


def tokenizer_name(tokenizer: Any) -> str:
    """The folder or hub name, or else the class."""
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)


def template_of(tokenizer: Any) -> str:
    """The source of the chat template."""
    return str(tokenizer.get_chat_template() if hasattr(tokenizer, "get_chat_template") else tokenizer.chat_template)


def assistant_turn(tokenizer: Any) -> AssistantTurn:
    """Find what the chat template prints around an answer, by rendering a full conversation.

    Raises:
        ModelError: there is no chat template; the generation prompt is not the beginning of the full
            conversation; the template changes the answer or ends the turn without a special token.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("the tokenizer has no chat template", remedy="set chat: false for this model")
    user = {"role": "user", "content": "hello"}
    prompt = _apply(tokenizer, [user], generate=True)
    turn = _answer_turn(tokenizer, user, prompt, _PROBE)
    before, _, after = turn.partition(_PROBE)
    trims = f" {_PROBE} " not in _answer_turn(tokenizer, user, prompt, f" {_PROBE} ")
    text, end, end_id = _first_special(tokenizer, after)
    return AssistantTurn(before, text, trims, end_id, end, after[len(text) + len(end) :], _marks(tokenizer))


def printed_answer(tokenizer: Any, turn: AssistantTurn, answer: str) -> str:
    """An answer as the template prints it, without the end token, where it looks into the answer (`marks`).

    Raises:
        DataError: the template drops what the answer thinks.
    """
    if not any(mark in answer for mark in turn.marks):
        return turn.wrap(answer)
    user = {"role": "user", "content": "hello"}
    prompt = _apply(tokenizer, [user], generate=True)
    full = _apply(tokenizer, [user, {"role": "assistant", "content": answer}], generate=False)
    ending = turn.end + turn.tail
    if not full.startswith(prompt) or not full.endswith(ending):
        return turn.wrap(answer)
    body = full[len(prompt) : len(full) - len(ending)]
    if thoughts_left_out(answer, body):
        raise not_printed(tokenizer, THINKING)
    return body


def _marks(tokenizer: Any) -> tuple[str, ...]:
    """Strings in the template's code that are no plain words, such as </think>: what it may look for in an answer."""
    try:
        code = _GENERATION.sub("", template_of(tokenizer))
        tree = Environment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"]).parse(code)
    except TemplateError:
        return ()
    texts = {str(node.value).strip() for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return tuple(sorted(t for t in texts if len(t) > 2 and not t.replace("_", "").isalnum() and _marked(t)))


def _marked(text: str) -> bool:
    return any(c in "<>[]|#" for c in text) and not any(c.isspace() for c in text)


def _answer_turn(tokenizer: Any, user: dict[str, str], prompt: str, answer: str) -> str:
    full = _apply(tokenizer, [user, {"role": "assistant", "content": answer}], generate=False)
    if not full.startswith(prompt):
        raise ModelError(
            "the chat template prints another beginning with an answer than without: the model would be trained "
            "on prompts that it never sees when it is used",
            remedy="use a chat template whose generation prompt is what it prints before an answer, or set chat: false",
        )
    turn = full[len(prompt) :]
    if _PROBE not in turn:
        raise ModelError("the chat template does not print the assistant's answer", remedy="set chat: false")
    return turn


def _first_special(tokenizer: Any, text: str) -> tuple[str, str, int]:
    """(text before the first special token of ``text``, that token, its id); EOS where the turn ends in nothing."""
    if not text.strip():
        return "", "", int(tokenizer.eos_token_id)
    found = [(text.find(token), -len(token), token) for token in _special_tokens(tokenizer) if token in text]
    if not found:
        raise ModelError(
            f"the chat template ends an answer with {text.strip()[:40]!r}, which is no special token, so "
            "generation would not know where to stop",
            remedy="use a chat template that ends the assistant's turn with a special token, or set chat: false",
        )
    position, _, token = min(found)
    return text[:position], token, int(tokenizer.convert_tokens_to_ids(token))


def _special_tokens(tokenizer: Any) -> set[str]:
    return {str(token) for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())}


def _apply(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, generate: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=generate))
    except REFUSALS as error:
        raise ModelError(
            f"the chat template refuses the conversation: {error}",
            remedy="leave out the system text, or set chat: false",
        ) from error
