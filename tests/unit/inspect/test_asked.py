"""What the preview shows of a task's items is what the runner sends to the model, id for id."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.tokens import TokenView
from keeptune.data.encode.encoder import Encoder, OverlongPolicy
from keeptune.data.encode.vocabulary import Vocabulary
from keeptune.evaluate import requests
from keeptune.evaluate.config import SplitConfig, TaskConfig
from keeptune.evaluate.runner import evaluate
from keeptune.evaluate.task import Task, build_task
from keeptune.inspect import asked
from keeptune.inspect.asked import AskedItems
from keeptune.inspect.preview import load_tokenizer
from keeptune.models.language_model import LanguageModel

TURNS = (
    "{% for m in messages %}<s>{{ m.role[0] }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>a: {% endif %}"
)
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


def make_task(folder: Path, *, long: bool = False, **settings: Any) -> Task:
    """Rows of a few tokens; ``long``: every second test row exceeds the window of 128."""
    parts = ["test"] * 15 + ["validation"] * 5 + ["train"] * 10
    rows = [
        {
            "text": f"{WORDS[i % 7]} {i}" + " la" * (120 if long and i < 15 and i % 2 else 0),
            "label": ("no", "yes")[i % 2],
            "split": part,
        }
        for i, part in enumerate(parts)
    ]
    path = folder / "animals.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_task(TaskConfig(data=str(path), **settings))


@pytest.fixture(params=["plain", "chat"])
def model(request: Any, build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> tuple[LanguageModel, Path]:
    """A model in memory and its folder, with and without a chat template."""
    own = copy.deepcopy(tokenizer)
    own.chat_template = TURNS if request.param == "chat" else None
    lm = LanguageModel.wrap(build("llama"), own, name="tiny")
    lm.model.save_pretrained(tmp_path / "tiny")
    own.save_pretrained(tmp_path / "tiny")
    return lm, tmp_path / "tiny"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]:
    """(prompt ids, ids of every choice) of all that is sent to a model."""
    seen: list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]] = []

    def scored(lm: Any, asked: Any, **_: Any) -> list[list[float]]:
        seen.extend((tuple(each.prompt_ids), tuple(map(tuple, each.choices))) for each in asked)
        return [[0.0] * len(each.choices) for each in asked]

    def generated(lm: Any, prompts: Any, new: int, **_: Any) -> list[tuple[int, ...]]:
        seen.extend((tuple(prompt), ()) for prompt in prompts)
        return [()] * len(prompts)

    monkeypatch.setattr(requests, "choice_logprobs", scored)
    monkeypatch.setattr(requests, "generate", generated)
    return seen


def preview_encoder(folder: Path, overlong: OverlongPolicy = "truncate_prompt") -> Encoder:
    """As the command makes it."""
    tokenizer, context, lacking, _ = load_tokenizer(str(folder))
    chat = bool(tokenizer.chat_template)
    return Encoder(tokenizer, context=context, chat=chat, overlong=overlong, unembedded=lacking)


def split_ids(view: TokenView) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the prompt, ids of the expected answer."""
    assert {token.kind for token in view.tokens} <= {"prompt", "expected"}
    kinds = ("prompt", "expected")
    prompt, answer = (tuple(token.id for token in view.tokens if token.kind == kind) for kind in kinds)
    assert (len(prompt), len(answer)) == (view.prompt_tokens, view.completion_tokens)
    return prompt, answer


@pytest.mark.parametrize(("shots", "draw", "long"), [(2, 0, False), (9, 1, False), (2, 0, True)])
@pytest.mark.parametrize("metric", ["accuracy", "exact_match"])
def test_the_preview_shows_what_the_runner_sends(
    model: tuple[LanguageModel, Path], sent: Any, tmp_path: Path, metric: str, shots: int, draw: int, long: bool
) -> None:
    lm, folder = model
    task = make_task(tmp_path, metric=metric, long=long)
    result = evaluate(lm, task, "test", shots=shots, draw=draw)
    assert (result.shots_dropped > 0) == (shots > 2 or long)
    assert (result.truncated > 0) == long
    items = AskedItems(task, preview_encoder(folder), shots=shots, draw=draw)
    shown = [row.view for row in items.shown(rows=99)]
    on_page = [row.views[0] for row in items.page(model="tiny", rows=99).rows]
    assert len(sent) == len(shown) == len(on_page) == 15
    for (prompt, choices), item, terminal, boxes in zip(sent, result.items, shown, on_page, strict=True):
        shown_prompt, answer = split_ids(terminal)
        assert split_ids(boxes) == (shown_prompt, answer)
        assert shown_prompt == prompt
        assert terminal.shots + terminal.dropped == shots
        if choices:
            right = task.metric.name == "accuracy" and [lm.tokenizer.decode(ids).strip() for ids in choices]
            assert right
            assert answer == choices[right.index(item.references[0])]
        else:
            assert lm.tokenizer.decode(answer).strip() == f"{item.references[0]}</s>"


