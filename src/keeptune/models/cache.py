"""Keys and values of earlier tokens, kept for generation: one slot per row, and once what all rows begin with.

Shapes: B rows, n rows that are new, W slots, T tokens of a flat row, K key/value heads, D width of a head, L tokens
that a slot holds, P tokens of the shared prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor

from keeptune.core.errors import ModelError

GRAIN = 32  # slots grow by so many tokens: every size is a new shape, for which matrix products are set up anew


class KeyValue(NamedTuple):
    """What attention keeps of a token in one layer; keys are as attention uses them, with their positions in them."""

    key: Tensor
    value: Tensor


class PromptCache(Protocol):
    """What `flat_logits` takes keys and values from, and gives them to."""

    def prefix(self, layer: int) -> KeyValue | None:
        """[K, P, D] of a prefix that all roots of the batch go on from; their positions start at P."""
        ...

    def store(self, layer: int | None, key: Tensor, value: Tensor) -> None:
        """Takes [K, T, D] of the flat row; called once per layer."""
        ...


@dataclass(eq=False)
class Capture:
    """A `PromptCache` that keeps a flat row whole."""

    layers: dict[int, KeyValue] = field(default_factory=dict)  # [K, T, D]

    def prefix(self, layer: int) -> None:
        """Nothing: the row begins at position 0."""
        return

    def store(self, layer: int | None, key: Tensor, value: Tensor) -> None:
        """Keep a layer.

        Raises:
            ModelError: layers cannot be told apart, so that nothing can be found again.
        """
        if layer is None or layer in self.layers:
            raise ModelError("attention layers without numbers of their own cannot be cached")
        self.layers[layer] = KeyValue(key.contiguous(), value.contiguous())

    def token_bytes(self) -> int:
        """Bytes that one token takes in all layers."""
        tensors = [tensor for layer in self.layers.values() for tensor in layer]
        return sum(tensor.nbytes // tensor.shape[1] for tensor in tensors)


@dataclass(frozen=True, eq=False)
class Prefix:
    """A `PromptCache` of tokens that all later batches go on from."""

    length: int  # P
    layers: Mapping[int, KeyValue]  # [K, P, D]

    def prefix(self, layer: int) -> KeyValue:
        """The tokens' keys and values."""
        return self.layers[layer]

    def store(self, layer: int | None, key: Tensor, value: Tensor) -> None:
        """Nothing of the later batches is kept."""


@dataclass(eq=False)
class Slots:
    """Keys and values of W rows. Slots stay contiguous, [W, K, L, D], and L follows the longest row.

    ``shared`` holds what all rows begin with, [K, P, D] per layer, so that slots hold the P-th token and on.
    """

    shapes: Mapping[int, KeyValue]  # [K, T, D] per layer: heads, widths, dtype and device; T does not matter
    shared: Mapping[int, KeyValue]  # empty where nothing is shared
    width: int
    length: int = 0
    own: dict[int, KeyValue] = field(default_factory=dict)  # [W, K, L, D]

    def resize(self, length: int, rows: int) -> None:
        """Make L = ``length``, keeping the first ``rows`` slots, cut or with room behind.

        Room is filled with zeros: what is masked has weight 0, and 0 times whatever stood there might be NaN.
        """
        kept = min(length, self.length)
        for layer, like in self.shapes.items():
            fresh = KeyValue(*(x.new_zeros(self.width, x.shape[0], length, x.shape[2]) for x in like))
            if kept and rows:
                for new, old in zip(fresh, self.own[layer], strict=True):
                    new[:rows, :, :kept] = old[:rows, :, :kept]
            self.own[layer] = fresh  # layer by layer, so that only one exists twice
        self.length = length

    def move(self, sources: Tensor, targets: Tensor, length: int) -> None:
        """Copy the first ``length`` tokens of slots ``sources`` over ``targets``, both [n]; no slot is in both."""
        for layer in self.own.values():
            for tensor in layer:
                tensor[targets, :, :length] = tensor[sources, :, :length]


@dataclass(eq=False)
class Fill:
    """A `PromptCache` that writes n prompts into the slots from ``first`` on."""

    slots: Slots
    first: int
    index: Tensor  # [n, L'] int64 into the flat row: the token that goes where; behind a prompt's end any token

    def prefix(self, layer: int) -> KeyValue | None:
        """What all rows begin with."""
        return self.slots.shared.get(layer)

    def store(self, layer: int | None, key: Tensor, value: Tensor) -> None:
        """Take each prompt's tokens out of the flat row."""
        assert layer is not None  # `Capture` has seen every layer
        n, length = self.index.shape
        for stored, given in zip(self.slots.own[layer], (key, value), strict=True):
            picked = given.index_select(1, self.index.reshape(-1)).view(-1, n, length, given.shape[2])
            stored[self.first : self.first + n, :, :length] = picked.transpose(0, 1)
