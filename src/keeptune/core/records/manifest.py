"""The manifest of a run."""

from __future__ import annotations

from pydantic import Field

from keeptune.core.records.base import Record
from keeptune.core.records.training import EngineRecord


class Manifest(Record):
    """What made this run: enough to do it again."""

    keeptune: str
    command: str
    started: str  # ISO 8601, UTC
    python: str
    platform: str
    device: str
    precision: str
    versions: dict[str, str]
    seeds: tuple[int, ...]
    config: dict[str, object]  # the resolved study configuration
    config_hash: str
    model: str
    model_hash: str
    data_hashes: dict[str, str]
    engines: dict[str, EngineRecord] = Field(default={})  # trained arm -> how it was split into micro-batches
