"""A made-up study, read back through every service's own reader."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from told import LOSSES, tell

from keeptune.tracking.base import TRACKERS, Tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that other people maintain


def tracker(name: str) -> Tracker:
    pytest.importorskip(name, reason=f"keeptune[{name}] is not installed", exc_type=ImportError)
    TRACKERS[name].check()
    return TRACKERS[name]()


def test_tensorboard(tmp_path: Path) -> None:
    made = tracker("tensorboard")
    summary, name = tell(made, made, tmp_path / "mine")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(run: str) -> EventAccumulator:
        return EventAccumulator(str(tmp_path / "mine" / "tensorboard" / run)).Reload()

    arm, study = read(name), read("study")
    assert [(event.step, event.value) for event in arm.Scalars("train/loss")] == list(enumerate(LOSSES, 1))
    assert [event.value for event in arm.Scalars("test/orders")] == [0.75]
    shown = study.Tensors("headline/text_summary")[0].tensor_proto.string_val[0].decode()
    assert shown == summary.recommendation.headline


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    made = tracker("wandb")
    summary, _ = tell(made, made, tmp_path / "mine")
    from wandb.proto.wandb_internal_pb2 import Record

    groups, losses, summaries = set(), [], {}
    for file in (tmp_path / "mine" / "wandb").glob("offline-run-*/*.wandb"):
        for record in map(Record.FromString, transaction_log(file.read_bytes())):
            if record.HasField("run"):
                groups.add(record.run.run_group)
            for item in record.history.item:
                if (item.key or "/".join(item.nested_key)) == "train/loss":
                    losses.append(float(item.value_json))
            for item in record.summary.update:
                summaries[item.key or "/".join(item.nested_key)] = item.value_json
    assert losses == list(LOSSES)
    assert len(groups) == 1
    assert summaries["test/orders"] == "0.75"
    assert summary.recommendation.headline in summaries["headline"]


def transaction_log(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: blocks of 32 KiB as in LevelDB's log, of which records may fill several."""
    place, record = 7, b""  # behind the file's own header
    while place + 7 <= len(data):
        if (room := -place % 32768) < 7 and room:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    made = tracker("trackio")
    _, name = tell(made, made, tmp_path / "mine")
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    runs = {run.name.rpartition("/")[2]: run for run in trackio.Api().runs("keeptune")}
    logs = SQLiteStorage.get_logs("keeptune", runs[name].name)
    assert [row["train/loss"] for row in logs if "train/loss" in row] == list(LOSSES)
    assert [row["test/orders"] for row in logs if "test/orders" in row] == [0.75]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on loopback."""
    pytest.importorskip("mlflow", reason="keeptune[mlflow] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--artifacts-destination", str(tmp_path)]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *store]
    with (tmp_path / "server.log").open("w") as log:
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            yield _answering(f"http://127.0.0.1:{port}", process, tmp_path / "server.log")
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
            process.wait(30)


def _answering(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_mlflow_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    made = tracker("mlflow")
    summary, name = tell(made, made, tmp_path / "mine")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server)
    found = client.get_experiment_by_name("keeptune")
    assert found is not None
    runs = {run.info.run_name: run for run in client.search_runs([found.experiment_id])}
    study, arm = runs["mine"], runs[name]
    assert arm.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    history = client.get_metric_history(arm.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == list(enumerate(LOSSES, 1))
    assert arm.data.params["lr"] == "0.001" and arm.data.metrics["test/orders"] == 0.75
    judged = next(a for a in summary.arms if a.name == name)
    assert {arm.data.tags[f"verdict/{v.suite}"] for v in judged.suites} == {v.verdict for v in judged.suites}
    assert study.data.tags["headline"] == summary.recommendation.headline
    kept = {file.path for file in client.list_artifacts(study.info.run_id)}
    assert {"summary.json", "report.html", "arms.csv", "suites.csv"} <= kept


@pytest.mark.slow
def test_mlflow_without_a_server_keeps_sqlite_beside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = tracker("mlflow")
    tell(made, made, tmp_path / "runs" / "mine")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (study,) = client.search_runs(["1"], "tags.keeptune = 'study'")
    assert study.info.artifact_uri.startswith((tmp_path / "runs" / "mlflow-artifacts").as_uri())
