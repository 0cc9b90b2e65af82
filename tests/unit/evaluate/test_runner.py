from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.vocabulary import Vocabulary
from keeptune.data.examples import Rendered
from keeptune.evaluate import requests
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.config import SplitConfig, TaskConfig, TextConfig
from keeptune.evaluate.prompts import Item
from keeptune.evaluate.requests import Generation
from keeptune.evaluate.runner import evaluate
from keeptune.evaluate.shots import Prompt, draw_shots
from keeptune.evaluate.task import Task, build_task, build_text

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lark")
HALF = SplitConfig(validation=0.2, test=0.5)


def make_task(folder: Path, n: int = 30, **settings: Any) -> Task:
    rows = [
        {"text": f"{WORDS[i % 12]} {i} {WORDS[(5 * i) % 12]}", "label": ("ant", "sun", "by")[i % 3]} for i in range(n)
    ]
    path = folder / "animals.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_task(TaskConfig(data=str(path), **({"split": HALF} | settings)))


def plain_sum(lm: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    return float(sum(logprobs[len(prompt) - 1 + i, token] for i, token in enumerate(completion)))


@pytest.mark.parametrize("metric", ["accuracy", "accuracy_norm"])
@pytest.mark.parametrize("shots", [0, 2])
def test_choices_against_plain_forward_passes(tiny: Any, tmp_path: Path, metric: str, shots: int) -> None:
    task = make_task(tmp_path, metric=metric)
    result = evaluate(tiny, task, "test", shots=shots, draw=1)
    encoder = Encoder(tiny.tokenizer, context=tiny.context)
    wording = task.wordings(chat=False)
    examples = {example.id: example for example in task.splits.test}
    given = [wording.fixed(example) for example in draw_shots(task.splits.train, shots, 1)]
    assert len(result.items) == len(examples) == 15
    for item in result.items:
        row = wording.fixed(examples[item.id])
        prompt = encoder.prompt(row, given)
        sums = [plain_sum(tiny, prompt, encoder.choice(choice)) for choice in row.choices or ()]
        if metric == "accuracy_norm":
            sums = [value / len(choice.strip()) for value, choice in zip(sums, row.choices or (), strict=True)]
        picked = (row.choices or ())[int(np.argmax(sums))].strip()
        assert item.prediction == picked
        assert item.score == float(picked == row.completion.strip())
        assert item.label == row.completion.strip()
        assert item.cluster == examples[item.id].cluster
    if not shots:
        assert len({item.prediction for item in result.items}) > 1  # or nothing was tested


def test_value_is_the_mean_and_costs_are_counted(tiny: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path)
    zero, two = evaluate(tiny, task, "test"), evaluate(tiny, task, "test", shots=2)
    assert zero.value == pytest.approx(np.mean([item.score for item in zero.items]))
    assert two.tokens_per_request > zero.tokens_per_request > 5
    assert two.window_share == pytest.approx(two.tokens_per_request / 128)
    assert zero.shots_dropped == 0.0
    many = evaluate(tiny, task, "test", shots=9)
    assert many.shots_dropped > 0
    assert many.tokens_per_request <= 128


def test_generation_is_scored_with_extraction(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def seen(prediction, references):\n    return float(prediction == references[0])\n")
    task = make_task(tmp_path, metric=f"python:{tmp_path / 'm.py'}:seen", extract=r"\w", max_new_tokens=6)
    assert task.request == "generate"
    result = evaluate(tiny, task, "validation")
    for item in result.items:
        assert item.references[0] in {"t", "n", "y"}  # the last letters
        assert len(item.prediction or "") <= 1
        assert item.score == float(item.prediction == item.references[0])


def test_generated_text_is_what_the_model_says(tiny: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path, metric="exact_match", max_new_tokens=5)
    encoder = Encoder(tiny.tokenizer, context=tiny.context)
    result = evaluate(tiny, task, "validation")
    examples = {example.id: example for example in task.splits.validation}
    for item in result.items:
        prompt = encoder.prompt(task.wordings(False).fixed(examples[item.id]))
        ids = torch.tensor([prompt])
        theirs = tiny.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
        assert item.prediction == encoder.text(theirs[0, len(prompt) :].tolist()).strip()


def test_each_averages_every_item_over_all_wordings(tiny: Any, tmp_path: Path) -> None:
    templates = (
        "{{ text }}\nwings: ||| {{ label }}",
        "Does {{ text }} fly? ||| {{ label }}",
        "{{ text }} ||| {{ label }}",
    )
    task = make_task(tmp_path, templates=templates)
    each = evaluate(tiny, task, "test", template="each")
    alone = [evaluate(tiny, make_task(tmp_path, templates=(one,)), "test") for one in templates]
    assert each.kind == "mean"
    assert alone[0].kind == "binary"
    for items in zip(each.items, *(run.items for run in alone), strict=True):
        assert items[0].score == pytest.approx(np.mean([item.score for item in items[1:]]))
    assert each.tokens_per_request == pytest.approx(np.mean([run.tokens_per_request for run in alone]))


def test_bits_per_byte_against_a_plain_forward(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(" ".join(f"{WORDS[i % 12]} {i}\n" for i in range(400)))
    task = build_text(TextConfig(text=str(tmp_path / "book.txt"), block_bytes=64))
    result = evaluate(tiny, task, "test")
    texts = {example.id: example.fields["text"] for example in task.splits.test}
    assert result.kind == "bits_per_byte"
    for item in result.items[:5]:
        ids = tuple(tiny.tokenizer(texts[item.id], add_special_tokens=False)["input_ids"])
        assert len(ids) < tiny.context
        nats = -plain_sum(tiny, (tiny.tokenizer.bos_token_id,), ids)
        assert item.weight == len(texts[item.id].encode())
        assert item.score == pytest.approx(nats / math.log(2) / item.weight, rel=1e-4)
    whole = sum(item.score * item.weight for item in result.items) / sum(item.weight for item in result.items)
    assert result.value == pytest.approx(whole)


def test_limits_take_a_fixed_subset(tiny: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path)
    whole, some = evaluate(tiny, task, "test"), evaluate(tiny, task, "test", limit=4)
    assert [item.id for item in some.items] == [item.id for item in whole.items][:4]


def test_policies_for_prompts_that_are_too_long(tiny: Any, tmp_path: Path) -> None:
    rows = [{"text": f"{WORDS[i]}", "n": 1 + 200 * (i % 2), "label": ("no", "yes")[i // 6]} for i in range(12)]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps({**row, "split": "test"}) + "\n" for row in rows))
    templates = ("{% for _ in range(n) %}la {% endfor %}{{ text }} ||| {{ label }}",)
    task = build_task(TaskConfig(data=str(path), templates=templates))
    cut = evaluate(tiny, task, "test")
    assert (len(cut.items), cut.truncated) == (12, 6)
    dropping = Encoder(tiny.tokenizer, context=tiny.context, overlong="drop")
    dropped = evaluate(tiny, task, "test", encoder=dropping)
    assert (len(dropped.items), len(dropped.skipped), dropped.truncated) == (6, 6, 0)
    with pytest.raises(DataError, match=r"long\.jsonl:2: a prompt of .* -> set overlong"):
        evaluate(tiny, task, "test", encoder=Encoder(tiny.tokenizer, context=tiny.context, overlong="error"))


def test_parts_without_items_are_refused(tiny: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path, split=SplitConfig(validation=0.0, test=0.5))
    with pytest.raises(DataError, match="'animals' has no validation items -> add rows"):
        evaluate(tiny, task, "validation")


def test_demonstrations_never_meet_the_train_part(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="demonstrations come from the train part"):
        evaluate(tiny, make_task(tmp_path), "train", shots=1)


def test_cache_asks_once_per_content(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(tmp_path)
    cache = EvaluationCache(tmp_path / "cache")
    first = cache.evaluate(tiny, task, "validation")
    monkeypatch.setattr("keeptune.evaluate.cache.evaluate", lambda *_, **__: pytest.fail("asked again"))
    assert cache.evaluate(tiny, task, "validation") == first
    for changed in ({"shots": 1}, {"draw": 1}, {"template": "each"}, {"limit": 1}):
        with pytest.raises(pytest.fail.Exception):
            cache.evaluate(tiny, task, "validation", **changed)
    with pytest.raises(pytest.fail.Exception):
        cache.evaluate(tiny, task, "test")
    tiny.hash = None
    with pytest.raises(pytest.fail.Exception):
        cache.evaluate(tiny, task, "validation")


def test_cache_survives_a_damaged_file(tiny: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path)
    cache = EvaluationCache(tmp_path / "cache")
    first = cache.evaluate(tiny, task, "validation")
    file = next((tmp_path / "cache").iterdir())
    file.write_text(file.read_text()[:100])
    again = cache.evaluate(tiny, task, "validation")
    assert again.items == first.items
    assert again.seconds != first.seconds


def test_answers_that_are_cut_at_the_limit_are_counted_and_said(tiny: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path, metric="exact_match", max_new_tokens=2)
    result = evaluate(tiny, task, "validation")
    encoder = Encoder(tiny.tokenizer, context=tiny.context)
    examples = list(task.splits.validation)
    cut = 0
    for example in examples:
        prompt = torch.tensor([encoder.prompt(task.wordings(False).fixed(example))])
        said = tiny.model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=2, do_sample=False)
        cut += encoder.end_id not in said[0, prompt.shape[1] :].tolist()
    assert (result.cut_answers, result.new_tokens) == (cut, 2)
    assert cut > 0
    note = f"animals: {cut} of {len(examples)} validation answers were cut at 2 tokens and scored as they are"
    assert result.notes() == [f"{note} (max_new_tokens raises the limit)"]
    longest = task.longest_answer(encoder)
    roomy = evaluate(tiny, make_task(tmp_path, metric="exact_match", max_new_tokens=longest), "validation")
    assert (roomy.cut_answers, roomy.notes()) == (0, [])  # what is longer than every answer is wrong, cut or not
    chosen = evaluate(tiny, make_task(tmp_path), "validation")
    assert (chosen.cut_answers, chosen.new_tokens, chosen.notes()) == (0, None, [])


@pytest.mark.parametrize("stop", [None, "text"])
def test_an_answer_that_ends_in_time_is_not_cut(tiny: Any, monkeypatch: Any, stop: str | None) -> None:
    encoder = Encoder(tiny.tokenizer, context=tiny.context)
    ids = [*tiny.tokenizer(" ant", add_special_tokens=False)["input_ids"]]
    behind = [*tiny.tokenizer("\n\nbee", add_special_tokens=False)["input_ids"]] if stop else [encoder.end_id]
    shot = Rendered("s", "s", "Which?", " ant", (" ant",))
    item = Item(Rendered("a", "a", "Which?", " ant", (" ant",)), Prompt((5, 6), 0, 0))
    for answer, cut in (([*ids, *behind], False), (ids, True)):
        monkeypatch.setattr(requests, "generate", lambda *_, answer=answer, **__: [answer])
        (given,) = Generation(len(answer)).answer(tiny, encoder, [item], [shot] if stop else [], None)
        assert (given.prediction, given.cut) == ("ant", cut)
        (given,) = Generation(len(answer) + 1).answer(tiny, encoder, [item], [shot] if stop else [], None)
        assert not given.cut


def test_items_whose_answer_cannot_be_written_are_not_asked(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    rows = [{"prompt": f"{WORDS[i]} {i}?", "completion": WORDS[i] + "</s>!" * (i == 3)} for i in range(12)]
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps({**row, "split": "test"}) + "\n" for row in rows))
    task = build_task(TaskConfig(data=str(path), metric="exact_match"))
    result = evaluate(tiny, task, "test")
    assert len(result.items) == 11
    assert (len(result.unwritable), result.skipped) == (1, ())
    assert result.notes()[0] == ("words: 1 test items have answers that the tokenizer cannot write, and were not asked")
    monkeypatch.setattr(Vocabulary, "loses", lambda _, text: WORDS[5] in text)
    assert len(evaluate(tiny, task, "test").unwritable) == 2
    monkeypatch.setattr(Vocabulary, "loses", lambda _, text: text.endswith("?"))
    asked = evaluate(tiny, task, "test")
    assert asked.unknown == len(asked.items) == 11
    assert "11 test items have characters that the tokenizer does not know" in asked.notes()[1]
    monkeypatch.setattr(Vocabulary, "loses", lambda *_: True)
    with pytest.raises(DataError, match="no test answer of 'words' can be written with the tokenizer of"):
        evaluate(tiny, task, "test")


def test_choices_and_free_text_with_unknown_characters(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    task = make_task(tmp_path)
    (tmp_path / "book.txt").write_text(" ".join(f"{WORDS[i % 12]} {i}\n" for i in range(400)))
    text = build_text(TextConfig(text=str(tmp_path / "book.txt"), block_bytes=64))
    monkeypatch.setattr(Vocabulary, "loses", lambda _, text: text.strip() in ("sun",) or "ant" in text)
    with pytest.raises(DataError, match="no test answer of 'animals' can be written"):
        evaluate(tiny, task, "test")
    measured = evaluate(tiny, text, "test")
    whole = {example.id: str(example.fields["text"]) for example in text.splits.test}
    assert measured.unknown == sum("ant" in whole[item.id] for item in measured.items) > 0


def test_notes_are_said_where_no_study_says_them(tiny: Any, tmp_path: Path, caplog: Any) -> None:
    tiny.hash = "base"
    task = make_task(tmp_path, metric="exact_match", max_new_tokens=2)
    cache = EvaluationCache(tmp_path / "cache")
    for _ in range(2):  # scored, and read
        caplog.clear()
        cache.evaluate(tiny, task, "validation")
        assert f"{tiny.name}: animals: " in caplog.text and "validation answers were cut at 2 tokens" in caplog.text
    caplog.clear()
    cache.evaluate(tiny, task, "validation", encoder=Encoder(tiny.tokenizer, context=tiny.context))
    assert caplog.text == ""
