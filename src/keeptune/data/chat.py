"""What a tokenizer's chat template puts around a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from keeptune.core.errors import ModelError
from keeptune.data.examples import Rendered

_PROBE = "zq7"  # an answer that no template contains


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """The text around an assistant's answer, between the generation prompt and the end token."""

    before: str
    after: str
    trims: bool  # the template strips the answer
    end_id: int
    end: str = ""  # the end token as the template prints it; "" where it prints none
    tail: str = ""  # what it prints behind

    def wrap(self, text: str) -> str:
        """An answer as the template prints it, without the end token."""
        return self.before + (text.strip() if self.trims else text) + self.after


def render_chat(tokenizer: Any, rendered: Rendered, shots: Sequence[Rendered] = ()) -> str:
    """The conversation up to the point where the assistant answers; worked examples are earlier turns.

    Raises:
        ModelError: the chat template refuses the conversation, for example its system message.
    """
    messages = [{"role": "system", "content": rendered.system}] if rendered.system else []
    for shot in shots:
        messages.append({"role": "user", "content": shot.prompt})
        messages.append({"role": "assistant", "content": shot.completion})
    messages.append({"role": "user", "content": rendered.prompt})
    return _apply(tokenizer, messages, generate=True)


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
    return AssistantTurn(before, text, trims, end_id, end, after[len(text) + len(end) :])


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


def _apply(tokenizer: Any, messages: list[dict[str, str]], *, generate: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate))
    except TemplateError as error:
        raise ModelError(
            f"the chat template refuses the conversation: {error}",
            remedy="leave out the system text, or set chat: false",
        ) from error
