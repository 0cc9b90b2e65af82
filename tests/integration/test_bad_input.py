"""What bad input gets: the family's exit code, one line that names place and remedy, and nothing half-written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from keeptune.core.errors import ConfigError, DataError, KeeptuneError, ModelError, ResourceError

Run = Callable[..., Any]
Rows = list[dict[str, Any]]
FAST = ("--set", "train.max_steps=1", "--set", "lora.rates=[1e-3]", "--set", "lora.rank=2", "--set", "precision=fp32")


def refused(ended: Any, family: type[KeeptuneError], *said: str) -> None:
    """One line on stderr, the family's exit code, and every piece of the message."""
    assert ended.code == family.exit_code, ended
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended.err
    for piece in said:
        assert piece in ended.err


def recipe(folder: Path, **changes: Any) -> Path:
    values = {"model": "./tiny", "target": {"data": "rows.jsonl"}, **changes}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


# Recipes and flags: exit code 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "model: m\ntarget:\n  data: d.jsonl\nlora:\n  rnak: 8\n",
            ("r.yaml:5:", "'lora.rnak'", "did you mean 'rank'?"),
        ),
        ("model: m\ntarget:\n  data: d\n  tempaltes: x\n", ("r.yaml:4:", "tempaltes", "did you mean 'templates'?")),
        (
            "model: m\ntarget: {data: d}\nretain:\n  - data: d\n    margn: 2\n",
            ("r.yaml:5:", "margn", "did you mean 'margin'?"),
        ),
        ("model: m\ntarget: {data: d}\nretain: [{text: t.txt, margin: 2}]\n", ("r.yaml:3:", "write 1%")),
        ("model: m\ntarget: {data: d}\ntrain: {epochs: 0}\n", ("r.yaml:3:", "train.epochs=0", "greater than")),
        (
            "model: m\ntarget: {data: d}\narms: [prompt, qlora]\n",
            ("r.yaml:3:", "is no method", "or lora"),
        ),
        ("target: {data: d}\n", ("'model' is missing", "add 'model:'")),
        ("model: [m\n", ("r.yaml:2:", "not YAML")),
    ],
)
def test_a_recipe_error_names_line_and_nearest_key(
    keeptune: Run, tmp_path: Path, text: str, said: tuple[str, ...]
) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    refused(keeptune("study", "r.yaml"), ConfigError, *said)


def test_a_missing_recipe_names_the_ones_beside_it(keeptune: Run, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("model: m\n", encoding="utf-8")
    refused(keeptune("study", "god.yaml"), ConfigError, "no such recipe", "did you mean good.yaml?")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--model", "m", "--data", "rows.jsonl", "--set", "train.epoch=3"), ("did you mean 'epochs'?",)),
        (("train", "--model", "m", "--data", "rows.jsonl", "--set", "train.epochs"), ("section.field=value",)),
        (("compare", "a", "b"), ("--retain", "name a task")),
        (("compare", "a", "b", "--retain", "rows.jsonl", "--metric", "acc"), ("need --samples",)),
        (("compare", "a", "b", "--retain", "rows.jsonl", "--margin", "0"), ("margin", "write points (2)")),
        (("evaluate", "--model", "m", "--task", "rows.jsonl", "--shots", "one"), ("--shots", "write 0,1,4")),
        (("evaluate", "--model", "m", "--task", "rows.jsonl", "--shots", "-1"), ("shots", "0 or more")),
        (("evaluate", "--model", "m", "--task", "rows.jsonl", "--part", "train"), ("part=", "'validation' or 'test'")),
        (("data", "check", "rows.jsonl", "--field", "completion"), ("write --field ROLE=COLUMN",)),
        (("data", "check", "rows.jsonl", "--field", "completion=answer"), ("'answer'", "columns seen: 'instruction'")),
        (("data", "check", "rows.jsonl", "--cluster", "source"), ("'source'", "columns seen: instruction")),
    ],
)
def test_a_flag_error_names_the_flag(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, arguments: tuple[str, ...], said: tuple[str, ...]
) -> None:
    jsonl(rows())
    given = [str(tiny_folder) if argument == "m" else argument for argument in arguments]
    refused(keeptune(*given), ConfigError, *said)


