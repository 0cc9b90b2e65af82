"""Splits: by cluster, stratified, independent of row order, frozen."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from keeptune.core.errors import DataError
from keeptune.data.examples import Example, Splits
from keeptune.data.splits.split import PARTS, freeze, split, split_judged


def rows(n: int, clusters: int | None = None, labels: int = 0, part: str | None = None) -> list[Example]:
    return [
        Example.make(
            {"text": f"row {i}"},
            cluster=f"c{i % clusters}" if clusters else None,
            label=str((i % clusters if clusters else i) % labels) if labels else None,
            part=part,
            path="rows.jsonl",
            line=i + 1,
        )
        for i in range(n)
    ]


def ids(splits: Splits) -> dict[str, list[str]]:
    return {name: [example.id for example in splits.part(name)] for name in PARTS}


def counts(splits: Splits) -> tuple[int, ...]:
    return tuple(len(splits.part(name)) for name in PARTS)


def test_rows_that_nothing_trains_on_are_all_judged() -> None:
    assert counts(split_judged(rows(100), validation=0.3)) == (0, 30, 70)
    assert counts(split_judged(rows(100, part="test"), validation=0.3)) == (0, 30, 70)
    assert counts(split_judged(rows(100, part="test"), validation=0.3, divide_test=False)) == (0, 0, 100)
    named = [*rows(100, part="train"), *rows(20, part="test")]
    assert counts(split_judged(named, validation=0.3)) == (70, 30, 20)
    assert split_judged(rows(100), validation=0.3).notes == ("70 test and 30 validation rows; no arm trains on any",)


def test_shares_and_no_row_lost() -> None:
    splits = split(rows(1000), validation=0.1, test=0.2, seed=3)
    assert {name: len(splits.part(name)) for name in PARTS} == {"train": 700, "validation": 100, "test": 200}
    together = [ident for part in ids(splits).values() for ident in part]
    assert sorted(together) == sorted(example.id for example in rows(1000))


def test_order_of_rows_plays_no_role_and_the_seed_does() -> None:
    examples = rows(300, clusters=100, labels=4)
    shuffled = random.Random(1).sample(examples, len(examples))
    assert ids(split(examples, seed=7)) == ids(split(shuffled, seed=7))
    assert ids(split(examples, seed=7)) != ids(split(examples, seed=8))


def test_clusters_stay_together() -> None:
    splits = split(rows(400, clusters=40), seed=1)
    seen = [{example.cluster for example in splits.part(name)} for name in PARTS]
    assert all(seen)
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_labels_keep_their_shares() -> None:
    examples = [Example.make({"i": i}, label="rare" if i % 10 == 0 else "common") for i in range(1000)]
    for name, expected in (("train", 70), ("validation", 10), ("test", 20)):
        assert abs(Counter(row.label for row in split(examples).part(name))["rare"] - expected) <= 1


def test_small_labels_reach_the_held_out_parts_too() -> None:
    examples = [Example.make({"i": i}, label=f"intent {i % 100}") for i in range(300)]  # three rows for each label
    splits = split(examples)
    assert abs(len(splits.test) - 60) <= 1 and abs(len(splits.validation) - 30) <= 1


def test_free_answers_are_no_strata() -> None:
    examples = [Example.make({"i": i}, label=f"answer {i}") for i in range(200)]
    assert len(split(examples).test) == 40
    assert ids(split(examples, seed=1)) != ids(split(examples, seed=2))


def test_existing_parts_are_respected_and_the_missing_one_is_carved_out_of_train() -> None:
    test = [Example.make({"test": i}, part="test") for i in range(50)]
    splits = split([*rows(100), *test])
    assert {example.id for example in splits.test} == {example.id for example in test}
    assert (len(splits.train), len(splits.validation)) == (90, 10)
    assert any("carved out of train" in note for note in splits.notes)


def test_nothing_is_carved_when_all_parts_are_there() -> None:
    examples = [Example.make({name: i}, part=name) for name in PARTS for i in range(5)]
    assert [len(split(examples).part(name)) for name in PARTS] == [5, 5, 5]


def test_a_source_of_test_rows_only() -> None:
    splits = split([Example.make({"i": i}, part="test") for i in range(5)])
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (0, 0, 5)
    assert any("no train rows" in note for note in splits.notes)


@pytest.mark.parametrize("examples", [rows(2), rows(90, clusters=2)])
def test_too_few_clusters(examples: list[Example]) -> None:
    with pytest.raises(DataError, match="too few to give .* add rows"):
        split(examples)


def test_unknown_part() -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:1.*unknown part 'dev2'.*use one of train, validation, test"):
        split(rows(10, part="dev2"))


def test_impossible_shares() -> None:
    with pytest.raises(DataError, match="leave nothing to train on"):
        split(rows(10), validation=0.5, test=0.5)


def test_frozen_by_id(tmp_path: Path) -> None:
    splits = split(rows(200, clusters=50), seed=5)
    freeze(splits, tmp_path / "splits" / "task.json")
    frozen = json.loads((tmp_path / "splits" / "task.json").read_text())
    assert frozen["parts"] == {part: [example.id for example in splits.part(part)] for part in PARTS}
    assert [file.name for file in (tmp_path / "splits").iterdir()] == ["task.json"]
