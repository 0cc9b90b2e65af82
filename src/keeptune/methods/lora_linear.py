"""peft's plain LoRA linear with a forward and a backward of its own; peft's own forward is the reference.

peft adds B A x to W x by separate operations, each of which writes the layer's output once more and keeps something
for backward. Here the addition goes into the output in place, backward needs the input and A x alone, and nothing is
computed for what does not train: not for W, and not for the input of a layer below which nothing trains.

Shapes: T tokens, K inputs, N outputs, R rank; x [T, K], W [N, K], A [R, K], B [N, R].
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def install(model: nn.Module) -> None:
    """Let the LoRA linears of a peft model take the fast path; all else about them stays peft's."""
    for module in model.modules():
        if type(module) is Linear:  # subclasses know better
            module.__class__ = FastLinear


def uninstall(model: nn.Module) -> None:
    """Undo `install`."""
    for module in model.modules():
        if type(module) is FastLinear:
            module.__class__ = Linear


class FastLinear(Linear):  # type: ignore[misc]
    """A peft LoRA linear. Whether this call is plain enough for the fast path is looked at in every call."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """W x + b + s B A x for x [..., K], as peft computes it."""
        adapter = None if args or kwargs else self._plain_adapter(x)
        if adapter is None:
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        base, a, b = self.base_layer, self.lora_A[adapter].weight, self.lora_B[adapter].weight
        return _LoraProduct.apply(x, base.weight, base.bias, a, b, self.scaling[adapter])  # type: ignore[no-any-return, no-untyped-call]

    def _plain_adapter(self, x: Tensor) -> str | None:
        """The one adapter to add to ``x``; None where anything is out of the ordinary."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if len(active) != 1 or self.disable_adapters or self.merged:
            return None
        adapter = active[0]
        base, a, b, dropout = self.base_layer, self.lora_A[adapter], self.lora_B[adapter], self.lora_dropout[adapter]
        plain = (
            adapter not in self.lora_variant
            and not (dropout.training and getattr(dropout, "p", 0.0))
            and all(type(layer) is nn.Linear and not _hooked(layer) for layer in (base, a, b))
            and a.bias is None
            and b.bias is None
            and all(x.dtype == layer.weight.dtype for layer in (base, a, b))
            and (base.bias is None or base.bias.dtype == x.dtype)
            and not any(parameter.requires_grad for parameter in base.parameters())
            and not torch.is_autocast_enabled(x.device.type)
        )
        return adapter if plain else None


def _hooked(layer: nn.Module) -> bool:
    """Whether somebody wants to see the layer being called."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


class _LoraProduct(torch.autograd.Function):
    """x W^T + b + s (x A^T) B^T. W and b are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        x_TK = x.reshape(-1, x.shape[-1])
        u_TR = x_TK @ a.T
        out_TN = F.linear(x_TK, w, bias).addmm_(u_TR, b.T, alpha=scale)
        ctx.scale = scale
        ctx.save_for_backward(x, u_TR, w, a, b)  # x by reference: the layers that read the same input share it
        return out_TN.view(*x.shape[:-1], len(w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, u_TR, w, a, b = ctx.saved_tensors
        needs_x, _, _, needs_a, needs_b, _ = ctx.needs_input_grad
        grad_TN = grad.reshape(-1, len(w))
        dx = da = db = None
        if needs_b:
            db = (grad_TN.T @ u_TR).mul_(ctx.scale)
        if needs_a or needs_x:
            v_TR = (grad_TN @ b).mul_(ctx.scale)
        if needs_a:
            da = v_TR.T @ x.reshape(-1, x.shape[-1])
        if needs_x:
            dx = (grad_TN @ w).addmm_(v_TR, a).view(x.shape)
        return dx, None, None, da, db, None
