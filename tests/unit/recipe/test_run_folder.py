"""A command that trains or compares writes over no other run, and says what is wrong before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from keeptune.api.study import middle
from keeptune.cli.main import app
from keeptune.core.errors import KeeptuneError, RunFolderError
from keeptune.core.lock import locked
from keeptune.recipe.begun import begin, begun_study

TRIED = (
    "4 learning rates are tried (0.0001, 0.0003, 0.001, 0.003) and the best on validation is kept; the plan says how"
    " long that takes; --trials 1 or --lr RATE is faster\n"
)
Command = Callable[..., tuple[str, KeeptuneError | None]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEPTUNE_CACHE", str(tmp_path / "cache"))
    for name, times in (("a", 3), ("b", 5)):
        rows = [{"instruction": f"What is {i} times {times}?", "output": str(times * i)} for i in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command whose studies train nothing and leave what says which study they were."""

    def run_study(config: Any, run: Path, data_root: Path, **how: Any) -> Any:
        begin(run, begun_study(config, data_root))
        (run / "summary.json").write_text("{}")
        return SimpleNamespace(recommendation=SimpleNamespace(headline="Take it."))

    monkeypatch.setattr("keeptune.study.run.run_study", run_study)

    def run(*arguments: str) -> tuple[str, KeeptuneError | None]:
        ended = CliRunner().invoke(app, arguments)
        assert ended.exception is None or isinstance(ended.exception, KeeptuneError | SystemExit), ended.exception
        return ended.output, ended.exception if isinstance(ended.exception, KeeptuneError) else None

    return run


def runs() -> list[str]:
    return sorted(path.parent.name for path in Path("runs").glob("*/summary.json"))


def test_a_second_data_set_gets_a_folder_of_its_own(command: Command) -> None:
    first, second = (("train", "--model", "builtin", "--data", f"{name}.jsonl") for name in "ab")
    assert command(*first) == (TRIED, None)
    held = "runs/train holds another study (other target); this one goes to runs/train-2\n"
    assert command(*second)[0] == held + TRIED
    assert runs() == ["train", "train-2"]
    assert command(*first)[0] == "continuing the study in runs/train\n" + TRIED
    assert command(*second)[0] == f"{held}continuing the study in runs/train-2\n{TRIED}"
    assert "this one goes to runs/train-3\n" in command(*second, "--method", "full")[0]
    assert runs() == ["train", "train-2", "train-3"]


def test_a_folder_that_was_named_is_refused(command: Command) -> None:
    _, error = command("train", "--model", "builtin", "--data", "a.jsonl", "--out", "mine")
    assert error is None
    before = Path("mine/recipe.json").read_bytes()
    _, error = command("train", "--model", "builtin", "--data", "b.jsonl", "--out", "mine")
    assert isinstance(error, RunFolderError) and error.exit_code == 4
    assert str(error) == "mine: holds another study (other target) -> name another --out, or say --overwrite"
    assert Path("mine/recipe.json").read_bytes() == before


def test_a_folder_is_written_over_only_where_that_is_said(command: Command) -> None:
    command("train", "--model", "builtin", "--data", "a.jsonl", "--out", "mine")
    Path("mine/arms").mkdir()
    out, error = command("train", "--model", "builtin", "--data", "b.jsonl", "--out", "mine", "--overwrite")
    assert (out, error) == ("removed the run in mine\n" + TRIED, None)
    assert not Path("mine/arms").exists()
    Path("others/arms").mkdir(parents=True)
    _, error = command("train", "--model", "builtin", "--data", "b.jsonl", "--out", "others", "--overwrite")
    assert isinstance(error, RunFolderError) and Path("others/arms").is_dir()  # keeptune did not begin it


def test_a_folder_in_which_a_process_runs_is_not_written_over(command: Command) -> None:
    command("train", "--model", "builtin", "--data", "a.jsonl", "--out", "mine")
    Path("mine/arms").mkdir()
    with locked(Path("mine")):
        _, error = command("train", "--model", "builtin", "--data", "b.jsonl", "--out", "mine", "--overwrite")
    assert isinstance(error, RunFolderError) and "in use" in str(error)
    assert Path("mine/arms").is_dir()


