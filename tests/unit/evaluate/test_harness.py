"""Tasks of lm-eval on our engine against lm-eval's own Hugging Face backend: local tasks, a toy model, float32."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError, DataError, MissingExtra
from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.config import HarnessConfig
from keeptune.evaluate.runner import Evaluation, evaluate
from keeptune.evaluate.standard import STANDARD_V1
from keeptune.evaluate.task import Task
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.tasks import build_entry
from keeptune.study import standard

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'keeptune[harness]'")

from keeptune.evaluate.harness import build_harness

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lark")
TOLERANCE = 1e-4
CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "options",
    "doc_to_target": "right",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "exact_match")
    ],
}
GENERATE = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}}:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n", "a"], "do_sample": False, "max_gen_toks": 9},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {"name": "whole", "filter": [{"function": "take_first"}]},
        {"name": "letter", "filter": [{"function": "regex", "regex_pattern": "(\\w)"}, {"function": "take_first"}]},
    ],
}
ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [
        {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False},
        {"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False},
    ],
}
LAST_WORD = {
    "output_type": "loglikelihood",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}


def documents(n: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for number in range(n):
        options = draw.sample(WORDS, 4)
        text = " ".join(draw.choices(WORDS, k=draw.choice((5, 30, 90))))
        question = f"{number} {options[0]} or {options[1]} in {draw.choice(WORDS)}?"
        right = draw.randrange(4)
        rows.append(
            {"question": question, "options": options, "right": right, "answer": f" {options[right]}", "text": text}
        )
    return rows


WriteTask = Callable[..., Path]


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """``write_task(settings, train=8, validation=0, test=20)`` writes a task and its data, and returns the YAML."""

    def write(settings: dict[str, Any], name: str = "animals", rows: Any = None, **sizes: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        files = {}
        for seed, (part, n) in enumerate((sizes or {"train": 8, "test": 20}).items()):
            files[part] = str(folder / f"{part}.jsonl")
            content = rows if rows is not None and part != "train" else documents(n, seed)
            (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
        names = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")},
            **{names[part]: part for part in files},
            **settings,
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(task))
        return path

    return write


def harness(path: Path, **settings: Any) -> Task:
    return build_harness(HarnessConfig(task=f"harness:{path}", **settings))


def ours(lm: Any, task: Task, **settings: Any) -> dict[str, Any]:
    """Item by item over both evaluation parts."""
    runs = [evaluate(lm, task, part, **settings) for part in ("validation", "test")]
    return {item.id: item for run in runs for item in run.items}


def hf_backend(lm: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, backend="causal", batch_size=4, max_length=lm.context)


def theirs(lm: Any, path: Path, shots: int | None = None, **options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """lm-eval's own samples by (document hash, filter)."""
    from lm_eval.evaluator import evaluate as evaluate_theirs
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_defaults=False).load(str(path))
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(1234)
        if shots is not None:
            task.set_config("num_fewshot", shots)
    found = evaluate_theirs(hf_backend(lm), loaded, bootstrap_iters=0, log_samples=True, **options)
    (samples,) = found["samples"].values()
    return {(sample["doc_hash"], sample["filter"]): sample for sample in samples}


