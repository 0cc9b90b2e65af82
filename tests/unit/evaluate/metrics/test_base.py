from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.metrics.base import METRICS, Answer, ItemMetric
from keeptune.evaluate.metrics.find import find_metric
from keeptune.evaluate.metrics.rouge import RougeL


@pytest.mark.parametrize("name", tuple(METRICS))
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


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("mean", 1.5, "a number from 0 to 1"),
        ("mean", None, "a number from 0 to 1"),
        ("mean", float("nan"), "a number from 0 to 1"),
        ("binary", 0.5, "0 or 1, as its kind is binary"),
    ],
)
def test_an_item_score_out_of_range_names_metric_item_and_remedy(kind: str, value: float, wanted: str) -> None:
    metric = type("Odd", (ItemMetric,), {"name": "odd", "kind": kind, "score_item": lambda *_: value})()
    with pytest.raises(
        DataError, match=rf"the metric 'odd' gave .* for item item-7 -> let its score_item return {wanted}"
    ):
        metric.score([Answer("item-7", "yes", ("no",))])


def test_scores_depend_on_the_code_of_metrics_that_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RougeL().key == "rougeL"
    module = ModuleType("elsewhere")
    module.__file__ = str(tmp_path / "elsewhere.py")
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    metric = type("Mine", (RougeL,), {"__module__": "elsewhere", "name": "mine"})()
    keys = set()
    for code in ("a = 1", "a = 2"):
        (tmp_path / "elsewhere.py").write_text(code)
        keys.add(metric.key)
    assert len(keys) == 2 and all(key.startswith("mine ") for key in keys)
