from __future__ import annotations

from typing import Any

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example
from keeptune.data.prompts.templates import Template, TemplateSet
from keeptune.evaluate.shots import draw_shots, fit_prompt, stop_texts

WORDINGS = TemplateSet((Template.parse("Q: {{ q }}\nA: ||| {{ a }}"),))


def pool(n: int) -> list[Example]:
    return [Example.make({"q": f"question {i}", "a": f"answer {i}"}) for i in range(n)]


def test_a_draw_does_not_depend_on_the_order_and_grows_with_k() -> None:
    examples = pool(30)
    four = draw_shots(examples, 4, draw=0)
    assert draw_shots(examples[::-1], 4, draw=0) == four
    assert draw_shots(examples, 6, draw=0)[:4] == four
    assert len({example.id for example in four}) == 4


def test_draws_differ() -> None:
    examples = pool(30)
    assert len({tuple(e.id for e in draw_shots(examples, 3, draw=number)) for number in range(6)}) == 6


def test_more_shots_than_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 demonstrations are asked for, the train part has 3 -?"):
        draw_shots(pool(3), 4, draw=0)


def test_prompt_holds_the_shots_in_the_same_wording(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=512)
    *shots, item = (WORDINGS.fixed(example) for example in pool(3))
    prompt = fit_prompt(encoder, item, shots, room=10)
    assert prompt is not None
    expected = "Q: question 0\nA: answer 0\n\nQ: question 1\nA: answer 1\n\nQ: question 2\nA:"
    assert tokenizer.decode(prompt.ids) == expected
    assert (prompt.shots, prompt.dropped, prompt.cut) == (2, 0, 0)


def test_as_many_shots_as_fit(tokenizer: Any) -> None:
    *shots, item = (WORDINGS.fixed(example) for example in pool(5))
    roomy = Encoder(tokenizer, context=512)
    with_two = len(roomy.prompt(item, shots[:2]))
    prompt = fit_prompt(Encoder(tokenizer, context=with_two + 7), item, shots, room=7)
    assert prompt is not None
    assert (prompt.shots, prompt.dropped, len(prompt.ids)) == (2, 2, with_two)
    fewer = fit_prompt(Encoder(tokenizer, context=with_two + 7), item, shots, room=8)
    assert fewer is not None
    assert (fewer.shots, fewer.dropped) == (1, 3)


@pytest.mark.parametrize(("policy", "kept"), [("truncate_prompt", True), ("drop", False)])
def test_a_prompt_that_is_too_long(tokenizer: Any, policy: Any, kept: bool) -> None:
    item = WORDINGS.fixed(pool(1)[0])
    whole = Encoder(tokenizer, context=512).prompt(item)
    prompt = fit_prompt(Encoder(tokenizer, context=12, overlong=policy), item, [item], room=4)
    if kept:
        assert prompt is not None
        assert prompt.ids == whole[-8:]
        assert (prompt.shots, prompt.dropped, prompt.cut) == (0, 1, len(whole) - 8)
    else:
        assert prompt is None


def test_too_long_is_an_error_where_the_policy_says_so(tokenizer: Any) -> None:
    item = WORDINGS.fixed(pool(1)[0])
    with pytest.raises(DataError, match=r"and 4 of answer do not fit a window of 12 -> set overlong"):
        fit_prompt(Encoder(tokenizer, context=12, overlong="error"), item, [], room=4)
    with pytest.raises(DataError, match=r"the answer needs 12 tokens, the window has 12 -> lower max_new_tokens"):
        fit_prompt(Encoder(tokenizer, context=12, overlong="truncate_prompt"), item, [], room=12)


def test_answers_after_shots_stop_at_a_blank_line(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=128)
    shot = WORDINGS.fixed(pool(1)[0])
    poem = WORDINGS.fixed(Example.make({"q": "a poem", "a": "one\n\ntwo"}))
    assert stop_texts(encoder, [shot], "\n\n") == ("\n\n",)
    assert stop_texts(encoder, [shot, poem], "\n\n") == ()
    assert stop_texts(encoder, [], "\n\n") == ()
