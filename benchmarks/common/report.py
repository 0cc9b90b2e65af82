"""The full report of a benchmark as a JSON file, and its last line on standard output."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from common.measured import code_hash

PACKAGES = ("keeptune", "torch", "transformers", "peft", "trl", "lm_eval")


def hardware(device: str) -> str:
    """The processor's or the GPU's own name."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of what takes part, where it is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def header(what: str, options: argparse.Namespace) -> dict[str, Any]:
    """What was measured, where, with which versions and options. Of paths only names are kept."""
    return {
        "benchmark": what,
        "code": code_hash(what),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "hardware": hardware(options.device),
        "device": options.device,
        "threads": options.threads,
        "amx": torch.cpu._is_amx_tile_supported() if options.device == "cpu" else None,
        "python": platform.python_version(),
        "versions": versions(),
        "options": {key: _plain(value) for key, value in vars(options).items() if key != "json"},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, str) and "/" in value:
        return Path(value).name
    return str(value) if isinstance(value, Path) else value


def finish(report: dict[str, Any], last_line: dict[str, Any], target: Path | None) -> None:
    """Write the report where it is asked for, and close with one line of JSON."""
    if target is not None:
        path = target / file_name(report) if target.is_dir() else target
        path.write_text(json.dumps({**report, "summary": last_line}, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {path}")
    print(json.dumps(last_line), flush=True)


def file_name(report: dict[str, Any]) -> str:
    """``train-64_amd-epyc-2t_2026-11-24.json``."""
    hardware = re.sub(r"[^a-z0-9]+", "-", str(report["hardware"]).lower()).strip("-")
    what = "-".join(filter(None, (report["benchmark"], report.get("variant"))))
    return f"{what}_{hardware}-{report['threads']}t_{report['date']}.json"
