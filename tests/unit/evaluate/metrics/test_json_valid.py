from __future__ import annotations

import pytest

from keeptune.evaluate.metrics.json_valid import JsonValid

json_valid = JsonValid().score_item


@pytest.mark.parametrize(
    ("text", "valid"), [(' {"a": 1}\n', 1.0), ('{"a": 1', 0.0), ("NaN", 0.0), ("", 0.0), ("3", 1.0)]
)
def test_json_valid(text: str, valid: float) -> None:
    assert json_valid(text, ("",)) == valid


def test_json_valid_survives_deep_nesting() -> None:
    assert json_valid("[" * 100_000, ("",)) == 0.0
