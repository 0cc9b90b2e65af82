"""What two models are asked: items that both were asked, and no more than settle a verdict."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from keeptune.compare.asking import Answered, ask_until_settled
from keeptune.compare.side_by_side import SuitePair, _fewer
from keeptune.core.records import ItemRecord
from keeptune.retention.pairs import Suite
from keeptune.retention.sequential import course

CITY = Suite("city", "accuracy", "binary", 0.03, 0.25)


def items(*ids: str, right: float = 1.0) -> tuple[ItemRecord, ...]:
    return tuple(ItemRecord(suite="city", id=id, cluster=id, score=right) for id in ids)


def test_only_items_that_both_models_were_asked_are_compared() -> None:
    found = Answered.of(items("a", "b", "c"), items("b", "c", "d", "e"))
    assert found == Answered(items("b", "c"), items("b", "c"), alone=3)
    assert Answered.of(items("b", "c"), items("b", "c")).alone == 0


class Models:
    """Answers of two models, and which items they were asked for."""

    def __init__(self, lost: Collection[str] = ()) -> None:
        self.lost, self.asked = lost, list[list[str]]()

    def __call__(self, only: Collection[str]) -> Answered:
        self.asked.append(sorted(only))
        after = tuple(item.model_copy(update={"score": float(item.id not in self.lost)}) for item in items(*only))
        return Answered.of(items(*only), after)


IDS = [f"{number:04}" for number in range(900)]
PLANNED = course("city", IDS, suites=3)


def test_a_clear_loss_and_a_clear_nothing_are_settled_by_the_first_blocks() -> None:
    for lost in ((), IDS[::3]):
        models = Models(lost)
        seen, stop = ask_until_settled(CITY, items(*IDS), models, items(*IDS), suites=3)
        assert models.asked == [sorted(IDS[k] for k in block) for block in PLANNED.blocks[: stop.look + 1]]
        assert 0 < stop.unasked == 900 - len(seen.before)
        assert stop == PLANNED.stop(stop.look)
        assert [item.id for item in seen.before] == sorted(item.id for item in seen.before)
        note = "Items were asked until the verdicts were settled"
        (said,) = _fewer([SuitePair(CITY, seen.before, seen.after, stop=stop)])
        assert said == f"{note}: {len(seen.before)} of 900 ({100 * len(seen.before) / 900:.0f} %)."


def test_a_loss_near_the_margin_is_asked_to_the_end() -> None:
    models = Models(IDS[::33])
    seen, stop = ask_until_settled(CITY, items(*IDS), models, items(*IDS), suites=3)
    assert (len(models.asked), len(seen.before), stop.unasked) == (10, 900, 0)


@pytest.mark.parametrize(
    ("validation", "options", "blocks", "asked"),
    [
        pytest.param((), {}, 1, 900, id="no validation items: the judged ones say what the base can do"),
        pytest.param(items(*IDS), {"whole": True}, 1, 900, id="a metric of all answers"),
        pytest.param(items(*IDS[:60], right=0.0), {}, 1, 90, id="a skill that the base has not"),
        pytest.param(items(*IDS), {"same_weights": True}, 1, 90, id="equal weights"),
    ],
)
def test_what_no_block_can_settle_is_not_asked_for(
    validation: tuple[ItemRecord, ...], options: dict[str, bool], blocks: int, asked: int
) -> None:
    models = Models(IDS[::33])
    seen, _ = ask_until_settled(CITY, items(*IDS), models, validation, suites=3, **options)
    assert (len(models.asked), len(seen.before)) == (blocks, asked)
