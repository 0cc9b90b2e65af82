"""The page of a check: findings first, rows in question side by side, nothing that acts."""

from __future__ import annotations

import html
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keeptune.core.findings import Bin, Case, CheckPage, Finding, Lengths, PartCount, Quoted
from keeptune.report.check import quoted_pieces, render_check


def page(**changes: Any) -> CheckPage:
    given = {
        "source": "rows.jsonl",
        "sha256": "0" * 64,
        "layout": "prompt-completion: prompt -> completion",
        "rows": 12,
        "examples": 11,
        "clusters": 11,
        "most_references": 1,
        "parts": (PartCount("train", 9, 9, False), PartCount("test", 2, 2, True)),
        "lengths": (Lengths("prompt", "words", 12, 30, 41, (Bin(10, 20, 9), Bin(20, None, 2))),),
        "labels": {},
        "findings": (),
        "notes": (),
    }
    return CheckPage(**{**given, **changes})


def row(place: str, prompt: str, completion: str = "yes") -> Quoted:
    return Quoted(place, (("prompt", prompt), ("completion", completion)))


def words(text: str) -> str:
    """What is read on the page."""
    body = text[text.index("<body>") : text.index("<script>")]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", body)).split())


def test_a_clean_set_says_so() -> None:
    good = (Finding("copies", True, "0 rows repeat"), Finding("leaks", True, "no leaks"))
    shown = words(render_check(page(findings=good)))
    assert "Nothing to look at" in shown
    assert "Looked for and not found: copies (0 rows repeat); leaks (no leaks)" in shown


def test_rows_in_question_are_quoted_and_what_differs_is_marked() -> None:
    case = Case("line 3 and line 9", (row("line 3", "the old house"), row("line 9", "the new house", "no")))
    text = render_check(page(findings=(Finding("answers", False, "7 rows differ", (case,), more=6),)))
    assert "<mark>old</mark>" in text
    assert "<mark>new</mark>" in text
    assert "<mark>no</mark>" in text
    assert "and 6 more" in words(text)


def test_one_row_alone_has_no_marks() -> None:
    case = Case("line 3", (row("line 3", "the old house"),))
    text = render_check(page(findings=(Finding("script", False, "1 rows", (case,)),)))
    assert "<mark>" not in text
    assert "the old house" in words(text)


def test_texts_of_the_data_are_only_text() -> None:
    case = Case("line <b>", (row("line 1", "<img src=x onerror=alert(1)>"),))
    text = render_check(page(source="<i>.jsonl", findings=(Finding("length", False, "1 rows", (case,)),)))
    assert "<img" not in text
    assert "<i>" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert " style=" not in text


def test_labels_and_lengths_have_bars() -> None:
    labels = {f"label {i}": {"train": 60 - i} for i in range(60)}
    text = render_check(page(labels=labels))
    assert "60 labels; the 50 most frequent ones follow" in words(text)
    assert text.count('<svg class="strip"') == 2 + 50


@given(st.text(max_size=60), st.text(max_size=60))
def test_pieces_give_both_texts_back(one: str, other: str) -> None:
    sides = quoted_pieces(Case("", (row("a", one), row("b", other))))
    assert ["".join(piece.text for piece in side[0]) for side in sides] == [one, other]
    plain = [[piece.text for piece in side[0] if not piece.other] for side in sides]
    assert "".join(plain[0]) == "".join(plain[1])