def request(kind: str, *arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def greedy(lm: Any, prompt: str, n: int) -> str:
    """What the model says after a prompt, as far as cutting prompt and answer together gives the same tokens."""
    from keeptune.inference.generate import generate

    ids = lm.tokenizer.encode(prompt)
    return str(lm.tokenizer.decode(generate(lm, [ids], n)[0]))


def test_the_interface_answers_as_the_hugging_face_backend(tiny: Any) -> None:
    from keeptune.evaluate.harness_lm import EngineLM

    rows = documents(30, 5)
    pairs = [(row["question"], option) for row in rows for option in row["options"]]
    pairs += [("", " ant bee"), ("ends in a space ", "cat"), (" ".join(WORDS * 9), " dog")]
    pairs += [(row["question"], greedy(tiny, row["question"], 1)) for row in rows]
    asked = [request("loglikelihood", *pair) for pair in pairs]
    engine, reference = EngineLM(tiny), hf_backend(tiny)
    found, expected = engine.loglikelihood(asked), reference.loglikelihood(asked, disable_tqdm=True)
    assert [each[0] for each in found] == pytest.approx([each[0] for each in expected], abs=TOLERANCE)
    assert [each[1] for each in found] == [each[1] for each in expected]
    assert {each[1] for each in found} == {True, False}
    assert sum(each.cut for each in engine.shown) == 1

    asked = [request("loglikelihood_rolling", row["text"]) for row in rows]
    assert max(len(tiny.tokenizer.encode(row["text"])) for row in rows) > tiny.context
    expected = reference.loglikelihood_rolling(asked, disable_tqdm=True)
    assert engine.loglikelihood_rolling(asked) == pytest.approx(expected, rel=1e-6)  # thousands of nats, in float32

    settings = [
        {"until": until, "max_gen_toks": n} for until, n in (([], 12), (["\n"], 12), (["a", " or"], 30), ("t", 5))
    ]
    asked = [request("generate_until", row["question"], settings[i % 4]) for i, row in enumerate(rows)]
    asked.append(request("generate_until", " ".join(WORDS * 9), settings[0]))
    assert engine.generate_until(asked) == reference.generate_until(asked, disable_tqdm=True)
    assert engine.shown[-1].cut


@pytest.mark.parametrize("shots", [None, 2])
@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_choices_item_by_item(tiny: Any, write_task: WriteTask, metric: str, shots: int | None) -> None:
    path = write_task(CHOICE, train=8, test=25)
    found = ours(tiny, harness(path, metric=metric, shots=shots))
    expected = theirs(tiny, path, shots)
    assert {ident for ident, _ in expected} == found.keys()
    for (ident, _), sample in expected.items():
        assert found[ident].score == pytest.approx(sample[metric], abs=TOLERANCE)
        assert found[ident].references == (sample["doc"]["options"][sample["doc"]["right"]],)
    assert len({item.score for item in found.values()}) == 2  # or nothing was tested


@pytest.mark.parametrize("shots", [None, 1])
def test_generation_item_by_item_under_either_filter(tiny: Any, write_task: WriteTask, shots: int | None) -> None:
    rows = documents(16, 3)
    for row in rows[::2]:
        row["answer"] = greedy(tiny, f"{row['question']}:", 1)
    path = write_task(GENERATE, rows=rows, train=8, validation=16)
    expected = theirs(tiny, path, shots)
    for pipeline in ("whole", "letter"):
        found = ours(tiny, harness(path, metric=f"exact_match,{pipeline}", shots=shots))
        for ident, item in found.items():
            sample = expected[ident, pipeline]
            assert item.prediction == sample["filtered_resps"][0]
            assert item.score == pytest.approx(sample["exact_match"], abs=TOLERANCE)
        assert len(found) == 16


def test_texts_item_by_item_in_bits_per_byte(tiny: Any, write_task: WriteTask) -> None:
    path = write_task(ROLLING, test=12)
    task = harness(path)
    found, expected = ours(tiny, task), theirs(tiny, path)
    assert (task.request, task.metric.name, task.suite().relative, task.margin) == ("text", "bits_per_byte", True, 0.01)
    for (ident, _), sample in expected.items():
        nats, size = sample["bits_per_byte"]
        assert found[ident].weight == size == len(sample["doc"]["text"].encode())
        assert found[ident].score == pytest.approx(-nats / (size * math.log(2)), abs=TOLERANCE)
    assert len(found) == len(expected) == 12


def test_last_words_item_by_item(tiny: Any, write_task: WriteTask) -> None:
    rows = documents(16, 4)
    for row in rows[::2]:
        row["answer"] = greedy(tiny, row["question"], 1)
    path = write_task(LAST_WORD, rows=rows, test=16)
    task = harness(path)
    assert task.metric.name == "acc"  # the first metric that has a value from 0 to 1 per item
    found, expected = ours(tiny, task), theirs(tiny, path)
    assert {ident: item.score for ident, item in found.items()} == {key[0]: s["acc"] for key, s in expected.items()}
    assert {item.score for item in found.values()} == {0.0, 1.0}


@pytest.mark.parametrize("shots", [None, 2])
def test_prompts_to_choose_from_item_by_item(tiny: Any, write_task: WriteTask, shots: int | None) -> None:
    """As winogrande asks: the choices are prompts, and the same words go on after each."""
    settings = {**CHOICE, "doc_to_text": "right", "doc_to_target": "{{question}}"}
    settings["metric_list"] = CHOICE["metric_list"][:1]
    path = write_task(settings, train=8, test=25)
    task = harness(path, shots=shots)
    found, expected = ours(tiny, task), theirs(tiny, path, shots)
    assert {ident: item.score for ident, item in found.items()} == {key[0]: s["acc"] for key, s in expected.items()}
    assert len({item.score for item in found.values()}) == 2
    assert task.chance() == 0.25
    row = task.wordings(chat=False).fixed(task.splits.train[0])
    assert row.prompt in WORDS and row.completion.endswith("?")


CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if not loop.last or add_generation_prompt %}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize("shots", [None, 1])
def test_chat_models_are_asked_through_their_template(
    build: Callable[..., Any], tokenizer: Any, write_task: WriteTask, shots: int | None
) -> None:
    spoken = copy.deepcopy(tokenizer)
    spoken.chat_template = CHAT
    lm = LanguageModel.wrap(build("llama"), spoken, name="chat")
    path = write_task({**GENERATE, "description": "Name it."}, train=8, test=16)
    expected = theirs(lm, path, shots, apply_chat_template=True, fewshot_as_multiturn=True)
    found = ours(lm, harness(path, shots=shots))
    for ident, item in found.items():
        assert item.prediction == expected[ident, "whole"]["filtered_resps"][0]
    assert "<assistant>" in expected[next(iter(expected))]["arguments"][0][0]
    assert len({item.prediction for item in found.values()}) > 3


