from __future__ import annotations

import pytest

from keeptune.core.errors import DataError
from keeptune.evaluate.metrics.json_f1 import JsonF1

json_f1 = JsonF1().score_item


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
    assert json_f1(prediction, ('{"name": "Ann", "age": 7, "tags": ["a", "b"]}',)) == pytest.approx(expected)


def test_json_f1_keeps_empty_containers_apart() -> None:
    assert json_f1('{"a": []}', ('{"a": {}}',)) == 0.0
    assert json_f1("{}", ("{}",)) == 1.0


def test_json_f1_refuses_a_reference_that_is_not_json() -> None:
    with pytest.raises(DataError, match=r"reference 'oops' is not JSON.*-> json_f1 needs JSON references"):
        json_f1("{}", ("oops",))