# Data: exit code 3


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "latin.jsonl",
            b'{"prompt": "caf\xe9", "completion": "x"}\n',
            ("latin.jsonl:1:", "not UTF-8", "0xe9", "iconv"),
        ),
        (
            "cut.jsonl",
            b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "com',
            ("cut.jsonl:2:", "not JSON", "repair"),
        ),
        ("list.jsonl", b"[1, 2]\n", ("list.jsonl:1:",)),
        ("empty.jsonl", b"", ("empty.jsonl: no rows", "empty")),
        ("foo.jsonl", b'{"foo": 1, "bar": 2}\n', ("no layout fits", "'foo', 'bar'", "--field prompt=COLUMN")),
        ("chat.jsonl", b'{"messages": []}\n', ("chat.jsonl:1:", "'messages' holds no turns")),
        ("two.jsonl", b'{"prompt": "a", "completion": "b", "response": "c"}\n{"prompt": ""}\n', ("two.jsonl",)),
    ],
)
def test_a_data_file_that_cannot_be_read(
    keeptune: Run, tmp_path: Path, name: str, content: bytes, said: tuple[str, ...]
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(keeptune("data", "check", name), DataError, *said)


def test_a_missing_file_names_the_nearest(keeptune: Run, jsonl: Run, rows: Run) -> None:
    jsonl(rows())
    refused(keeptune("data", "check", "row.jsonl"), DataError, "no such file", "did you mean rows.jsonl?")


def test_few_empty_completions_are_quarantined_with_their_reason(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    jsonl([*rows(80), {**rows(81)[-1], "output": " "}, {**rows(82)[-1], "output": None}])
    checked = keeptune("data", "check", "rows.jsonl")
    assert checked.code == 0
    assert "2 rows are left out" in checked.out
    assert "field 'output' is empty (first: rows.jsonl:81)" in checked.out
    trained = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)
    assert trained.code == 0, trained.err
    (file,) = (tmp_path / "runs" / "train" / "quarantine").iterdir()
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(row["line"], row["reason"]) for row in kept] == [
        (81, "field 'output' is empty"),
        (82, "field 'output' is null"),
    ]


def test_many_empty_completions_refuse_the_run(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    jsonl([{**row, "output": ""} if number % 15 == 3 else row for number, row in enumerate(rows(80))])
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")
    refused(ended, DataError, "rows.jsonl:4:", "6 of 80 rows", "more than 5%", "field 'output' is empty", "repair")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ input }}: ||| {{ instruction[:0] }}", ("rows.jsonl:1:", "empty completion", "remove the row")),
        ("{{ inptu }}: ||| {{ output }}", ("rows.jsonl:1:", "'inptu'", "fields present: instruction, input, output")),
        ("{{ input }}", ("no '|||'", "prompt ||| {{ completion }}")),
        ("{{ input ||| {{ output }}", ("cannot be used in line 1", "correct the template")),
        ("{{ input.__class__ }} ||| {{ output }}", ("rows.jsonl:1:", "unsafe")),
    ],
)
def test_a_template_that_does_not_fit_the_rows(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, template: str, said: tuple[str, ...]
) -> None:
    jsonl(rows())
    ended = keeptune("data", "preview", "rows.jsonl", "--model", tiny_folder, "--template", template)
    refused(ended, DataError, *said)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ input }}: ||| {{ input }}</s>", ("rows.jsonl:", "end token '</s>'", "put there by the encoder")),
        ("<s><s>{{ input }}: ||| {{ input }}", ("rows.jsonl:", "two BOS tokens", "remove '<s>' from the template")),
    ],
)
def test_a_template_that_spells_the_special_tokens(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, template: str, said: tuple[str, ...]
) -> None:
    jsonl(rows())
    task = {"data": "rows.jsonl", "templates": template, "max_new_tokens": 4}
    path = recipe(tmp_path, model=str(tiny_folder), target=task, arms=["lora"])
    refused(keeptune("study", path, *FAST), DataError, *said)
    assert not (tmp_path / "runs" / "recipe" / "summary.json").exists()


