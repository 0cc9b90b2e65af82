"""The examples in the docstrings that people start from are true."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.data.examples import Encoded
from keeptune.launch.world import World
from keeptune.methods.base import Method
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.tracking.base import TRACKERS, Callback, Tracker
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.base import Remedy
from keeptune.train.remedies.kl import KlConfig

EXPLAINED = [fit, load, LanguageModel, Method, Remedy, Callback, Tracker, World]


@pytest.mark.parametrize("explained", EXPLAINED, ids=lambda each: each.__name__)
def test_its_example_is_true(explained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names_of_all = tuple(TRACKERS)  # imports their modules: what these register is not to be forgotten
    monkeypatch.setattr(TRACKERS, "_classes", {name: TRACKERS[name] for name in names_of_all})
    names: dict[str, Any] = {
        "lm": load("builtin", device="cpu"),
        "rows": [Encoded(f"row{i}", (18, 770 + i), (461, 2)) for i in range(8)],
        "folder": tmp_path,
        "torch": torch,
    }
    known = (fit, load, TrainConfig, LoraConfig, KlConfig, Callback, Tracker, World)
    names |= {each.__name__: each for each in known} | {"TRACKERS": TRACKERS}
    text = inspect.getdoc(explained) or ""
    example = doctest.DocTestParser().get_doctest(text, names, explained.__name__, None, 0)
    assert example.examples
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)
