"""How worker processes begin."""

from __future__ import annotations

import sys

import torch

from keeptune.study.schedule import processes


def test_workers_of_a_cpu_are_copies_and_those_of_a_gpu_are_not() -> None:
    copies = sys.platform == "linux" and not torch.cuda.is_available()
    assert processes._context("cpu").get_start_method() == ("forkserver" if copies else "spawn")
    assert processes._context("cuda:0").get_start_method() == "spawn"
