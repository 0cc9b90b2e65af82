"""What one process holds at its peak, line by line, from tensors without data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from keeptune.core.records import MemoryAccount
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.models.quantise import NONE
from keeptune.planning.heap import heap_bytes
from keeptune.planning.trace import Trace
from keeptune.train.optim import MASTER, MOMENTS, SUM

BYTES_PER_WEIGHT = {"nf4": 4.127 / 8, "int8": 1.0}  # QLoRA's double quantisation (arXiv 2305.14314); one per row is 0

KERNELS = 1024  # that oneDNN keeps by default (ONEDNN_PRIMITIVE_CACHE_CAPACITY)


@dataclass(frozen=True)
class Layout:
    """How processes share a training."""

    ranks: int = 1
    sharded: bool = False  # every rank holds a part of each tensor (FSDP); else all of it (DDP)
    offload: bool = False  # what is sharded lies in the host's memory
    checkpointing: bool = False  # activations are computed again in backward

    def __str__(self) -> str:
        base = "FSDP" if self.sharded else "DDP" if self.ranks > 1 else "one process"
        return ", ".join([base, *["offload"] * self.offload, *["checkpointing"] * self.checkpointing])


@dataclass(frozen=True)
class Sizes:
    """Bytes and numbers of an adapted model on paper, that every layout shares."""

    weights: int  # bytes, as they are stored
    dense: int  # bytes of all weights in the model's own dtype
    trained: int  # numbers
    low_precision: bool  # trained weights have float32 masters
    copied: int  # bytes of the base that the method keeps a copy of
    largest_block: int  # bytes of one layer as it computes
    beside_blocks: int  # bytes of what is in no layer: embedding, head, last norm
    widest: int  # bytes of the largest linear layer made plain; 0 where none is packed
    tensors: tuple[int, ...]  # bytes of every tensor, stored
    trained_tensors: tuple[int, ...]  # numbers of every trained tensor

    @classmethod
    def of(cls, lm: LanguageModel, method: Method, *, quantise: str = NONE, copies_base: bool = False) -> Sizes:
        """Of an adapted model; ``copies_base``: see `MethodConfig`."""
        trainable = list(method.trainable(lm.model).values())
        packed = _packed(lm.model, trainable) if quantise != NONE else {}
        rate = BYTES_PER_WEIGHT.get(quantise, 0.0)
        tensors = tuple(
            math.ceil(p.numel() * rate) if id(p) in packed else p.numel() * p.element_size()
            for p in lm.model.parameters()
        )
        blocks = [sum(p.numel() * p.element_size() for p in block.parameters()) for block in _blocks(lm.model)]
        dense = sum(p.numel() * p.element_size() for p in lm.model.parameters())
        return cls(
            weights=sum(tensors),
            dense=dense,
            trained=sum(p.numel() for p in trainable),
            low_precision=any(p.dtype != torch.float32 for p in trainable),
            copied=dense if copies_base else 0,
            largest_block=max(blocks, default=0),
            beside_blocks=dense - sum(blocks),
            widest=max((p.numel() * p.element_size() for p in packed.values()), default=0),
            tensors=tensors,
            trained_tensors=tuple(p.numel() for p in trainable),
        )


def account(
    sizes: Sizes,
    small: Trace,
    large: Trace,
    layout: Layout,
    *,
    tokens: int,
    overhead: int,
    device: str = "cpu",
    kernels: int = 0,
    batches: int = 2,
    base_beside: bool = False,
) -> MemoryAccount:
    """Peak bytes of one rank.

    Of a trained bf16 weight there are 2 bytes of the weight, 4 of its master, 8 of two moments, 4 of its summed
    gradient, and 2 of the gradient just made (`train.optim.MasterAdamW`); of a trained float32 weight 4, 8, 4 and,
    while one tensor is added up, its gradient. Sharded over n ranks each of them is divided by n (ZeRO stage 3, arXiv
    1910.02054); what computes is gathered layer by layer: all that is in no layer, and two layers at a time, the
    gradient of one among them. Between steps, for a validation or a checkpoint, every rank holds all weights.

    Args:
        sizes: of the adapted model.
        small: a trace of fewer tokens.
        large: a trace of more tokens; activations are a straight line through both.
        layout: how ranks share the training.
        tokens: of the micro-batch that the account is for.
        overhead: bytes of libraries and the device's context.
        kernels: bytes of compiled products (see `kernel_bytes`).
        device: its type; on a CPU the host's memory is the device's.
        batches: micro-batches of a step.
        base_beside: the base runs beside the tuned model, so that its copy is on the device.
    """
    share = layout.ranks if layout.sharded else 1
    resident = {
        "weights": sizes.weights // share,
        "masters": MASTER * sizes.trained // share if sizes.low_precision else 0,
        "moments": MOMENTS * sizes.trained // share,
        "summed_gradients": SUM * sizes.trained // share,
    }
    copied = sizes.copied if device == "cpu" or base_beside else 0
    host = sizes.copied - copied
    if layout.offload:
        host += sum(resident.values()) if device != "cpu" else 0
        resident = dict.fromkeys(resident, 0) if device != "cpu" else resident
    alone = device == "cpu" and not layout.sharded and tokens == large.tokens
    return MemoryAccount(
        **resident,
        base_copy=copied,
        activations=_at(small, large, tokens, "kept_bytes"),
        temporaries=_temporaries(sizes, small, large, layout, tokens),
        fragments=_fragments(sizes, large, batches) if alone else 0,
        kernels=kernels,
        reading=sizes.dense if sizes.copied and device == "cpu" else 0,  # freed activations are kept meanwhile
        overhead=overhead,
        host=host,
    )


def _temporaries(sizes: Sizes, small: Trace, large: Trace, layout: Layout, tokens: int) -> int:
    """What is alive at the peak for a short time only: gradients that were just made, and what is gathered."""
    kept, peak = _at(small, large, tokens, "kept_bytes"), _at(small, large, tokens, "peak_bytes")
    if layout.sharded or not sizes.low_precision:  # gradients leave as they are made
        peak = _at(small, large, tokens, "peak_beside_gradients") + (4 * max(sizes.trained_tensors, default=0))
    temporaries = max(peak - kept, 0) + 2 * sizes.widest
    if layout.sharded and layout.ranks * (1 + layout.offload) > 1:
        temporaries += sizes.beside_blocks + 3 * sizes.largest_block
        temporaries = max(temporaries, sizes.dense - kept)  # a validation or checkpoint puts all weights together
    return temporaries


def kernel_bytes(small: Trace, large: Trace, sizes: int, each: int) -> int:
    """What oneDNN keeps of compiled products: it makes one for every shape of operands, and forgets none but the
    oldest of `KERNELS`.

    Args:
        small: a trace of fewer tokens.
        large: a trace of more; products that both have do not depend on the number of tokens.
        sizes: different numbers of tokens that a training's micro-batches have.
        each: bytes of one.
    """
    same = len(small.products & large.products)
    return each * min(KERNELS, same + (len(large.products) - same) * sizes)


def _at(small: Trace, large: Trace, tokens: int, name: str) -> int:
    """A line through two traces."""
    low: int = getattr(small, name)
    high: int = getattr(large, name)
    if small.tokens == large.tokens:
        return high
    return max(0, round(high + (high - low) / (large.tokens - small.tokens) * (tokens - large.tokens)))


def _fragments(sizes: Sizes, traced: Trace, batches: int) -> int:
    """What the C library's heap holds at its largest beyond what is alive then."""
    wide = [4 * n for n in sizes.trained_tensors]
    masters = wide if sizes.low_precision else []
    copies = sizes.tensors if sizes.copied else ()
    sums = wide if sizes.low_precision else [0] * len(wide)
    top = heap_bytes([*sizes.tensors, *copies, *masters], sums, wide, traced, min(batches, 2))
    alive = sum((*sizes.tensors, *copies, *masters, *sums, *wide, *wide)) + traced.peak_bytes
    return max(0, top - alive)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of a transformer: what stands in its lists of modules, the outermost ones."""
    found: list[nn.Module] = []
    for child in model.children():
        found += [*child] if isinstance(child, nn.ModuleList) else _blocks(child)
    return found


def _packed(model: nn.Module, trainable: list[nn.Parameter]) -> dict[int, Tensor]:
    """Weights of linear layers that a quantised base stores in few bits: all but the head's and those that train."""
    ends = {id(model.get_output_embeddings().weight), *map(id, trainable)}  # type: ignore[operator]
    weights = (module.weight for module in model.modules() if isinstance(module, nn.Linear))
    return {id(weight): weight for weight in weights if id(weight) not in ends}
