"""Rows as one tokenizer and one chat template take them."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.survey import Survey, date_note, survey, survey_notes
from keeptune.data.load import load_examples
from keeptune.evaluate.task_templates import plain_templates as wordings
from keeptune.inspect.check import check
from keeptune.inspect.findings import check_page

CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
NO_SYSTEM = CHATML.replace("for m in messages", "for m in messages if m.role != 'system'")
DATED = "{% if strftime_now is defined %}{{ strftime_now('%d %B %Y') }}{% endif %}" + CHATML


def with_template(tokenizer: Any, template: str | None) -> Any:
    own = deepcopy(tokenizer)
    own.chat_template = template
    return own


def found(folder: Path, tokenizer: Any, rows: list[dict[str, Any]], template: str | None = None) -> Survey:
    loaded = load_examples(written(folder, rows))
    encoder = Encoder(with_template(tokenizer, template), context=128, chat=template is not None)
    return survey(encoder, wordings(loaded.layout).for_chat(encoder.chat), loaded.examples)


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def talk(*texts: str, system: str = "Be brief.") -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": [{"role": "system", "content": system}, *turns] if system else turns}


PLAIN = [{"prompt": f"Where is {i}?", "completion": f"There is {i}."} for i in range(5)]


def test_an_end_token_in_an_answer(tmp_path: Path, tokenizer: Any) -> None:
    rows = [*PLAIN, {"prompt": "How?", "completion": "Use <s>old</s> markup."}]
    seen = found(tmp_path, tokenizer, rows)
    assert [(bad.line, bad.reason) for bad in seen.unusable.values()] == [
        (6, "a completion contains the end token '</s>' as text")
    ]
    assert seen.remedy == "remove it from the data; it is put there by the encoder"
    assert seen.notes == ()


def test_special_tokens_that_are_only_read_are_counted(tmp_path: Path, tokenizer: Any) -> None:
    rows = [*PLAIN, {"prompt": "What is </s>, and </s>?", "completion": "An end."}]
    note = "1 rows spell special tokens as text ('</s>'); the model reads real tokens"
    seen = found(tmp_path, tokenizer, rows)
    assert (dict(seen.unusable), seen.notes) == ({}, (note,))
    seen = found(tmp_path, tokenizer, [talk("Hi <pad>", "Hello."), talk("Hi", "Hello.")], CHATML)
    assert seen.notes == (note.replace("</s>", "<pad>"),)


def test_a_template_that_passes_over_a_text(tmp_path: Path, tokenizer: Any) -> None:
    rows = [talk("Hi", "Hello.", system=""), talk("Hi there", "Hello.")]
    seen = found(tmp_path, tokenizer, rows, NO_SYSTEM)
    assert [bad.line for bad in seen.unusable.values()] == [2]
    assert "does not print the system text" in next(iter(seen.unusable.values())).reason


@pytest.mark.parametrize(
    ("template", "dated"), [(DATED, True), (CHATML, False), ("{# strftime_now #}" + CHATML, False)]
)
def test_a_template_that_prints_the_date(tokenizer: Any, template: str, dated: bool) -> None:
    note = date_note(with_template(tokenizer, template))
    assert (note is not None) == dated
    assert note is None or "prints today's date (strftime_now)" in note


def test_notes_for_readers_of_rows(tmp_path: Path, tokenizer: Any) -> None:
    loaded = load_examples(written(tmp_path, [talk("Hi", "Hel</s>lo."), talk("Hi <pad>", "Hello.")]))
    encoder = Encoder(with_template(tokenizer, DATED), context=128, chat=True)
    notes = survey_notes(encoder, wordings(loaded.layout).for_chat(), loaded.examples)
    assert notes[0].startswith("1 rows were set aside: a completion contains the end token '</s>' as text (first: ")
    assert notes[1].startswith("1 rows spell special tokens as text ('<pad>')")
    assert "prints today's date" in notes[2]


def test_check_knows_end_tokens_without_a_model(tmp_path: Path) -> None:
    rows = [*PLAIN, {"prompt": "How?", "completion": "So:<|im_end|>"}, {"prompt": "What is [INST]?", "completion": "A"}]
    page = check_page(check(written(tmp_path, rows)))
    (finding,) = [each for each in page.findings if each.kind == "tokens"]
    assert finding.text.startswith("1 rows have an answer that spells an end token ('<|im_end|>')")
    assert [case.text for case in finding.cases] == ["line 6"]
    assert "1 rows spell special tokens of some models as text ('[INST]'); see --model" in page.notes
    turns = [talk("Why </s>?", "So.</s>"), talk("Why </s>?", "So.")]
    page = check_page(check(written(tmp_path, turns)))
    assert [each.text[:6] for each in page.findings if each.kind == "tokens"] == ["1 rows"]
    assert any(note.startswith("1 rows spell special tokens") for note in page.notes)
    assert not [each for each in check_page(check(written(tmp_path, PLAIN))).findings if each.kind == "tokens"]


def test_check_with_a_model(tmp_path: Path, tokenizer: Any) -> None:
    rows = [*PLAIN, {"prompt": "How?", "completion": "So:<|im_end|>"}, {"prompt": "Why?", "completion": "So:</s>"}]
    page = check_page(check(written(tmp_path, rows), encoder=Encoder(tokenizer, context=128)))
    (finding,) = [each for each in page.findings if each.kind == "model"]
    assert (finding.good, finding.text) == (False, "1 rows cannot be used with this model")
    assert finding.cases[0].text.startswith("1 x a completion contains the end token '</s>' as text (first: ")
    assert not [each for each in page.findings if each.kind == "tokens"]
    page = check_page(check(written(tmp_path, PLAIN), encoder=Encoder(tokenizer, context=128)))
    assert [each.good for each in page.findings if each.kind == "model"] == [True]
