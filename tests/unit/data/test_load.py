"""From files to examples: texts, references, parts, clusters, choices, and rows that cannot be used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeptune.core.errors import ConfigError, DataError, KeeptuneError
from keeptune.data.load import Loaded, load_examples, write_quarantine


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(rows: list[dict[str, Any]], **options: Any) -> Loaded:
        return load_examples(write(tmp_path / "rows.jsonl", rows), **options)

    return load


def good(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(n)]


def test_examples(load: Any, tmp_path: Path) -> None:
    loaded = load([{"instruction": "Say", "input": "x", "output": "y", "split": "dev", "id": 7}] * 2)
    example = loaded.examples[1]
    assert example.fields == {"instruction": "Say", "input": "x", "output": "y"}
    assert (example.part, example.line, example.path) == ("validation", 2, str(tmp_path / "rows.jsonl"))
    assert example.id == loaded.examples[0].id
    assert loaded.layout.part == "split"
    assert loaded.sha256 == hashlib.sha256((tmp_path / "rows.jsonl").read_bytes()).hexdigest()


def test_ids_survive_reordering_and_row_numbers(load: Any) -> None:
    rows = [{"text": f"t{i}", "label": "ab"[i % 2], "idx": i} for i in range(6)]
    ids = [example.id for example in load(rows).examples]
    shuffled = [{**row, "idx": 9 - row["idx"]} for row in reversed(rows)]
    assert [example.id for example in load(shuffled).examples] == ids[::-1]


def test_references(load: Any) -> None:
    rows = [
        {"instruction": "i", "input": "a", "output": "one"},
        {"instruction": "i", "input": "b", "outputs": ["one", "two", "two", " "]},
        {"instruction": "i", "input": "c", "output": "one", "outputs": ["one"]},
        {"instruction": "i", "output": 3},
    ]
    loaded = load(rows)
    assert [example.fields["output"] for example in loaded.examples] == ["one", ["one", "two"], "one", "3"]
    assert all("outputs" not in example.fields for example in loaded.examples)
    assert loaded.examples[3].fields["input"] == ""
    assert loaded.notes == ("field 'output': numbers or truth values in 1 rows were read as text",)


def test_squad_and_numbered_summaries(load: Any) -> None:
    loaded = load([{"context": "c", "question": "q", "answers": {"text": ["x", "y"], "answer_start": [1, 2]}}])
    assert loaded.examples[0].fields["answers"] == ["x", "y"]
    loaded = load([{"dialogue": "d", "summary1": "x", "summary2": "y", "topic1": "t"}])
    assert loaded.examples[0].fields == {"dialogue": "d", "summary1": ["x", "y"], "topic1": "t"}


@pytest.mark.parametrize(
    ("choices", "answer", "text"),
    [
        (["x", "y"], 1, "y"),
        (["x", "y"], "B", "y"),
        (["x", "y"], "x", "x"),
        (["x", "y"], "1", "y"),
        (["1", "0"], "1", "1"),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "2", "y"),
    ],
)
def test_choices_of_a_row(load: Any, choices: Any, answer: Any, text: str) -> None:
    loaded = load([{"question": "q", "choices": choices, "answer": answer}])
    assert loaded.examples[0].fields["answer"] == text
    assert isinstance(loaded.examples[0].fields["choices"], list)
    assert loaded.layout.choices is None


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"prompt": "p", "completion": ""}, "field 'completion' is empty"),
        ({"prompt": "p", "completion": " \n"}, "field 'completion' is empty"),
        ({"prompt": "p", "completion": None}, "field 'completion' is null"),
        ({"prompt": "p"}, "field 'completion' is null"),
        ({"prompt": "", "completion": "c"}, "field 'prompt' is empty"),
        ({"prompt": {"role": "user"}, "completion": "c"}, "field 'prompt' is an object, not a text"),
        ({"prompt": ["a"], "completion": "c"}, "field 'prompt' is a list, not a text"),
        ({"prompt": "p", "completion": {"a": 1}}, "field 'completion' is an object, not a text"),
        ({"prompt": "p", "completion": [["a"]]}, "field 'completion' is a list, not a text"),
    ],
)
def test_unusable_rows_are_set_aside(load: Any, tmp_path: Path, rows: dict[str, Any], reason: str) -> None:
    loaded = load([*good(30), rows])
    assert len(loaded.examples) == 30
    (left_out,) = loaded.quarantined
    assert (left_out.line, left_out.reason) == (31, reason)
    write_quarantine(tmp_path / "run" / "quarantine.jsonl", loaded.quarantined)
    written = json.loads((tmp_path / "run" / "quarantine.jsonl").read_text())
    assert written == {"path": str(tmp_path / "rows.jsonl"), "line": 31, "reason": reason, "row": rows}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["quarantine.jsonl"]


def test_wrong_choices_are_set_aside(load: Any) -> None:
    rows = [{"question": f"q{i}", "choices": ["a", "b"], "answer": i % 2} for i in range(80)]
    rows += [
        {"question": "q", "choices": ["a", "b"], "answer": 2},
        {"question": "q", "choices": ["a", "b"], "answer": "c"},
        {"question": "q", "choices": ["a", "a"], "answer": 0},
        {"question": "q", "choices": "a b", "answer": 0},
    ]
    assert [q.reason for q in load(rows).quarantined] == [
        "field 'answer' is 2, but choices count from 0 to 1",
        "field 'answer' is none of the choices",
        "field 'choices' must list at least two different choices, none empty",
        "field 'choices' is not a list of choices",
    ]


def test_too_many_unusable_rows_are_refused(load: Any) -> None:
    bad = [{"prompt": "p", "completion": ""}]
    assert len(load([*good(19), *bad]).quarantined) == 1  # exactly 5 %
    with pytest.raises(
        DataError, match=r"2 of 20 rows cannot be used \(more than 5%\); 2 because: field 'comp"
    ) as error:
        load([*good(18), *bad, *bad])
    assert error.value.line == 19
    assert "--field" in str(error.value.remedy)


def test_no_rows(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", "\n"), ("a.json", "[]"), ("b.json", ""), ("a.csv", "text,label\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="no rows"):
            load_examples(str(tmp_path / name))


def test_few_answers_become_choices(load: Any) -> None:
    loaded = load([{"text": f"t{i}", "label": i % 3} for i in range(12)])
    assert loaded.layout.choices == ("0", "1", "2")
    assert [example.label for example in loaded.examples[:3]] == ["0", "1", "2"]
    spam = [{"instruction": "Spam?", "input": f"t{i}", "output": ["yes", "no"][i % 2]} for i in range(40)]
    assert load(spam).layout.choices == ("no", "yes")


@pytest.mark.parametrize(
    "answers",
    [
        [f"answer {i}" for i in range(40)],  # all different
        ["same"] * 40,  # nothing to choose from
        [str(i % 20) for i in range(400)],  # results of sums
        [["a", "b"][i % 2] + " word" * 12 for i in range(40)],  # long texts
        [["a"], *(["a", "b"],) * 39],  # several references
    ],
)
def test_free_answers_are_no_choices(load: Any, answers: list[Any]) -> None:
    loaded = load([{"instruction": "i", "input": f"t{i}", "output": answer} for i, answer in enumerate(answers)])
    assert loaded.layout.choices is None
    assert {example.label for example in loaded.examples} == {None}


def test_rows_with_one_prompt_share_a_cluster(load: Any) -> None:
    rows = [{"instruction": "Sum up", "input": text, "output": f"o{i}"} for i, text in enumerate(["a", "b", "a"])]
    first, second, third = load(rows).examples
    assert first.cluster == third.cluster != second.cluster
    assert second.cluster == second.id


def test_questions_on_one_context_share_a_cluster(load: Any) -> None:
    rows = [{"context": f"c{i // 3}", "question": f"q{i}", "answer": f"a{i}"} for i in range(30)]
    assert len({example.cluster for example in load(rows).examples}) == 10
    same = [{"context": "the manual", "question": f"q{i}", "answer": f"a{i}"} for i in range(30)]
    assert len({example.cluster for example in load(same).examples}) == 30  # one context for all tells nothing


def test_named_cluster_and_label(load: Any) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c", "doc": i // 2, "kind": "k"} for i in range(4)]
    examples = load(rows, cluster="doc", label="kind").examples
    assert [(example.cluster, example.label) for example in examples] == [
        ("0", "k"),
        ("0", "k"),
        ("1", "k"),
        ("1", "k"),
    ]
    with pytest.raises(ConfigError, match="cluster names the column 'dok'"):
        load(rows, cluster="dok")
    with pytest.raises(ConfigError, match="label names the column 'sort'"):
        load(rows, label="sort")


def test_part_column_must_be_whole(load: Any) -> None:
    rows = [{"prompt": "p", "completion": "c", "split": part} for part in ("train", "challenge")]
    with pytest.raises(DataError, match="'challenge' names no part") as error:
        load(rows)
    assert (error.value.line, error.value.field) == (2, "split")
    rows = [{"prompt": "p", "completion": "c", "part": kind} for kind in ("noun", "verb")]
    assert {example.part for example in load(rows).examples} == {None}
    assert load(rows).examples[0].fields["part"] == "noun"


def test_folder_parts_and_hash(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", good(3))
    write(tmp_path / "test.jsonl", good(2))
    loaded = load_examples(str(tmp_path))
    assert [example.part for example in loaded.examples] == ["test"] * 2 + ["train"] * 3
    before = loaded.sha256
    write(tmp_path / "test.jsonl", good(1))
    assert load_examples(str(tmp_path)).sha256 != before


def test_columns_get_names_that_templates_can_write(load: Any) -> None:
    loaded = load(
        [{"Review Text": "t", "class": "a", "2nd": 1, "in": "x"}],
        fields={"prompt": "Review Text", "completion": "class"},
    )
    assert set(loaded.examples[0].fields) == {"Review_Text", "class", "_2nd", "_in"}
    assert loaded.layout.roles == {"source": "Review_Text", "completion": "class"}
    assert "column 'Review Text' is called Review_Text in templates" in loaded.notes
    with pytest.raises(DataError, match="two columns are called a_b"):
        load([{"a b": 1, "a_b": 2}])


def test_templates_need_no_layout(load: Any) -> None:
    rows = [{"utterance_a": "x", "n": None, "z": [1]}]
    with pytest.raises(DataError, match="no layout fits"):
        load(rows)
    loaded = load(rows, templated=True)
    assert loaded.layout is None
    assert loaded.examples[0].fields == rows[0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "label"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["question", "choices", "answer", "context", "instruction", "output", "split", "text", "a b", ""]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=4), templated=st.booleans())
def test_random_rows_load_or_are_refused(tmp_path: Path, rows: list[dict[str, Any]], templated: bool) -> None:
    source = write(tmp_path / "rows.jsonl", rows)
    refusal = None
    try:
        loaded = load_examples(source, templated=templated)
    except KeeptuneError as error:
        refusal = error
    if refusal is not None:
        assert isinstance(refusal, DataError)
        assert refusal.remedy
        return
    for example in loaded.examples if loaded.layout else ():
        completion = example.fields[loaded.layout.completion]
        assert completion
        assert isinstance(completion, str) or all(isinstance(text, str) for text in completion)


def test_files_of_a_folder_that_are_not_read_are_said(tmp_path: Path) -> None:
    for name in ("train.jsonl", "train2.jsonl", "test.jsonl"):
        (tmp_path / name).write_text(json.dumps({"prompt": f"say {name}", "completion": "b"}) + "\n", encoding="utf-8")
    loaded = load_examples(str(tmp_path))
    assert len(loaded.examples) == 2
    assert loaded.notes == ("'train2.jsonl' is not read: its name names no part",)


def test_columns_that_the_model_is_not_shown_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {"id": 1, "question": "Which?", "A": "one", "B": "two", "answer": "A"}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert load_examples(str(path)).notes == ("columns that the model is not shown: 'A', 'B'",)
    assert load_examples(str(path), templated=True).notes == ()
