from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate import answers


def test_exact_match_forgives_whitespace_only() -> None:
    assert answers.exact_match(" a  b\n", ("a b",)) == 1.0
    assert answers.exact_match("x", ("a b", "x")) == 1.0
    assert answers.exact_match("A b", ("a b",)) == 0.0


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("The cat!", ("cat",), 1.0),
        ("a black cat", ("the black dog",), 0.5),  # {black, cat} against {black, dog}
        ("cat cat", ("cat",), 2 * 1 / 3),
        ("the", ("a",), 1.0),  # nothing but articles on both sides
        ("", ("cat",), 0.0),
        ("cat", ("dog", "the cat"), 1.0),
    ],
)
def test_token_f1_by_hand(prediction: str, references: tuple[str, ...], expected: float) -> None:
    assert answers.token_f1(prediction, references) == pytest.approx(expected, abs=1e-12)


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
        assert answers.rouge(kind)(prediction, references) == pytest.approx(expected, abs=1e-9)


def test_rouge_lsum_reads_lines_as_sentences() -> None:
    one_line, two_lines = "a b c d e f", "d e f\na b c"
    assert answers.rouge("rougeLsum")(two_lines, ("a b c\nd e f",)) == 1.0
    assert answers.rouge("rougeLsum")(one_line, ("d e f a b c",)) < 1.0


@pytest.mark.parametrize(
    ("text", "valid"), [(' {"a": 1}\n', 1.0), ('{"a": 1', 0.0), ("NaN", 0.0), ("", 0.0), ("3", 1.0)]
)
def test_json_valid(text: str, valid: float) -> None:
    assert answers.json_valid(text, ("",)) == valid


def test_json_valid_survives_deep_nesting() -> None:
    assert answers.json_valid("[" * 100_000, ("",)) == 0.0


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ('{"name": "Ann", "age": 7.0, "tags": ["b", "a"]}', 1.0),  # list order and 7 == 7.0 do not matter
        ('{"name": "Ann", "age": true, "tags": ["a", "b"]}', 3 / 4),
        ('{"name": "Ann"}', 2 * 1 / 5),
        ('{"name": "Bob", "extra": null}', 0.0),
        ("not json", 0.0),
    ],
)
def test_json_f1_by_hand(prediction: str, expected: float) -> None:
    assert answers.json_f1(prediction, ('{"name": "Ann", "age": 7, "tags": ["a", "b"]}',)) == pytest.approx(expected)


def test_json_f1_keeps_empty_containers_apart() -> None:
    assert answers.json_f1('{"a": []}', ('{"a": {}}',)) == 0.0
    assert answers.json_f1("{}", ("{}",)) == 1.0


def test_json_f1_refuses_a_reference_that_is_not_json() -> None:
    with pytest.raises(DataError, match=r"reference 'oops' is not JSON.*-> json_f1 needs JSON references"):
        answers.json_f1("{}", ("oops",))


def test_extractor_takes_last_match_and_group_one() -> None:
    text = "#### 12 then #### 40"
    assert answers.Extractor(r"#### (\d+)")(text) == "40"
    assert answers.Extractor(r"#### (\d+)", first=True)(text) == "12"
    assert answers.Extractor(r"\d+")(text) == "40"
    assert answers.Extractor(r"#### (\d+)")("none") is None
    assert answers.Extractor(r"x(y)?")("x") == ""


def test_extractor_names_the_bad_pattern() -> None:
    with pytest.raises(ConfigError, match=r"extract: '\(a' is not a regular expression.*-> mend the pattern"):
        answers.Extractor("(a")


@pytest.mark.parametrize(
    "text",
    ["今天天气很好", "сегодня хорошая погода", "الطقس جميل اليوم", "วันนี้อากาศดี", "今日は天気がいい", "déjà vu à Noël"],
)
@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
def test_rouge_of_equal_texts_is_one_in_every_script(kind: str, text: str) -> None:
    assert answers.rouge(kind)(text, [text]) == 1.0
    assert answers.rouge(kind)("nothing of the kind", [text]) == 0.0
    assert answers.token_f1(text, [text]) == 1.0


def test_half_of_a_text_without_spaces_is_half_right() -> None:
    assert answers.rouge("rouge1")("今天", ["今天很好"]) == pytest.approx(2 / 3)
    assert answers.token_f1("今天", ["今天很好"]) == pytest.approx(2 / 3)


def test_rouge_of_plain_english_is_rouge_scores_own() -> None:
    said, wanted = "The running_dogs' owners were 2 late!", "the dog's owner was running late, 2 times"
    for kind in ("rouge1", "rouge2", "rougeL"):
        expected = RougeScorer([kind], use_stemmer=True).score(wanted, said)[kind].fmeasure
        assert answers.rouge(kind)(said, [wanted]) == expected


def test_one_unicode_form_counts() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert answers.exact_match(apart, [composed]) == 1.0
    assert answers.token_f1(composed, [apart]) == 1.0
    assert answers.rouge("rouge1")(apart, [composed]) == 1.0
