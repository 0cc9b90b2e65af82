"""Items of which only one of two models was asked."""

from __future__ import annotations

from keeptune.compare.models import _asked_of_both
from keeptune.core.records import ItemRecord


def items(*ids: str) -> tuple[ItemRecord, ...]:
    return tuple(ItemRecord(suite="city", id=id, cluster=id, score=1.0) for id in ids)


def test_only_items_that_both_models_were_asked_are_compared() -> None:
    before, after = {"city": items("a", "b", "c")}, {"city": items("b", "c", "d", "e")}
    assert _asked_of_both("city", before, after) == [
        "city: 3 items were asked of one model alone and are not compared."
    ]
    assert before == after == {"city": items("b", "c")}
    assert _asked_of_both("city", before, after) == []
