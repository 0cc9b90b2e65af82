"""The page says what the records say, in the promised order, alone and safely."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import fixture_large as large
import fixture_summary as fixture
import pytest

from keeptune.core.errors import DataError
from keeptune.core.records import Interval, RowLoss, Score, Summary, ValidationRecord
from keeptune.report.html import render, write_report

LIMIT = 3_000_000
ORDER = [
    "verdict",
    "scores",
    "retention",
    "suites",
    "undecided",
    "tradeoffs",
    "samples",
    "costs",
    "shots",
    "frontier",
    "curves",
    "data",
    "reproduce",
]


class Page(HTMLParser):
    """Collects what the tests ask about: sections, text, attributes, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []  # element, attribute, value
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "section":
            self.sections.append(dict(attrs).get("id") or "")
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(summary: Summary, run: Path, **options: int) -> Page:
    html = write_report(fixture.write_run(run, summary, **options)).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    return page


def test_sections_come_in_the_promised_order(tmp_path: Path) -> None:
    page = page_of(fixture.study(), tmp_path)
    assert page.sections == ORDER
    assert page.text.index("Take LoRA (rank 16, lr 2e-3).") < page.text.index("Target score by arm")


@pytest.mark.parametrize(
    "summary", [fixture.study(), fixture.many_suites(), large.large()], ids=["study", "many suites", "large"]
)
def test_every_arm_and_suite_is_named_with_its_verdict_and_sentence(summary: Summary, tmp_path: Path) -> None:
    text = page_of(summary, tmp_path).text
    for arm in summary.arms:
        assert arm.label in text
        for verdict in arm.suites:
            assert verdict.suite in text
            assert verdict.sentence in text
            assert verdict.verdict in text


def test_at_most_eight_sections_are_open_and_all_are_in_the_contents(tmp_path: Path) -> None:
    write_report(fixture.write_run(tmp_path, large.large()))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'<section[^>]* id="(\w+)"|<section id="(\w+)"', html)
    folded = html.count('<details class="fold">')
    assert len(ids) - folded == 8
    assert folded > 5
    assert re.findall(r'<a href="#(\w+)">', html) == [a or b for a, b in ids if (a or b) != "verdict"]


def test_a_model_is_named_by_the_end_of_its_path(tmp_path: Path) -> None:
    text = page_of(fixture.study(model="/home/me/runs/demo/tuned"), tmp_path).text
    assert "model demo/tuned target" in text
    assert "model owner/name target" in page_of(fixture.study(model="owner/name"), tmp_path / "b").text


def test_nothing_is_explained_that_is_not_there(tmp_path: Path) -> None:
    text = page_of(fixture.compare(), tmp_path).text
    assert "Harmed: the loss is shown" in text
    for absent in ("Retained: the", "Worse: a loss", "Not measurable: the base", "Pays off after:"):
        assert absent not in text


def test_numbers_equal_the_records(tmp_path: Path) -> None:
    text = page_of(fixture.study(), tmp_path).text
    assert "41.2 (39.4 to 43.0), n = 500" in text  # target of the recommended arm
    assert "+18.2 (+15.8 to +20.6), paired" in text  # gain over the best prompting
    assert "−1.2 pt (−3.0 to +0.6) on addition, n = 1,500" in text  # worst retained change
    assert "5 Retained, 1 Inconclusive, 1 Not measurable" in text
    assert "−31.0 pt (−33.4 to −28.6)" in text  # a cell of the matrix
    assert "−4.3 % (−5.1 to −3.5)" in text  # a relative change keeps its unit
    assert "412.0k (5.3 %)" in text  # trained parameters
    assert "best validation loss 1.360 at step 120" in text
    assert "2,410" in text  # requests until full fine-tuning pays off


def test_numbers_say_where_they_are_in_the_records(tmp_path: Path) -> None:
    text = page_of(fixture.study(), tmp_path).text
    assert "arms/lora/items/dialogsum.jsonl" in text
    assert "arms/full/items/addition.jsonl" in text
    assert "arms/full/items/sorting.jsonl" not in text  # no such file was kept: the summary is named instead


def test_provisional_is_marked_once(tmp_path: Path) -> None:
    advice = fixture.study().recommendation
    assert page_of(fixture.study(), tmp_path / "a").text.count("Provisional") == 1
    firm = fixture.study(recommendation=advice.model_copy(update={"provisional": False, "headline": "Take LoRA."}))
    assert "Provisional" not in page_of(firm, tmp_path / "b").text


def test_page_stands_alone(tmp_path: Path) -> None:
    page = page_of(fixture.study(), tmp_path)
    addresses = [value for _, name, value in page.attributes if name in {"href", "src", "action", "data", "srcset"}]
    assert [value for value in addresses if value != f"#{value[1:]}"] == ["data:,"]
    assert {value[1:] for value in addresses if value.startswith("#")} == set(page.sections) - {"verdict"}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", html)


