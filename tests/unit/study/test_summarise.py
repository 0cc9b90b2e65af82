"""What the summary calls a study's targets."""

from __future__ import annotations

from keeptune.study.summarise import _target_name


def test_a_few_targets_are_named_and_many_are_counted() -> None:
    assert _target_name(["orders"]) == "orders"
    assert _target_name(list("abcde")) == "a + b + c + d + e"
    assert _target_name([f"task{i}" for i in range(78)]) == "78 tasks"
