from __future__ import annotations

import re
from pathlib import Path

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.metrics import METRIC_NAMES, Answer, find_metric


def user_file(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(f"def measure(prediction, references):\n    {body}\n\ndef other():\n    pass\n")
    return f"python:{path}:measure"


def one_answer(prediction: str = "yes") -> list[Answer]:
    return [Answer("item-7", prediction, ("no", "yes"))]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_every_metric_gives_one_for_a_perfect_answer_and_copes_with_none(name: str) -> None:
    metric = find_metric(name)
    text = '{"a": "one two three four five"}'
    given = [Answer("1", text, (text,)), Answer("2", "[1, 2, 3, 4]", ("[1, 2, 3, 4]",))]
    values = metric.score(given).values
    assert values == pytest.approx((1.0, 1.0), abs=1e-4)  # BLEU has a kink where both lengths are equal
    assert sum(values) == pytest.approx(2.0, abs=1e-9)
    assert metric.score([]).values == ()


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no metric 'rouge-l' -> did you mean 'rougeL'"):
        find_metric("rouge-l")
    with pytest.raises(ConfigError, match=r"-> known: accuracy, .*python:file\.py:function"):
        find_metric("zzz")
    with pytest.raises(ConfigError, match="free text -> use a 'text:' entry"):
        find_metric("bits_per_byte")


def test_user_function_is_called_with_text_and_list(tmp_path: Path) -> None:
    metric = find_metric(user_file(tmp_path, "return 0.25 * (type(references) is list) + 0.5 * (prediction == 'yes')"))
    assert metric.kind == "mean"
    assert metric.score(one_answer()).values == (0.75,)


def test_user_function_may_return_a_bool(tmp_path: Path) -> None:
    assert find_metric(user_file(tmp_path, "return prediction in references")).score(one_answer()).values == (1.0,)


@pytest.mark.parametrize("body", ["return 1.5", "return -0.1", "return None", "return 'x'", "return float('nan')"])
def test_user_function_out_of_range_names_file_item_and_remedy(tmp_path: Path, body: str) -> None:
    metric = find_metric(user_file(tmp_path, body))
    with pytest.raises(DataError, match=r"mine\.py: the metric gave .* for item item-7 -> def f\(.*from 0 to 1"):
        metric.score(one_answer())


def test_user_function_that_raises_names_file_item_and_remedy(tmp_path: Path) -> None:
    metric = find_metric(user_file(tmp_path, "return 1 / 0"))
    with pytest.raises(DataError, match=r"mine\.py: the metric failed on item item-7: ZeroDivisionError.* -> .*'yes'"):
        metric.score(one_answer())


def test_user_metric_that_cannot_be_loaded(tmp_path: Path) -> None:
    good = user_file(tmp_path, "return 1.0")
    with pytest.raises(ConfigError, match=r"no function 'nope' -> it has: measure, other"):
        find_metric(good.replace(":measure", ":nope"))
    with pytest.raises(ConfigError, match="no such file"):
        find_metric("python:absent.py:f")
    with pytest.raises(ConfigError, match=re.escape("write python:file.py:function")):
        find_metric("python:absent.py")
    broken = user_file(tmp_path, "return (")
    with pytest.raises(ConfigError, match="the file does not run: SyntaxError"):
        find_metric(broken)
