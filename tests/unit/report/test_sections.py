"""The sections of a large study: numbers from the records, absent without data, arms that were not run."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path

import fixture_large as large
import fixture_summary as fixture
import pytest

from keeptune.core.records import ArmParts, RemedyDose, Summary
from keeptune.report.arms import arm_views
from keeptune.report.html import SECTIONS, render
from keeptune.report.sections.costs import cost_columns, shots, tradeoffs
from keeptune.report.sections.doses import doses, replay_dose
from keeptune.report.sections.plan import plan
from keeptune.report.sections.scores import retention_chart, scores
from keeptune.report.sections.sequences import sequences
from keeptune.report.sections.transfer import held_out, wordings

NOWHERE = Path("nothing here")
FROM_SUMMARY = [name for name in SECTIONS if name != "curves"]  # loss curves are read from the run's folder
LEFT_OUT = "LoRA r=256, replay 5 %"


def html_of(summary: Summary) -> str:
    return render(summary, NOWHERE)


def section(page: str, name: str) -> str:
    """The inside of one section."""
    found = re.search(rf'<section id="{name}">.*?</section>', page, re.S)
    assert found
    return found[0]


def text_of(part: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split())


@pytest.fixture(scope="module")
def page() -> str:
    return html_of(large.large())


def test_every_section_of_a_large_study_is_there_and_in_the_contents(page: str) -> None:
    assert re.findall(r'<section id="(\w+)">', page) == FROM_SUMMARY
    assert re.findall(r'<a href="#(\w+)">', page) == FROM_SUMMARY


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("frontier", "frontier"),
        ("curves", "learning"),
        ("wordings", "wordings"),
        ("held_out", "heldout"),
        ("sequences", "sequences"),
        ("matched", "matched"),
        ("search", "price"),
    ],
)
def test_a_section_without_data_is_left_out(field: str, name: str) -> None:
    page = html_of(large.large(**{field: None if field == "search" else ()}))
    assert re.findall(r'<section id="(\w+)">', page) == [other for other in FROM_SUMMARY if other != name]
    assert f'href="#{name}"' not in page


def test_the_price_of_keeping_is_drawn_and_said(page: str) -> None:
    part = section(page, "price")
    text = text_of(part)
    assert "The search found Full fine-tuning, EWC 2: 62.0 on validation items" in text
    assert "At a margin of 3.9 points on addition (margin 3) you could have 71.0 (Full fine-tuning, EWC 3)." in text
    assert "The search took 5 trainings of 12 that were allowed" in text
    assert "Full fine-tuning, EWC 2 (found) 62.0 0.8 margins addition, 2.5 of 3 points" in text
    assert "12 models, of which 4 need more margin than is drawn" in text
    assert part.count('class="ring"') == 2 and "your margins" in part  # in the legend and in the chart


def test_a_search_without_anything_to_keep_is_said_and_not_drawn() -> None:
    empty = large.search().model_copy(update={"points": (), "front": (), "found": None, "sentences": ("Nothing.",)})
    part = section(html_of(large.large(search=empty)), "price")
    assert "Nothing." in part and "<svg" not in part and "<table" not in part


def test_rows_behind_a_spike_are_named_by_file_and_line(page: str) -> None:
    text = text_of(section(page, "trouble"))
    assert "140 5.210 1.320 orders.jsonl, line 1204 (9.40); orders.jsonl, line 7 (6.10); row c (1.10)" in text
    assert "Likely cause: rate: the training loss stayed where it was." in text


def test_what_was_lost_is_grouped_and_shown(page: str) -> None:
    lost = section(page, "lost")
    assert "all 8 measurable suites together: something was lost" in text_of(lost)
    assert "addition 63 of 1,500 items worse, 41 better" in text_of(lost)
    assert "four digits label −14.3 pt 51 8 300 sheet 3 cluster −40.0 pt 9 1 20" in text_of(lost)
    assert "addition-17 1204 + 3377 = Reference 4581 Before 4581 After <b>4481</b>" in text_of(lost)
    assert "<b>4481</b>" not in lost and "<mark>&lt;b&gt;4481&lt;/b&gt;</mark>" in lost


def test_an_older_summary_has_none_of_the_new_sections() -> None:
    page = html_of(fixture.study(frontier=()))
    found = set(re.findall(r'<section id="(\w+)">', page))
    assert not found & {
        "lost",
        "drift",
        "matched",
        "price",
        "frontier",
        "doses",
        "learning",
        "wordings",
        "heldout",
        "sequences",
    }
    assert "The plan beside" not in page


def test_numbers_equal_the_records(page: str) -> None:
    assert "picked rate 3e-4, seed 0, step 320: 39.2, −8.8; 27 points, 1 diverged" in text_of(section(page, "frontier"))
    assert "43.6 (41.8 to 45.4)" in text_of(section(page, "doses"))
    learned = text_of(section(page, "learning"))
    assert "500 examples are enough here." in learned
    assert "500 are enough" in learned
    assert "best prompting 23.0" in learned
    assert "43.6 and 37.4 gap +6.2 (+5.0 to +7.4)" in text_of(section(page, "wordings"))
    assert "−16.5 (−18.6 to −14.4)" in text_of(section(page, "sequences"))  # backward transfer
    drift = text_of(section(page, "drift"))
    assert "0.500 78 % 3.30 2 Retained, 6 Harmed, 1 Inconclusive, 1 Not measurable" in drift
    assert "never a verdict" in drift
    matched = text_of(section(page, "matched"))
    assert (
        "difference in mean loss −2.8 (−4.4 to −1.2) margins at a target score of 40.0; by seed −2.1, −3.4, −2.8"
        in matched
    )
    assert "Not comparable. Their frontiers do not overlap: IA3 reaches 32.2 at most." in matched
    assert "full seed 2, lr 3e-05" not in text_of(section(page, "costs"))
    assert "410.0 MB 408.1 MB 4 min 45 s 1 min 34 s seed 2, lr 3e-05" in text_of(section(page, "costs"))


@pytest.mark.parametrize(
    ("least", "most", "shown"),
    [(340, 9_800, "340 to 9,800"), (340, None, "340 to never"), (340, 340, "340"), (None, None, None)],
)
def test_where_training_pays_off_is_a_range(least: int | None, most: int | None, shown: str | None) -> None:
    lora = next(arm for arm in fixture.arms() if arm.family == "lora")
    costs = lora.costs.model_copy(update={"break_even_requests": least, "break_even_most": most})
    summary = fixture.study().model_copy(update={"arms": (lora.model_copy(update={"costs": costs}),)})
    (column,) = [c for c in cost_columns(arm_views(summary, NOWHERE)) if c.title.startswith("Pays")] or [None]
    assert (column.cells[0] if column else None) == shown


def test_scores_of_other_seeds_stand_beside_the_checkpoint() -> None:
    seeds = (0.848, 0.73, 0.672, 0.342, 0.894)
    several = [a.model_copy(update={"seed_scores": seeds if a.family == "lora" else ()}) for a in fixture.arms()]
    text = text_of(section(html_of(fixture.study().model_copy(update={"arms": tuple(several)})), "scores"))
    assert "69.7, 34.2 to 89.4 over 5 seeds" in text
    assert "of a trained arm they are about this checkpoint" in text


def test_every_verdict_of_many_arms_keeps_its_sentence(page: str) -> None:
    text = html.unescape(section(page, "suites"))
    for arm in large.arms():
        for verdict in arm.suites:
            assert verdict.sentence in text
    assert text.count("Not measurable") > 8


def test_few_arms_stand_side_by_side_and_many_are_rows() -> None:
    assert 'class="turned"' not in html_of(fixture.study())
    assert 'class="turned"' in html_of(large.large())


# arms that were not run


def test_an_arm_that_was_not_run_stands_in_tables_with_its_reason(page: str) -> None:
    for name in ("scores", "suites", "drift", "costs"):
        assert f"{LEFT_OUT} not run: needs 18 GB" in text_of(section(page, name))
    few = fixture.study(arms=(*fixture.arms(), large.arms()[-1]))
    assert "not run: needs 18 GB" in text_of(section(html_of(few), "suites"))


def test_an_arm_that_was_not_run_is_in_no_chart(page: str) -> None:
    for name in ("retention", "tradeoffs", "shots", "doses", "frontier"):
        assert LEFT_OUT not in section(page, name)
    assert not any(LEFT_OUT in part for part in re.findall(r"<svg.*?</svg>", page, re.S))


def test_numbers_of_an_arm_that_was_not_run_are_not_believed() -> None:
    """Even where a record has some, left over from a plan."""
    full = fixture.arms()[4].model_copy(update={"not_run": "needs 18 GB"})
    summary = fixture.study(arms=(*fixture.arms()[:4], full, fixture.arms()[5]), frontier=())
    views = arm_views(summary, NOWHERE)
    shown = scores(views, summary.metric)
    assert shown
    assert full.label not in [row.view.label for row in shown.rows]
    traded = tradeoffs(views, summary.metric)
    assert traded
    assert full.label not in [view.label for view in traded.views]
    assert retention_chart(summary, views)
    page = html_of(summary)
    assert "43.6" not in text_of(page)
    assert "412.0 MB" not in text_of(page)


def test_an_arm_that_does_not_fit_says_so_in_the_plan() -> None:
    summary = large.large()
    last = plan(summary, arm_views(summary, NOWHERE))[-1]
    assert (last.arm, last.status, last.memory) == ("lora:r256", "not run: needs 18 GB", "18.0 GB")
    alone = plan(summary, ())[-1]
    assert alone.status == "does not fit"


# unknown numbers


def test_unknown_numbers_leave_no_trace() -> None:
    broken = fixture.score(math.nan, math.nan)
    hole = large.interval(math.nan, math.nan)
    made = large.large()
    arms = [
        arm.model_copy(update={"target": broken, "gain": hole, "gain_mean": math.nan})
        if arm.arm in {"full+replay:20%", "ia3"}
        else arm
        for arm in made.arms
    ]
    nothing = large.drift(math.nan)
    arms[4] = arms[4].model_copy(update={"drift": nothing})
    estimate = made.sequences[0].forgetting.model_copy(update={"mean": math.nan, "interval": hole})
    one = made.sequences[0].model_copy(update={"matrix": ((math.nan,) * 4,) * 5, "forgetting": estimate})
    curve = made.curves[0]
    points = (curve.points[0].model_copy(update={"score": broken}), *curve.points[1:])
    odd = [p.model_copy(update={"target": math.nan, "worst_change": math.inf}) for p in made.frontier[:30]]
    page = html_of(
        large.large(
            arms=tuple(arms),
            frontier=(*odd, *made.frontier[30:]),
            curves=(curve.model_copy(update={"points": points, "prompting": broken}),),
            wordings=(made.wordings[0].model_copy(update={"seen": broken, "interval": hole}), *made.wordings[1:]),
            held_out=(made.held_out[0].model_copy(update={"interval": hole}), *made.held_out[1:]),
            sequences=(one, *made.sequences[1:]),
            matched=(made.matched[1].model_copy(update={"mean": math.nan, "interval": None, "level": None}),),
        )
    )
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S))


@pytest.mark.parametrize(
    ("remedies", "dose"),
    [
        ({}, ("lora", "", 0.0)),
        ({"replay": 0.05}, ("lora", "replay", 5.0)),
        ({"self-replay": 0.025}, ("lora", "self-replay", 2.5)),
        ({"text-replay": 0.3}, ("lora", "text-replay", 30.0)),
        ({"kl": 0.1, "replay": 0.07}, ("lora+kl:0.1", "replay", 7.0)),
    ],
)
def test_the_dose_is_that_of_the_arm(remedies: dict[str, float], dose: tuple[str, str, float]) -> None:
    parts = tuple(RemedyDose(name=name, dose=amount) for name, amount in remedies.items())
    assert replay_dose(ArmParts(method="lora", remedies=parts)) == dose


def test_doses_stand_in_order_and_interpolated_arms_are_none() -> None:
    summary = large.large()
    extra = large.arms()[4].model_copy(update={"alpha": 0.5})
    groups = doses(arm_views(large.large(arms=(*summary.arms, extra)), NOWHERE), summary.metric)
    assert [group.base for group in groups] == ["full", "lora"]
    assert [(dose.share, dose.kind) for dose in groups[0].doses] == [
        (0.0, ""),
        (5.0, "replay"),
        (5.0, "self-replay"),
        (20.0, "replay"),
    ]
    assert doses(arm_views(fixture.study(), NOWHERE), "exact_match") == ()


def test_the_heat_table_marks_the_diagonal_and_shades_by_one_scale() -> None:
    tables = sequences(large.large())
    for table in tables:
        for stage, (_, cells) in enumerate(table.rows):
            assert [("own" in cell.class_) for cell in cells] == [index == stage - 1 for index in range(4)]
            assert [("before" in cell.class_) for cell in cells] == [index >= stage for index in range(4)]
    pairs = [(float(cell.text), cell.class_[5]) for table in tables for _, cells in table.rows for cell in cells]
    ordered = sorted(pairs)
    assert [shade for _, shade in ordered] == sorted(shade for _, shade in pairs)
    assert {ordered[0][1], ordered[-1][1]} == {"0", "7"}


def test_held_out_tasks_are_sorted_and_counted() -> None:
    summary = large.large()
    found = held_out(summary, arm_views(summary, NOWHERE))
    assert found
    assert [arm.open for arm in found.arms] == [False, True]  # the recommended one
    for arm in found.arms:
        changes = [one.change for one, _ in arm.rows]
        assert changes == sorted(changes, reverse=True)
        above = sum(change > 0 for change in changes)
        assert arm.counts.startswith(f"{above} of 8 above 0")
        assert f"{8 - above} below" in arm.counts


def test_wordings_of_an_unknown_arm_are_shown() -> None:
    found = wordings(large.large(), ())
    assert found
    assert len(found.rows) == 6


def test_the_shots_of_many_arms_show_the_recommended_and_the_best() -> None:
    summary = large.large()
    found = shots(arm_views(summary, NOWHERE), summary.metric)
    assert found
    assert found.some
    told = text_of(found.chart)
    assert "Full fine-tuning, lr 0.0003" in told
    assert "LoRA r=16, replay 5 %, lr 0.003" in told
    assert "IA3" not in found.chart
