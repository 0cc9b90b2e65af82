"""Trackio: a run for the study and one for every arm, in one group; in $TRACKIO_PROJECT or "keeptune".

Trackio keeps them on this machine (`trackio show`), or in the Space that $TRACKIO_SPACE_ID names.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from keeptune.tracking.base import TRACKERS
from keeptune.tracking.service import Opened, ServiceTracker

PROJECT = "keeptune"


class TrackioRun:
    """One run of Trackio; its id is its name."""

    def __init__(self, run: Any, name: str) -> None:
        self.id, self._run = name, run

    def params(self, values: Mapping[str, object]) -> None:
        """See `Service`."""
        self._run.config.update({name: str(value) for name, value in values.items()})
        self._run.log({"settings": len(values)})  # the configuration goes with the first numbers

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """See `Service`."""
        self._run.log(dict(values), step=step)

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Service`."""
        self._run.log(dict(values))

    def files(self, paths: Sequence[Path]) -> None:
        """They stay in the run folder: Trackio shows numbers and words."""

    def close(self) -> None:
        """See `Service`."""
        with redirect_stdout(io.StringIO()):  # it talks in the middle of progress bars
            self._run.finish()


@TRACKERS.register("trackio")
class Trackio(ServiceTracker[TrackioRun]):
    """Runs of Trackio."""

    package: ClassVar[str] = "trackio"

    @override
    def open(self, wanted: Opened) -> TrackioRun:
        import trackio

        study = wanted.parent or wanted.id or f"{wanted.study.name}-{secrets.token_hex(2)}"
        name = wanted.id or (study if wanted.kind == "study" else f"{study}/{wanted.name}")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        with redirect_stdout(io.StringIO()):
            run = trackio.init(
                project, name=name, group=study, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
            )
        return TrackioRun(run, name)