@pytest.fixture
def overlong(jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path) -> None:
    """80 rows, three of them (in train) longer than the window of 128 tokens."""
    few = rows(80)
    for number in (3, 4, 5):
        few[number]["input"] += " and it was far away" * 12
    jsonl([{**row, "split": "test" if number >= 60 else "train"} for number, row in enumerate(few)])
    shutil.copytree(tiny_folder, tmp_path / "tiny")


@pytest.mark.usefixtures("overlong")
def test_overlong_error_names_the_row_and_both_lengths(keeptune: Run, tmp_path: Path) -> None:
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], overlong="error"), *FAST)
    refused(ended, DataError, "rows.jsonl:", "prompt +", "window 128", "'drop' or 'truncate_prompt'")
    assert not (tmp_path / "runs" / "recipe" / "summary.json").exists()


@pytest.mark.usefixtures("overlong")
def test_overlong_drop_says_how_many(keeptune: Run, tmp_path: Path) -> None:
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], overlong="drop"), *FAST)
    assert ended.code == 0, ended.err
    assert "3 rows are longer than the window and were left out of training" in ended.out


@pytest.mark.usefixtures("overlong")
def test_overlong_truncate_cuts_the_prompt_and_never_the_completion(
    keeptune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.study import trials

    seen: list[Any] = []
    original = trials.fit

    def watched(lm: Any, method: Any, train: Any, *rest: Any, **named: Any) -> Any:
        seen.extend(train)
        return original(lm, method, train, *rest, **named)

    monkeypatch.setattr(trials, "fit", watched)
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], overlong="truncate_prompt"), *FAST)
    assert ended.code == 0, ended.err
    assert "left out" not in ended.out
    assert max(len(row.prompt_ids) + len(row.completion_ids) for row in seen) == 128
    full = [row for row in seen if len(row.prompt_ids) + len(row.completion_ids) == 128]
    assert len(full) <= 3
    assert {row.completion_ids[-1] for row in seen} == {2}  # </s>: no completion lost its end


