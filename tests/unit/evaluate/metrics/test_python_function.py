from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.metrics.base import Answer
from keeptune.evaluate.metrics.find import find_metric


def user_file(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(f"def measure(prediction, references):\n    {body}\n\ndef other():\n    pass\n")
    return f"python:{path}:measure"


def one_answer(prediction: str = "yes") -> list[Answer]:
    return [Answer("item-7", prediction, ("no", "yes"))]


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


def test_the_function_is_loaded_again_where_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(tmp_path, "return 0.5")
    monkeypatch.chdir(tmp_path)
    metric = find_metric("python:mine.py:measure")
    pickled = pickle.dumps(metric)
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert (again.name, again.key) == (metric.name, metric.key)
    assert again.score(one_answer()).values == (0.5,)
    user_file(tmp_path, "return 0.7")  # as long as before, and written in the same second
    assert find_metric(metric.name.replace("mine", f"{tmp_path}/mine")).score(one_answer()).values == (0.7,)
    with pytest.raises(ConfigError, match=r"metric: .*mine\.py: the file has changed since .* -> start again"):
        pickle.loads(pickled)
