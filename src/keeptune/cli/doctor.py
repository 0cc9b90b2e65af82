"""`keeptune doctor`: versions, devices, what is installed and what is missing. Reaches for no network."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from keeptune import __version__
from keeptune.cli.options import AsJson, Quiet, Verbose, print_json, progress_console
from keeptune.core import allocator
from keeptune.core.errors import ResourceError
from keeptune.core.lines import print_line
from keeptune.core.processes import cores
from keeptune.core.units import human_bytes

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SHOWN_EXTRAS = ("hub", "dev")


@dataclass(frozen=True)
class Package:
    """One requirement of keeptune, and what is installed for it."""

    name: str
    wanted: str  # version range, may be empty
    installed: str | None
    extra: str | None  # None: required
    fits: bool

    @property
    def state(self) -> str:
        """'ok', 'missing' or 'wrong version'."""
        if self.installed is None:
            return "missing"
        return "ok" if self.fits else "wrong version"


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found."""

    machine: dict[str, str]  # name -> one line
    packages: list[Package]


def doctor(quiet: Quiet = False, verbose: Verbose = False, as_json: AsJson = False) -> None:
    """Versions, devices, what is installed, what is missing and how to get it."""
    console = progress_console(quiet, as_json)
    packages, facts = list(find_packages()), machine()
    if as_json:
        print_json(Diagnosis(facts, packages))
    console.print(_pairs("This machine", facts))
    console.print(_table(packages))
    broken = [p for p in packages if p.extra is None and p.state != "ok"]
    if broken:
        names = ", ".join(f"{p.name}{p.wanted} ({p.installed or 'missing'})" for p in broken)
        raise ResourceError(f"keeptune cannot run: {names}", remedy="pip install --upgrade keeptune")
    absent = sorted({p.extra for p in packages if p.extra and p.state != "ok"})
    hints = [f"pip install 'keeptune[{extra}]'" for extra in absent]
    optional = f" Optional: {'; '.join(hints)}" if hints else ""
    print_line(f"All that is required is here.{optional}", console)


def find_packages() -> Iterator[Package]:
    """Every requirement in keeptune's own metadata, required ones first, then the extras'.

    Raises:
        ResourceError: keeptune runs from a folder and is not installed, so its requirements are unknown.
    """
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("keeptune") or []
    except metadata.PackageNotFoundError as error:
        raise ResourceError("keeptune is not installed as a package", remedy="pip install -e .") from error
    requirements = [Requirement(line) for line in lines]
    seen = {"keeptune"}
    for extra in (None, *SHOWN_EXTRAS):
        for requirement in requirements:
            if requirement.name not in seen and _belongs(requirement, extra):
                seen.add(requirement.name)
                yield _look_up(requirement, extra)


def _belongs(requirement: Requirement, extra: str | None) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return extra is None
    return extra is not None and marker.evaluate({"extra": extra})


def _look_up(requirement: Requirement, extra: str | None) -> Package:
    from importlib import metadata

    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Package(requirement.name, str(requirement.specifier), None, extra, fits=False)
    fits = requirement.specifier.contains(installed, prereleases=True)
    return Package(requirement.name, str(requirement.specifier), installed, extra, fits)


def machine() -> dict[str, str]:
    """What keeptune will run on: name -> one line."""
    lines = {
        "keeptune": f"{__version__}, {Path(__file__).parent.parent}",
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "CPU": f"{cores()} cores{_bf16_note()}",
        "memory": _memory(),
        "allocator": allocator.state(),
        "disk": f"{human_bytes(shutil.disk_usage(Path.cwd()).free)} free here",
        "hub cache": _hub_cache(),
    }
    return lines | _devices()


def _devices() -> dict[str, str]:
    """The device that `--device auto` takes and the precision to expect there; needs torch."""
    if importlib.util.find_spec("torch") is None:
        return {"device": "unknown, torch is not installed"}
    import torch

    if torch.cuda.is_available():
        names = [
            f"{torch.cuda.get_device_name(i)} ({human_bytes(torch.cuda.get_device_properties(i).total_memory)})"
            for i in range(torch.cuda.device_count())
        ]
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp32"
        return {"device": "CUDA: " + ", ".join(names), "precision": precision}
    if torch.backends.mps.is_available():
        return {"device": "Apple GPU (mps)", "precision": "bf16 where macOS supports it, else fp32"}
    return {
        "device": f"CPU, {torch.get_num_threads()} threads",
        "precision": "bf16 with fp32 master weights where the processor has instructions for it, else fp32",
    }


def _bf16_note() -> str:
    """Whether the processor multiplies bf16 in hardware (Linux only)."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    found = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512")) if flag in flags]
    return f", bf16 in hardware ({', '.join(found)})" if found else ""


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    return human_bytes(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _hub_cache() -> str:
    """Where hub models and data sets are kept; whether the hub can be reached is not tried."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    return f"{home}{'' if home.is_dir() else ' (not there yet)'}{', offline mode' if offline else ''}"


def _pairs(title: str, lines: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in lines.items():
        table.add_row(name, text)
    return table


def _table(packages: list[Package]) -> Table:
    table = Table(title="Packages", title_justify="left", box=None, pad_edge=False)
    for column in ("package", "installed", "wanted", "for", "state"):
        table.add_column(column)
    for package in packages:
        style = None if package.state == "ok" else "yellow" if package.extra else "red"
        table.add_row(
            package.name,
            package.installed or "-",
            package.wanted or "any",
            f"[{package.extra}]".replace("[", r"\[") if package.extra else "keeptune",
            package.state,
            style=style,
        )
    return table
