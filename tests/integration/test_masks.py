"""The comparison with TRL's masks: what it calls known is known, and what is wrong is not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module() -> Any:
    spec = importlib.util.spec_from_file_location("mask_classes", BENCHMARKS / "common" / "mask_classes.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["mask_classes"] = made  # dataclasses look it up
    spec.loader.exec_module(made)
    return made


classes = module()


@pytest.fixture
def differ(tokenizer: Any) -> Any:
    return classes.Differ(tokenizer, tokenizer.eos_token_id, everything=False)


def row(tokenizer: Any, *pieces: tuple[str, bool]) -> Any:
    """Pieces tokenised apart, each trained or not."""
    ids = [(i, trained) for text, trained in pieces for i in tokenizer(text)["input_ids"]]
    return classes.Ids.of([i for i, _ in ids], [trained for _, trained in ids])


OURS = (("<s>Is it? é Answer:", False), (" yes", True), ("</s>", True))
TALK = (("<s>a\n", False), ("b", True), ("</s>", True), ("\nc\n", False), ("d", True), ("</s>", True))


@pytest.mark.parametrize(
    ("theirs", "ours", "found", "same_loss"),
    [
        (OURS, OURS, [], True),
        ((("<s>", True), ("Is it? é Answer:", False), *OURS[1:]), OURS, ["first label"], True),
        ((*OURS, ("\n", False)), OURS, ["line end kept"], True),
        ((*OURS, ("\n", True)), OURS, ["line end trained"], False),
        ((*TALK[:3], ("\n", True), ("c\n", False), *TALK[4:]), TALK, ["line end trained"], False),
        ((("a b", True), ("</s>", True)), (("<s>", False), ("a b", True), ("</s>", True)), ["start"], False),
        ((("<s>a: ", False), ("Z", True)), (("<s>a:", False), (" ", True), ("Z", True)), ["space moved"], False),
    ],
)
def test_differences_that_are_known(
    tokenizer: Any, differ: Any, theirs: Any, ours: Any, found: list[str], same_loss: bool
) -> None:
    compared = differ.compare(row(tokenizer, *theirs), row(tokenizer, *ours))
    assert (compared.classes, compared.same_loss, compared.shown) == (found, same_loss, "")


def test_the_same_text_in_other_tokens(tokenizer: Any, differ: Any) -> None:
    apart = row(tokenizer, ("<s>the mee", False), ("ting was", True), ("</s>", True))
    together = row(tokenizer, ("<s>the", False), (" meeting was", True), ("</s>", True))
    assert apart.ids != together.ids
    assert differ.compare(together, apart).classes == ["joined"]


@pytest.mark.parametrize(
    "theirs",
    [
        (("<s>Is it? é Answer:", False), (" yes", True), ("</s>", False)),  # the end is masked
        (("<s>Is it? é Answer:", False), (" yes", True)),  # there is no end
        (("<s>Is it? é Answer:", False), (" no", True), ("</s>", True)),
        (("<s>", False), ("Is it? é Answer:", True), (" yes", True), ("</s>", True)),  # a prompt that is trained
        (("<s>Is it? é Answer:", False), (" yes", False), ("</s>", True)),
        ((*OURS, ("\n", False), ("more", False))),
    ],
)
def test_a_difference_that_is_not_known(tokenizer: Any, differ: Any, theirs: Any) -> None:
    compared = differ.compare(row(tokenizer, *theirs), row(tokenizer, *OURS))
    assert classes.UNKNOWN in compared.classes
    assert compared.shown.startswith("theirs ")


def test_calls_in_other_spellings(tokenizer: Any, differ: Any) -> None:
    def talk(call: str) -> Any:
        return row(tokenizer, ("<s>", False), (f"<tool_call>{call}</tool_call></s>", True))

    ours = talk('{"name": "f", "arguments": {"a": 1, "b": [{"c": "é"}]}}')
    for call, found in (
        ('{"name": "f", "arguments": {"a": 1, "b": [{"c": "é", "d": null}], "e": null}}', "null arguments"),
        ('{"name": "f", "arguments": "{\\"a\\": 1, \\"b\\": [{\\"c\\": \\"é\\"}]}"}', "arguments as text"),
        ('{"name": "f", "arguments": {"b": [{"c": "é"}], "a": 1}}', "arguments reordered"),
        ('{"name": "f", "arguments": {"a": 2, "b": [{"c": "é"}]}}', classes.UNKNOWN),
    ):
        assert differ.compare(talk(call), ours).classes == [found]


@pytest.mark.slow
def test_rows_of_every_format_beside_trl(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    call = json.dumps({"name": "add", "arguments": {"a": "3", "b": "3"}})
    talk = [("human", "What is 2 + 2?"), ("gpt", "4"), ("human", "And 3 + 3?"), ("gpt", "It is 6.")]
    tool = [talk[2], ("function_call", call), ("observation", "6"), talk[3]]
    turns = [[{"from": who, "value": said} for who, said in each] for each in (talk, tool)]
    files: dict[str, list[dict[str, Any]]] = {
        "c4_demo.jsonl": [{"text": "A dog ran."}],
        "alpaca_en_demo.json": [{"instruction": "Say it.", "input": "It is.", "output": "It was. " * 200}],
        "glaive_toolcall_en_demo.json": [{"conversations": t, "tools": '[{"name": "add"}]'} for t in turns],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text(json.dumps(rows))
    command = [sys.executable, str(BENCHMARKS / "masks.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unexplained" not in done.stdout
    assert "cut 1" in done.stdout
