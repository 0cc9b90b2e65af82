"""Rows per second from prompt and completion to token ids and loss mask: keeptune's cache against TRL's preparation.

Both sides get the same rows of a file, the same tokenizer and the same number of processes, and take turns. The clock
starts when the rows are loaded and stops when everything is on disk. keeptune's time holds the start of its processes,
the wording of every row and the proof of every mask.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from common.figures import ratios, rounded, spread
from common.options import base_parser, parse, say
from common.report import finish, header
from common.workers import Worker
from keeptune import builtin
from large import write_rows

QUICK = {"rows": 25_000, "windows": 3}
SIDES = {"keeptune": "encode_keeptune", "trl": "encode_trl"}


def main() -> None:
    """Both sides in alternation, a line for each window, JSON at the end."""
    parser = base_parser(__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--windows", type=int, default=5, help="encodings of every side")
    parser.add_argument("--processes", type=int, default=2, help="of either side")
    options = parse(parser, QUICK)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as open_workers:
        settings = {
            "rows": str(Path(name) / "rows.jsonl"),
            "folder": name,
            "tokenizer": options.tokenizer or str(builtin.model_path()),
            "context": 1 << 20,  # TRL cuts rows at its window or keeps them: neither side is to lose any
            "processes": options.processes,
        }
        write_rows(Path(settings["rows"]), options.rows, options.seed)
        workers = {
            side: open_workers.enter_context(Worker(module, settings, options.threads, Path(name) / f"{side}.log"))
            for side, module in SIDES.items()
        }
        for worker in workers.values():
            worker.ask("load")
        rates: dict[str, list[float]] = {side: [] for side in workers}
        tokens: dict[str, float] = {}
        for window in range(options.windows):
            for side, worker in workers.items():
                answer = worker.ask("encode")
                if answer["encoded"] != options.rows:
                    raise SystemExit(f"{side} gave {answer['encoded']} of {options.rows} rows")
                rates[side].append(options.rows / answer["seconds"])
                tokens[side] = answer["tokens_per_row"]
                say(f"window {window + 1}, {side}: {rates[side][-1]:,.0f} rows/s")
    result = {
        "rows": options.rows,
        "processes": options.processes,
        "rows_per_second": {side: spread(values) for side, values in rates.items()},
        "tokens_per_row": tokens,
        "times_as_fast": ratios(rates["keeptune"], rates["trl"]),
    }
    last = {
        "benchmark": "encode",
        "rows": options.rows,
        **{f"{side}_rows_per_second": rounded(figure["median"]) for side, figure in result["rows_per_second"].items()},
        "times_as_fast": result["times_as_fast"]["median"],
    }
    finish({**header("encode", options), **result}, last, options.json)


if __name__ == "__main__":
    main()
