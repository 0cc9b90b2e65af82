"""An example's own words, as they are compared."""

from __future__ import annotations

from keeptune.data.examples import Example
from keeptune.data.splits.compared import normalise, own_fields


def test_a_mark_belongs_to_its_letter_in_either_spelling() -> None:
    assert normalise("मेल") != normalise("माल") != normalise("मूल")
    assert normalise("Où est le café?") == normalise("ou\u0300 est le cafe\u0301")
    assert normalise("Où est le café?") != normalise("ou est le cafe")


def test_signs_of_punctuation_make_none() -> None:
    assert normalise("- well-known: `x`, 'y'") == normalise("well known x y")


def test_own_fields_leave_out_what_rows_share_and_the_label() -> None:
    rows = [
        Example.make({"task": "t", "kind": "xy"[i % 2], "text": f"row {i}", "label": "ab"[i % 2]}, label="ab"[i % 2])
        for i in range(100)
    ]
    assert own_fields(rows) == ("text",)
    assert own_fields(rows, among=("task", "text")) == ("text",)
    assert own_fields([Example.make({"a": "x"}), Example.make({"a": "x"})]) == ("a",)


def test_normalise() -> None:
    assert normalise("  Don't  SHOUT,\nÉmile! ") == "don t shout émile"
    assert normalise("?!") == "?!"
