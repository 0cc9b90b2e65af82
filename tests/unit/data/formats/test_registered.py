"""A format of another distribution: one module, and an entry point that names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keeptune.data.formats.detect import format_names

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
def site(tmp_path: Path) -> Path:
    """A folder as pip leaves it: a package and its metadata."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "tagged.py").write_text(MODULE)
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[keeptune]\ntagged = my_package.tagged\n")
    texts = [f"<q>What is {i} plus {3 * i}?<a> {4 * i}" for i in range(59)]
    rows = [{"text": text, "label": "x"} for text in (*texts, "<q>What?")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(code: str, site: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=site, env=environment, capture_output=True, text=True, check=False
    )


def test_a_format_of_another_distribution_is_found_and_read(site: Path) -> None:
    asked = run(ASK, site, str(site))
    assert asked.returncode == 0, asked.stderr
    described = "tagged: texts with <q> and <a> 59 1 'What is 3 plus 9? 12'"
    assert asked.stdout.splitlines() == [described, "True"]
    assert "tagged" not in run(NAMES, site.parent, "").stdout.split()


def test_it_stands_behind_the_formats_that_come_with_keeptune(site: Path) -> None:
    own = format_names()
    place = own.index("text") + 1
    assert run(NAMES, site, str(site)).stdout.split() == [*own[:place], "tagged", *own[place:]]


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
