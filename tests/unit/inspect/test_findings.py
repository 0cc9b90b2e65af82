"""What a check found in words: rows quoted without personal data, shortened, each with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.findings import CheckPage, Finding
from keeptune.inspect.check import check
from keeptune.inspect.findings import HEAD, TAIL, check_page, shortened

WORDS = "river house green walk morning quiet bridge water old stones dogs people near stand build sit like".split()


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * k + k * k) % len(WORDS)] + str(i * k % 101) for k in range(1, 13))


@pytest.fixture
def looked_at(tmp_path: Path) -> Any:
    def looked_at(rows: list[dict[str, Any]], benchmark: list[dict[str, Any]] | None = None) -> CheckPage:
        paths = [tmp_path / "rows.jsonl", tmp_path / "benchmark.jsonl"]
        for path, made in zip(paths, (rows, benchmark or []), strict=True):
            path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
        return check_page(check(str(paths[0]), against=[str(paths[1])] if benchmark else ()))

    return looked_at


def rows(n: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": sentence(i), "completion": ["yes", "no"][i % 2], **more} for i in range(n)]


def found(page: CheckPage, kind: str) -> Finding:
    (finding,) = [each for each in page.findings if each.kind == kind]
    return finding


def test_copies_stand_behind_what_they_repeat(looked_at: Any) -> None:
    made = rows(40)
    copies = found(looked_at([*made, *made[:7]]), "copies")
    assert not copies.good
    assert [case.text for case in copies.cases] == [f"line {i} and line {40 + i}" for i in range(1, 6)]
    assert copies.more == 2
    assert copies.cases[0].rows[0].fields == (("prompt", sentence(0)), ("completion", "yes"))


def test_leaks_quote_both_rows_with_their_parts(looked_at: Any) -> None:
    made = rows(40)
    parts = ["train"] * 30 + ["validation"] * 5 + ["test"] * 5
    made[38] = {"prompt": f"{made[2]['prompt']}!", "completion": "no"}
    leaks = found(looked_at([{**row, "split": part} for row, part in zip(made, parts, strict=True)]), "leaks")
    (case,) = leaks.cases
    assert case.text == "train line 3 = test line 39 (normalised, 1.00)"
    assert [row.place for row in case.rows] == ["train line 3", "test line 39"]
    assert case.rows[1].fields[0] == ("prompt", f"{sentence(2)}!")


def test_a_benchmark_is_quoted_from_its_own_columns(looked_at: Any) -> None:
    made = rows(40)
    benchmark = [{"question": sentence(i), "answer": "perhaps"} for i in (4, 90, 91)]
    against = found(looked_at(made, benchmark), "against")
    (case,) = against.cases
    assert case.text == "line 5 = its line 1 (exact, 1.00)"
    assert case.rows[1].fields == (("prompt", sentence(4)), ("completion", "perhaps"))


def test_personal_data_are_not_repeated(looked_at: Any) -> None:
    made = rows(40)
    made[6]["prompt"] = "write to jane.doe@example.com or call +49 171 1234567 before noon"
    page = looked_at(made)
    assert "jane" not in repr(page)
    assert "1234567" not in repr(page)
    kinds = [each for each in page.findings if each.kind == "personal"]
    assert len(kinds) == 2
    assert kinds[0].cases[0].rows[0].fields[0][1].startswith("write to [e-mail address] or call [phone number]")


def test_personal_data_at_the_cut_of_a_long_text_go_first() -> None:
    text = "a " * (HEAD // 2 - 4) + "jane.doe@example.com " + "b " * HEAD
    shown = shortened(text)
    assert "jane" not in shown
    assert "[e-mail" in shown
    assert len(shown) == HEAD + TAIL + len(" […] ")


def test_unusable_rows_show_their_own_fields(looked_at: Any) -> None:
    made = rows(40)
    made[11]["completion"] = ""
    unusable = found(looked_at(made), "unusable")
    (case,) = unusable.cases
    assert case.text.startswith("1 x field 'completion' is empty (first: ")
    assert case.rows[0].place == "line 12"
    assert dict(case.rows[0].fields)["prompt"] == sentence(11)


def test_nothing_found_is_good(looked_at: Any) -> None:
    page = looked_at(rows(40))
    assert all(each.good for each in page.findings)
    assert {each.kind for each in page.findings} == {"copies", "answers", "alike", "leaks", "unusable"}
