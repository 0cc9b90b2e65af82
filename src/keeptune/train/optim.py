"""AdamW on float32 master weights, with gradients summed over micro-batches in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.launch.world import ALONE, World
from keeptune.train.sharded import own_part, part_like, whole_like

# Bytes that are kept for every trained weight: two moments, the summed gradient, the master of one in low precision.
MOMENTS, SUM, MASTER = 8, 4, 4
BUCKET = 2**24  # elements that are summed over processes at once: 64 MB


class MasterAdamW:
    """Decoupled AdamW (Loshchilov and Hutter 2019) for parameters of any floating dtype.

    A float32 parameter is its own master. Any other gets a float32 copy that the optimiser updates and that is then
    rounded into the parameter, so that small updates are not lost to bfloat16's eight bits. Weight decay spares
    vectors (biases, norms). ``factors``: how many times the learning rate is that of each parameter. ``names``: under
    which its state is kept; numbers by default.

    A sharded parameter is updated where its shards are: everything here is of this process's shard, but for the norm,
    which is that of all gradients, and for `state_dict`, which is of whole tensors.

    Bytes per bf16 parameter: 2 for the weight, 4 each for master, two moments and summed gradient, and up to 2 for the
    gradient that a backward pass has just made: 20 at the peak.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        names: Iterable[str] | None = None,
        factors: Sequence[float] | None = None,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        shards: World = ALONE,
    ) -> None:
        self.parameters, self.shards = list(parameters), shards
        self.names = list(map(str, range(len(self.parameters))) if names is None else names)
        self._parts = [own_part(p.detach()) for p in self.parameters]
        self.masters = [
            parameter if parameter is own_part(parameter) and part.dtype == torch.float32 else part.float()
            for parameter, part in zip(self.parameters, self._parts, strict=True)
        ]
        self._apart = [i for i, p in enumerate(self.parameters) if p is not self.masters[i]]
        self._low = [i for i, part in enumerate(self._parts) if part.dtype != torch.float32]
        self._sums: dict[int, Tensor] = {}  # float32 gradients, kept between steps: fresh pages are slow to get
        groups: dict[tuple[float, bool], list[Tensor]] = {}
        for master, factor in zip(self.masters, factors or [1.0] * len(self.masters), strict=True):
            groups.setdefault((factor, master.ndim >= 2), []).append(master)
        settings: list[dict[str, Any]] = [
            {"params": masters, "weight_decay": weight_decay if matrices else 0.0, "factor": factor}
            for (factor, matrices), masters in groups.items()
        ]
        self._adamw = torch.optim.AdamW(settings, lr=0.0, betas=betas, fused=True)

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add the parameters' gradients to the masters' and drop them; call after every micro-batch's backward."""
        for i in self._apart:
            parameter, master = self.parameters[i], self.masters[i]
            if parameter.grad is None:
                continue
            gradient = own_part(parameter.grad)
            if master.grad is not None:
                master.grad.add_(gradient)
            else:
                if i not in self._sums:
                    self._sums[i] = torch.empty_like(master)
                master.grad = self._sums[i].copy_(gradient)
            parameter.grad = None

    @torch.no_grad()
    def sum_over(self, world: World) -> None:
        """Add up the gradients of all processes, in few large sums; call once before `step`.

        Those of shards came summed out of backward.
        A parameter that has a gradient in some of them counts as zero in the others; one that has none stands still.
        """
        if world.size == 1 or self.shards.size > 1:
            return
        present = world.sum(torch.tensor([float(m.grad is not None) for m in self.masters])).tolist()
        for bucket in buckets([m for m, count in zip(self.masters, present, strict=True) if count]):
            flat = torch.cat([torch.zeros_like(m).flatten() if m.grad is None else m.grad.flatten() for m in bucket])
            parts = torch.split(world.sum(flat), [m.numel() for m in bucket])
            for master, part in zip(bucket, parts, strict=True):
                if master.grad is None:
                    master.grad = torch.empty_like(master)
                master.grad.copy_(part.view_as(master))  # a view of the bucket would keep all buckets to the update

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> Tensor:
        """Clip by global norm, update, round into the parameters; returns the norm before clipping (scalar tensor).

        Where the norm is not finite nothing is done, and the gradients stay for whoever asks what they were.
        """
        norm = _clip([m.grad for m in self.masters if m.grad is not None], clip, self.shards)
        if not torch.isfinite(norm):
            return norm
        for group in self._adamw.param_groups:
            group["lr"] = lr * group["factor"]
        self._adamw.step()
        self.drop()
        self._round()
        return norm

    def drop(self) -> None:
        """Forget all gradients, also those of a step that was broken off."""
        for tensor in (*self.parameters, *self.masters):
            tensor.grad = None

    def untouched(self) -> list[int]:
        """Indices of the parameters that no gradient has reached in any step."""
        return [i for i, master in enumerate(self.masters) if master not in self._adamw.state]

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`: of every parameter the exact weight, and what AdamW keeps once it had a gradient.

        Tensors are whole, whatever is sharded: all processes have to ask.
        """
        state: dict[str, Any] = {}
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            kept = {"master": master.detach(), **self._adamw.state.get(master, {})}
            state |= {f"{name}.{kind}": _map(kind, part, parameter, whole_like) for kind, part in kept.items()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over weights and moments; the parameters get the weights, too."""
        kept: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            name, _, kind = key.rpartition(".")
            kept.setdefault(name, {})[kind] = tensor
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            parts = {kind: _map(kind, whole, parameter, part_like) for kind, whole in kept[name].items()}
            master.copy_(parts.pop("master"))
            if parts:
                self._adamw.state[master] = {k: t.to(master.device, copy=True) for k, t in parts.items()}
        self._round()

    def _round(self) -> None:
        """Every parameter of low precision is its master, rounded."""
        if self._low:
            torch._foreach_copy_([self._parts[i] for i in self._low], [self.masters[i] for i in self._low])


def state_bytes(dtype: torch.dtype) -> int:
    """What `MasterAdamW` holds for every weight of a dtype; the gradient of a float32 weight is its own sum."""
    return MOMENTS if dtype == torch.float32 else MOMENTS + SUM + MASTER


def optimizer_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """What `MasterAdamW` will hold for all of them."""
    return sum(p.numel() * state_bytes(p.dtype) for p in parameters)


def _map(name: str, tensor: Tensor, parameter: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``change`` of what AdamW keeps for every weight; its count of steps is one number for all of them."""
    return tensor if name == "step" else change(tensor, parameter)


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in groups of at most `BUCKET` elements; a larger one is a group of its own."""
    group: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if group and size + tensor.numel() > BUCKET:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.numel()
    if group:
        yield group


def _clip(gradients: list[Tensor], clip: float, shards: World = ALONE) -> Tensor:
    """Scale float32 gradients in place to a norm over all ``shards`` of at most ``clip``; returns the norm before.

    As `torch.nn.utils.clip_grad_norm_`, but a norm that is not finite scales nothing; and where looking at the norm
    costs nothing, on a CPU, a factor of one is not multiplied through the whole model.
    """
    norm = nn.utils.get_total_norm(gradients)
    if shards.size > 1:
        norm = shards.sum(norm.square()).sqrt()
    factor = torch.where(torch.isfinite(norm), (clip / (norm + 1e-6)).clamp(max=1.0), 1.0)
    if factor.device.type != "cpu" or float(factor) != 1.0:
        torch._foreach_mul_(gradients, factor)
    return norm
