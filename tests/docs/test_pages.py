"""The documentation: links resolve, commands and options exist, snippets run, recipes parse."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import typer

import make_site

ROOT = Path(__file__).parents[2]
PAGES = make_site.pages()
FENCE = make_site.FENCE


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page and number, text) of every fenced block in a language."""
    for page in PAGES:
        found = [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]
        for number, text in enumerate(found, 1):
            yield f"{page.relative_to(ROOT)}#{number}", text


def commands(program: str) -> list[str]:
    """Every line of a shell block that starts with this program, without comment and what follows it."""
    lines = [line.split("  #")[0].split("||")[0].strip() for _, text in blocks("sh") for line in text.splitlines()]
    return sorted({line for line in lines if line.split(" ")[0] == program})


def docs_page(name: str) -> str:
    """The text of a page below docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert make_site.broken(page) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    animals = ["heron", "otter", "newt", "crane", "pike", "toad", "swan", "teal", "vole", "rudd"]
    rows = [
        {"instruction": "Say where it was.", "input": f"A {a} met a {b} at mile {i * j}.", "output": f"mile {i * j}"}
        for i, a in enumerate(animals, 3)
        for j, b in enumerate(animals, 20)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for side in ("base", "tuned"):
        (tmp_path / side).mkdir()
        log = "".join(json.dumps(lm_eval_row(i)) + "\n" for i in range(60))
        (tmp_path / side / "samples_arc_easy_2026-11-23T10-00-00.0.jsonl").write_text(log)
    return tmp_path


def lm_eval_row(i: int) -> dict[str, object]:
    hashed = sha256(str(i).encode()).hexdigest()
    return {
        "doc_id": i,
        "target": str(i % 4),
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": hashed,
        "prompt_hash": hashed,
        "target_hash": hashed,
        "acc": float(i % 5 > 0),
        "acc_norm": float(i % 5 > 0),
    }


@pytest.mark.parametrize(("where", "text"), [pytest.param(*block, id=block[0]) for block in blocks("python")])
def test_python_snippets_run(where: str, text: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{where}\n{done.stderr}"


def test_the_page_lists_every_metric() -> None:
    from keeptune.evaluate.metrics.base import METRICS

    table = docs_page("metrics.md").partition("\n## ")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(METRICS)


def test_the_page_lists_every_method() -> None:
    from keeptune.methods.base import METHODS

    listed = re.findall(r"^\| `([\w-]+)` \|", docs_page("methods.md").partition("\n## ")[0], re.MULTILINE)
    assert sorted(listed) == list(METHODS)


def test_the_pages_own_metrics_score(folder: Path) -> None:
    text = docs_page("metrics.md")
    function, module = (found for kind, found in FENCE.findall(text) if kind == "python")
    (written,) = re.findall(r"python:\S+?:\w+", text)
    (folder / written.split(":")[1]).write_text(function)
    (toml,) = (found for kind, found in FENCE.findall(text) if kind == "toml")
    ((entry, place),) = tomllib.loads(toml)["project"]["entry-points"]["keeptune"].items()
    path = folder.joinpath(*place.split(".")).with_suffix(".py")
    path.parent.mkdir()
    path.write_text(module)
    metadata = folder / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[keeptune]\n{entry} = {place}\n")
    (registered,) = re.findall(r"`metric: (\w+)`", text)
    code = (
        "from keeptune.evaluate.metrics.base import Answer\nfrom keeptune.evaluate.metrics.find import find_metric\n"
        f"for name in ({written!r}, {registered!r}):\n"
        "    answers = [Answer('1', 'a dog', ('the cat', 'a cat')), Answer('2', 'no dog', ('a dog',))]\n"
        "    print(find_metric(name).score(answers).values)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == 2 * "(1.0, 0.0)\n", done.stderr


@pytest.mark.parametrize("line", commands("keeptune"))
def test_commands_and_options_exist(line: str, folder: Path) -> None:
    from keeptune.cli.main import app

    command = typer.main.get_command(app)
    words = shlex.split(line.replace("<name>", "demo").replace("<command>", "study"))[1:]
    context = command.make_context("keeptune", list(words), resilient_parsing=True)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {each for p in command.get_params(context) for each in (*p.opts, *p.secondary_opts)}
    if command.context_settings.get("ignore_unknown_options"):  # what follows is for `compare`
        compare = typer.main.get_command(app).commands["compare"]
        known |= {"--", *(option for parameter in compare.get_params(context) for option in parameter.opts)}
    unknown = {word.split("=")[0] for word in words if word.startswith("--")} - known
    assert not unknown, f"{line}: {unknown}"
    assert len(words) == 0 or not hasattr(command, "commands") or words == ["--help"], line


@pytest.mark.parametrize("line", commands("make"))
def test_make_targets_exist(line: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line.split()[1] in targets


def test_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for page in PAGES for name in re.findall(r"keeptune\[(\w+)\]", page.read_text(encoding="utf-8"))}
    assert named <= extras.keys()


OWN = "docs/extend.md"  # its recipe names arms of a package that test_extend.py installs


@pytest.mark.parametrize(
    ("where", "text"), [pytest.param(*block, id=block[0]) for block in blocks("yaml") if not block[0].startswith(OWN)]
)
def test_recipes_parse(where: str, text: str, folder: Path) -> None:
    from keeptune.core.config import parse_recipe
    from keeptune.recipe.config import StudyConfig

    whole = text if re.search(r"^model:", text, re.MULTILINE) else f"model: builtin\n{text}"
    parse_recipe(StudyConfig, whole, source=where)


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "recipes" / "laws").glob("*.yaml")],
    ids=lambda path: path.stem,
)
def test_kept_recipes_parse(path: Path) -> None:
    from keeptune.core.config import read_recipe
    from keeptune.recipe.config import StudyConfig

    read_recipe(StudyConfig, path)


def test_the_data_commands_run(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keeptune", "data", "check", "rows.jsonl"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "instruction" in done.stdout


def test_exit_codes_are_those_of_the_errors() -> None:
    from keeptune.compare import gate
    from keeptune.core import errors

    table = docs_page("index.md")
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    family = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and hasattr(kind, "exit_code")
    }
    assert rows == family | {gate.RETAINED, gate.HARMED, gate.UNDECIDED, 130, 143}
