from __future__ import annotations

import copy
from typing import Any

import pytest

from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example
from keeptune.data.prompts.templates import Template, TemplateSet
from keeptune.evaluate import requests
from keeptune.evaluate.prompts import Item
from keeptune.evaluate.requests import ChoiceScoring, Generation
from keeptune.evaluate.shots import fit_prompt

WORDINGS = TemplateSet((Template.parse("Q: {{ q }}\nA: ||| {{ a }}"),))
TURNS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def item(encoder: Encoder, shots: int = 0) -> tuple[Item, list[Any]]:
    wordings = WORDINGS.for_chat(encoder.chat)
    rows = [
        wordings.fixed(Example.make({"q": f"question {i}", "a": [f"answer {i}", "else"]})) for i in range(1 + shots)
    ]
    prompt = fit_prompt(encoder, rows[0], rows[1:], room=8)
    assert prompt is not None
    return Item(rows[0], prompt), rows[1:]


def says(text: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Make the model say ``text``; returns what `generate` was called with."""
    calls: list[dict[str, Any]] = []

    def fake(lm: Any, prompts: Any, new: int, **given: Any) -> list[tuple[int, ...]]:
        calls.append(given | {"prompts": prompts, "new": new})
        return [tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"]) for _ in prompts]

    monkeypatch.setattr(requests, "generate", fake)
    return calls


def test_answers_after_demonstrations_end_at_the_blank_line(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(tokenizer, context=128)
    asked, shots = item(encoder, shots=1)
    calls = says(" answer 7\n\nQ: another", encoder, monkeypatch)
    answer = Generation(8).answer(None, encoder, [asked], shots, None)[0]  # type: ignore[arg-type]
    assert answer.prediction == "answer 7"
    assert answer.references == ("answer 0", "else")
    assert calls[0]["stop"] == ("\n\n",)
    assert calls[0]["end_ids"] == (encoder.end_id,)
    assert calls[0]["new"] == 8


def test_without_demonstrations_nothing_is_cut(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(tokenizer, context=128)
    asked, _ = item(encoder)
    calls = says("one\n\ntwo ", encoder, monkeypatch)
    assert Generation(8).answer(None, encoder, [asked], [], None)[0].prediction == "one\n\ntwo"  # type: ignore[arg-type]
    assert calls[0]["stop"] == ()


def test_chat_demonstrations_are_earlier_turns(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = TURNS
    encoder = Encoder(chatty, context=256, chat=True)
    asked, shots = item(encoder, shots=1)
    assert chatty.decode(asked.prompt.ids) == (
        "<|user|>Q: question 1\nA:</s><|assistant|>answer 1</s><|user|>Q: question 0\nA:</s><|assistant|>"
    )
    calls = says("answer\n\nmore", encoder, monkeypatch)
    assert Generation(8).answer(None, encoder, [asked], shots, None)[0].prediction == "answer\n\nmore"  # type: ignore[arg-type]
    assert calls[0]["stop"] == ()


@pytest.mark.parametrize(("per_byte", "picked"), [(False, "no"), (True, "größer")])
def test_normalisation_is_by_utf8_bytes(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, per_byte: bool, picked: str
) -> None:
    encoder = Encoder(tokenizer, context=128)
    template = Template.parse("Q: {{ q }}\nA: ||| {{ a }}", answer_choices=("no", "größer"))
    row = template.render(Example.make({"q": "which", "a": "no"}))
    prompt = fit_prompt(encoder, row, [], room=8)
    assert prompt is not None
    # per byte: -4 / 2 = -2 against -15 / 8 = -1.875; per character it would be -15 / 6 = -2.5
    monkeypatch.setattr(requests, "choice_logprobs", lambda *_, **__: [(-4.0, -15.0)])
    answer = ChoiceScoring(per_byte).answer(None, encoder, [Item(row, prompt)], [], None)[0]  # type: ignore[arg-type]
    assert (answer.prediction, answer.references) == (picked, ("no",))
