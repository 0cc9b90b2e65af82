"""docs/extend.md: its package, with the metric of docs/metrics.md, is installed as the pages say and runs a study."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keeptune.core.records import Summary, read_json

DOCS = Path(__file__).parents[2] / "docs"
PAGE, METRICS_PAGE = ((DOCS / name).read_text(encoding="utf-8") for name in ("extend.md", "metrics.md"))
QUICK = ("train.max_steps=2", "train.epochs=1", "test_items=20", "validation_items=20", "workers=1", "seeds=[0]")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[[str], None]) -> Path:
    """The page's files, as `pip install` would leave them."""
    files = dict(re.findall(r"```\w+\n# (\S+)[^\n]*\n(.*?)```", PAGE, re.S))
    modules = {f"my_package/{name}.py" for name in ("entropy", "queries", "table", "tagged")}
    assert set(files) == {"pyproject.toml", "recipe.yaml", *modules}
    for name, code in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
    (tmp_path / "my_package" / "__init__.py").touch()
    metric = next(code for code in re.findall(r"```python\n(.*?)```", METRICS_PAGE, re.S) if "@METRICS" in code)
    (tmp_path / "my_package" / "first_word.py").write_text(metric, encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("metric: exact_match", "metric: first_word"))
    rows = [{"exchange": f"<q>What is {i} plus {3 * i}?<a> {4 * i}", "split": "test"} for i in range(30)]
    (tmp_path / "tagged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = files["pyproject.toml"].split("[project.entry-points.keeptune]\n")[1].replace('"', "")
    install(f"{entries}\nfirst-word = my_package.first_word")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("KEEPTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_what_another_package_brings_is_studied(installed: Path) -> None:
    changes = [word for change in QUICK for word in ("--set", change)]
    command = [sys.executable, "-m", "keeptune", "study", "recipe.yaml", "--out", "run", *changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    summary = read_json(installed / "run" / "summary.json", Summary)
    arms = {arm.arm: arm for arm in summary.arms}
    assert list(arms) == ["full", "full+entropy:0.2", "queries", "queries+interpolate"]
    assert arms["full+entropy:0.2"].label == "full fine-tuning, entropy 0.2, lr 0.001"
    parts = arms["full+entropy:0.2"].parts
    assert parts is not None and [(each.name, each.dose) for each in parts.remedies] == [("entropy", 0.2)]
    assert 0 < arms["queries"].costs.trainable_parameters < arms["full"].costs.trainable_parameters / 10
    assert arms["queries+interpolate"].alpha is not None
    assert summary.manifest.config["remedies"]["entropy"]["weight"] == 0.05
    assert {each.task for each in summary.held_out} == {"tagged"} and summary.held_out[0].before.n == 20
    assert summary.manifest.config["held_out"][0]["metric"] == "first_word"
    lines = (installed / "run" / "arms.csv").read_text().splitlines()
    assert lines[0] == "arm,target" and {line.split(",")[0] for line in lines[1:]} == {arm.name for arm in summary.arms}


def test_a_name_that_nobody_registered_is_refused_with_those_there_are(installed: Path) -> None:
    command = [sys.executable, "-m", "keeptune", "study", "recipe.yaml", "--set", "arms=[full+entropi]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'entropi' is no remedy; use entropy" in done.stderr
