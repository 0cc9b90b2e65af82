"""What made a run, so that somebody else can make it again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from keeptune import __version__
from keeptune.core.records import EngineRecord, Manifest, read_json
from keeptune.core.redact import redact, redacted
from keeptune.core.units import content_hash
from keeptune.evaluate.task import Task
from keeptune.methods.quantised import stored_as
from keeptune.models.language_model import LanguageModel
from keeptune.models.quantise import PACKAGES as QUANTISERS
from keeptune.train.microbatch_autotune import FILE

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy", "rouge-score", "sacrebleu")


def manifest_of(
    lm: LanguageModel,
    settings: Mapping[str, object],
    tasks: Sequence[Task],
    *,
    seeds: tuple[int, ...] = (),
    command: str,
    started: datetime,
    engines: Mapping[str, EngineRecord] | None = None,
) -> Manifest:
    """Versions, settings, hashes and seeds. ``lm`` is the base, as it was loaded."""
    return Manifest(
        keeptune=__version__,
        command=redact(command),
        started=started.isoformat(timespec="seconds"),
        python=platform.python_version(),
        platform=platform.platform(),
        device=str(lm.device),
        precision=str(lm.dtype).removeprefix("torch."),
        versions={name: version(name) for name in (*PACKAGES, *_further(lm, tasks))},
        seeds=seeds,
        config=redacted(dict(settings)),
        config_hash=content_hash(settings),
        model=lm.name,
        model_hash=str(lm.hash),
        data_hashes={task.name: task.sha256 for task in tasks},
        engines=dict(engines or {}),
    )


def _further(lm: LanguageModel, tasks: Sequence[Task]) -> list[str]:
    """Optional packages that results depend on."""
    stored = stored_as(lm.model)
    return [*(["lm_eval"] if any(task.adapter for task in tasks) else []), *([QUANTISERS[stored]] if stored else [])]


def engines(folder: Path) -> dict[str, EngineRecord]:
    """How every trained arm below a run folder was split into micro-batches."""
    return {file.parent.name: read_json(file, EngineRecord) for file in sorted(folder.glob(f"arms/*/{FILE}"))}
