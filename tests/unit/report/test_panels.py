"""Panels of the frontier and of learning curves: lines follow step and alpha, small names stay apart."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import fixture_large as large
import fixture_summary as fixture
import pytest

from keeptune.report.arms import arm_views, change_axis
from keeptune.report.labels import place_free
from keeptune.report.panels import WIDTH
from keeptune.report.sections.frontier import frontier
from keeptune.report.sections.learning import learning, sizes_axis

NOWHERE = Path("nothing here")


def texts(svg: str) -> list[tuple[float, float, float, float]]:
    """Boxes of the small names of a panel."""
    boxes = []
    for x, y, more, name in re.findall(r'<text x="([\d.]+)%" y="([\d.]+)"([^>]*)class="tick name"[^>]*>([^<]*)<', svg):
        dx = re.search(r'dx="(-?[\d.]+)"', more)
        left = float(x) * WIDTH / 100 + (float(dx[1]) if dx else 0)
        boxes.append((left, float(y) - 9, left + 6 * len(name), float(y) + 1))
    return boxes


def test_small_names_of_the_frontier_do_not_overlap() -> None:
    summary = large.large()
    found = frontier(summary, arm_views(summary, NOWHERE))
    assert found
    number = 0
    for panel in itertools.chain(*found.groups):
        boxes = texts(panel.chart)
        number += len(boxes)
        for a, b in itertools.combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert number > 15  # most rates are named


def test_a_name_without_room_is_left_out_and_the_first_one_is_kept() -> None:
    points = [(100.0, 50.0)] * 30
    boxes = place_free(points, [f"rate {i}" for i in range(30)], 215, 170)
    assert boxes[0] is not None
    assert None in boxes
    shown = [box for box in boxes if box]
    for a, b in itertools.combinations(shown, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_frontier_joins_checkpoints_by_step_and_interpolations_by_alpha() -> None:
    points = [
        large.point("lora", 1e-3, 0.5, -0.03, kind="checkpoint", step=80),  # later, better, then worse again
        large.point("lora", 1e-3, 0.2, -0.01, kind="checkpoint", step=40),
        large.point("lora", 1e-3, 0.4, -0.05, step=120, picked=True),
        large.point("lora", 1e-3, 0.35, -0.02, kind="interpolation", alpha=0.75),
        large.point("lora", 1e-3, 0.1, 0.0, kind="interpolation", alpha=0.25),
    ]
    summary = fixture.study(frontier=tuple(points))
    found = frontier(summary, ())
    assert found
    lines = dict(
        re.findall(r'<polyline points="([^"]*)" class="(\w+)"', found.groups[0][0].chart)[i][::-1] for i in (0, 1)
    )
    way = [float(place.split(",")[0]) for place in lines["way"].split()]
    between = [float(place.split(",")[0]) for place in lines["path"].split()]
    assert len(way) == 3
    assert way[0] < way[2] < way[1]
    assert between == sorted(between)
    assert len(between) == 3  # it ends in the trained model
    assert found.groups[0][0].chart.count('class="ring"') == 1


def test_checkpoints_of_two_seeds_are_two_lines() -> None:
    points = [
        large.point("lora", 1e-3, 0.2 + 0.1 * step, -0.01, kind="checkpoint", step=step, seed=seed)
        for seed in (0, 1)
        for step in (1, 2)
    ]
    found = frontier(fixture.study(frontier=tuple(points)), ())
    assert found
    assert found.groups[0][0].chart.count('class="way"') == 2


def test_an_arm_with_one_model_has_no_panel_and_methods_have_rows_of_their_own() -> None:
    points = [
        *(large.point("lora", lr, 0.2, worst) for lr, worst in ((1e-3, -0.01), (3e-3, -0.04))),
        *(large.point("lora+kl", lr, 0.2, worst) for lr, worst in ((1e-3, -0.01), (3e-3, -0.5))),
        *(large.point("full", lr, 0.2, worst) for lr, worst in ((1e-4, -0.3), (3e-4, -0.9))),
        large.point("ia3", 1e-3, 0.1, 0.0),
    ]
    named = [p.model_copy(update={"method": p.arm.partition("+")[0]}) for p in points]
    found = frontier(fixture.study(frontier=tuple(named)), ())
    assert found
    assert [[panel.title for panel in panels] for panels in found.groups] == [["lora", "lora+kl"], ["full"]]
    assert found.alone == ("ia3",)
    scales = [re.findall(r'<svg class="scale".*?</svg>', panel.chart) for panel in found.groups[0]]
    assert scales[0] == scales[1]  # side by side: one scale
    assert scales[0] != re.findall(r'<svg class="scale".*?</svg>', found.groups[1][0].chart)


def test_a_frontier_of_diverged_rates_only_is_left_out() -> None:
    point = large.point("lora", 1e-1, math.nan, math.nan, diverged=True)
    assert frontier(fixture.study(frontier=(point,)), ()) is None


def test_sizes_are_on_a_logarithmic_axis() -> None:
    axis = sizes_axis([50, 500, 5_000])
    gaps = [axis.x(b) - axis.x(a) for a, b in itertools.pairwise(axis.ticks)]
    assert gaps[0] == pytest.approx(gaps[1])
    assert [axis.write(tick) for tick in axis.ticks] == ["50", "500", "5,000"]
    assert [axis.write(tick) for tick in sizes_axis([1_000, 1_010]).ticks] == ["1,000", "1,010"]
    assert [axis.write(tick) for tick in sizes_axis([10, 990, 1_000]).ticks] == ["10", "1,000"]
    assert [axis.write(tick) for tick in sizes_axis([7]).ticks] == ["7"]


def test_a_learning_curve_without_scores_is_left_out() -> None:
    curve = large.curve("lora", "LoRA", 0.4, None)
    empty = curve.model_copy(update={"points": ()})
    one = curve.model_copy(update={"points": curve.points[:1]})  # a point is no curve
    assert learning(fixture.study(curves=(empty, one))) is None
    found = learning(fixture.study(curves=(empty, curve)))
    assert found
    assert len(found.panels) == 1


def test_ticks_of_changes_say_what_they_are() -> None:
    axis = change_axis([-0.1, 0.0])
    assert -0.025 in axis.ticks
    for tick in axis.ticks:
        assert float(axis.write(tick).replace("−", "-")) == pytest.approx(100 * tick)
