from __future__ import annotations

import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from keeptune.evaluate.metrics.bleu import Bleu
from keeptune.evaluate.metrics.chrf import ChrF
from keeptune.evaluate.metrics.sacrebleu import one_line


def scored(metric: str, predictions: list[str], references: list[tuple[str, ...]]) -> tuple[list[float], str]:
    scores = {"bleu": Bleu(), "chrf": ChrF()}[metric].score_all(predictions, references)
    return list(scores.values), scores.signature


def sentences(seed: int, n: int, references: int = 1) -> tuple[list[str], list[tuple[str, ...]]]:
    """Noisy copies of random sentences, with punctuation, case and letters outside ASCII."""
    draw = random.Random(seed)
    words = [
        "Der",
        "alte",
        "Mann,",
        "über",
        "the",
        "Old",
        "river;",
        "3.5",
        "points",
        "(net)",
        "don't",
        "go:",
        "ähnlich",
        "wie",
        "gestern",
        ".",
        "walk",
        "walked",
    ]
    truth = [tuple(" ".join(draw.choices(words, k=draw.randint(4, 20))) for _ in range(references)) for _ in range(n)]
    predictions = [" ".join(word for word in one[0].split() if draw.random() < 0.8) for one in truth]
    return predictions, truth


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_equal_to_sacrebleus_command_line(metric: str, tmp_path: Path) -> None:
    predictions, references = sentences(0, 60, references=2)
    predictions[3], predictions[4] = "", "two\nlines \t"
    (tmp_path / "hyp").write_text("\n".join(one_line(text) for text in predictions) + "\n", encoding="utf-8")
    files = []
    for stream in range(2):
        files.append(tmp_path / f"ref{stream}")
        files[-1].write_text("\n".join(one[stream] for one in references) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", *map(str, files), "-i", str(tmp_path / "hyp"), "-m", metric]
    printed = subprocess.run([*command, "-w", "14", "-b"], capture_output=True, text=True, check=True).stdout
    scores, signature = scored(metric, predictions, references)
    assert 100 * np.mean(scores) == pytest.approx(float(printed), abs=1e-9)
    assert "nrefs:2" in signature
    assert "version:" in signature


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_items_may_have_different_numbers_of_references(metric: str) -> None:
    predictions, references = sentences(1, 20, references=3)
    ragged = [one[: 1 + index % 3] for index, one in enumerate(references)]
    padded = [one + (one[0],) * (3 - len(one)) for one in ragged]  # a repeated reference changes nothing
    assert np.mean(scored(metric, predictions, ragged)[0]) == pytest.approx(
        np.mean(scored(metric, predictions, padded)[0]), abs=1e-12
    )


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_linearised_standard_error_is_the_bootstraps(metric: str) -> None:
    predictions, references = sentences(2, 120)
    score = partial(scored, metric)
    shares = np.array(score(predictions, references)[0])
    draw = np.random.default_rng(0)
    resampled = []
    for _ in range(80):
        rows = draw.integers(0, 120, 120)
        resampled.append(np.mean(score([predictions[i] for i in rows], [references[i] for i in rows])[0]))
    assert shares.std() / np.sqrt(120) == pytest.approx(np.std(resampled), rel=0.25)  # 80 draws: +-8 % one SE


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_nothing_in_common_scores_zero_everywhere(metric: str) -> None:
    scores, _ = scored(metric, ["aaa", ""], [("bbb",), ("ccc",)])
    assert scores == [0.0, 0.0]


def test_the_characters_are_the_words_of_scripts_without_spaces() -> None:
    from sacrebleu import corpus_bleu

    references = [("今天天气很好我们去公园散步",), ("模型训练的数据非常重要",), ("今日は天気がいいです",)]
    close = ["今天天气很好我们去公园跑步", "模型训练的数据很重要", "今日は天気が悪いです"]
    scores, signature = scored("bleu", close, references)
    assert "tok:char" in signature
    expected = corpus_bleu(close, [[one[0] for one in references]], tokenize="char", force=True).score / 100
    assert np.mean(scores) == pytest.approx(expected, abs=1e-12) and expected > 0.5
    assert np.mean(scored("bleu", [one[0] for one in references], references)[0]) == pytest.approx(1.0)
    assert np.mean(scored("bleu", ["ไม่", "不", "否"], references)[0]) == pytest.approx(0.0, abs=1e-6)


def test_words_stay_words_where_few_texts_have_no_spaces() -> None:
    references = [("the house is red",), ("the garden is very green",), ("天气",)]
    scores, signature = scored("bleu", [one[0] for one in references], references)
    assert "tok:13a" in signature
    assert np.mean(scores) == pytest.approx(1.0)
