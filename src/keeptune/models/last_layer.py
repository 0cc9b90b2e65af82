"""The last decoder layer at the rows that the head sees: of all other rows it only has to know keys and values.

Queries and attention are computed for every row, as transformers' attention modules do; the projection behind
attention, the feed-forward layer and the norms are not. T rows of the batch, U kept ones, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from keeptune.models.loaded import unwrapped

# The norms of a layer by where they stand: before attention, behind it, before the feed-forward layer, behind it.
SHAPES = (
    ("input_layernorm", None, "post_attention_layernorm", None),  # Llama and most that came after
    ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"),  # Gemma
    (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),  # OLMo 2
)


@contextmanager
def last_layer_at(model: nn.Module, rows: Tensor | None) -> Iterator[bool]:
    """Within, the last layer gives [1, U, D], its output at ``rows`` [U].

    Yields False where it gives all T rows: ``rows`` is None, the parts of the layer have unknown names, or backward
    runs layers a second time (gradient checkpointing), when nothing is replaced any more.

    What a layer does is a guess by the names that transformers gives its parts: compare its logits with the model's.
    """
    found = None if rows is None else _last_layer(model)
    if found is None or rows is None:
        yield False
        return
    layer, shape = found
    attention: Any = layer.self_attn
    picking = attention.o_proj.register_forward_pre_hook(lambda _, given: (given[0].index_select(1, rows), *given[1:]))
    norms = [getattr(layer, name) if name else nn.Identity() for name in shape]
    before_attention, behind_attention, before_mlp, behind_mlp = norms

    def forward(hidden_states: Tensor, **arguments: Any) -> Tensor:
        attended = attention(hidden_states=before_attention(hidden_states), **arguments)[0]
        hidden = hidden_states.index_select(1, rows) + behind_attention(attended)
        result: Tensor = hidden + behind_mlp(layer.mlp(before_mlp(hidden)))
        return result

    layer.forward = forward
    try:
        yield True
    finally:
        del layer.forward
        picking.remove()


def _last_layer(model: nn.Module) -> tuple[Any, tuple[str | None, ...]] | None:
    """The last layer of a model, and which of `SHAPES` it has; None where it is to be computed whole."""
    layers = getattr(getattr(unwrapped(model), "model", None), "layers", None)
    layer: Any = layers[-1] if isinstance(layers, nn.ModuleList) and len(layers) else None
    if layer is None or (layer.training and getattr(layer, "gradient_checkpointing", False)):
        return None
    parts = {name for name, _ in layer.named_children()}
    shape = next((shape for shape in SHAPES if parts == {"self_attn", "mlp", *filter(None, shape)}), None)
    return (layer, shape) if shape is not None and hasattr(layer.self_attn, "o_proj") else None
