"""Geometry of the charts: places follow the numbers, names stay apart."""

from __future__ import annotations

import math
import re

import fixture_summary as fixture
import pytest

from keeptune.core.records import Interval, StepRecord
from keeptune.report.labels import place
from keeptune.report.lossplot import loss_chart, smooth
from keeptune.report.plots import Point, bar, change_strip, interval_strip, scatter, spread
from keeptune.report.svg import Axis, element


def axis(low: float, high: float) -> Axis:
    return Axis(low, high, (low, high), str)


def test_an_axis_holds_its_values_and_has_round_ticks() -> None:
    made = Axis.around([0.031, 0.436], str)
    assert made.low <= 0.031
    assert made.high >= 0.436
    assert made.ticks == pytest.approx((0.1, 0.2, 0.3, 0.4)) or 0.0 in made.ticks
    steps = {round(b - a, 9) for a, b in zip(made.ticks, made.ticks[1:], strict=False)}
    assert len(steps) == 1


@pytest.mark.parametrize("values", [[], [0.0], [0.5, 0.5], [math.nan, 1.0], [-3.0, 1e6]])
def test_an_axis_survives_awkward_values(values: list[float]) -> None:
    made = Axis.around(values, str)
    assert made.low < made.high
    assert len(made.ticks) < 20


def test_attributes_and_children_are_escaped() -> None:
    assert element("text", '<"&', x=1.50, class_='a"b') == '<text x="1.5" class="a&#34;b">&lt;&#34;&amp;</text>'


def test_whiskers_run_from_low_to_high_and_holes_have_none() -> None:
    assert spread(Interval(low=0.1, high=0.4)) == (0.1, 0.4)
    assert spread(Interval(low=math.nan, high=0.4)) is None
    assert spread(None) is None
    svg = interval_strip(axis(0, 1), 0.25, (0.0, 0.5), "circle", "dot")
    ends = re.search(r'x1="([\d.]+)%"[^>]*x2="([\d.]+)%"[^>]*class="whisker dot"', svg)
    assert ends
    assert (float(ends[1]), float(ends[2])) == pytest.approx((3.0, 50.0))
    assert "whisker" not in interval_strip(axis(0, 1), math.nan, None, "circle", "dot")


def test_a_change_strip_is_scaled_by_the_margin() -> None:
    svg = change_strip(fixture.verdict("s", "Inconclusive", -0.02, 0.01))  # the change is exactly minus one margin
    at_margin = re.search(r'x1="([\d.]+)%"[^>]*class="margin"', svg)
    dot = re.search(r'<svg x="([\d.]+)%"', svg)
    assert at_margin
    assert dot
    assert at_margin[1] == dot[1]


def test_a_loss_far_beyond_the_margin_ends_in_an_arrow() -> None:
    svg = change_strip(fixture.verdict("s", "Harmed", -0.31, 0.024))
    assert "M-5 0" in svg
    assert 'd="M-5 0A' not in svg


def test_no_strip_without_a_margin() -> None:
    assert change_strip(fixture.verdict("s", "Harmed", -0.3, 0.02).model_copy(update={"margin": 0.0})) == ""


def test_bars_are_proportional_and_never_vanish() -> None:
    assert 'width="50%"' in str(bar(5, 10, False)).replace("50.00%", "50%")
    assert 'class="bar"' in bar(1, 1e9, False)
    assert 'class="bar"' not in bar(0, 10, False)
    assert "rect" in bar(0, 0, False)


def test_better_points_are_further_up_and_right() -> None:
    def point(x: float, y: float) -> Point:
        return Point("n", x, y, None, None, "circle", "dot", "t")

    svg = scatter([point(0.2, -0.3), point(0.4, 0.0)], axis(0, 0.5), axis(-0.4, 0.1), description="d")
    places = [(float(x), float(y)) for x, y in re.findall(r'<svg x="([\d.]+)%" y="([\d.]+)" width="1"', svg)]
    assert places[1][0] > places[0][0]
    assert places[1][1] < places[0][1]


def test_names_of_close_points_do_not_overlap() -> None:
    names = [f"arm number {index}" for index in range(5)]
    boxes = place([(200 + 3 * i, 100 + 2 * i) for i in range(5)], names, 440, 300)
    for i, a in enumerate(boxes):
        assert a[0] >= 0
        assert a[2] <= 440
        assert a[1] >= 0
        assert a[3] <= 300
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_smoothing_keeps_length_and_mean_of_a_constant() -> None:
    assert smooth([2.0] * 7, 3) == [2.0] * 7
    assert smooth([0.0, 3.0, 0.0], 3) == [1.5, 1.0, 1.5]
    assert smooth([], 3) == []


def test_a_diverged_loss_is_left_out_of_its_curve() -> None:
    rows = [
        StepRecord(step=s, loss=loss, lr=1, grad_norm=1, tokens=1, trained_tokens=1, seconds=1)
        for s, loss in enumerate([2.0, 1.5, math.nan, math.inf], 1)
    ]
    svg = loss_chart(rows, [], axis(0, 3), "d")
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_long_curve_is_thinned_but_keeps_its_end() -> None:
    rows = [
        StepRecord(step=s, loss=2.0, lr=1, grad_norm=1, tokens=1, trained_tokens=1, seconds=1) for s in range(1, 5_001)
    ]
    svg = loss_chart(rows, [], axis(0, 3), "d")
    curves = re.findall(r'<polyline points="([^"]*)" class="curve', svg)
    assert len(curves) == 2
    assert all(100 < len(curve.split()) < 300 for curve in curves)
    whole = loss_chart(rows[-1:], [], axis(0, 3), "d")
    assert re.findall(r"([\d.]+),[\d.]+\"", whole)[0] == curves[0].split()[-1].split(",")[0]
