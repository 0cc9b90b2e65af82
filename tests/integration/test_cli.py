"""The commands as a newcomer runs them: `train` with nothing but a model and data, and commands without torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
FAST = ("--set", "train.max_steps=2", "--set", "precision=fp32")
HEAVY = ("torch", "transformers", "pandas", "peft", "datasets")


def run_apart(folder: Path, *arguments: object) -> tuple[int, str, set[str]]:
    """Exit code, output and the heavy modules that a command imported, in a process of its own."""
    script = (
        "import sys\n"
        "from keeptune.cli.main import main\n"
        "code = 0\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    code = end.code or 0\n"
        f"print('\\nheavy:', *(name for name in {HEAVY!r} if name in sys.modules))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    out, _, heavy = done.stdout.rpartition("heavy:")
    assert done.stderr == ""
    return done.returncode, out, set(heavy.split())


@pytest.fixture
def trained(keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path) -> Any:
    """`keeptune train --model FOLDER --data FILE`; the flags only make it short."""
    jsonl(rows())
    return keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code, out, heavy = run_apart(tmp_path, "--help")
    assert (code, heavy) == (0, set())
    for command in (
        "demo",
        "init",
        "study",
        "train",
        "compare",
        "ci",
        "evaluate",
        "runs",
        "recipe",
        "data",
        "report",
        "doctor",
    ):
        assert f" {command} " in out


def test_data_check_imports_nothing_heavy(tmp_path: Path, jsonl: Run, rows: Run) -> None:
    jsonl(rows())
    code, out, heavy = run_apart(tmp_path, "data", "check", "rows.jsonl")
    assert (code, heavy) == (0, set())
    assert "80 examples from 80 rows" in out
    assert "3 labels" in out


def test_train_needs_nothing_but_model_and_data(trained: Any, tmp_path: Path) -> None:
    """Columns recognised, split, LoRA with a grid of rates, base against tuned with intervals; the page; no torch."""
    assert trained.code == 0, trained.err
    assert trained.err == ""
    run = tmp_path / "runs" / "train"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    base, tuned = summary["arms"]
    assert (base["family"], tuned["family"]) == ("prompt", "lora")
    assert summary["metric"] == "accuracy"
    tried = {point["lr"] for point in summary["frontier"] if point["arm"] != "base"}
    assert tried == {1e-4, 3e-4, 1e-3, 3e-3}
    assert base["target"]["n"] == tuned["target"]["n"] == 16
    for arm in (base, tuned):
        low, high = (100 * arm["target"]["interval"][side] for side in ("low", "high"))
        assert f"{low:.1f} to {high:.1f}" in trained.out
        assert arm["label"] in trained.out
    assert tuned["gain"]["low"] <= tuned["gain_mean"] <= tuned["gain"]["high"]
    (card,) = summary["cards"]
    assert card["counts"] == {"train": 56, "validation": 8, "test": 16}
    assert card["example_prompt"].startswith("Name the colour.")

    link = run / "tuned"
    assert (link / "adapter_config.json").is_file()
    assert re.search(r"tuned model: runs/train/tuned \(lora-lr[0-9.e-]+-seed0\)", trained.out)

    page = run / "report.html"
    written = page.read_bytes()
    page.unlink()
    code, out, heavy = run_apart(tmp_path, "report", "runs/train")
    assert (code, heavy) == (0, set())
    assert base["label"] in out
    assert page.read_bytes() == written


def test_the_adapter_of_train_loads_in_plain_peft_with_equal_logits(
    trained: Any, tmp_path: Path, tiny_folder: Path
) -> None:
    import torch
    import transformers
    from peft import PeftModel

    from keeptune.models.load import load

    assert trained.code == 0, trained.err
    adapter = tmp_path / "runs" / "train" / "tuned"
    ids = torch.arange(3, 43).reshape(2, 20)
    with torch.no_grad():
        base = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
        before = base(ids).logits
        plain = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
        ours = load(str(tiny_folder), precision="fp32", adapter=adapter).model(ids).logits
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert (plain - before).abs().max() > 1e-3  # it learned something


def test_a_second_train_skips_what_is_finished(trained: Any, keeptune: Run, tiny_folder: Path) -> None:
    assert trained.code == 0, trained.err
    again = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", *FAST)
    assert again.code == 0
    assert again.out.count("skipped") == 6  # prompting, four rates, the picked rate's test scores
    assert "tokens/s" not in again.out


def test_nothing_that_is_finished_survives_an_edited_chat_template(
    keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    jsonl(rows())
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    template = (
        "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
    )
    (model / "chat_template.jinja").write_text(template)
    command = ("train", "--model", model, "--data", "rows.jsonl", "--rate", "1e-3", *FAST)
    assert keeptune(*command).code == 0
    assert "tokens/s" not in keeptune(*command).out
    (model / "chat_template.jinja").write_text(template.replace("<s>", "<s>in short: "))
    again = keeptune(*command)
    assert again.code == 0, again.err
    assert "skipped" not in again.out and "tokens/s" in again.out


def test_several_sets_are_learned_together(keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path) -> None:
    jsonl(rows())
    others = [{"question": f"{n} or {n + 1}?", "answer": str(n + n % 2)} for n in range(60)]
    jsonl(others, "numbers.jsonl")
    flags = ("--rate", "1e-3", "--out", "both")
    ended = keeptune("train", "--model", tiny_folder, "--data", "rows.jsonl", "--data", "numbers.jsonl", *FAST, *flags)
    assert ended.code == 0, ended.err
    summary = json.loads(Path("both/summary.json").read_text(encoding="utf-8"))
    assert summary["title"] == "rows + numbers"
    assert [task["task"] for task in summary["arms"][1]["tasks"]] == ["rows", "numbers"]


def test_evaluate_prints_intervals_and_the_cost_of_shots(
    trained: Any, keeptune: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    assert trained.code == 0, trained.err
    ended = keeptune(
        "evaluate", "--model", tiny_folder, "--adapter", "runs/train/tuned", "--task", "rows.jsonl", "--shots", "0,1",
        "--out", "scores",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = re.findall(
        r"rows\s+│\s+(\d)\s+│ accuracy\s+│\s+[\d.]+ │\s+[\d.]+ to [\d.]+ │\s+(\d+) │\s+(\d+) │", ended.out
    )
    (zero, one) = [(int(shots), int(n), int(tokens)) for shots, n, tokens in found]
    assert zero[:2] == (0, 16) and one[:2] == (1, 16)
    assert one[2] > zero[2] + 10
    assert len((tmp_path / "scores" / "rows-0shot.jsonl").read_text(encoding="utf-8").splitlines()) == 16


def test_preview_marks_exactly_the_completion(keeptune: Run, jsonl: Run, rows: Run, tiny_folder: Path) -> None:
    (first, *_) = data = rows()
    jsonl(data)
    ended = keeptune("data", "preview", "rows.jsonl", "--model", tiny_folder, "--rows", "1")
    assert ended.code == 0, ended.err
    assert f"⟦{first['output']}</s>⟧" in ended.out


def test_version_and_doctor(keeptune: Run) -> None:
    from keeptune import __version__

    assert keeptune("--version").out == f"keeptune {__version__}\n"
    ended = keeptune("doctor")
    assert ended.code == 0, ended.err
    assert "All that is required is here." in ended.out


@pytest.mark.parametrize("chat", [False, True])
def test_train_on_conversations(
    keeptune: Run, jsonl: Callable[..., Path], tiny_folder: Path, tmp_path: Path, chat: bool
) -> None:
    model = tmp_path / "tiny"
    shutil.copytree(tiny_folder, model)
    if chat:
        turn = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
        template = turn + "{% if add_generation_prompt %}<s>assistant: {% endif %}"
        path = model / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"say {i}"},
                {"role": "assistant", "content": str(i)},
                {"role": "user", "content": f"twice {i}"},
                {"role": "assistant", "content": str(2 * i)},
            ]
        }
        for i in range(60)
    ]
    jsonl(talks)
    ended = keeptune("train", "--model", model, "--data", "rows.jsonl", "--verbose", *FAST)
    assert ended.code == 0, ended.err
    assert "read as messages: conversations" in ended.out + ended.err
    assert ("no chat template is used" in ended.out) is not chat
