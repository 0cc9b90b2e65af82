from __future__ import annotations

import pytest
import torch

from keeptune.launch.world import World


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_two_shards_are_the_step_each_row_once(rows: int) -> None:
    step = list(range(rows))
    shards = [list(World(rank, 2).shard(step)) for rank in (0, 1)]
    assert sorted(shards[0] + shards[1]) == step
    assert abs(len(shards[0]) - len(shards[1])) <= 1


def test_one_process_is_the_whole_world() -> None:
    world, tensor = World(), torch.ones(3)
    assert world.is_main and world.shard([4, 5]) == [4, 5] and world.sum(tensor) is tensor
    assert not World(1, 2).is_main


def test_several_processes_without_a_sum_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="how it sums"):
        World(0, 2).sum(torch.ones(1))
