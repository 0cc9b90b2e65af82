"""Files of a checkpoint that are cut short, changed by a bit or gone: it is not believed."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from keeptune.train.checkpoints.folder import CheckpointFolder, State, Unusable

KEY = "a" * 64


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training's folder with records and the best weights so far."""
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "steps.jsonl").write_text('{"step": 1}\n')
    (folder / "model" / "config.json").write_text('{"size": 3}')
    (folder / "model" / "model.safetensors").write_bytes(bytes(range(200)))
    return folder


def state() -> State:
    draw = torch.Generator().manual_seed(0)
    tensors = {"w.master": torch.randn(5, 4, generator=draw), "w.step": torch.tensor(3.0)}
    return State({"best": {"step": 2, "loss": 1.5}, "optimizer": {}}, {"optimizer": tensors})


def damage(place: Path, seed: int) -> str:
    """What was done to one of the files."""
    draw = random.Random(seed)
    file = draw.choice(sorted(path for path in place.rglob("*") if path.is_file()))
    data, kind = bytearray(file.read_bytes()), draw.choice(["cut", "bit", "gone", "longer", "zeros"])
    file.unlink()  # the run's own file of the same name stays as it is
    if kind == "cut":
        file.write_bytes(data[: draw.randrange(len(data))])
    elif kind == "bit":
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
    elif kind == "longer":
        file.write_bytes(data + b" ")
    elif kind == "zeros":  # what a file system may leave after power was lost
        file.write_bytes(bytes(len(data)))
    return kind


def test_what_is_whole_is_read_and_put_back(run: Path) -> None:
    files = CheckpointFolder(KEY, run, ("model", "steps.jsonl", "validation.jsonl"))
    place = run / "step"
    files.write(place, 2, state())
    found = CheckpointFolder(KEY, run, ()).read(place)
    assert found.values == state().values
    for name, tensor in state().tensors["optimizer"].items():
        assert torch.equal(found.tensors["optimizer"][name], tensor)
    with (run / "steps.jsonl").open("a") as file:
        file.write('{"step": 2}\n')
    (run / "validation.jsonl").write_text("of a step that will be taken again")
    shutil.rmtree(run / "model")
    files.restore(place)
    assert (run / "steps.jsonl").read_text() == '{"step": 1}\n'
    assert (run / "model" / "model.safetensors").read_bytes() == bytes(range(200))
    assert not (run / "validation.jsonl").exists()


def test_no_damage_is_believed(run: Path, tmp_path: Path, long_form: bool) -> None:
    files = CheckpointFolder(KEY, run, ("model", "steps.jsonl"))
    place, kinds = run / "step", Counter[str]()
    files.write(place, 2, state())
    for seed in range(1000 if long_form else 60):
        broken = tmp_path / "broken"
        shutil.copytree(place, broken)
        kinds[damage(broken, seed)] += 1
        with pytest.raises(Unusable):
            files.read(broken)
        shutil.rmtree(broken)
    print(dict(kinds))
    files.read(place)
