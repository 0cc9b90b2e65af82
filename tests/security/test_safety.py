"""What is not trusted cannot run code, leave its folder, or be written down; and nothing is sent anywhere."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keeptune.core.errors import ConfigError, ModelError
from keeptune.core.redact import HIDDEN, redact, redacted
from keeptune.evaluate.config import TaskConfig
from keeptune.models.adapters import attach
from keeptune.models.load import load
from keeptune.recipe.entries import TaskFile

SOURCES = Path(__file__).parents[2] / "src/keeptune"
LOADERS = re.compile(r"Auto\w+|loader|maker|type\(model\)")


def test_every_loader_of_models_and_tokenizers_refuses_code_from_hubs() -> None:
    calls = [
        (path.name, node)
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
        and LOADERS.fullmatch(ast.unparse(node.func.value))
    ]
    assert len(calls) >= 5
    for name, call in calls:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("trust_remote_code") == "False", name


def test_nothing_can_switch_it_on() -> None:
    for path in SOURCES.rglob("*.py"):
        assert not re.search(r"trust_remote_code\s*=\s*(?!False)", path.read_text()), path


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="pickled, which can run code"):
        load(str(tmp_path), device="cpu")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]})
    )
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x04.")
    lm = load("builtin", device="cpu", precision="fp32")
    with pytest.raises(ModelError, match="pickled, which can run code"):
        attach(lm.model, adapter, "builtin")


@pytest.mark.parametrize("field", ["data: {path}", "text: {path}", "{{data: rows.jsonl, metric: 'python:{path}:f'}}"])
def test_a_task_file_names_nothing_outside_its_folder(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "task", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "secret.jsonl").write_text("{}")
    for path in (tmp_path / "secret.jsonl", "../secret.jsonl"):
        (folder / "t.yaml").write_text(field.format(path=path))
        if "metric" in field and path == "../secret.jsonl":
            continue  # a metric's file is looked for from the current folder, below which this is not either
        with pytest.raises(ConfigError, match="neither below its folder"):
            TaskFile(task=str(folder / "t.yaml")).read()


def test_a_link_does_not_lead_out_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, elsewhere = tmp_path / "task", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "secret.jsonl").write_text("{}")
    (folder / "rows.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "t.yaml").write_text("data: rows.jsonl")
    with pytest.raises(ConfigError, match="neither below its folder"):
        TaskFile(task=str(folder / "t.yaml")).read()


@pytest.mark.parametrize("name", ["../../x", "..", "/etc/passwd", "a/b", ".hidden", "a\x00b", "."])
def test_names_of_tasks_are_names_of_files(name: str) -> None:
    title = TaskConfig(data="rows.jsonl", name=name).title
    assert title == Path(title).name and title not in ("", ".", "..") and not title.startswith(".")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("keeptune study --set title=hf_abcdefghijklmnopqrstuv", "hf_abcdefghijklmnopqrstuv"),
        ("data: https://anna:pa55word@host/a.jsonl", "pa55word"),
        ("https://host/a.jsonl?access_token=abc123&part=2", "abc123"),
        ("the value s3cr3t-value of a variable", "s3cr3t-value"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
    ],
)
def test_secrets_are_not_written_down(text: str, hidden: str) -> None:
    environment = {"MY_API_KEY": "s3cr3t-value", "HOME": "a variable of the"}
    shown = redact(text, environment)
    assert hidden not in shown and HIDDEN in shown
    assert redact("the value of a variable", environment) == "the value of a variable"


def test_secrets_inside_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-a-usual-token")
    found = redacted({"model": "m", "target": [{"data": "https://x?token=not-a-usual-token"}], "seeds": (0, 1)})
    assert "not-a-usual" not in json.dumps(found) and found["seeds"] == (0, 1) and found["model"] == "m"


TRAPPED = """
import socket, sys
def refuse(*args, **kwargs):
    print("CALLED", args, file=sys.stderr)
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
from keeptune.cli.main import main
sys.argv = ["keeptune", *sys.argv[1:]]
main()
"""
SMALL = """
model: builtin
target: {task: "builtin:orders"}
retain: [{task: "builtin:alphabet"}]
arms: [prompt, lora]
lora: {learning_rates: [0.001]}
prompt: {shots: [0]}
seeds: [0]
train: {max_steps: 2}
validation_items: 20
test_items: 20
workers: 1
"""


@pytest.mark.slow
def test_a_study_calls_nobody(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(SMALL)
    environment = {**os.environ, "HF_TOKEN": "hf_neverwrittendown0123", "KEEPTUNE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", TRAPPED, "study", "r.yaml", "--out", "run", "--set", "title=hf_neverwrittendown0123"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CALLED" not in done.stderr
    manifest = (tmp_path / "run/manifest.json").read_text()
    assert "hf_neverwrittendown" not in manifest and HIDDEN in manifest
