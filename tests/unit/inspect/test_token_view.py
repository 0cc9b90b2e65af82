"""Every box of the page is one id of the row that training uses, and says what the window takes away."""

from __future__ import annotations

from typing import Any

import pytest

from keeptune.core.tokens import Token
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.token_texts import excerpt, row_tokens, token_texts
from keeptune.data.encode.window import OverlongPolicy
from keeptune.data.examples import Example
from keeptune.data.formats.recognise import recognise
from keeptune.evaluate.task_templates import plain_templates as wordings
from keeptune.inspect import token_view
from keeptune.inspect.token_view import long_rows, token_rows

LAYOUT = recognise(["instruction", "input", "output"])
EXAMPLES = [
    Example.make({"instruction": "Add.", "input": f"{i} + {i}", "output": f"{2 * i} ü"}, path="a.jsonl", line=i + 1)
    for i in range(6)
]
LONG = Example.make({"instruction": "i", "input": "word " * 90, "output": "o"}, path="a.jsonl", line=7)
TWO = ["{{ input }} ||| {{ output }}", "Now: {{ input }} ||| {{ output }}"]


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, context=128)


def test_tokens_are_the_ids_of_the_row_and_spell_it(encoder: Encoder) -> None:
    templates = wordings(LAYOUT)
    rendered = templates.fixed(EXAMPLES[3])
    encoded = encoder.row(rendered)
    (row,) = token_rows(EXAMPLES[3:], templates, encoder, rows=1)
    (view,) = row.views
    assert [token.id for token in view.tokens] == [*encoded.prompt_ids, *encoded.completion_ids]
    assert "".join(token.text for token in view.tokens) == f"{rendered.prompt}{rendered.completion}</s>"
    assert [token.kind for token in view.tokens].count("trained") == encoded.trained == view.completion_tokens
    assert (view.tokens[-1].look, view.tokens[0].look) == ("trained special", "prompt")
    assert (row.place, view.drawn, view.problem) == ("a.jsonl:4", True, "")


def test_a_character_in_several_tokens_stands_in_the_last(tokenizer: Any) -> None:
    ids = tokenizer("a 日 b", add_special_tokens=False)["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == "a 日 b"
    assert texts.count("") == 2  # three bytes, three tokens
    half = token_texts(tokenizer, ids[:3])
    assert half[-1] == "\ufffd"  # nothing follows that could complete it


def test_every_wording_is_shown_and_one_is_drawn(encoder: Encoder) -> None:
    templates = wordings(LAYOUT, TWO)
    for row, example in zip(token_rows(EXAMPLES, templates, encoder, rows=6), EXAMPLES, strict=True):
        assert [view.name for view in row.views] == ["wording 1", "wording 2"]
        texts = ["".join(token.text for token in view.tokens) for view in row.views]
        assert [text.startswith("Now:") for text in texts] == [False, True]
        (drawn,) = [text for view, text in zip(row.views, texts, strict=True) if view.drawn]
        assert drawn.startswith(templates.for_training(example, 0).prompt)


@pytest.mark.parametrize(
    ("policy", "said"),
    [("drop", "left out"), ("error", "stops with an error"), ("truncate_prompt", "the prompt loses")],
)
def test_rows_too_long_say_what_becomes_of_them(tokenizer: Any, policy: OverlongPolicy, said: str) -> None:
    encoder = Encoder(tokenizer, context=128, overlong=policy)
    templates = wordings(LAYOUT)
    found, count, looked_at, total = long_rows([*EXAMPLES, LONG], templates, encoder)
    assert (count, looked_at, total) == (1, 7, 7)
    ((view,),) = [row.views for row in found]
    assert said in view.problem
    assert f"overlong: {policy}" in view.problem
    kept = [token.id for token in view.tokens if not token.cut]
    if policy == "truncate_prompt":
        encoded: Any = encoder.encode(templates.fixed(LONG))
        assert kept == [*encoded.prompt_ids, *encoded.completion_ids]
        assert len(kept) == 128 < len(view.tokens)
    else:
        assert len(kept) == len(view.tokens) > 128


def test_only_the_first_rows_are_searched(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_view, "LOOKED_AT", 2)
    empty = Example.make({"instruction": "i", "input": "t", "output": "an end </s> inside"})
    assert long_rows([empty, LONG, LONG], wordings(LAYOUT), encoder)[1:] == (1, 2, 3)


def test_rows_that_cannot_be_used_say_why(encoder: Encoder) -> None:
    spelled = Example.make({"instruction": "i", "input": "t", "output": "an end </s> inside"})
    (row,) = token_rows([spelled], wordings(LAYOUT), encoder)
    assert "end token" in row.views[0].problem
    assert row.views[0].tokens == ()


def test_very_long_stretches_lose_their_middle(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_view, "RUN", 20)
    encoded = encoder.row(wordings(LAYOUT).fixed(LONG))
    ((view,),) = [row.views for row in token_rows([LONG], wordings(LAYOUT), encoder)]
    (gap,) = [token for token in view.tokens if token.omitted]
    assert gap.omitted == len(encoded.prompt_ids) - 20
    assert view.tokens.index(gap) == 10
    assert [token.id for token in view.tokens[11:]] == [*encoded.prompt_ids[-10:], *encoded.completion_ids]


def test_an_excerpt_keeps_the_border(encoder: Encoder) -> None:
    tokens = row_tokens(encoder.tokenizer, encoder.row(wordings(LAYOUT).fixed(LONG)))
    short = excerpt(tokens, 40)
    assert short[0].look == "omitted"
    assert short[0].omitted == len(tokens) - 40
    assert short[1:] == tokens[-40:]
    assert excerpt(tokens, len(tokens)) == tokens
    answer = [Token(1, "p", "prompt")] * 30 + [Token(2, "c", "trained")] * 30
    both = excerpt(answer, 16)
    assert (both[0].omitted, both[-1].omitted) == (20, 24)
    assert [token.kind for token in both[1:-1]] == ["prompt"] * 10 + ["trained"] * 6
