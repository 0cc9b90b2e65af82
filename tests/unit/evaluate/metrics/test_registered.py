"""A metric of another distribution: one module, and an entry point that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[[str, Path, str], CompletedProcess[str]]
MODULE = """
from keeptune.evaluate.metrics.base import METRICS, ItemMetric

@METRICS.register("first_letter")
class FirstLetter(ItemMetric):
    kind = "binary"

    def score_item(self, prediction, references):
        return prediction[:1] in {reference[:1] for reference in references}
"""
ASK = """
import pickle, sys
from keeptune.evaluate.config import TaskConfig
from keeptune.evaluate.metrics.base import Answer
from keeptune.evaluate.task import build_task

task = build_task(TaskConfig(data="rows.jsonl", metric="first_letter"))
with open("task.pickle", "wb") as file:
    pickle.dump(task, file)
answers = [Answer("1", "ant", ("axe", "bee")), Answer("2", "cat", ("dog",))]
print(task.request, task.metric.kind, task.metric.score(answers).values, task.digest)
"""
LOAD = "import pickle; print(pickle.load(open('task.pickle', 'rb')).digest)"
FIND = "from keeptune.evaluate.metrics.find import find_metric; find_metric('first_leter')"


@pytest.fixture
def site(tmp_path: Path, install: Callable[[str], None]) -> Path:
    """A folder as pip leaves it: a package and its metadata."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "first_letter.py").write_text(MODULE)
    install("first-letter = my_package.first_letter")
    rows = [{"question": f"What is {i} plus {3 * i}?", "answer": str(4 * i)} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_metric_of_another_distribution_is_found_scored_and_sent_to_other_processes(
    site: Path, run_code: Run
) -> None:
    asked = run_code(ASK, site, str(site))
    assert asked.returncode == 0, asked.stderr
    answer, _, digest = asked.stdout.strip().rpartition(" ")
    assert answer == "generate binary (1.0, 0.0)"
    assert run_code(LOAD, site, str(site)).stdout.strip() == digest
    assert "no metric 'first_leter' -> did you mean 'first_letter'?" in run_code(FIND, site, str(site)).stderr
    assert "did you mean" not in run_code(FIND, site.parent, "").stderr
