"""The verdict and the table in the terminal."""

from __future__ import annotations

import io
import re

import fixture_large as large
import fixture_summary as fixture
import pytest
from rich.console import Console

from keeptune.core.records import Interval, Summary
from keeptune.report.console import print_summary


def printed(summary: Summary, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_verdict_comes_before_the_table() -> None:
    text = printed(fixture.study())
    assert text.index("Provisional: Take LoRA (rank 16, lr 2e-3).") < text.index("It scores +18.2") < text.index("arm")
    assert text.count("Provisional") == 1


def test_the_table_has_a_row_for_every_arm() -> None:
    text = printed(fixture.study())
    rows = {arm.label: next(line for line in text.splitlines() if line.startswith(arm.label)) for arm in fixture.arms()}
    assert "43.6" in rows["Full fine-tuning"]
    assert "7.3M" in rows["Full fine-tuning"]
    assert "412.0 MB" in rows["Full fine-tuning"]
    assert "1 min 34 s" in rows["Full fine-tuning"]
    assert "1.6 MB" in rows["LoRA r=16"]
    assert "(take)" in rows["LoRA r=16"]
    assert "390" in rows["Prompting, 4 shots"]
    assert "41.7 to 45.5" in text
    assert "3 Harmed" in text


def test_the_table_carries_what_other_seeds_scored() -> None:
    """An interval over items says nothing about another training of the same arm."""
    scores = {"full": (0.848, 0.73, 0.672, 0.342, 0.894), "lora": (0.43, 0.44, 0.45)}
    arms = tuple(a.model_copy(update={"seed_scores": scores.get(a.family, ())}) for a in fixture.arms())
    text = printed(fixture.study().model_copy(update={"arms": arms}))
    assert "5 seeds: 69.7" in text and "34.2 to 89.4" in text
    one = tuple(a.model_copy(update={"seed_scores": scores.get(a.family, ())[:1]}) for a in fixture.arms())
    text = printed(fixture.study().model_copy(update={"arms": one}))
    assert "of a trained arm, of this checkpoint" in " ".join(text.split())
    assert "seeds:" not in text


def test_every_suite_stands_before_and_after_with_its_change() -> None:
    text = printed(fixture.study(), 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    flat = " ".join(text.split())
    after = flat[flat.index("Full fine-tuning suite before") :]
    assert after.index("addition 84.2 53.2 −31.0 (−33.4 to −28.6) 2 pt Harmed") < after.index("LoRA r=16 suite before")
    own = after[after.index("LoRA r=16 suite before") :]
    assert "addition 84.2 83.0 −1.2 (−3.0 to +0.6) 2 pt Inconclusive" in own
    assert "sentiment 84.2" in own and own.count("Retained") >= 1


def test_what_the_suites_say_together_stands_below_them() -> None:
    study = fixture.study()
    arms = [arm.model_copy(update={"overall": large.together(0.03)}) if arm.suites else arm for arm in study.arms]
    text = " ".join(printed(study.model_copy(update={"arms": tuple(arms)})).split())
    assert text.count("all 8 measurable suites together: something was lost (−1.50 margins on the mean suite)") == 2


def test_the_gain_stands_below_the_score_and_a_loss_is_warned_of() -> None:
    def study(mean: float, low: float, high: float) -> str:
        gain = {"gain_mean": mean, "gain": Interval(low=low, high=high)}
        arms = [arm.model_copy(update=gain) if arm.family == "lora" else arm for arm in fixture.arms()]
        return " ".join(printed(fixture.study().model_copy(update={"arms": tuple(arms)})).split())

    good = study(0.12, 0.08, 0.16)
    assert "gain +12.0" in good and "+8.0 to +16.0" in good and "over the best prompting, paired" in good
    assert "warning" not in good
    assert "LoRA r=16 fell below the best prompting: −3.0 (−5.0 to −1.0)" in study(-0.03, -0.05, -0.01)
    assert "LoRA r=16 did not rise above the best prompting: −3.0 (−5.0 to +1.0)" in study(-0.03, -0.05, 0.01)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_column_is_lost(width: int) -> None:
    text = printed(fixture.study(), width)
    assert all(len(line) <= width for line in text.splitlines())
    for part in ("on disk", "request", "14.7", "58", "Inconclusive", "43.6"):
        assert part in text


def test_a_comparison_shows_only_what_it_knows() -> None:
    text = printed(fixture.compare())
    assert "Harmed: 2 of 3 suites" in text
    assert "memory" not in text
    assert "on disk" not in text


def test_markup_in_names_is_printed_as_it_is() -> None:
    study = fixture.study()
    arm = study.arms[0].model_copy(update={"label": "[red]x[/red]"})
    assert "[red]x[/red]" in printed(fixture.study(arms=(arm,)))


def test_nothing_known_prints_without_failing() -> None:
    assert "Nothing is feasible." in printed(fixture.bare())


@pytest.mark.parametrize("width", [80, 100, 160])
def test_twelve_arms_stay_legible(width: int) -> None:
    text = printed(large.large(), width)
    lines = text.splitlines()
    assert all(len(line) <= width for line in lines)
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("arm")) :]
    flat = " ".join(text.split())
    for arm in large.arms():
        assert sum(line.startswith(arm.label.split(",")[0][:11]) for line in table) >= 1
    assert "824.0" in text
    assert "41.8 to 45.4" in text
    assert "Harmed addition −5.2 pt, sorting −8.1 pt" in flat
    assert flat.count("Not measurable:") == 1  # the base's doing: said once


