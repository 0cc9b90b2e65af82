"""Outcomes, the recipes and the page."""

from __future__ import annotations

from types import ModuleType

import pytest

from keeptune.core.config import read_recipe
from keeptune.core.records import read_json
from keeptune.recipe.config import StudyConfig


def test_outcomes(modules: dict[str, ModuleType]) -> None:
    outcomes = modules["outcomes"]
    bounds, part = outcomes.Bounds, outcomes.part

    def outcome(low: float, high: float, **threshold: float) -> str:
        return str(part("", "", bounds((low + high) / 2, low, high, low, high), **threshold).outcome)

    assert outcome(0.1, 0.2, at_least=0.0) == "holds"
    assert outcome(-0.2, -0.1, at_least=0.0) == "fails"
    assert outcome(-0.1, 0.1, at_least=0.0) == "cannot tell"
    assert outcome(-0.1, 0.005, at_most=0.01) == "holds"
    assert outcome(-1.0, 1.0, at_least=-1.0, at_most=1.0) == "holds"
    assert outcome(2.0, 3.0, at_least=-1.0, at_most=1.0) == "fails"
    assert outcome(0.0, 0.0, at_least=0.0) == "cannot tell"  # nothing differs
    assert part("", "", None, at_least=0.0).outcome == "cannot tell"
    assert bounds.over_seeds([0.1, 0.2]) is None
    assert part("", "", bounds(-0.1, -0.2, -0.01, -0.3, 0.01), at_least=0.0).outcome == "cannot tell"  # of several
    shown = part("", "", bounds(-0.031, -0.05, -0.012, -0.06, 0.0), at_most=0.01)
    assert (shown.measured, shown.threshold) == ("−3.1 points (−5.0 to −1.2)", "at most 1.0 points")


def test_a_law_holds_where_all_its_parts_do(modules: dict[str, ModuleType]) -> None:
    outcomes = modules["outcomes"]
    holds, fails, open_ = (
        outcomes.part("c", "s", outcomes.Bounds(x, x - 1, x + 1, x - 2, x + 2), at_least=0.0, unit="number")
        for x in (5, -5, 0)
    )

    def law(*parts: object) -> str:
        made = outcomes.Law(number=1, title="t", statement="s", parts=parts, rests_on="r")
        return str(made.outcome)

    assert (law(holds, holds), law(holds, open_), law(holds, open_, fails)) == ("holds", "cannot tell", "fails")


def test_every_recipe_can_be_read(modules: dict[str, ModuleType], tmp_path: object) -> None:
    laws = modules["laws"]
    read = {r.name: read_recipe(StudyConfig, laws.HERE / r.file, (*r.changes, *laws.QUICK)) for r in laws.RECIPES}
    assert set(laws.CHECKS) == {number for recipe in laws.RECIPES for number in recipe.laws} == set(range(1, 11))
    assert {path.name for path in laws.HERE.glob("*.yaml")} == {recipe.file for recipe in laws.RECIPES}
    assert read["rank-attention"].lora.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert read["uncapped"].mixture is not None and read["uncapped"].mixture.cap is None
    shared = [read[r.name] for r in laws.RECIPES if r.world == "orders"]
    for field in ("model", "target", "retain", "train", "checkpoints", "validation_items", "test_items"):
        assert len({repr(getattr(config, field)) for config in shared}) == 1, field


def test_wordings_differ_in_what_is_trained_only(modules: dict[str, ModuleType]) -> None:
    one, eight = (
        read_recipe(StudyConfig, modules["laws"].HERE / f"09-{name}.yaml") for name in ("one-wording", "eight-wordings")
    )
    assert len(eight.target[0].templates or ()) == 8
    update = {"templates": one.target[0].templates}
    assert eight.model_copy(
        update={"target": (eight.target[0].model_copy(update=update),), "title": ""}
    ) == one.model_copy(update={"title": ""})


def test_the_tasks_are_drawn_without_repeats(modules: dict[str, ModuleType]) -> None:
    shop = modules["shop"]
    assert shop.slots("Helen ; 9 blue brush ; Mon") == {
        "who": "Helen",
        "count": "9",
        "colour": "blue",
        "thing": "brush",
        "day": "Mon",
    }
    rows = shop.rows("labels", 100)
    assert [row["part"] for row in rows].count("train") == 100
    assert len({row["order"] for row in rows}) == len(rows) == 100 + shop.VALIDATION + shop.TEST
    assert rows == shop.rows("labels", 100)


def test_the_page_is_written_from_the_record(modules: dict[str, ModuleType]) -> None:
    page = modules["page"]
    if not page.RECORD.exists():
        pytest.skip("the laws have not been run yet")
    assert page.PAGE.read_text(encoding="utf-8") == page.page(read_json(page.RECORD, modules["outcomes"].Results))


def test_every_part_is_on_the_page(modules: dict[str, ModuleType]) -> None:
    page, outcomes = modules["page"], modules["outcomes"]
    part = outcomes.part(
        "a claim", "a statistic", outcomes.Bounds(0.02, 0.01, 0.03, 0.0, 0.04), at_least=0.0, found="a remark"
    )
    law = outcomes.Law(number=3, title="Title", statement="Statement.", parts=(part,), rests_on="a recipe")
    made = {
        "command": "make laws",
        "date": "today",
        "machine": "2 cores",
        "versions": {"torch": "2"},
        "model": "builtin",
    }
    text = page.page(outcomes.Results(**made, wall_seconds=61.0, laws=(law, law)))
    for words in (
        "Of 2 laws: 2 hold.",
        "| a claim | +2.0 points (+1.0 to +3.0) | at least 0.0 points | holds |",
        "a remark",
    ):
        assert words in text
    assert "holds: a claim" in page.plain(law)
