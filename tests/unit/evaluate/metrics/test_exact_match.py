from __future__ import annotations

from keeptune.evaluate.metrics.exact_match import ExactMatch

exact_match = ExactMatch().score_item


def test_exact_match_forgives_whitespace_only() -> None:
    assert exact_match(" a  b\n", ("a b",)) == 1.0
    assert exact_match("x", ("a b", "x")) == 1.0
    assert exact_match("A b", ("a b",)) == 0.0