def test_rows_of_many_arms_take_two_lines_at_100_columns() -> None:
    lines = printed(large.large(), 100).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("────"))
    end = next(i for i, line in enumerate(lines) if "not run: needs 18 GB" in line)
    assert end - start <= 2 * 12 + 1  # one label takes a third line


def test_an_arm_that_was_not_run_has_its_reason_and_no_number() -> None:
    full = fixture.arms()[4].model_copy(update={"not_run": "needs 18 GB"})
    text = printed(fixture.study(arms=(*fixture.arms()[:4], full, fixture.arms()[5])))
    row = next(line for line in text.splitlines() if line.startswith(full.label))
    assert not re.search(r"\d", row)
    assert "not run: needs 18 GB" in text
    assert "Full fine-tuning: Harmed" not in text


def test_tasks_learned_one_after_another_are_shown_with_order_and_result() -> None:
    found = (
        large.sequence("full", "Full fine-tuning", ("sentiment", "addition"), 0.2, seed=3),
        large.sequence("lora", "LoRA r=16", ("addition", "sentiment"), 0.0),
    )
    study = fixture.study().model_copy(update={"sequences": found})
    assert all(len(line) <= 80 for line in printed(study, 80).splitlines())
    text = printed(study, 140)
    flat = " ".join(text[text.index("Tasks learned one after another") :].split())
    for part in (
        "Full fine-tuning",
        "sentiment, then addition · seed 3",
        "addition, then sentiment · seed 0",
        "forgetting",
    ):
        assert part in flat
    assert "−30.0" in flat and "+32.0" in flat and "−32.1 to −27.9" in flat
    assert "earlier tasks, end minus when learned" in flat
    assert "one after another" not in printed(fixture.study())


@pytest.mark.parametrize(("precision", "said"), [("float32", "scored in fp32"), ("bfloat16", "scored in bf16")])
def test_the_table_says_the_precision(precision: str, said: str) -> None:
    study = fixture.study()
    manifest = study.manifest.model_copy(update={"precision": precision})
    assert said in printed(study.model_copy(update={"manifest": manifest}))
    nothing = study.manifest.model_copy(update={"precision": "none"})  # of logs: no model was run
    assert "scored in" not in printed(study.model_copy(update={"manifest": nothing}))


def test_what_went_wrong_in_training_is_said_with_its_rows() -> None:
    text = " ".join(printed(large.large()).split())
    assert "Full fine-tuning, lr 0.0003, step 140: loss 5.210 after 1.320; orders.jsonl, line 1204 (9.40)" in text
    assert "IA3, lr 0.01 learned nothing; likely cause: rate: the training loss stayed where it was" in text
    named = "orders.jsonl, line 1204 (9.40); orders.jsonl, line 7 (6.10); row c (1.10)"
    assert f"Full fine-tuning, lr 0.0003, validation rows with the largest loss: {named}" in text
