"""Two workers of a study on many tasks, one after the other: what each has spent when it could begin to train."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from keeptune.core.config import validate
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Unplanned
from keeptune.study.messages import Messages
from keeptune.study.run import open_study
from keeptune.study.schedule.processes import ProcessLauncher
from keeptune.study.schedule.worker import Start
from keeptune.study.workplace import Workplace

WORDS = 30  # of a prompt


@dataclass(frozen=True)
class Look(Unplanned):
    """Takes the rows of the first training, and says what processor time the worker has had until then."""

    name: str = "look"

    def perform(self, workplace: Workplace) -> bool:
        """Seconds until the base is there, and until the rows are; and those of the process that it is a copy of."""
        base, tokens = time.process_time(), sum(map(len, workplace.data.rows(workplace.config.seeds[0]).train))
        parent, study = os.getppid(), multiprocessing.parent_process()
        found = {"base": base, "rows": time.process_time(), "tokens": tokens, "parent": _spent(parent)}
        found["parent_is_study"] = study is not None and study.pid == parent  # then it imports everything itself
        workplace.messages.say(json.dumps(found))
        return True


def _spent(process: int) -> float:
    """Processor seconds of another process (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_tasks(folder: Path, tasks: int, rows: int) -> list[dict[str, Any]]:
    """Entries of a recipe; prompts of random words, so that no task repeats another one's."""
    draw = random.Random(0)
    vocabulary = [f"{first}{second}{number}" for first in "bdfgklmnprst" for second in "aeiou" for number in range(100)]
    entries = []
    for number in range(tasks):
        path = folder / f"task{number}.jsonl"
        with path.open("w") as file:
            for _ in range(rows):
                words = draw.choices(vocabulary, k=WORDS)
                file.write(json.dumps({"input": " ".join(words), "output": words[0]}) + "\n")
        entries.append({"data": str(path), "split": {"on_leak": "drop"}, "max_new_tokens": 8})
    return entries


def main() -> None:
    """Print a list with one object per worker."""
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    entries = write_tasks(folder, settings["tasks"], settings["rows"])
    values = {"model": "builtin", "target": entries, "retain": "none", "arms": ["lora"], "seeds": [0], "workers": 2}
    config = validate(StudyConfig, values, source="benchmark")
    prepared, _ = open_study(config, folder / "run", Messages(Console(quiet=True)))
    launcher, found = ProcessLauncher(Start(prepared, Path.cwd(), 1, keep_memory=False), 2), []
    for _ in range(2):
        worker = launcher.start()
        worker.begin(Look())
        report = worker.report()
        if report.error is not None:
            raise report.error
        each = json.loads(next(line for line in report.lines if line.startswith("{")))
        parent = each.pop("parent")
        found.append(each | {"copied_from": 0.0 if each.pop("parent_is_study") else parent})
        worker.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
