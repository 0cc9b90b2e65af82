"""AdamW on float32 master weights, with gradients summed over micro-batches in float32."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MasterAdamW:
    """Decoupled AdamW (Loshchilov and Hutter 2019) for parameters of any floating dtype.

    A float32 parameter is its own master. Any other gets a float32 copy that the optimiser updates and that is then
    rounded into the parameter, so that small updates are not lost to bfloat16's eight bits. Weight decay spares
    vectors (biases, norms).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters = list(parameters)
        self.masters = [p if p.dtype == torch.float32 else p.detach().float() for p in self.parameters]
        self._low = [(p, m) for p, m in zip(self.parameters, self.masters, strict=True) if p is not m]
        groups = [
            {"params": [m for m in self.masters if m.ndim >= 2], "weight_decay": weight_decay},
            {"params": [m for m in self.masters if m.ndim < 2], "weight_decay": 0.0},
        ]
        self._adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, fused=True)

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add the parameters' gradients to the masters' and drop them; call after every micro-batch's backward."""
        for parameter, master in self._low:
            if parameter.grad is None:
                continue
            if master.grad is None:
                master.grad = parameter.grad.float()
            else:
                master.grad.add_(parameter.grad)
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> Tensor:
        """Clip by global norm, update, round into the parameters; returns the norm before clipping (scalar tensor)."""
        norm = nn.utils.clip_grad_norm_(self.masters, clip)
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        for parameter, master in self._low:
            parameter.copy_(master)
        return norm