def test_a_completion_that_alone_exceeds_the_window_is_never_cut(
    keeptune: Run, jsonl: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    jsonl([{"prompt": f"{number}", "completion": f" {number} very long indeed" * 30} for number in range(60)])
    ended = keeptune("study", recipe(tmp_path, arms=["lora"], overlong="truncate_prompt"), *FAST)
    refused(ended, DataError, "window")


def test_test_rows_found_in_training(keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path) -> None:
    data = [{**row, "split": "train"} for row in rows(60)]
    data += [{**row, "split": "test"} for row in rows(90, seed=1)[60:]]
    data[-1] |= {"input": data[5]["input"], "output": data[5]["output"]}
    data[-2]["input"] = data[7]["input"].upper() + " !"
    data[-2]["output"] = data[7]["output"]
    jsonl(data)
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")
    refused(
        ended, DataError, "train rows.jsonl:6 = test rows.jsonl:90", "rows.jsonl:8", "on_leak: drop", "--on-leak drop"
    )
    assert not (tmp_path / "runs").exists()
    checked = keeptune("data", "check", "rows.jsonl")
    assert checked.code == 0
    assert "train line 6 = test line 90" in checked.out
    assert keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", "--on-leak", "drop", *FAST).code == 0


def test_near_duplicates_of_more_than_one_percent_of_test_are_refused(
    keeptune: Run, jsonl: Run, tiny_folder: Path
) -> None:
    text = "the quick brown fox jumps over the lazy dog while the old cat sleeps in the warm afternoon sun of june {}"
    data = [
        {"prompt": " ".join(f"word{number}x{k}" for k in range(20)), "completion": "yes", "split": part}
        for number, part in enumerate(["train"] * 50 + ["test"] * 20)
    ]
    data += [
        {"prompt": text.format("now"), "completion": "yes", "split": "train"},
        {"prompt": text.format("again"), "completion": "yes", "split": "test"},
    ]
    jsonl(data)
    refused(
        keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl"), DataError, "1 of 21", "cluster", "on_leak"
    )


# Metrics that do not fit


@pytest.mark.parametrize(
    ("task", "family", "said"),
    [
        ({"metric": "rougel"}, ConfigError, ("'rougel'", "did you mean 'rougeL'?")),
        ({"metric": "bits_per_byte"}, ConfigError, ("free text", "'text:' entry")),
        ({"metric": "python:mine.py:f"}, ConfigError, ("mine.py: no such file", "relative to where you run")),
        ({"metric": "accuracy", "data": "long.jsonl"}, ConfigError, ("answers to choose from", "give answer_choices")),
        ({"extract": "(["}, ConfigError, ("not a regular expression", "single quotes")),
        ({"pack": "poems"}, ConfigError, ("'poems'", "packs: classification")),
        ({"cluster": "nobody"}, ConfigError, ("'nobody'", "columns seen")),
    ],
)
def test_a_metric_or_setting_that_does_not_fit_the_task(
    keeptune: Run,
    jsonl: Run,
    rows: Run,
    tmp_path: Path,
    task: dict[str, str],
    family: type[KeeptuneError],
    said: tuple[str, ...],
) -> None:
    jsonl(rows())
    jsonl(
        [{"prompt": f"say {n}", "completion": f" {n} in more than a few long words"} for n in range(60)], "long.jsonl"
    )
    refused(keeptune("study", recipe(tmp_path, target={"data": "rows.jsonl", **task})), family, *said)
    assert not (tmp_path / "runs").exists()


# Models: exit code 4


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


def spoil_tokenizer(folder: Path, **changes: Any) -> None:
    """Change tokenizer_config.json; None removes a key."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def test_a_missing_eos(keeptune: Run, jsonl: Run, rows: Run, model: Path, tmp_path: Path) -> None:
    jsonl(rows())
    spoil_tokenizer(model, eos_token=None)
    refused(
        keeptune("train", "--model", "./tiny", "--data", "rows.jsonl"),
        ModelError,
        "./tiny:",
        "no end-of-sequence token",
        '"eos_token"',
    )
    refused(keeptune("data", "preview", "rows.jsonl", "--model", "./tiny"), ModelError, "eos_token")
    assert not (tmp_path / "runs").exists()


def test_a_tokenizer_that_doubles_bos(keeptune: Run, jsonl: Run, rows: Run, model: Path) -> None:
    jsonl(rows())
    path = model / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    for command in (("train", "--data", "rows.jsonl"), ("data", "preview", "rows.jsonl")):
        refused(keeptune(*command, "--model", "./tiny"), ModelError, "two BOS tokens", "post-processor")


def test_a_chat_template_that_renders_training_and_serving_differently(
    keeptune: Run, jsonl: Run, rows: Run, model: Path
) -> None:
    jsonl(rows())
    turn = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    spoil_tokenizer(model, chat_template=turn + "{% if add_generation_prompt %}<s>reply: {% endif %}")
    for command in (("train", "--data", "rows.jsonl"), ("data", "preview", "rows.jsonl")):
        refused(keeptune(*command, "--model", "./tiny"), ModelError, "chat template", "generation prompt")
    spoil_tokenizer(model, chat_template=turn + "{% if add_generation_prompt %}<s>assistant: {% endif %}")
    assert keeptune("data", "preview", "rows.jsonl", "--model", "./tiny").code == 0


def test_models_that_are_not_there_or_not_safe(keeptune: Run, jsonl: Run, rows: Run, model: Path) -> None:
    jsonl(rows())

    def train() -> Any:
        return keeptune("train", "--model", "./tiny", "--data", "rows.jsonl")

    refused(
        keeptune("train", "--model", "./other", "--data", "rows.jsonl"),
        ModelError,
        "no such model folder",
        "check the path",
    )
    refused(keeptune("train", "--model", "rows.jsonl", "--data", "rows.jsonl"), ModelError, "this is a file")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    refused(train(), ModelError, "./tiny: its weights are pickled", "save_pretrained")
    (model / "pytorch_model.bin").unlink()
    refused(train(), ModelError, "no weights (*.safetensors)")
    (model / "model.safetensors").write_bytes(b"not weights")
    refused(train(), ModelError, "./tiny: its weights cannot be read")
    (model / "config.json").unlink()
    refused(train(), ModelError, "config.json is missing")


def test_an_adapter_of_another_base(
    keeptune: Run, jsonl: Run, rows: Run, model: Path, build: Run, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    jsonl(rows())
    wide = build("llama", hidden_size=48, head_dim=12)
    build("llama", hidden_size=48, head_dim=12).save_pretrained(tmp_path / "wide")
    wide.name_or_path = str(tmp_path / "wide")
    get_peft_model(wide, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")

    def evaluate() -> Any:
        return keeptune("evaluate", "--model", "./tiny", "--adapter", "adapter", "--task", "rows.jsonl")

    refused(evaluate(), ModelError, "adapter: this adapter does not fit ./tiny", "trained on", "wide")
    ended = keeptune("compare", "./tiny", "adapter", "--retain", "rows.jsonl")
    refused(ended, ModelError, "does not fit ./tiny")
    assert not (tmp_path / "runs").exists()
    refused(keeptune("train", "--model", "adapter", "--data", "rows.jsonl"), ModelError, "adapter, not a model")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    refused(evaluate(), ModelError, "weights are missing", "adapter_model.safetensors")


# Resources: exit code 5; interruptions; programming errors


def test_a_missing_extra_names_what_to_install(keeptune: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    ended = keeptune("data", "check", "hf:owner/name")
    refused(ended, ResourceError, "datasets is not installed", "pip install 'keeptune[hub]'")


def test_an_error_in_the_middle_leaves_finished_arms_and_no_summary(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.study import trials

    jsonl(rows())
    command = ("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)

    def full_disk(*_: Any, **__: Any) -> None:
        raise ResourceError("the disk is full", remedy="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(trials, "fit", full_disk)
        refused(keeptune(*command), ResourceError, "the disk is full -> free some space")
    run = tmp_path / "runs" / "train"
    assert (run / "arms" / "prompt-0shot" / "arm.json").is_file()
    assert not (run / "summary.json").exists() and not (run / "report.html").exists()
    assert not list(run.rglob("*.partial"))
    refused(keeptune("report", run), DataError, "summary.json: no such file", "a run folder that finished")
    again = keeptune(*command)
    assert again.code == 0, again.err
    assert "prompt-0shot: finished before, skipped" in again.out
    before = (run / "summary.json").read_bytes()
    refused(keeptune(*command, "--set", "train.epoch=2"), ConfigError)
    jsonl([{"foo": 1}])
    refused(keeptune(*command), DataError)
    assert (run / "summary.json").read_bytes() == before


def test_an_interruption_says_how_to_go_on_and_a_programming_error_keeps_its_traceback(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.study import trials

    jsonl(rows())

    def stop(error: BaseException) -> Callable[..., None]:
        def raises(*_: Any, **__: Any) -> None:
            raise error

        return raises

    monkeypatch.setattr(trials, "fit", stop(KeyboardInterrupt()))
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")
    assert ended.code == 130
    assert "run the same command to go on" in ended.err
    assert not (tmp_path / "runs" / "train" / "summary.json").exists()
    monkeypatch.setattr(trials, "fit", stop(ZeroDivisionError("a mistake of ours")))
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl")


def test_a_file_of_records_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    from keeptune.core.records import ValidationRecord, write_records

    path = tmp_path / "records.jsonl"
    first = ValidationRecord(step=1, loss=2.0, best=True)

    def breaks() -> Any:
        yield first
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_records(path, breaks())
    assert not path.exists()
    write_records(path, [first])
    before = path.read_bytes()
    with pytest.raises(OSError, match="full"):
        write_records(path, breaks())
    assert path.read_bytes() == before


# Too few items is no error


def test_too_few_items_warn_before_training_and_name_the_smallest_margin(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path
) -> None:
    from keeptune.retention.power import smallest_decidable_margin

    jsonl(rows())
    jsonl(rows(150, seed=5), "kept.jsonl")
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", "--retain", "kept.jsonl", *FAST)
    assert ended.code == 0, ended.err
    smallest = 100 * smallest_decidable_margin(30, 0.1)
    warning = f"warning: kept: 30 items can decide a margin of {smallest:.1f} pt at best"
    assert warning in ended.out
    assert ended.out.index(warning) < ended.out.index("lora-lr0.001-seed0")