def test_every_wording_is_asked_as_the_runner_asks_it(
    model: tuple[LanguageModel, Path], sent: Any, tmp_path: Path
) -> None:
    lm, folder = model
    task = make_task(tmp_path, templates=("{{ text }} ||| {{ label }}", "So: {{ text }} ||| {{ label }}"))
    evaluate(lm, task, "test", shots=1, template="each")
    rows = AskedItems(task, preview_encoder(folder), shots=1).page(model="tiny", rows=99).rows
    views = [row.views[number] for number in range(2) for row in rows]
    assert [split_ids(view)[0] for view in views] == [prompt for prompt, _ in sent]
    assert {view.name for view in views} == {"animals 1", "animals 2"}
    assert not any(view.drawn for view in views)


@pytest.mark.parametrize("model", ["plain"], indirect=True)
def test_the_window_is_the_one_of_the_loaded_model(
    model: tuple[LanguageModel, Path], build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    lm, folder = model
    assert load_tokenizer(str(folder))[1] == lm.context == 128
    for architecture, size, longest in (("llama", 64, 128), ("gpt2", 96, 1 << 60), ("llama", 256, 80)):
        field = "n_positions" if architecture == "gpt2" else "max_position_embeddings"
        own = copy.deepcopy(tokenizer)
        own.model_max_length = longest
        other = build(architecture, **{field: size})
        place = tmp_path / f"{architecture}-{size}"
        other.save_pretrained(place)
        own.save_pretrained(place)
        found = LanguageModel.wrap(other, own, name="other").context
        assert load_tokenizer(str(place))[1] == found == min(size, longest)


@pytest.mark.parametrize("model", ["plain"], indirect=True)
@pytest.mark.parametrize(
    ("policy", "said"),
    [("drop", "not asked"), ("error", "evaluation stops here"), ("truncate_prompt", "the prompt loses")],
)
def test_items_that_do_not_fit_say_what_becomes_of_them(
    model: tuple[LanguageModel, Path], tmp_path: Path, monkeypatch: Any, policy: OverlongPolicy, said: str
) -> None:
    task = make_task(tmp_path, long=True)
    items = AskedItems(task, preview_encoder(model[1], policy), shots=2)
    page = items.page(model="tiny", rows=2)
    assert (page.long_count, page.looked_at, page.total, page.shots) == (7, 15, 15, 2)
    assert [len(row.views) for row in page.long] == [1, 1]
    for row in page.long:
        assert said in row.views[0].problem
        assert row.views[0].asked
    monkeypatch.setattr(asked, "LOOKED_AT", 1)
    assert items.page(model="tiny").looked_at == 1


@pytest.mark.parametrize("model", ["plain"], indirect=True)
def test_answers_that_cannot_be_written_are_not_asked(
    model: tuple[LanguageModel, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    items = AskedItems(make_task(tmp_path), preview_encoder(model[1]), shots=1)
    monkeypatch.setattr(Vocabulary, "loses", lambda *_: True)
    (row,) = items.shown(rows=1)
    assert row.view.tokens == ()
    assert row.view.problem == "not asked: the tokenizer cannot write the answer"
    assert items.page(model="tiny").long_count == 0


@pytest.mark.parametrize("model", ["plain"], indirect=True)
def test_parts_and_refusals(model: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    encoder = preview_encoder(model[1])
    items = AskedItems(make_task(tmp_path), encoder, shots=1, draw=4)
    assert {row.part for row in items.shown()} == {"test"}
    first, *others = items.notes()
    assert (
        first
        == "test items in the order in which they are asked, behind draw 4 of 1 worked examples from 10 training rows"
    )
    assert "as the source says" in others[0]
    path = tmp_path / "parts.jsonl"
    rows = [{"prompt": f"{word}?", "completion": word, "split": "validation"} for word in WORDS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="1 demonstrations are asked for, the train part has 0"):
        AskedItems(build_task(TaskConfig(data=str(path))), encoder, shots=1)
    path.write_text(path.read_text().replace('"validation"', '"train"', 4))
    task = build_task(TaskConfig(data=str(path), split=SplitConfig(test=0.0)))
    assert AskedItems(task, encoder, shots=1).part == "validation"
    task = build_task(TaskConfig(data=str(path), split=SplitConfig(test=0.0, validation=0.0)))
    path.write_text(path.read_text().replace('"validation"', '"train"'))
    with pytest.raises(DataError, match="no validation items"):
        AskedItems(
            build_task(TaskConfig(data=str(path), split=SplitConfig(test=0.0, validation=0.0))), encoder, shots=1
        )


@pytest.mark.parametrize("model", ["plain"], indirect=True)
def test_segments_take_no_worked_examples(model: tuple[LanguageModel, Path], sent: Any, tmp_path: Path) -> None:
    path = tmp_path / "segments.jsonl"
    pieces = [[{"label": False, "text": f"{i}?"}, {"label": True, "text": f" {i}"}] for i in range(30)]
    path.write_text("".join(json.dumps({"segments": each}) + "\n" for each in pieces))
    task = build_task(TaskConfig(data=str(path)))
    result = evaluate(model[0], task, "test", shots=2)
    assert result.shots_dropped == 2.0
    items = AskedItems(task, preview_encoder(model[1]), shots=2)
    (row,) = items.shown(rows=1)
    assert split_ids(row.view)[0] == sent[0][0]
    assert (row.view.shots, row.view.problem) == (0, "no worked example can stand in front of such rows")
    assert items.page(model="tiny").long_count == 0