def test_fewer_rates_are_those_in_the_middle(command: Command) -> None:
    rates = (1e-4, 3e-4, 1e-3, 3e-3)
    counts = {None: rates, 1: (3e-4,), 2: (3e-4, 1e-3), 3: (1e-4, 3e-4, 1e-3), 9: rates}
    assert {count: middle(rates, count) for count in counts} == counts
    given = ("train", "--model", "builtin", "--data", "a.jsonl", "--out", "mine")
    assert "2 learning rates are tried (0.0003, 0.001)" in command(*given, "--trials", "2")[0]
    assert command(*given, "--overwrite", "--lr", "0.002", "--quiet") == (
        "Take it.\nreport: mine/report.html\n",
        None,
    )
    assert json.loads(Path("mine/recipe.json").read_text())["lists"]["lora.learning_rates"] == [0.002]


def test_studies_and_demos_are_held_apart_too(command: Command, folder: Path) -> None:
    recipe = folder / "r.yaml"
    recipe.write_text("model: builtin\ntarget: {data: a.jsonl}\n")
    assert command("study", "r.yaml") == ("", None)
    recipe.write_text("model: builtin\ntarget: {data: a.jsonl}\narms: [prompt, full, lora, lora+kl:1]\n")
    assert command("study", "r.yaml")[0] == "continuing the study in runs/r\n"
    recipe.write_text("model: builtin\ntarget: {data: b.jsonl}\n")
    assert "this one goes to runs/r-2" in command("study", "r.yaml")[0]
    assert isinstance(command("study", "r.yaml", "--out", "runs/r")[1], RunFolderError)
    assert command("demo", "--quick") == ("", None)
    assert "this one goes to runs/demo-quick-2" in command("demo", "--quick", "--set", "train.epochs=1")[0]


def test_comparisons_and_evaluations_are_held_apart_too(command: Command) -> None:
    compared = ("compare", "builtin", "builtin", "--limit", "20", "--retain")
    assert "scored in" in command(*compared, "builtin:sentiment")[0]
    manifest = json.loads(Path("runs/compare/summary.json").read_text())["manifest"]
    assert "precision" in manifest
    assert "runs/compare holds this comparison; it is made again" in command(*compared, "builtin:sentiment")[0]
    out, _ = command(*compared, "builtin:opposites")
    assert "runs/compare holds another comparison (other retain); this one goes to runs/compare-2" in out
    _, error = command(*compared, "builtin:opposites", "--out", "runs/compare")
    assert isinstance(error, RunFolderError)

    scored = ("evaluate", "--model", "builtin", "--task", "builtin:sentiment", "--limit", "20")
    assert "scored in fp32" in command(*scored, "--precision", "fp32", "--out", "scores")[0]
    assert json.loads(Path("scores/manifest.json").read_text())["precision"] == "float32"
    _, error = command(*scored, "--precision", "bf16", "--out", "scores")
    assert "another evaluation (other precision)" in str(error)
    assert isinstance(command(*scored, "--out", "runs/compare")[1], RunFolderError)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("study", "r.yaml"), "unknown key 'epochs'"),
        (("study", "missing.yaml"), "no such recipe"),
        (("train", "--model", "m", "--data", "a.jsonl", "--set", "train.epochs=0"), "train.epochs=0"),
        (("train", "--model", "m", "--data", "c.jsonl"), "no such file"),
        (("compare", "m", "n"), "sample logs of lm-eval need --samples"),
        (("compare", "m", "n", "--retain", "c.jsonl"), "no such file"),
        (("compare", "m", "n", "--retain", "a.jsonl", "--target", "builtin:prose"), "a free text is no target"),
        (("evaluate", "--model", "m", "--task", "c.jsonl"), "no such file"),
        (("evaluate", "--model", "m", "--task", "a.jsonl", "--part", "train"), "part='train'"),
        (("demo", "--quick", "--set", "trian.epochs=1"), "unknown key 'trian'"),
    ],
)
def test_what_can_be_known_without_a_model_is_said_before_it_is_loaded(
    folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    (folder / "r.yaml").write_text("model: m\ntarget: {data: a.jsonl}\nepochs: 3\n")
    script = (
        "import sys; from typer.testing import CliRunner; from keeptune.cli.main import app;"
        f"print(CliRunner().invoke(app, {list(arguments)!r}).exception, *(m for m in ('torch',) if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said in done.stdout
    no_recipe = arguments[0] in ("compare", "evaluate") or said in ("no such recipe", "no such file")
    if no_recipe:  # methods and remedies, which a recipe names, are torch's
        assert not done.stdout.endswith("torch\n")
