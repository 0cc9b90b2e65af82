"""AdamW on float32 master weights, with gradients summed over micro-batches in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.launch.world import World


class MasterAdamW:
    """Decoupled AdamW (Loshchilov and Hutter 2019) for parameters of any floating dtype.

    A float32 parameter is its own master. Any other gets a float32 copy that the optimiser updates and that is then
    rounded into the parameter, so that small updates are not lost to bfloat16's eight bits. Weight decay spares
    vectors (biases, norms). ``factors``: how many times the learning rate is that of each parameter. ``names``: under
    which its state is kept; numbers by default.

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
    ) -> None:
        self.parameters = list(parameters)
        self.names = list(map(str, range(len(self.parameters))) if names is None else names)
        self.masters = [p if p.dtype == torch.float32 else p.detach().float() for p in self.parameters]
        self._low = [i for i, p in enumerate(self.parameters) if p is not self.masters[i]]
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
        for i in self._low:
            parameter, master = self.parameters[i], self.masters[i]
            if parameter.grad is None:
                continue
            if master.grad is not None:
                master.grad.add_(parameter.grad)
            else:
                if i not in self._sums:
                    self._sums[i] = torch.empty_like(master)
                master.grad = self._sums[i].copy_(parameter.grad)
            parameter.grad = None

    @torch.no_grad()
    def sum_over(self, world: World) -> None:
        """Add up the gradients of all processes; call once before `step`.

        A parameter that has a gradient in some of them counts as zero in the others; one that has none stands still.
        """
        if world.size == 1:
            return
        present = world.sum(torch.tensor([float(m.grad is not None) for m in self.masters])).tolist()
        for master, count in zip(self.masters, present, strict=True):
            if count:
                master.grad = world.sum(torch.zeros_like(master) if master.grad is None else master.grad)

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> Tensor:
        """Clip by global norm, update, round into the parameters; returns the norm before clipping (scalar tensor).

        Where the norm is not finite nothing is done, and the gradients stay for whoever asks what they were.
        """
        norm = _clip([m.grad for m in self.masters if m.grad is not None], clip)
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
        """See `Stateful`: of every parameter the exact weight, and what AdamW keeps once it had a gradient."""
        state: dict[str, Any] = {}
        for name, master in zip(self.names, self.masters, strict=True):
            state[f"{name}.master"] = master.detach()
            state |= {f"{name}.{kind}": kept for kind, kept in self._adamw.state.get(master, {}).items()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over weights and moments; the parameters get the weights, too."""
        kept: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            name, _, kind = key.rpartition(".")
            kept.setdefault(name, {})[kind] = tensor
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(kept[name].pop("master"))
            if kept[name]:
                self._adamw.state[master] = {k: t.to(master.device, copy=True) for k, t in kept[name].items()}
        self._round()

    def _round(self) -> None:
        """Every parameter of low precision is its master, rounded."""
        if self._low:
            torch._foreach_copy_([self.parameters[i] for i in self._low], [self.masters[i] for i in self._low])


def _clip(gradients: list[Tensor], clip: float) -> Tensor:
    """Scale float32 gradients in place to a global norm of at most ``clip``; returns the norm before.

    As `torch.nn.utils.clip_grad_norm_`, but a norm that is not finite scales nothing; and where looking at the norm
    costs nothing, on a CPU, a factor of one is not multiplied through the whole model.
    """
    norm = nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm):
        return norm
    factor = (clip / (norm + 1e-6)).clamp(max=1.0)
    if factor.device.type != "cpu" or float(factor) != 1.0:
        torch._foreach_mul_(gradients, factor)
    return norm
