"""A format of another distribution: one module, and an entry point that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from keeptune.data.formats.detect import format_names

Run = Callable[[str, Path, str], CompletedProcess[str]]
MODULE = """
from keeptune.data.formats.shapes.base import FORMATS, Format
from keeptune.data.formats.values import UnusableValue

@FORMATS.register("tagged")
class Tagged(Format):
    words = "texts with <q> and <a>"
    covers = ("classification",)

    def find(self, columns):
        return columns.holding(lambda value: isinstance(value, str) and value.startswith("<q>"))[:1]

    def read(self, fields, taken, supervise):
        question, tag, answer = fields[taken[0]].removeprefix("<q>").partition("<a>")
        if not tag:
            raise UnusableValue("no <a> in the text")
        yield {"prompt": question, "completion": answer}
"""
ASK = """
import pickle
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import TemplateSet, default_templates

loaded = load_examples("rows.jsonl")
row = TemplateSet(default_templates(loaded.layout)).fixed(loaded.examples[3])
print(loaded.layout.describe(), len(loaded.examples), len(loaded.quarantined), repr(row.prompt + row.completion))
print(pickle.loads(pickle.dumps(loaded)).layout == loaded.layout)
"""
NAMES = "from keeptune.data.formats.detect import format_names; print(*format_names())"


@pytest.fixture
def site(tmp_path: Path, install: Callable[[str], None]) -> Path:
    """A folder as pip leaves it: a package and its metadata."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "tagged.py").write_text(MODULE)
    install("tagged = my_package.tagged")
    texts = [f"<q>What is {i} plus {3 * i}?<a> {4 * i}" for i in range(59)]
    rows = [{"text": text, "label": "x"} for text in (*texts, "<q>What?")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_format_of_another_distribution_is_found_and_read(site: Path, run_code: Run) -> None:
    asked = run_code(ASK, site, str(site))
    assert asked.returncode == 0, asked.stderr
    described = "tagged: texts with <q> and <a> 59 1 'What is 3 plus 9? 12'"
    assert asked.stdout.splitlines() == [described, "True"]
    assert "tagged" not in run_code(NAMES, site.parent, "").stdout.split()


def test_it_stands_behind_the_formats_that_come_with_keeptune(site: Path, run_code: Run) -> None:
    own = format_names()
    place = own.index("text") + 1
    assert run_code(NAMES, site, str(site)).stdout.split() == [*own[:place], "tagged", *own[place:]]


def test_the_order_of_formats_is_the_one_that_messages_list() -> None:
    assert format_names()[:10] == (
        "messages",
        "sharegpt",
        "turn-pairs",
        "prompt-completion-messages",
        "messages-output",
        "instruction-history",
        "segments",
        "tokenised",
        "natural-instructions",
        "text",
    )
