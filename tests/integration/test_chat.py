"""`keeptune chat` as a user runs it: a process that serves a run on loopback until it is told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from keeptune.core.records import ItemRecord, Summary, read_json, read_records
from keeptune.data.load import load_examples

pytestmark = pytest.mark.slow


@pytest.fixture
def served(small_run: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process in an empty folder, and the address that it printed."""
    command = [sys.executable, "-m", "keeptune", "chat", str(small_run), "--port", "0", "--device", "cpu"]
    environment = dict(os.environ)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        yield process, said.partition("http")[1] + said.partition("http")[2].split()[0]
        process.kill()


def post(url: str, path: str, **body: Any) -> str:
    with urlopen(Request(url + path, json.dumps(body).encode()), timeout=600) as response:
        return str(response.read().decode())


def test_a_run_is_asked_answers_as_it_scored_and_keeps(
    served: tuple[subprocess.Popen[str], str], small_run: Path, tmp_path: Path
) -> None:
    process, url = served
    with urlopen(url + "columns", timeout=600) as response:
        page = json.load(response)
    summary = read_json(small_run / "summary.json", Summary)
    assert [column["label"] for column in page["columns"][1:]] == [arm.label for arm in summary.arms]

    item = next(read_records(small_run / "arms" / summary.arms[0].name / "items" / "orders.jsonl", ItemRecord))
    lines = post(url, "ask", prompt=item.prompt, columns=[0, 1, 2, 3]).split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    done = {event["column"]: event for event in events if event["kind"] == "done"}
    assert len(done) == 4
    for number, arm in enumerate(summary.arms, 1):
        items = read_records(small_run / str(arm.folder) / "items" / "orders.jsonl", ItemRecord)
        scored = next(each.prediction for each in items if each.id == item.id)
        assert scored and done[number]["text"].strip().startswith(scored)
        said = [event["text"] for event in events if event["kind"] == "said" and event["column"] == number]
        assert "".join(said) == done[number]["text"]

    boxes = post(url, "tokens", prompt=item.prompt, column=3, ids=done[3]["ids"])
    assert boxes.count('class="tok written"') == len(done[3]["ids"]) + 1  # and the legend's
    assert json.loads(post(url, "keep", prompt=item.prompt, completion=done[0]["text"] + " x", column=0)) == {"rows": 1}
    (kept,) = load_examples(str(tmp_path / "kept.jsonl")).examples
    assert (kept.fields["prompt"], kept.fields["answered_by"]) == (item.prompt, "base model")

    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
