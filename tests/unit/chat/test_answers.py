"""Columns answer as the study scored them, in pieces that are the answer; one thread asks them in turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keeptune.chat.answers import answer, tokens_seen
from keeptune.chat.columns import Column, Place, Sources, read_sources
from keeptune.chat.conversation import Conversation
from keeptune.chat.models import Models
from keeptune.core.errors import DataError
from keeptune.core.records import ItemRecord, read_records
from keeptune.data.encode.encoder import Encoder

LIMIT = 24


@pytest.fixture(scope="module")
def sources(small_run: Path) -> Sources:
    return read_sources([str(small_run)])


@pytest.fixture(scope="module")
def models(sources: Sources) -> Models:
    return Models([column.place for column in sources.columns], "cpu")


@pytest.fixture
def conversation(sources: Sources, models: Models) -> Iterator[Conversation]:
    made = Conversation(sources.columns, models, LIMIT)
    yield made
    made.close()


def items(run: Path, column: Column) -> list[ItemRecord]:
    assert column.arm is not None
    return list(read_records(run / str(column.arm.folder) / "items" / "orders.jsonl", ItemRecord))[:3]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_column_answers_as_the_study_scored_it(
    small_run: Path, sources: Sources, models: Models, number: int
) -> None:
    column = sources.columns[number]
    for item in items(small_run, column):
        pieces: list[str] = []
        began: list[Any] = []
        found = answer(models, column, item.prompt, 200, began=began.append, said=pieces.append, going=lambda: True)
        assert "".join(pieces) == found.text
        assert item.prediction and found.text.strip().startswith(item.prediction)  # which the task's own limit cut
        assert began[0].shots == len(column.behind.examples)


def test_the_tokens_are_those_that_the_model_is_sent(sources: Sources, models: Models) -> None:
    base, prompting = sources.columns[:2]
    prompt = sources.suggestions[0].prompt
    with models.using(base.place) as (lm, encoder):
        expected = encoder.prompt(base.behind.ask(prompt, chat=False))
        shots = prompting.behind.shots(chat=False)
    seen = tokens_seen(models, base, prompt, LIMIT, (573, 1339))
    assert [token.id for token in seen] == [*expected, 573, 1339]
    assert "".join(token.text for token in seen if token.kind == "prompt" and not token.special) == prompt
    assert [token.kind for token in seen[-2:]] == ["written", "written"]
    behind = "".join(token.text for token in tokens_seen(models, prompting, prompt, LIMIT, ()))
    assert behind.endswith(Encoder.plain_text(base.behind.ask(prompt, chat=False), shots))
    assert lm.name == "builtin"


def test_a_prompt_that_is_too_long_is_refused_with_the_limit(sources: Sources, models: Models) -> None:
    with pytest.raises(
        DataError, match=r"the prompt has 1,\d+ tokens, and there is room for 512 beside .* of 512 -> sh"
    ):
        tokens_seen(models, sources.columns[0], "1 " * 1_000, 5_000, ())
    with pytest.raises(DataError, match="an empty prompt -> write something to ask"):
        tokens_seen(models, sources.columns[0], " \n", LIMIT, ())


def test_one_other_model_is_in_memory_beside_the_first_base(sources: Sources, models: Models) -> None:
    _, _, full, lora = sources.columns
    with models.using(lora.place) as (adapted, _), models.using(sources.columns[0].place) as (base, _):
        assert adapted is base
    with models.using(full.place) as (other, _):
        assert other is not base
    assert models.loaded(full.place) and models.loaded(lora.place)
    more = Models([lora.place, full.place, Place("builtin", precision="bf16")], "cpu")
    with more.using(full.place):
        assert not more.loaded(Place("builtin", precision="bf16"))
    with more.using(Place("builtin", precision="bf16")):
        assert more.loaded(lora.place) and not more.loaded(full.place)


def test_events_tell_every_answer_in_turn(conversation: Conversation, sources: Sources) -> None:
    events = [event for event in conversation.ask(sources.suggestions[0].prompt, [3, 0]).heard() if event]
    assert [number for number, _ in dict.fromkeys((event["column"], None) for event in events)] == [3, 0]
    for number in (3, 0):
        (done,) = (event for event in events if event["kind"] == "done" and event["column"] == number)
        said = [event["text"] for event in events if event["kind"] == "said" and event["column"] == number]
        assert "".join(said) == done["text"] and len(done["ids"]) <= LIMIT
    with pytest.raises(DataError, match="there is no column 4"):
        conversation.ask("a", [0, 4])


def test_a_column_that_cannot_answer_does_not_keep_the_others_from_it(
    sources: Sources, models: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Column("gone", "gone", Place(str(tmp_path / "gone")))
    broken = Models([sources.columns[0].place, gone.place], "cpu")
    talk = Conversation([gone, sources.columns[0]], broken, LIMIT)
    events = [event for event in talk.ask("Hello", [0, 1]).heard() if event]
    talk.close()
    refused = [event for event in events if event["kind"] == "refused"]
    assert [event["column"] for event in refused] == [0] and "no such model folder" in refused[0]["why"]
    assert events[-1]["kind"] == "done" and events[-1]["column"] == 1 and not caplog.records


def test_stopping_ends_the_answer_and_gives_no_other(
    conversation: Conversation, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    asked = conversation.ask("The dog", [0, 1, 2])
    put = asked.events.put

    def stop_at_the_first(event: Any) -> None:
        put(event)
        if event is not None and event["kind"] == "said" and not told.is_set():
            told.set()
            conversation.stop(asked.id)

    monkeypatch.setattr(asked.events, "put", stop_at_the_first)
    events = [event for event in asked.heard() if event]
    (done,) = (event for event in events if event["kind"] == "done")
    assert done["ended"] == "stopped" or len(done["ids"]) < 3  # it was over before it could be stopped
    assert {event["column"] for event in events} == {0}
    assert conversation.tokens("Hello", 0, ()) and conversation.stop(asked.id) is None  # the worker goes on