@pytest.mark.slow
def test_groups_are_one_task(tiny: Any, write_task: WriteTask, tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        write_task(CHOICE, name, rows=documents(10, number), test=10)
    path = tmp_path / "both.yaml"
    path.write_text("group: both\ntask: [one, two]\n")
    task = harness(path)
    assert (task.name, len(task.splits.validation), len(task.splits.test)) == ("both", 4, 16)
    alone = [ours(tiny, harness(tmp_path / name / f"{name}.yaml")) for name in ("one", "two")]
    assert {i: item.score for i, item in ours(tiny, task).items()} == {
        i: item.score for items in alone for i, item in items.items()
    }


def test_parts_are_those_of_the_task_or_divided_by_hash(write_task: WriteTask) -> None:
    both = harness(write_task(CHOICE, "both", train=6, validation=7, test=9))
    assert [len(both.splits.part(part)) for part in ("train", "validation", "test")] == [6, 7, 9]
    one = harness(write_task(CHOICE, "one", validation=20))
    assert [len(one.splits.part(part)) for part in ("train", "validation", "test")] == [0, 4, 16]
    assert not {e.id for e in one.splits.validation} & {e.id for e in one.splits.test}
    assert "validation documents divided by hash" in one.splits.notes
    assert all(len(e.id) == 64 and e.cluster == e.id for e in one.splits.test)
    limited = harness(write_task(CHOICE, "limited", test=20), limit=5)
    assert len(limited.splits.test) == 5
    twice = harness(write_task(CHOICE, "twice", rows=documents(8, 0), train=8, test=8))  # train is test
    assert len(twice.splits.train) == 0


def test_train_rows_are_prompt_and_completion(tiny: Any, write_task: WriteTask) -> None:
    task = harness(write_task(CHOICE, train=8, test=20))
    encoder = Encoder(tiny.tokenizer, context=tiny.context)
    wordings = task.wordings(chat=False)
    for example in task.splits.train:
        rendered = wordings.for_training(example, seed=3)
        assert rendered.prompt.startswith("Question: ") and rendered.prompt.endswith("\nAnswer:")
        assert rendered.completion.startswith(" ") and rendered.completion.strip() in WORDS
    encoded = encoder.encode_all([wordings.fixed(example) for example in task.splits.train])
    assert len(encoded.rows) == 8


def test_demonstrations_of_a_draw_are_the_same_for_all_items(tiny: Any, write_task: WriteTask) -> None:
    from keeptune.evaluate.harness_lm import EngineLM

    path = write_task({**CHOICE, "num_fewshot": 2}, train=30, test=12)
    suite = harness(path)
    target = build_harness(HarnessConfig(task=f"harness:{path}"), target=True)
    assert (suite.asked_shots(0), target.asked_shots(0), target.asked_shots(3)) == (2, 0, 3)

    def beginnings(task: Task, shots: int, draw: int) -> set[str]:
        adapter: Any = task.adapter
        rows = [adapter.documents[example.id] for example in task.splits.test]
        contexts = adapter._contexts(rows, EngineLM(tiny), False, shots, draw).values()
        return {context.rpartition("Question:")[0] for context in contexts}

    assert len(beginnings(suite, 0, 0)) > 1  # lm-eval draws anew for each document
    assert beginnings(target, 0, 0) == {""}
    first, second = beginnings(target, 3, 0), beginnings(target, 3, 1)
    assert len(first) == len(second) == 1 and first != second
    bare, shown = evaluate(tiny, target, "test"), evaluate(tiny, target, "test", shots=3)
    assert shown.tokens_per_request > bare.tokens_per_request > 5
    with pytest.raises(ConfigError, match="50 demonstrations"):
        evaluate(tiny, target, "test", shots=50)
    with pytest.raises(ConfigError, match="prompting arms"):
        build_harness(HarnessConfig(task=f"harness:{path}", shots=1), target=True)


def test_scores_are_cached_by_content(tiny: Any, write_task: WriteTask, tmp_path: Path) -> None:
    path = write_task(CHOICE, train=8, test=20)
    task = harness(path)
    assert task.digest == harness(path).digest
    assert len({task.digest, harness(path, metric="acc_norm").digest, harness(path, shots=1).digest}) == 3
    path.write_text(path.read_text().replace("Answer:", "The answer:"))
    assert harness(path).digest != task.digest
    cache = EvaluationCache(tmp_path / "scores")
    first = cache.evaluate(tiny, task, "test", limit=7)
    assert len(first.items) == 7
    assert isinstance(cache.evaluate(tiny, task, "test", limit=7), Evaluation)
    assert cache.evaluate(tiny, task, "test", limit=7) == first


PRINT = "import pickle; print(pickle.load(open('task.pickle', 'rb')).digest)"


@pytest.mark.parametrize("settings", [CHOICE, GENERATE, ROLLING, LAST_WORD, {**CHOICE, "num_fewshot": 2}])
def test_tasks_can_be_sent_to_other_processes(tiny: Any, write_task: WriteTask, settings: dict[str, Any]) -> None:
    task = harness(write_task(settings))
    again = pickle.loads(pickle.dumps(task))
    assert "digest" not in vars(again) and again.digest == task.digest
    assert ours(tiny, again) == ours(tiny, task)


def test_tasks_whose_code_lies_beside_them_can_be_sent_to_other_processes(
    write_task: WriteTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_task({**CHOICE, "doc_to_text": "SHOWN"})
    (path.parent / "beside.py").write_text("def shown(doc):\n    return doc['question']\n")
    written = path.read_text()
    path.write_text(written.replace("SHOWN", "!function beside.shown"))
    monkeypatch.chdir(path.parent)
    task = harness(Path(path.name))
    (tmp_path / "task.pickle").write_bytes(pickle.dumps(task))
    done = subprocess.run([sys.executable, "-c", PRINT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == task.digest, done.stderr
    path.write_text(written)
    with pytest.raises(ConfigError, match=r"animals\.yaml: the task has changed since it was loaded -> start again"):
        pickle.loads(pickle.dumps(task))


def test_chance_margin_and_direction(write_task: WriteTask) -> None:
    path = write_task(CHOICE, train=8, test=20)
    task = harness(path, margin=4)
    assert (task.suite().margin, task.suite().kind) == (0.04, "binary")
    assert 0.25 <= (task.chance() or 0) < 0.6
    worse = {**CHOICE, "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": False}]}
    turned = harness(write_task(worse, "turned"))
    assert (turned.metric.name, turned.metric.higher_is_better, turned.chance()) == ("1 - acc", False, None)
    with pytest.raises(ConfigError, match="in points"):
        harness(path, margin="2%")


def test_lower_is_better_is_turned_round(tiny: Any, write_task: WriteTask) -> None:
    metric = {"metric": "acc", "aggregation": "mean"}
    up = write_task({**CHOICE, "metric_list": [{**metric, "higher_is_better": True}]}, "up", test=20)
    down = write_task({**CHOICE, "metric_list": [{**metric, "higher_is_better": False}]}, "down", test=20)
    risen, fallen = ours(tiny, harness(up)), ours(tiny, harness(down))
    assert {ident: 1 - item.score for ident, item in risen.items()} == {i: item.score for i, item in fallen.items()}


@pytest.mark.parametrize(
    ("settings", "entry", "says"),
    [
        (CHOICE, {"metric": "akk"}, "'akk' is unknown -> use one of acc, acc_norm, exact_match"),
        (ROLLING, {"metric": "word_perplexity"}, "no value per item"),
        (GENERATE, {"metric": "exact_match,strict"}, "no filter 'strict' -> use one of whole, letter"),
        ({**GENERATE, "generation_kwargs": {"until": [], "do_sample": True}}, {}, "at random"),
        ({**CHOICE, "unsafe_code": True}, {}, "runs code"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    write_task: WriteTask, settings: dict[str, Any], entry: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        harness(write_task(settings), **entry)


def test_what_is_not_there_is_named(tmp_path: Path, write_task: WriteTask) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        harness(tmp_path / "none.yaml")
    path = write_task(CHOICE)
    path.write_text(path.read_text().replace("test.jsonl", "gone.jsonl"))
    with pytest.raises(DataError, match="cannot load"):
        harness(path)


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, write_task: WriteTask
) -> None:
    from keeptune.evaluate.harness_load import _manager

    path = write_task(CHOICE)
    _manager.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(MissingExtra, match=r"pip install 'keeptune\[harness\]'"):
        harness(path)


RECIPE = "model: {model}\ntarget: {{data: rows.jsonl}}\n{more}"


def recipe(more: str = "", model: str = "owner/model") -> StudyConfig:
    return parse_recipe(StudyConfig, RECIPE.format(model=model, more=more))


def test_entries_and_sets_of_a_recipe() -> None:
    config = recipe("retain: [{task: harness:hellaswag, margin: 2, metric: acc_norm, shots: 0}, standard]")
    first, *others = config.retain
    assert first == HarnessConfig(task="harness:hellaswag", margin=2, metric="acc_norm", shots=0)
    assert others == [HarnessConfig(**entry) for entry in STANDARD_V1]
    assert recipe("retain: standard").retain == recipe("retain: standard-v1").retain == tuple(others)
    assert recipe("retain: none").retain == ()
    with pytest.raises(ConfigError, match="no set 'standart'"):
        recipe("retain: standart")
    with pytest.raises(ConfigError, match=r"recipe:3: unknown key 'retain.0.metrik' -> did you mean 'metric'"):
        recipe("retain: [{task: harness:hellaswag, metrik: acc}]")
    target = parse_recipe(StudyConfig, "model: m\ntarget: {task: harness:gsm8k}").target
    assert target == (HarnessConfig(task="harness:gsm8k"),)


def test_models_of_the_hub_retain_the_standard_suites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert standard.applies(recipe())
    assert not standard.applies(recipe("retain: none"))
    assert not standard.applies(recipe(model="builtin"))
    assert not standard.applies(recipe(model=str(tmp_path)))

    def built(config: HarnessConfig) -> str:
        if config.title == "toxigen":
            raise DataError("gated")
        return config.title

    monkeypatch.setattr(standard, "build_harness", built)
    found, missing = standard.default_suites()
    assert list(found.values()) == ["arc_challenge", "hellaswag", "winogrande", "gsm8k", "ifeval"]
    assert len(missing) == 1 and missing[0].startswith("not retained: toxigen; gated")

    def unreached(config: HarnessConfig) -> str:
        raise DataError("no network") from ConnectionError()

    monkeypatch.setattr(standard, "build_harness", unreached)
    found, missing = standard.default_suites()
    assert not found and len(missing) == 1 and "arc_challenge, hellaswag" in missing[0]
    monkeypatch.setattr(standard, "installed", lambda: False)
    found, missing = standard.default_suites()
    assert not found and "keeptune[harness]" in missing[0] and "retain: none" in missing[0]


@pytest.mark.slow
def test_the_standard_set_names_what_lm_eval_has() -> None:
    from keeptune.evaluate.harness_load import _manager

    index = _manager().task_index  # read once for all tests
    for entry in STANDARD_V1:
        config = index[entry["task"].removeprefix("harness:")].cfg
        name, _, pipeline = entry["metric"].partition(",")
        assert name in {each["metric"] for each in config["metric_list"]}
        assert not pipeline or pipeline in {each["name"] for each in config["filter_list"]}
    with pytest.raises(ConfigError, match="did you mean hellaswag"):
        build_harness(HarnessConfig(task="harness:hellaswg"))


def words(draw: random.Random, n: int) -> str:
    return " ".join(draw.choices(WORDS, k=n))


# The documents of the standard tasks, made up. Not ifeval: its module looks for data on the network when imported.
MADE_UP: dict[str, tuple[str, Callable[[random.Random], dict[str, Any]]]] = {
    "arc_challenge": (
        "arc/arc_challenge.yaml",
        lambda draw: {
            "question": words(draw, 8),
            "choices": {"text": [words(draw, 2) for _ in "ABCD"], "label": list("ABCD")},
            "answerKey": draw.choice("ABCD"),
        },
    ),
    "hellaswag": (
        "hellaswag/hellaswag.yaml",
        lambda draw: {
            "activity_label": "Baking",
            "ctx_a": words(draw, 6),
            "ctx_b": words(draw, 3),
            "endings": [words(draw, 7) for _ in range(4)],
            "label": str(draw.randrange(4)),
        },
    ),
    "winogrande": (
        "winogrande/default.yaml",
        lambda draw: {
            "sentence": f"{words(draw, 4)} _ {words(draw, 4)}",
            "option1": words(draw, 1),
            "option2": words(draw, 1),
            "answer": draw.choice("12"),
        },
    ),
    "gsm8k": (
        "gsm8k/gsm8k.yaml",
        lambda draw: {"question": words(draw, 3), "answer": f"{words(draw, 2)}\n#### {draw.randrange(50)}"},
    ),
    "toxigen": (
        "toxigen/toxigen.yaml",
        lambda draw: {
            "text": words(draw, 8),
            "toxicity_ai": draw.uniform(1, 5),
            "toxicity_human": draw.uniform(1, 5),
        },
    ),
}


@pytest.mark.parametrize("name", MADE_UP)
def test_the_standard_tasks_item_by_item(tiny: Any, tmp_path: Path, name: str) -> None:
    import lm_eval

    file, make = MADE_UP[name]
    files = {}
    for seed, part in enumerate(("train", "validation", "test")):
        draw = random.Random(seed)
        files[part] = str(tmp_path / f"{part}.jsonl")
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(make(draw)) + "\n" for _ in range(12)))
    changes: dict[str, Any] = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / file),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")},
    }
    if name == "gsm8k":
        changes["generation_kwargs"] = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 12}
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(changes))
    entry = next(each for each in STANDARD_V1 if each["task"] == f"harness:{name}")
    found = ours(tiny, harness(path, metric=entry["metric"]))
    metric, _, pipeline = entry["metric"].partition(",")
    expected = {key[0]: sample for key, sample in theirs(tiny, path).items() if pipeline in ("", key[1])}
    assert expected.keys() <= found.keys()
    for ident, sample in expected.items():
        assert found[ident].score == pytest.approx(float(sample[metric]), abs=TOLERANCE)
        if name == "gsm8k":
            assert found[ident].prediction == sample["filtered_resps"][0]


def test_tasks_held_out_are_asked_zero_shot(tiny: Any, write_task: WriteTask) -> None:
    path = write_task({**CHOICE, "num_fewshot": 2}, train=30, test=12)
    config = recipe(f"held_out: [{{task: 'harness:{path}'}}, {{data: other.jsonl}}]")
    held_out = build_entry(config.held_out[0])
    assert (held_out.asked_shots(0), harness(path).asked_shots(0)) == (0, 2)
    assert ours(tiny, held_out) == ours(tiny, harness(path, shots=0))
    bare, own = (evaluate(tiny, task, "test").tokens_per_request for task in (held_out, harness(path)))
    assert bare < own
    with pytest.raises(ConfigError, match="animals.yaml is held out, and those are asked zero-shot"):
        recipe(f"held_out: [{{task: 'harness:{path}', shots: 2}}]")
    assert recipe(f"held_out: [{{task: 'harness:{path}', shots: 0}}]").held_out == config.held_out[:1]
