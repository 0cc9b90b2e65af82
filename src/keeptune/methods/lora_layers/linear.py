"""peft's plain LoRA linear with a forward and a backward of its own; peft's own forward is the reference.

peft adds B A x to W x by separate operations, each of which writes the layer's output once more and keeps something
for backward. Here the addition goes into the output in place, backward needs the input and A x alone, and nothing is
computed for what does not train: not for W, and not for the input of a layer below which nothing trains.

Shapes: T tokens, K inputs, N outputs, R rank; x [T, K], W [N, K], A [R, K], B [N, R].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import Linear, LoraLayer, ParamWrapper
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


@contextmanager
def switched_off(model: nn.Module) -> Iterator[None]:
    """Within, LoRA layers add nothing. peft's own switch, turned on again, makes *every* A and B trainable."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


@dataclass(frozen=True)
class Addition:
    """What LoRA adds to one weight W: s B A, transposed where W is stored the other way round.

    Experts are stacked in one W [E, N, K]; each has R rows of A and R columns of B to itself.
    """

    name: str  # of W in the base model
    weight: nn.Parameter  # W
    a: nn.Parameter  # [R, K], of experts [E R, K]
    b: nn.Parameter  # [N, R], of experts [N, R E]
    scale: float
    transposed: bool  # W is [K, N]: GPT-2's linear layers, embeddings, some experts

    @property
    def trains(self) -> bool:
        """Whether A and B are trained."""
        return self.a.requires_grad or self.b.requires_grad

    def delta(self) -> Tensor:
        """s B A in W's shape, float32."""
        a, b = self._factors()
        delta = self.scale * (b @ a)
        return delta.mT if self.transposed else delta

    def add(self) -> None:
        """Put s B A into W itself: in float32, and rounded to W's dtype once; builds no graph."""
        with torch.no_grad():
            self.weight.copy_(self.weight.float() + self.delta())

    def squared_length(self) -> Tensor:
        """The sum of squares of `delta`, s^2 tr(A^T B^T B A) = s^2 sum (A A^T) (B^T B): nothing of W's size is made."""
        a, b = self._factors()
        return self.scale**2 * ((a @ a.mT) * (b.mT @ b)).sum()

    def _factors(self) -> tuple[Tensor, Tensor]:
        """A and B in float32, of experts [E, R, K] and [E, N, R]."""
        a, b = self.a.float(), self.b.float()
        if self.weight.ndim < 3:
            return a, b
        experts = len(self.weight)
        return a.reshape(experts, -1, a.shape[-1]), b.reshape(len(b), -1, experts).permute(2, 0, 1)


def additions(model: nn.Module) -> Iterator[Addition]:
    """What the active adapter of a peft model adds, layer by layer."""
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            adapter = layer.active_adapters[0]
            embedding = adapter in layer.lora_embedding_A
            if not embedding and adapter not in layer.lora_A:
                continue  # another adapter's layer
            inside = name.removeprefix("base_model.model.").replace(".base_layer", "")
            weight = layer.get_param() if isinstance(layer, ParamWrapper) else layer.get_base_layer().weight
            yield Addition(
                name=f"{inside}.{getattr(layer, 'parameter_name', 'weight')}",
                weight=weight,
                a=layer.lora_embedding_A[adapter] if embedding else layer.lora_A[adapter].weight,
                b=layer.lora_embedding_B[adapter] if embedding else layer.lora_B[adapter].weight,
                scale=layer.scaling[adapter],
                transposed=embedding or getattr(layer, "fan_in_fan_out", False) or _expert_by_input(layer),
            )


def _expert_by_input(layer: nn.Module) -> bool:
    """Whether ``layer`` adds to experts that are stored as [E, K, N]."""
    return isinstance(layer, ParamWrapper) and layer.get_param().ndim == 3 and not layer._did_swap_in_out_features


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
            and not (torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type))
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
