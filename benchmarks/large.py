"""Peak memory and time of a million rows: `keeptune data check`, and encoding with the built-in model's tokenizer.

The rows are made on the fly: prompts of 12 to 400 words (median 60), completions of 3 to 60, words as frequent as
those of a language. Both steps run in processes of their own; the peak is that of all processes of a step together,
pages that they share counted once (Linux).
The last line of the output is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common.memory import TreePeak
from common.options import base_parser, parse, say
from common.report import finish, header
from common.workers import Worker, environment
from keeptune import builtin
from leaks import Writer

QUICK = {"rows": 50_000}
BLOCK = 10_000  # rows that are drawn together


def write_rows(path: Path, rows: int, seed: int) -> None:
    """JSON Lines with prompt and completion."""
    rng = np.random.default_rng(seed)
    writer = Writer(seed)
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            lengths = np.stack([rng.lognormal(4.1, 0.6, n).clip(12, 400), rng.lognormal(2.7, 0.6, n).clip(3, 60)])
            ends = np.cumsum(lengths.astype(int).T).tolist()
            draws = np.searchsorted(writer.cumulative, rng.random(ends[-1])).clip(max=len(writer.words) - 1)
            words = [writer.words[word] for word in draws.tolist()]
            starts = [0, *ends]
            for row in range(0, 2 * n, 2):
                prompt, completion = (" ".join(words[starts[at] : ends[at]]) for at in (row, row + 1))
                file.write(json.dumps({"prompt": f"{prompt}\n\n", "completion": completion}) + "\n")


def run_check(path: Path, threads: int, log: Path) -> dict[str, Any]:
    """`keeptune data check` in a process: seconds and peak memory."""
    started = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "keeptune", "data", "check", str(path)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(threads),
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"keeptune data check failed:\n{log.read_text()[-3000:]}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def main() -> None:
    """Make the rows, run both steps, print one line of JSON."""
    parser = base_parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2, help="that encode")
    options = parse(parser, QUICK)
    os.environ.setdefault("GLIBC_TUNABLES", "")  # freed memory goes back, as for users: it is memory that is measured
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = Path(name) / "rows.jsonl"
        write_rows(path, options.rows, options.seed)
        say(f"{options.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB")
        checked = run_check(path, options.threads, Path(name) / "check.log")
        say(f"checked: {json.dumps(checked)}")
        settings = {
            "rows": str(path),
            "folder": name,
            "tokenizer": options.tokenizer or str(builtin.model_path()),
            "context": 1024,
            "processes": options.processes,
        }
        with Worker("encode_keeptune", settings, options.threads, Path(name) / "encode.log") as worker:
            loaded = worker.ask("load")
            with TreePeak(worker.pid) as peak:
                encoded = worker.ask("encode")
            encoded["peak_bytes"] = peak.bytes
        say(f"encoded: {json.dumps(encoded)}")
    result = {
        "rows": options.rows,
        "check": checked,
        "encode": {**encoded, "load_seconds": round(loaded["seconds"], 1), "seconds": round(encoded["seconds"], 1)},
    }
    finish({**header("large", options), **result}, {"benchmark": "large", **result}, options.json)


if __name__ == "__main__":
    main()
