"""The two data commands: what they print, how they fail, and what they do not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keeptune.cli.data import app, field_map
from keeptune.cli.data_view import bar
from keeptune.core.errors import ConfigError, DataError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mail.jsonl"
    rows = [
        {"text": f"letter {i} about matter {i * 37} and {i * i}", "label": ["spam", "ham"][i % 2]} for i in range(80)
    ]
    rows[7]["label"] = ""
    rows[11] = {**rows[10]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "110", "NO_COLOR": "1"})


def test_check(source: Path) -> None:
    result = run("check", str(source))
    assert result.exit_code == 0, result.output
    shown = result.output
    assert "classification: text -> label" in shown
    assert "79 examples from 80 rows" in shown
    assert "would be carved out of train" in shown
    assert "2 labels" in shown
    assert "█" in shown
    assert "! copies   1 rows repeat" in shown
    assert "1 x field 'label' is empty (first:" in shown
    assert "mail.jsonl:8)" in shown
    assert "✓ leaks    no leaks between the parts, judged on text" in shown


def test_check_lists_leaks(source: Path) -> None:
    row = json.dumps({"text": "the very same letter about nothing", "label": "ham"})
    parts = source.parent / "parts"
    parts.mkdir()
    lines = source.read_text().splitlines()
    (parts / "train.jsonl").write_text("\n".join([*lines[:40], row]))
    (parts / "valid.jsonl").write_text("\n".join(lines[40:50]))
    (parts / "test.jsonl").write_text("\n".join([*lines[50:], row]))
    shown = run("check", str(parts)).output
    assert "! leaks    1 exact leaks" in shown
    assert "train is read from train.jsonl" in shown
    assert "validation is read from valid.jsonl" in shown
    assert "train.jsonl:41=test" in "".join(shown.split())  # long paths wrap anywhere


def test_errors_reach_the_entry_point(source: Path) -> None:
    result = run("check", str(source.with_name("mial.jsonl")))
    assert isinstance(result.exception, DataError)
    assert "did you mean mail.jsonl?" in str(result.exception)


def test_mapped_columns(source: Path) -> None:
    result = run("check", str(source), "--field", "prompt=label", "--field", "completion=text")
    assert "source-target: label -> text" in result.output
    with pytest.raises(ConfigError, match="is no pair"):
        field_map(["completion"])
    assert field_map(["a=b=c", " d =e"]) == {"a": "b=c", "d": "e"}
    assert field_map(None) is None


def test_bar() -> None:
    assert (bar(1, 4), bar(0.5, 4), bar(0.03, 4), bar(0, 4)) == ("████", "██", "▏", "")


def test_check_imports_no_heavy_library(source: Path) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from keeptune.cli.data import app;"
        f"result = CliRunner().invoke(app, ['check', {str(source)!r}]);"
        "assert result.exit_code == 0, result.output;"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_check_as_a_page(source: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "check.html"
    result = run("check", str(source), "--html", str(page))
    assert result.exit_code == 0, result.output
    assert "the rows in question are quoted in" in result.output
    text = page.read_text(encoding="utf-8")
    assert "line 11 and line 12" in text
    assert "letter 10 about matter 370 and 100" in text
    error = run("check", str(source), "--html", str(tmp_path)).exception
    assert isinstance(error, ConfigError)
    assert "check.html" in str(error)


def test_preview(source: Path, tiny_folder: Path) -> None:
    result = run("preview", str(source), "--model", str(tiny_folder), "--rows", "2")
    assert result.exit_code == 0, result.output
    shown = result.output
    assert shown.count("trained tokens") == 2
    assert "⟦ spam</s>⟧" in shown
    assert "letter 0 about matter 0 and 0" in shown
    assert "boundary" in shown
    assert "choices  ␣ham / ␣spam" in shown


def test_rows_that_a_model_cannot_use_are_counted(source: Path, tiny_folder: Path, tmp_path: Path) -> None:
    rows = [{"text": "an end </s> in a question", "label": "ham"}, {"text": "an answer", "label": "spam</s>"}]
    source.write_text(source.read_text() + "".join(json.dumps(row) + "\n" for row in rows))
    result = run("check", str(source), "--model", str(tiny_folder))
    shown = " ".join(result.output.split())
    assert "! model 1 rows cannot be used with this model 1 x a completion contains the end token '</s>'" in shown
    assert "note 1 rows spell special tokens as text ('</s>')" in shown
    shown = " ".join(run("check", str(source)).output.split())
    assert "! tokens 1 rows have an answer that spells an end token ('</s>')" in shown
    shown = " ".join(run("preview", str(source), "--model", str(tiny_folder), "--rows", "1").output.split())
    assert "note 1 rows were set aside: a completion contains the end token '</s>' as text" in shown
    assert "note 1 rows spell special tokens as text" in shown
    page = tmp_path / "page.html"
    run("preview", str(source), "--model", str(tiny_folder), "--rows", "1", "--html", str(page))
    assert "1 rows were set aside: a completion contains the end token" in page.read_text(encoding="utf-8")


def test_preview_with_shots_and_a_wording(source: Path, tiny_folder: Path) -> None:
    result = run(
        *("preview", str(source), "--model", str(tiny_folder), "--rows", "1", "--shots", "2"),
        *("--template", "Mail: {{ text[:9] }} Kind: ||| {{ label }}"),
    )
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert shown.count("Mail:") == 3
    assert "· 2 worked examples" in shown
    assert "note test items in the order in which they are asked, behind draw 0 of 2 worked examples" in shown
    assert "⟦expected answer, not trained on⟧" in shown
    result = run("preview", str(source), "--model", str(tiny_folder), "--rows", "1", "--shots", "9")
    assert "window " in result.output and "worked examples find no room in the window" in result.output


def test_leaks_are_dropped_for_the_preview_of_items_and_said(tmp_path: Path, tiny_folder: Path) -> None:
    parts = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    rows = [{"text": f"note {i}", "label": "ab"[i % 2], "split": part} for i, part in enumerate(parts)]
    rows[0]["text"] = "note 29"
    path = tmp_path / "leak.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("preview", str(path), "--model", str(tiny_folder), "--rows", "1", "--shots", "1")
    shown = " ".join(result.output.split())
    assert "from 19 training rows" in shown
    assert "1 exact leaks between the parts, judged on text: evaluation refuses them" in shown


def test_the_format_is_shown_and_can_be_named(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "hello there"}, {"from": "gpt", "value": "good day"}]
    row = {"conversations": turns, "prompt": "a question", "completion": "an answer"}
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps({**row, "prompt": f"a question {i}"}) + "\n" for i in range(4)))
    error = run("check", str(path)).exception
    assert isinstance(error, DataError)
    assert "--format sharegpt or --format prompt-completion" in str(error.remedy)
    shown = run("check", str(path), "--format", "sharegpt", "--supervise", "last").output
    assert "sharegpt: conversations, as lists of from and value" in " ".join(shown.split())
    assert "4 of 4 assistant turns are learned from (the last of each)" in shown
    shown = run("preview", str(path), "--model", "builtin", "--format", "prompt-completion").output
    assert "read as prompt-completion: prompt -> completion" in shown
    shown = run("preview", str(path), "--model", "builtin", "--format", "sharegpt").output
    assert "no chat template is used" in shown
    assert "Assistant:⟦ good day" in shown
    error = run("check", str(path), "--format", "sharegpt", "--supervise", "some").exception
    assert isinstance(error, ConfigError)


def test_preview_as_a_page(source: Path, tiny_folder: Path, tmp_path: Path) -> None:
    long = json.dumps({"text": "a letter that has no end " * 30, "label": "ham"})
    source.write_text(source.read_text() + long + "\n")
    page = tmp_path / "page.html"
    program = (
        "import sys; from typer.testing import CliRunner; from keeptune.cli.data import app;"
        f"result = CliRunner().invoke(app, ['preview', {str(source)!r}, '--model', {str(tiny_folder)!r}, '--rows', '2',"
        f"'--template', 'Mail: {{{{ text }}}} ||| {{{{ label }}}}', '--template', '{{{{ text }}}} ||| {{{{ label }}}}',"
        f"'--overlong', 'truncate_prompt', '--html', {str(page)!r}]);"
        "assert result.exit_code == 0, result.output; print(result.output);"
        "print(sorted({'datasets', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, _, heavy = done.stdout.strip().rpartition("\n")
    assert heavy == "[]"
    assert "1 of 80 are too long" in said
    html = page.read_text(encoding="utf-8")
    assert html.count("drawn for training") == 2
    assert "Few-shot prompt" not in html
    assert html.count("<article") == 3
    assert 'class="tok prompt cut"' in html
    assert "mail.jsonl:81" in html


def test_preview_of_items_as_a_page(source: Path, tiny_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ("preview", str(source), "--model", str(tiny_folder), "--rows", "2", "--shots", "3", "--seed", "5")
    result = run(*arguments, "--template", "{{ text }} ||| {{ label }}", "--html", str(page))
    assert result.exit_code == 0, result.output
    html = page.read_text(encoding="utf-8")
    assert (
        html.count("Few-shot prompt, mail 1") == html.count("<article") == 4
    )  # the items, and those with too little room
    assert "draw 5 of 3 worked examples" in html
    assert "Items as evaluation asks them" in html
    assert "not fit 128 tokens with all worked examples and room for the answer" in html
    assert "one that is too long without any is not asked" in " ".join(html.split())


def test_wordings_that_rename_the_labels_are_shown_as_training_takes_them(source: Path, tiny_folder: Path) -> None:
    renamed = "{{ text }} ||| {{ 'bad' if label == 'spam' else 'good' }}"
    result = run("preview", str(source), "--model", str(tiny_folder), "--rows", "2", "--template", renamed)
    assert result.exit_code == 0, result.output
    assert "⟦ bad</s>⟧" in result.output
    assert "choices" not in result.output


def test_preview_refuses_a_folder_and_an_unknown_policy(source: Path, tiny_folder: Path, tmp_path: Path) -> None:
    for option, value, message in (("--html", str(tmp_path), "is a folder"), ("--overlong", "cut", "is unknown")):
        error = run("preview", str(source), "--model", str(tiny_folder), option, value).exception
        assert isinstance(error, ConfigError)
        assert message in str(error)
