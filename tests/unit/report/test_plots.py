"""Geometry of the charts: places follow the numbers, names stay apart."""

from __future__ import annotations

import itertools
import math
import re

import fixture_summary as fixture
import pytest

from keeptune.core.records import Interval, StepRecord
from keeptune.report.frame import Frame
from keeptune.report.labels import inside, place
from keeptune.report.lossplot import loss_chart, smooth
from keeptune.report.plots import (
    Point,
    bar,
    change_axis_strip,
    change_scale,
    change_strip,
    interval_strip,
    scatter,
    spread,
)
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
    svg = interval_strip(axis(0, 1), 0.25, (0.0, 0.5), "circle", "dot", title="t")
    ends = re.search(r'x1="([\d.]+)%"[^>]*x2="([\d.]+)%"[^>]*class="whisker dot"', svg)
    assert ends
    assert (float(ends[1]), float(ends[2])) == pytest.approx((3.0, 50.0))
    assert "whisker" not in interval_strip(axis(0, 1), math.nan, None, "circle", "dot", title="t")


def dot(svg: str) -> float:
    found = re.search(r'<svg x="([\d.]+)%"', svg)
    assert found
    return float(found[1])


def test_all_strips_of_a_table_have_one_scale() -> None:
    found = [fixture.verdict("a", "Harmed", -0.138, 0.02), fixture.verdict("b", "Harmed", -0.488, 0.02)]
    other = fixture.verdict("c", "Retained", 0.0, 0.004)
    scale = change_scale([*found, other])
    small, large, none = (dot(change_strip(scale, each)) for each in (*found, other))
    assert (none - large) / (none - small) == pytest.approx(48.8 / 13.8, rel=0.01)


def test_the_zone_of_a_strip_is_the_margin() -> None:
    verdict = fixture.verdict("s", "Inconclusive", -0.02, 0.01)  # the change is exactly minus one margin
    scale = change_scale([verdict])
    svg = change_strip(scale, verdict)
    zone = re.search(r'<rect x="([\d.]+)%"[^>]*width="([\d.]+)%"[^>]*class="zone"', svg)
    assert zone
    assert float(zone[1]) == pytest.approx(dot(svg))
    assert float(zone[1]) + float(zone[2]) == pytest.approx(scale.x(0), abs=0.02)
    assert ">margin<" in change_axis_strip(scale, verdict.margin)


def test_a_strip_says_its_numbers_when_pointed_at() -> None:
    verdict = fixture.verdict("s", "Harmed", -0.31, 0.024)
    told = "<title>s: −31.0 pt (−33.4 to −28.6), margin 2 pt, Harmed</title>"
    assert told in change_strip(change_scale([verdict]), verdict)


def test_no_strip_without_a_margin() -> None:
    verdict = fixture.verdict("s", "Harmed", -0.3, 0.02).model_copy(update={"margin": 0.0})
    assert change_strip(change_scale([verdict]), verdict) == ""


def test_bars_are_proportional_and_never_vanish() -> None:
    assert 'width="50%"' in str(bar(5, 10, False)).replace("50.00%", "50%")
    assert 'class="bar"' in bar(1, 1e9, False)
    assert 'class="bar"' not in bar(0, 10, False)
    assert "rect" in bar(0, 0, False)


def test_better_points_are_further_up_and_right() -> None:
    def point(x: float, y: float) -> Point:
        return Point("n", x, y, None, None, "circle", "dot", "t")

    frame = Frame(axis(0, 0.5), axis(-0.4, 0.1), 300, "x", "y")
    svg = scatter([point(0.2, -0.3), point(0.4, 0.0)], frame, description="d")
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


def test_a_name_stays_off_a_line_that_has_room_beside_it() -> None:
    line = (230.0, 60.0, 230.0, 140.0)  # upright, through where the name would stand
    assert inside(place([(200, 100)], ["an arm"], 440, 300)[0], line) > 0
    assert inside(place([(200, 100)], ["an arm"], 440, 300, [line])[0], line) == 0


def test_the_part_of_a_line_inside_a_box_is_measured() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    assert inside(box, (0, 15, 100, 15)) == pytest.approx(10)
    assert inside(box, (12, 0, 12, 13)) == pytest.approx(3)
    assert inside(box, (0, 0, 30, 30)) == pytest.approx(10 * math.sqrt(2))
    assert inside(box, (0, 5, 100, 5)) == 0
    assert inside(box, (0, 20, 5, 100)) == 0


def test_points_that_lie_on_each_other_share_a_label() -> None:
    points = [Point(name, 0.2, 0.0, None, None, "circle", "dot", "t") for name in ("zero-shot", "1-shot")]
    svg = scatter(points, Frame(axis(0, 0.5), axis(-0.4, 0.1), 300, "x", "y"), description="d")
    assert svg.count('<text class="name">') == 2  # one for a wide plot, one for a narrow one
    assert svg.count("zero-shot</tspan>") == 2


def test_the_name_of_the_margin_takes_the_place_of_numbers_near_it() -> None:
    frame = Frame(
        axis(0, 1), Axis(-0.9, 0.05, (-0.8, -0.04, 0.0), lambda t: f"{100 * t:g}"), 300, "x", "y", margin=0.03
    )
    scale = re.findall(r'<text x="44" y="([\d.]+)"[^>]*>([^<]*)<', frame.figure([], "d"))
    assert [text for _, text in scale] == ["-80", "0", "margin"]
    places = sorted(float(place) for place, _ in scale)
    assert all(b - a >= 12.9 for a, b in itertools.pairwise(places))


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
