"""Processor time before work begins: of `keeptune --help`, of a first training step, and of two workers of a study.

The step is that of LoRA on the built-in base and the built-in target; the base's scores are in the cache, as they are
from the second study on. The workers are those of a mixture of many tasks: each loads the base and takes the rows of
the first training. Processor time, and not the clock, since it says the same on a machine that does other things.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.figures import rounded, spread
from common.options import base_parser, parse, say
from common.report import finish, header
from common.workers import environment

QUICK = {"windows": 1, "tasks": 5}
RECIPE = """
model: builtin
target: [{task: builtin:orders}]
retain: none
arms: [lora]
lora: {learning_rates: [0.001]}
workers: 1
trackers: [first-step]
"""


def run(threads: int, cache: Path, *words: str) -> tuple[float, str]:
    """(processor seconds of a Python process and of those that it waited for, what it printed)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = environment(threads) | {"KEEPTUNE_CACHE": str(cache)}
    done = subprocess.run([sys.executable, *words], env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def first_step(threads: int, folder: Path, window: int) -> dict[str, float]:
    """Processor seconds from the command on: until the study begins, and until the first step is taken."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    out = str(folder / f"run {window}")
    _, printed = run(threads, folder / "cache", "-m", "sides.startup_step", "study", str(recipe), "-q", "--out", out)
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def workers(threads: int, folder: Path, tasks: int, rows: int) -> list[dict[str, Any]]:
    """One figure after another of two workers that begin one after the other."""
    settings = json.dumps({"folder": str(folder), "tasks": tasks, "rows": rows})
    _, printed = run(threads, folder / "cache", "-m", "sides.startup_workers", settings)
    found: list[dict[str, Any]] = json.loads(printed.splitlines()[-1])
    return found


def main() -> None:
    """All three, JSON at the end."""
    parser = base_parser(__doc__)
    parser.add_argument(
        "--windows", type=int, default=5, help="of --help and of the first step; one more warms the cache"
    )
    parser.add_argument("--tasks", type=int, default=78, help="of the mixture")
    parser.add_argument("--rows", type=int, default=300, help="of every task")
    options = parse(parser, QUICK)
    os.chdir(Path(__file__).parent)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        helped = [run(options.threads, folder, "-m", "keeptune", "--help")[0] for _ in range(options.windows + 1)][1:]
        say(f"keeptune --help: {spread(helped)}")
        steps = [first_step(options.threads, folder, window) for window in range(options.windows + 1)][1:]
        say(f"first step: {steps}")
        started = workers(options.threads, folder, options.tasks, options.rows)
        say(f"workers: {started}")
    result = {
        "help_seconds": spread(helped),
        "begun_seconds": spread([each["begun"] for each in steps]),
        "first_step_seconds": spread([each["first_step"] for each in steps]),
        "workers": [{name: rounded(value) for name, value in each.items()} for each in started],
    }
    last = {"help": result["help_seconds"], "first_step": result["first_step_seconds"], "workers": result["workers"]}
    finish({**header("startup", options), "model": "builtin", "result": result}, last, options.json)


if __name__ == "__main__":
    main()
