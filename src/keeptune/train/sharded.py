"""Where the weights of a training are: whole in every process, or in shards.

Sharded, a training runs on a twin of the model whose weights are spread over the processes by torch's ``fully_shard``,
layer by layer: masters, moments and gradients exist once in the world and not once in every process. The model itself
stays what it was, an ordinary module, and gets its weights back, gathered tensor by tensor, whenever somebody looks at
it: for validation, for scores, for a checkpoint. So nothing but a step knows of shards; in return the weights alone, in
the model's precision, have to fit on every device.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from keeptune.batching.types import Batch
from keeptune.launch.world import World
from keeptune.methods.partial import layer_stacks
from keeptune.models.language_model import LanguageModel
from keeptune.models.loaded import unwrapped

T = TypeVar("T")


@dataclass(frozen=True)
class Sharding:
    """That weights are sharded, and how."""

    offload: bool = False  # masters, moments and shards in host memory; for GPUs


class Weights(Protocol):
    """Where the weights of a training are."""

    lm: LanguageModel  # that steps run on

    def run(self, work: Callable[[], T]) -> T:
        """A forward pass, and what is looked at within it."""
        ...

    def training(self) -> AbstractContextManager[None]:
        """Within, steps may come; afterwards the model holds all its weights."""
        ...

    def even(self, batches: list[Batch], spare: Callable[[], Batch]) -> list[Batch]:
        """The micro-batches of this process's share, as many as the processes have to run."""
        ...

    def whole(self) -> AbstractContextManager[None]:
        """Within, the model holds all its weights as they are now; all processes enter together."""
        ...


class WholeWeights:
    """All of them in every process; sums over gradients keep them alike."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm

    def run(self, work: Callable[[], T]) -> T:
        """Just so."""
        return work()

    def even(self, batches: list[Batch], spare: Callable[[], Batch]) -> list[Batch]:
        """As they are: no process waits for another one within a step."""
        return batches

    def training(self) -> AbstractContextManager[None]:
        """They are never gone."""
        return nullcontext()

    def whole(self) -> AbstractContextManager[None]:
        """They always are."""
        return nullcontext()


class ShardedWeights:
    """A shard of them in every process. Backward leaves each process its shard of the gradients, summed over all.

    Args:
        lm: an adapted model, whose weights are the same in all processes.
        world: the processes.
        sharding: see `Sharding`.
    """

    def __init__(self, lm: LanguageModel, world: World, sharding: Sharding) -> None:
        self._plain, self._world = lm.model, world
        self._twin = twin(lm.model)
        self._root = shard(self._twin, world, lm.device, sharding)
        self.lm = replace(lm, model=self._twin)

    def run(self, work: Callable[[], T]) -> T:
        """As the forward pass of the root: embeddings, norm and head are whole until backward has used them."""
        with warnings.catch_warnings():  # T5's layers hand on a view, which nobody changes in place
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
            result: T = self._root(work)
        return result

    def even(self, batches: list[Batch], spare: Callable[[], Batch]) -> list[Batch]:
        """With micro-batches of no weight behind them: every process enters the collectives equally often."""
        counts = torch.zeros(self._world.size, dtype=torch.int64)
        counts[self._world.rank] = len(batches)
        missing = int(self._world.sum(counts).max()) - len(batches)
        if not missing:
            return batches
        return [*batches, *[without_weight(batches[-1] if batches else spare())] * missing]

    @contextmanager
    def training(self) -> Iterator[None]:
        """After an error the model has weights of the right shapes, but nobody knows which: peers may be gone."""
        self._fill(lambda shard: None)
        try:
            yield
        except BaseException:
            self._fill(lambda shard: torch.empty(shard.shape, dtype=shard.dtype))
            raise
        self._fill(whole_tensor)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gathered tensor by tensor, and given up again."""
        self._fill(whole_tensor)
        yield
        self._fill(lambda shard: None)

    @torch.no_grad()
    def _fill(self, make: Callable[[Tensor], Tensor | None]) -> None:
        """Give the model's parameters what ``make`` makes of their shards, or nothing."""
        shards = dict(self._twin.named_parameters())
        for name, parameter in self._plain.named_parameters():
            made = make(shards[name])
            parameter.data = parameter.data.new_empty(0) if made is None else made.to(self.lm.device)


class _Root(nn.Module):
    """Its forward is whatever is done with the model, since engines call parts of it and read its head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        return work()


def twin(model: nn.Module) -> nn.Module:
    """A model of the same modules around the same parameters and buffers."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=shared)


def shard(model: nn.Module, world: World, device: torch.device, sharding: Sharding) -> nn.Module:
    """Spread the parameters of ``model`` over the processes; what is returned has to be called around all its work.

    A layer is a unit, and what is in no layer is the root's. Gradients are summed in float32 and not averaged: the
    loss is divided by the weight of the whole global batch before.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (world.size,)),
        "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32),
        "offload_policy": CPUOffloadPolicy() if sharding.offload else OffloadPolicy(),
    }
    for stack in layer_stacks(unwrapped(model)).values():
        for layer in stack:
            fully_shard(layer, **settings)
    root: nn.Module = _Root(model)
    fully_shard(root, reshard_after_forward=False, **settings)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # gloo sums where it is asked for a mean (pytorch issue 162338)
            module.set_force_sum_reduction_for_comms(True)
    return root


def without_weight(batch: Batch) -> Batch:
    """The batch with targets that count for nothing, and tokens that nobody counts."""
    return replace(batch, weights=torch.zeros_like(batch.weights), weight=0.0, tokens=0)


def own_part(tensor: Tensor) -> Tensor:
    """What of a tensor is in this process: its shard, or all of it; no copy."""
    return tensor.to_local() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def whole_tensor(tensor: Tensor) -> Tensor:
    """The tensor put together from all processes, which all have to ask; itself where it is not sharded."""
    found: Tensor = tensor.detach().full_tensor() if _is_sharded(tensor) else tensor.detach()  # type: ignore[attr-defined]
    return found


def whole_like(part: Tensor, tensor: Tensor) -> Tensor:
    """What the parts of all processes make, where each is as large as that process's shard of ``tensor``."""
    if not _is_sharded(tensor):
        return part
    from torch.distributed.tensor import DTensor

    like: Any = tensor
    return whole_tensor(
        DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    )


def part_like(whole: Tensor, tensor: Tensor) -> Tensor:
    """This process's part of a tensor that all have whole, sharded as ``tensor`` is."""
    if not _is_sharded(tensor):
        return whole
    from torch.distributed.tensor import distribute_tensor

    like: Any = tensor
    return own_part(distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None))


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local") and hasattr(tensor, "placements")
