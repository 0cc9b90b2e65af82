"""Every script and every way to write an accent, as the metrics read them."""

from __future__ import annotations

import pytest

from keeptune.evaluate.metrics.exact_match import ExactMatch
from keeptune.evaluate.metrics.rouge import Rouge1, Rouge2, RougeL, RougeLsum
from keeptune.evaluate.metrics.token_f1 import TokenF1

exact_match, token_f1 = ExactMatch().score_item, TokenF1().score_item
ROUGE = {"rouge1": Rouge1(), "rouge2": Rouge2(), "rougeL": RougeL(), "rougeLsum": RougeLsum()}


@pytest.mark.parametrize(
    "text",
    ["今天天气很好", "сегодня хорошая погода", "الطقس جميل اليوم", "วันนี้อากาศดี", "今日は天気がいい", "déjà vu à Noël"],
)
@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
def test_rouge_of_equal_texts_is_one_in_every_script(kind: str, text: str) -> None:
    assert ROUGE[kind].score_item(text, [text]) == 1.0
    assert ROUGE[kind].score_item("nothing of the kind", [text]) == 0.0
    assert token_f1(text, [text]) == 1.0


def test_half_of_a_text_without_spaces_is_half_right() -> None:
    assert ROUGE["rouge1"].score_item("今天", ["今天很好"]) == pytest.approx(2 / 3)
    assert token_f1("今天", ["今天很好"]) == pytest.approx(2 / 3)


def test_one_unicode_form_counts() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert exact_match(apart, [composed]) == 1.0
    assert token_f1(composed, [apart]) == 1.0
    assert ROUGE["rouge1"].score_item(apart, [composed]) == 1.0
