"""Weights & Biases: a run for the study and one for every arm, in one group; in $WANDB_PROJECT or "keeptune".

$WANDB_MODE=offline keeps them below ``wandb/`` in the run folder, for `wandb sync`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from keeptune.tracking.base import TRACKERS
from keeptune.tracking.service import Opened, ServiceTracker

PROJECT = "keeptune"


class WandbRun:
    """One run of W&B."""

    def __init__(self, run: Any) -> None:
        self.id, self._run = str(run.id), run

    def params(self, values: Mapping[str, object]) -> None:
        """See `Service`."""
        self._run.config.update(dict(values), allow_val_change=True)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Those of a step are logged; others stand in the run's summary, so that runs can be sorted by them."""
        if step is None:
            self._run.summary.update(dict(values))
        else:
            self._run.log({**values, "step": step})

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Service`."""
        self._run.summary.update(dict(values))

    def files(self, paths: Sequence[Path]) -> None:
        """See `Service`."""
        import wandb

        artifact = wandb.Artifact("study", "keeptune-study")
        for path in paths:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        """See `Service`."""
        self._run.finish()


@TRACKERS.register("wandb")
class Wandb(ServiceTracker[WandbRun]):
    """Runs of W&B."""

    package: ClassVar[str] = "wandb"

    @override
    def open(self, wanted: Opened) -> WandbRun:
        import wandb

        known = wanted.id or secrets.token_hex(4)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(wanted.study),
            name=wanted.name,
            group=wanted.parent or known,
            job_type=wanted.kind,
            id=known,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        run.define_metric("*", step_metric="step")
        return WandbRun(run)
