"""One micro-batch on paper: the trainer's own forward and backward on tensors without data, watched block by block.

What is counted is what the code does, whatever the architecture and the method: no formula per layer can fall behind
it. A formula for one architecture stands in the tests, beside which this is checked.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from keeptune.batching.types import Batch
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.models.paper import standing_for
from keeptune.train.microbatch_autotune import running
from keeptune.train.objective import Objective

Events = tuple[tuple[int, int], ...]  # (number of a block, its bytes where it begins; 0 where it ends)


@dataclass(frozen=True)
class Trace:
    """What forward and backward of one micro-batch take beside the model's parameters."""

    tokens: int  # that the model computes; prefixes that rows share are computed once
    kept_bytes: int  # alive when the loss is known: what backward needs
    peak_bytes: int  # most that is alive at once
    peak_beside_gradients: int  # most that is alive at once, the parameters' gradients left out
    flops: float  # of the products that are run
    operations: int  # that read or write memory
    products: frozenset[Any] = field(repr=False)  # different ones in low precision, by their operands' shapes
    events: Events = field(repr=False)
    gradients: tuple[tuple[int, ...], ...] = field(repr=False)  # block of every trainable parameter's gradient, or none


def trace(
    lm: LanguageModel, method: Method, batch: Batch, *, device: str = "cpu", checkpointing: bool = False
) -> Trace:
    """Run ``lm``, which is on the meta device and adapted, forward and backward over ``batch``.

    Args:
        device: the type of the device that it stands for, "cpu" or "cuda": they attend by other kernels.
        checkpointing: activations are computed again in backward.
    """
    trainable = list(method.trainable(lm.model).values())
    watch = _Watch(lm.model, device)
    batch = batch.to("meta")
    with running(lm, "flat", checkpointing=checkpointing), standing_for(device), watch:
        loss, _ = Objective()(lm, batch)
        kept = watch.alive
        loss.backward()  # type: ignore[no-untyped-call]
        del loss
    blocks = tuple(watch.blocks_of(parameter.grad) for parameter in trainable)
    for parameter in trainable:
        parameter.grad = None
    own = {block for found in blocks for block in found}
    return Trace(
        tokens=batch.computed,
        kept_bytes=kept,
        peak_bytes=watch.peak,
        peak_beside_gradients=_peak((block, size) for block, size in watch.events if block not in own),
        flops=watch.flops,
        operations=watch.operations,
        products=frozenset(watch.products),
        events=tuple(watch.events),
        gradients=blocks,
    )


def _peak(events: Iterator[tuple[int, int]]) -> int:
    sizes: dict[int, int] = {}
    alive = peak = 0
    for block, size in events:
        alive += size - sizes.pop(block, 0)
        if size:
            sizes[block] = size
        peak = max(peak, alive)
    return peak


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation, and when the memory that it fills is given back."""

    def __init__(self, model: nn.Module, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.alive = self.peak = self.operations = 0
        self.flops = 0.0
        self.products: set[Any] = set()
        self.events: list[tuple[int, int]] = []
        self._held = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
        self._known: dict[int, Any] = {id(storage): None for storage in self._held}  # storages, weakly, and their block
        self._blocks: dict[int, int] = {}

    def blocks_of(self, tensor: Tensor | None) -> tuple[int, ...]:
        """The block that a tensor lies in, where it lies in one."""
        block = None if tensor is None else self._blocks.get(id(tensor.untyped_storage()))
        return () if block is None else (block,)

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return True  # transformers asks whether all rows are plain ones
        if self.device == "cpu" and _widens(func, args, kwargs):
            self._begin(len(self.events), 4 * args[0].numel())
        result = func(*args, **kwargs)
        made = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)
            operands = [tensor for tensor in args if isinstance(tensor, Tensor)]
            if operands[-1].dtype != torch.float32:
                self.products.add((func, *((tensor.shape, tensor.stride()) for tensor in operands)))
        fresh = sum(self._note(tensor) for tensor in made)
        self.operations += fresh > 0 or func._schema.is_mutable
        return result

    def _note(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory that was not seen before."""
        storage = tensor.untyped_storage()
        if id(storage) in self._known:
            return False
        number, block, size = id(storage), len(self.events), storage.nbytes()

        def end(_: Any) -> None:
            self._known.pop(number, None)
            self._blocks.pop(number, None)
            self.alive -= size
            self.events.append((block, 0))

        self._known[number] = weakref.ref(storage, end)
        self._blocks[number] = block
        self.alive += size
        self.peak = max(self.peak, self.alive)
        self.events.append((block, size))
        return True

    def _begin(self, block: int, size: int) -> None:
        """A block that is gone again with the operation."""
        self.peak = max(self.peak, self.alive + size)
        self.events += [(block, size), (block, 0)]


def _widens(func: Any, args: Sequence[Any], kwargs: Any) -> bool:
    """Whether a sum of low precision copies its input to float32 first, as torch does on a CPU."""
    wanted = kwargs.get("dtype")
    return func.overloadpacket is torch.ops.aten.sum and wanted not in (None, args[0].dtype)
