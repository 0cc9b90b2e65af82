"""Command-line options that every benchmark has."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from common.models import SHAPES, ModelSpec


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the processors that this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def _whole_path(text: str) -> Path:
    """Where a report goes, also after a benchmark went to another folder."""
    return Path(text).absolute()


def base_parser(description: str | None) -> argparse.ArgumentParser:
    """Model, device, precision, threads and where the report goes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--shape", default="smollm2-10", choices=SHAPES, help="random weights of this shape")
    parser.add_argument("--model", help="a model folder (or only its config.json) instead of --shape")
    parser.add_argument("--tokenizer", help="a tokenizer folder; by default one is trained on the rows")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=default_threads(), help="of both sides")
    parser.add_argument("--seed", type=int, default=0, help="of weights and of the order of rows")
    parser.add_argument("--json", type=_whole_path, help="file for the full report; in a folder, its name is made")
    parser.add_argument("--quick", action="store_true", help="smaller defaults: an impression within minutes")
    return parser


def parse(
    parser: argparse.ArgumentParser, quick: dict[str, Any], arguments: list[str] | None = None
) -> argparse.Namespace:
    """Parse; with ``--quick`` these defaults hold instead (what is given on the command line still wins)."""
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**quick)
    return parser.parse_args(arguments)


def model_spec(options: argparse.Namespace) -> ModelSpec:
    """The model that the options name."""
    return ModelSpec(options.shape, options.model, options.seed)


def say(text: str) -> None:
    """A line of progress, at once."""
    print(text, flush=True)
