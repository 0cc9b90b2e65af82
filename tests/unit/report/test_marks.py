"""Differences between an output and its references."""

from __future__ import annotations

from markupsafe import Markup

from keeptune.report.marks import WORD_LIMIT, mark_differences


def test_words_that_the_reference_lacks_are_marked() -> None:
    marked = mark_differences("They meet at seven.", ["They meet at six."])
    assert marked == "They meet at <mark>seven.</mark>"


def test_neighbours_share_one_mark_and_space_stays_outside() -> None:
    marked = mark_differences("a x  y b\n", ["a b"])
    assert marked == "a <mark>x  y</mark> b\n"


def test_case_and_punctuation_do_not_count() -> None:
    assert "<mark>" not in mark_differences("the END", ["The end."])


def test_the_closest_reference_is_used() -> None:
    assert "<mark>" not in mark_differences("one two three", ["nine", "one two three four"])


def test_text_is_escaped_inside_and_outside_of_marks() -> None:
    marked = mark_differences("<b> ok </script>", ["ok"])
    assert marked == "<mark>&lt;b&gt;</mark> ok <mark>&lt;/script&gt;</mark>"
    assert isinstance(mark_differences("<b>", []), Markup)
    assert mark_differences("<b>", []) == "&lt;b&gt;"


def test_without_words_or_with_too_many_nothing_is_marked() -> None:
    assert mark_differences("", ["a"]) == ""
    assert "<mark>" not in mark_differences("x " * (WORD_LIMIT + 1), ["a"])