def test_policy_names_the_only_style_and_script(tmp_path: Path) -> None:
    page = page_of(fixture.study(), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert len(bodies) == 1
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    attack = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}"
    study = fixture.study()
    suites = tuple(v.model_copy(update={"suite": attack, "sentence": attack}) for v in study.arms[5].suites[:1])
    arm = study.arms[5].model_copy(update={"label": attack, "suites": suites, "note": attack})
    sample = study.samples[0].model_copy(update={"prompt": attack, "outputs": {"lora": attack}, "id": attack})
    card = study.cards[0].model_copy(update={"example_prompt": attack, "templates": (attack,), "source": attack})
    changes = {"title": attack, "warnings": (attack,), "arms": (*study.arms[:5], arm), "samples": (sample,)}
    page = page_of(fixture.study(cards=(card,), **changes), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "<img" not in html
    assert "{{ 7*7 }}" in page.text
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_a_comparison_has_no_training_sections(tmp_path: Path) -> None:
    page = page_of(fixture.compare(), tmp_path)
    assert page.sections == ["verdict", "scores", "suites", "undecided", "reproduce"]
    assert "Harmed: 2 of 3 suites" in page.text


def test_without_retained_suites_the_page_says_so(tmp_path: Path) -> None:
    arms = tuple(arm.model_copy(update={"suites": ()}) for arm in fixture.arms())
    page = page_of(fixture.study(arms=arms), tmp_path)
    assert "suites" not in page.sections
    assert "retention" not in page.sections
    assert "nothing is known about what the model lost" in page.text


def test_missing_numbers_leave_no_trace(tmp_path: Path) -> None:
    page = page_of(fixture.bare(), tmp_path)
    assert page.sections == ["verdict", "suites", "undecided", "reproduce"]
    assert not re.search(r"\b(None|nan|inf)\b", page.text)
    assert "smallest margin" not in page.text


def test_bits_per_byte_as_target_are_not_points(tmp_path: Path) -> None:
    interval = Interval(low=1.2, high=1.3)
    target = Score(metric="bits_per_byte", mean=1.25, interval=interval, n=60, clusters=6, higher_is_better=False)
    arms = tuple(arm.model_copy(update={"target": target}) for arm in fixture.arms())
    text = page_of(fixture.study(arms=arms, metric="bits_per_byte"), tmp_path).text
    assert "1.250" in text
    assert "125.0" not in text
    assert "lower is better" in text
    assert "Left and up is better" in text


def test_a_long_run_with_long_samples_stays_small(tmp_path: Path) -> None:
    sample = fixture.samples()[0].model_copy(
        update={"prompt": "<&> " * 4_000, "outputs": {a.name: "<é> no " * 4_000 for a in fixture.arms()}}
    )
    card = fixture.card().model_copy(update={"templates": ("<x>" * 900,) * 200})
    for summary in (fixture.many_suites(), large.large()):
        long = summary.model_copy(update={"samples": (sample,) * 40, "cards": (card,)})
        path = write_report(fixture.write_run(tmp_path, long, steps=3_000))
        assert path.stat().st_size < LIMIT
        assert "more characters in the records" in path.read_text(encoding="utf-8")


def test_a_curve_that_was_cut_short_is_shown_and_named(tmp_path: Path) -> None:
    fixture.write_run(tmp_path, fixture.study())
    with (tmp_path / "arms/lora/steps.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 161, "lo')
    text = Page(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "160 steps · steps.jsonl ends at line 161" in text


def test_the_last_improvement_is_the_kept_checkpoint(tmp_path: Path) -> None:
    fixture.write_run(tmp_path, fixture.study())
    path = tmp_path / "arms/lora/validation.jsonl"
    rows = [ValidationRecord(step=s, loss=2 - s / 100, best=True) for s in (10, 20, 30)]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    assert "best validation loss 1.700 at step 30" in Page(write_report(tmp_path).read_text(encoding="utf-8")).text


def test_validation_rows_with_the_largest_loss_are_named_beside_the_curve(tmp_path: Path) -> None:
    row = RowLoss(id="a", loss=4.25, path="/home/me/rows.jsonl", line=12)
    arms = tuple(arm.model_copy(update={"hardest": (row,)}) for arm in fixture.arms())
    text = Page(write_report(fixture.write_run(tmp_path, fixture.study(arms=arms))).read_text(encoding="utf-8")).text
    assert "Validation rows with the largest loss (nats per trained token): rows.jsonl, line 12 (4.25)." in text


def test_folders_outside_the_summary_are_not_needed(tmp_path: Path) -> None:
    page = Page(render(fixture.study(), tmp_path / "nothing here"))
    assert "curves" not in page.sections


def test_missing_summary_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"summary\.json.*name a run folder that finished"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_report_imports_no_torch() -> None:
    code = "import sys, keeptune.report; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
