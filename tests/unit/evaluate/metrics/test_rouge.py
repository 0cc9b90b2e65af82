from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from keeptune.evaluate.metrics.rouge import Rouge1, Rouge2, RougeL, RougeLsum

ROUGE = {"rouge1": Rouge1(), "rouge2": Rouge2(), "rougeL": RougeL(), "rougeLsum": RougeLsum()}


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
def test_rouge_is_rouge_score_with_the_best_reference(kind: str) -> None:
    draw = random.Random(3)
    words = [
        "the",
        "running",
        "dogs",
        "ran",
        "quickly",
        "over",
        "lazy",
        "cats\n",
        "sleeping",
        "in",
        "gardens.\n",
        "dog",
        "run",
        "garden",
    ]
    theirs = RougeScorer([kind], use_stemmer=True)
    for _ in range(30):
        prediction, *references = (" ".join(draw.choices(words, k=draw.randint(0, 15))) for _ in range(4))
        expected = max(theirs.score(reference, prediction)[kind].fmeasure for reference in references)
        assert ROUGE[kind].score_item(prediction, references) == pytest.approx(expected, abs=1e-9)


def test_rouge_lsum_reads_lines_as_sentences() -> None:
    one_line, two_lines = "a b c d e f", "d e f\na b c"
    assert ROUGE["rougeLsum"].score_item(two_lines, ("a b c\nd e f",)) == 1.0
    assert ROUGE["rougeLsum"].score_item(one_line, ("d e f a b c",)) < 1.0


def test_rouge_of_plain_english_is_rouge_scores_own() -> None:
    said, wanted = "The running_dogs' owners were 2 late!", "the dog's owner was running late, 2 times"
    for kind in ("rouge1", "rouge2", "rougeL"):
        expected = RougeScorer([kind], use_stemmer=True).score(wanted, said)[kind].fmeasure
        assert ROUGE[kind].score_item(said, [wanted]) == expected
