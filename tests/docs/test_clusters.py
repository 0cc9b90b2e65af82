"""The files of docs/clusters.md, as far as they can be read without a cluster: shell, options, names of fields."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from keeptune.cli.main import app

FOLDER = Path(__file__).parents[2] / "examples" / "clusters"
SLURM, SKY, KUBERAY = ((FOLDER / name).read_text() for name in ("study.slurm", "skypilot.yaml", "kuberay.yaml"))

SBATCH = {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node", "time", "output", "requeue"}
SKY_FIELDS = {"name", "workdir", "num_nodes", "resources", "volumes", "file_mounts", "envs", "secrets", "setup", "run"}
SKY_RESOURCES = {"infra", "cpus", "memory", "accelerators", "instance_type", "use_spot", "disk_size", "image_id"}
RAY_JOB = {
    *("entrypoint", "entrypointNumCpus", "entrypointNumGpus", "backoffLimit", "shutdownAfterJobFinishes"),
    *("ttlSecondsAfterFinished", "submissionMode", "runtimeEnvYAML", "rayClusterSpec"),
}
WORKER_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
CONTAINER = {"name", "image", "command", "args", "env", "ports", "resources", "volumeMounts"}


def check_shell(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_study(text: str) -> None:
    """There is one `keeptune study`, and its options exist."""
    (line,) = re.findall(r"keeptune (study .*?)(?:'|$)", text, re.MULTILINE)
    command: Any = typer.main.get_command(app)
    known = {option for parameter in command.commands["study"].params for option in parameter.opts}
    words = shlex.split(line)
    assert "--on" in words and "--out" in words
    assert {word for word in words if word.startswith("--")} <= known


def test_the_slurm_script() -> None:
    check_shell(SLURM)
    check_study(SLURM)
    lines = SLURM.splitlines()
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert lines[0].startswith("#!") and max(directives) < first  # sbatch reads none behind the first command
    named = [re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", lines[number]) for number in directives]
    assert all(match and match[1] in SBATCH for match in named)
    assert "ntasks-per-node=1" in SLURM and "RAY_USAGE_STATS_ENABLED=0" in SLURM


def test_the_slurm_script_names_options_that_ray_has() -> None:
    scripts = pytest.importorskip("ray.scripts.scripts", reason="Ray is not installed")
    known = {
        option
        for name in ("start", "symmetric_run")
        for parameter in getattr(scripts, name).params
        for option in parameter.opts
    }
    call = SLURM.split("ray symmetric-run")[1].split(" -- ")[0]
    assert set(re.findall(r"--[a-z-]+", call)) <= known


def test_the_skypilot_task() -> None:
    task = yaml.safe_load(SKY)
    assert set(task) <= SKY_FIELDS and set(task["resources"]) <= SKY_RESOURCES
    assert task["num_nodes"] > 1 and all(isinstance(value, str) for value in task["envs"].values())
    for part in (task["setup"], task["run"]):
        check_shell(part)
    check_study(task["run"])
    (place,) = task["volumes"]
    assert f"--out {place}/" in task["run"]


def test_the_kuberay_job() -> None:
    job = yaml.safe_load(KUBERAY)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert set(spec) <= RAY_JOB
    assert set(cluster) <= {"rayVersion", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling"}
    check_shell(spec["entrypoint"])
    check_study(spec["entrypoint"])
    (pinned,) = re.findall(r"^ray==(.*)$", (FOLDER.parents[1] / "constraints.txt").read_text(), re.MULTILINE)
    assert cluster["rayVersion"] == pinned
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert set(group) <= WORKER_GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert set(container) <= CONTAINER
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    assert spec["entrypointNumGpus"] < sum(group.get("replicas", 0) for group in groups)
