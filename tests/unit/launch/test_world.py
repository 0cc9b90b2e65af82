from __future__ import annotations

import pytest
import torch

from keeptune.launch.world import World


def test_one_process_is_the_whole_world() -> None:
    world, tensor = World(), torch.ones(3)
    assert world.is_main and world.sum(tensor) is tensor
    assert world.gather(b"x") == [b"x"] and world.first(lambda: b"y") == b"y"
    assert not World(1, 2).is_main


def test_several_processes_without_a_sum_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="how it sums"):
        World(0, 2).sum(torch.ones(1))
