"""MLflow: a run for the study, nested runs for its arms, in the experiment $MLFLOW_EXPERIMENT_NAME or "keeptune".

They go to $MLFLOW_TRACKING_URI where that is set, and otherwise to ``mlflow.db``, a file of SQLite beside the run
folder: ``mlflow ui --backend-store-uri sqlite:///runs/mlflow.db``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from keeptune.tracking.base import TRACKERS
from keeptune.tracking.service import Opened, ServiceTracker

EXPERIMENT = "keeptune"
AT_ONCE = 100  # metrics or parameters in one request
LONGEST = 6000  # characters of a value


class MlflowRun:
    """One run of MLflow; metrics are sent in batches."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.id, self._client = run_id, client
        self._waiting: list[Any] = []

    def params(self, values: Mapping[str, object]) -> None:
        """See `Service`."""
        from mlflow.entities import Param

        found = [Param(_key(name), str(value)[:LONGEST]) for name, value in values.items()]
        for start in range(0, len(found), AT_ONCE):
            self._client.log_batch(self.id, params=found[start : start + AT_ONCE])

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """See `Service`."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._waiting += [Metric(_key(name), value, now, step or 0) for name, value in values.items()]
        if len(self._waiting) >= AT_ONCE:
            self._send()

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Service`."""
        for name, value in values.items():
            self._client.set_tag(self.id, _key(name), value)

    def files(self, paths: Sequence[Path]) -> None:
        """See `Service`."""
        for path in paths:
            self._client.log_artifact(self.id, str(path))

    def close(self) -> None:
        """See `Service`."""
        self._send()
        self._client.set_terminated(self.id)

    def _send(self) -> None:
        while self._waiting:
            self._client.log_batch(self.id, metrics=self._waiting[:AT_ONCE])
            del self._waiting[:AT_ONCE]


@TRACKERS.register("mlflow")
class Mlflow(ServiceTracker[MlflowRun]):
    """Runs of MLflow."""

    package: ClassVar[str] = "mlflow"

    @override
    def open(self, wanted: Opened) -> MlflowRun:
        from mlflow import MlflowClient

        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # in the middle of progress bars
        place = wanted.study.resolve().parent
        given = os.environ.get("MLFLOW_TRACKING_URI")
        client = MlflowClient(tracking_uri=given or f"sqlite:///{place / 'mlflow.db'}")
        if wanted.id is not None:
            client.update_run(wanted.id, status="RUNNING")
            return MlflowRun(client, wanted.id)
        artifacts = None if given else (place / "mlflow-artifacts").as_uri()
        experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT), artifacts)
        tags = {"keeptune": wanted.kind} | ({"mlflow.parentRunId": wanted.parent} if wanted.parent else {})
        return MlflowRun(client, client.create_run(experiment, tags=tags, run_name=wanted.name).info.run_id)


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    """The experiment of a name, made where there is none."""
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name, artifacts) if found is None else found.experiment_id)


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^/\w.\- ]", "_", name)
