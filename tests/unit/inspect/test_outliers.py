"""Rows that are not like the rest."""

from __future__ import annotations

import random

from keeptune.data.examples import Example, place
from keeptune.inspect.outliers import Outliers, outliers

ENGLISH = (
    "the quick house stands near a river and people walk there every morning with their dogs because"
    " it is quiet and green nobody knows who built this old bridge over water but everybody likes to sit on its stones"
).split()
GERMAN = (
    "der schnelle Zug fährt durch dunkle Wälder und niemand weiß warum er nachts nicht hält obwohl doch überall"
    " Bahnhöfe stehen zwischen den Dörfern wo früher Schäfer ihre Herden über grüne Wiesen trieben"
).split()


def row(line: int, prompt: str, completion: str = "yes") -> Example:
    return Example.make({"prompt": prompt, "completion": completion}, path="rows.jsonl", line=line)


def places(found: Outliers) -> tuple[str, ...]:
    return tuple(place(example) for example in found.shown)


def english(seed: int, words: int = 20) -> str:
    return " ".join(random.Random(seed).choices(ENGLISH, k=words))


def look(rows: list[Example]) -> dict[str, Outliers]:
    found = outliers(rows, lambda each: str(each.fields["prompt"]), lambda each: str(each.fields["completion"]))
    return {each.kind: each for each in found}


PLAIN = [row(i, english(i)) for i in range(1, 301)]


def test_a_set_of_one_kind_has_none() -> None:
    assert look(PLAIN) == {}
    assert look([]) == {}


def test_another_script() -> None:
    found = look([*PLAIN, row(301, "где живёт твоя старая кошка и что она ест")])
    assert (found["script"].rows, places(found["script"])) == (1, ("line 301",))
    assert "Latin" in found["script"].what


def test_two_scripts_in_equal_parts_are_no_outliers() -> None:
    russian = [row(400 + i, "где живёт твоя старая кошка и что она ест по утрам") for i in range(200)]
    assert "script" not in look([*PLAIN, *russian])


def test_another_language_in_the_same_script() -> None:
    foreign = [row(301 + i, " ".join(random.Random(i).choices(GERMAN, k=20))) for i in range(3)]
    found = look([*PLAIN, *foreign])
    assert places(found["language"]) == ("line 301", "line 302", "line 303")
    assert found["language"].rows == 3


def test_lengths_far_from_the_usual() -> None:
    found = look([*PLAIN, row(301, english(0, 4_000)), row(302, english(1), "yes " * 500)])
    assert places(found["length"]) in {("line 301",), ("line 302",)}
    kinds = [
        each
        for each in outliers(
            [*PLAIN, row(301, english(0, 4_000)), row(302, english(1), "yes " * 500)],
            lambda each: str(each.fields["prompt"]),
            lambda each: str(each.fields["completion"]),
        )
        if each.kind == "length"
    ]
    assert [places(each) for each in kinds] == [("line 301",), ("line 302",)]


def test_one_example_in_two_wordings() -> None:
    text = english(7_000)
    siblings = [row(301, f"{text}\nIs it old?"), row(302, f"Is this old?\n{text}"), row(303, f"{text}\nWhy?", "no")]
    found = look([*PLAIN, *siblings])
    assert (found["wordings"].rows, places(found["wordings"])) == (1, ("line 302",))


def test_an_instruction_that_all_rows_share_makes_no_siblings() -> None:
    shared = "Say in one word whether the following number is even or odd, please."
    assert "wordings" not in look([row(i, f"{shared}\n{i}") for i in range(1, 200)])


def test_instructions_that_a_few_rows_each_share_make_no_siblings() -> None:
    rows = [row(5 * i + j, f"{english(900 + i)}\n{i} {j}", str(j % 2)) for i in range(40) for j in range(5)]
    assert "wordings" not in look(rows)


def test_what_is_asked_about_decides_where_instructions_have_a_column() -> None:
    rows = [row(i, f"{english(i // 4)}\n{english(500 + i, 9 if i < 198 else 12)}") for i in range(200)]
    rows.append(row(300, f"What now?\n{rows[7].fields['prompt'].splitlines()[1]}"))

    def prompt(each: Example) -> str:
        return str(each.fields["prompt"])

    found = outliers(rows, prompt, lambda each: "yes", lambda each: prompt(each).splitlines()[1])
    assert [places(each) for each in found if each.kind == "wordings"] == [("line 300",)]
