"""Two and three processes train what one trains, to rounding: replicas and shards, every kind of method and model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rank_cases as work
from safetensors.torch import load_file
from torch.testing import assert_close

from keeptune.data.examples import Encoded
from keeptune.launch.world import ALONE

Rows = Callable[..., list[Encoded]]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def inputs(
    build: Callable[..., Any], tokenizer: Any, branching_rows: Rows, random_rows: Rows, tmp_path_factory: Any
) -> Path:
    """Model folders and rows, for this process and for others."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    for name in work.MODELS[1:]:
        dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if name == "gpt2" else {}
        build(name, **dropout).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    for file, rows in (("rows.json", branching_rows(31)), ("pairs.json", random_rows(31))):
        (folder / file).write_text(json.dumps([(row.prompt_ids, row.completion_ids) for row in rows]))
    return folder


@pytest.fixture(scope="session")
def alone(inputs: Path, tmp_path_factory: Any) -> Callable[[work.Case], tuple[list[float], dict[str, Any]]]:
    """What one process makes of a case, made once."""
    folder, made = tmp_path_factory.mktemp("alone"), {}

    def train(case: work.Case) -> tuple[list[float], dict[str, Any]]:
        if case not in made:
            weights = work.train(case, inputs, folder / case.name, ALONE)
            made[case] = work.losses(folder / case.name), weights
        return made[case]

    return train


def run_group(size: int, *arguments: str | Path) -> None:
    """Run ``rank_cases.py`` in so many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "rank_cases.py"), *map(str, arguments)],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert not any(process.returncode for process in processes), "\n".join(errors)


@pytest.fixture(scope="session", params=[2, 3])
def together(request: pytest.FixtureRequest, inputs: Path, tmp_path_factory: Any) -> Path:
    """The folder in which a group of processes left all cases."""
    out: Path = tmp_path_factory.mktemp(f"ranks{request.param}")
    run_group(request.param, inputs, out)
    return out


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("case", work.CASES, ids=lambda case: case.name)
def test_losses_and_weights_are_those_of_one_process(
    case: work.Case, kind: str, together: Path, alone: Callable[[work.Case], Any]
) -> None:
    expected, weights = alone(case)
    assert work.losses(together / f"{case.name}-{kind}") == pytest.approx(expected, rel=1e-4)
    found = load_file(together / f"{case.name}-{kind}.safetensors")
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        assert_close(found[name], tensor.detach(), rtol=1e-4, atol=0.01 * work.RATES[case.method])
