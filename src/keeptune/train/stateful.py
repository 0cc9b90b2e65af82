"""What a training that goes on in another process has to be told."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """A part of a training that remembers something from step to step.

    A fresh object that loads the state goes on to the same bits. States are taken between two steps.
    """

    def state_dict(self) -> dict[str, Any]:
        """Tensors, and values that JSON knows. Tensors are those in use: copy or write them before the next step."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; call it before the first step."""
        ...
