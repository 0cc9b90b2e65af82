"""The random numbers that a training draws: dropout. Whatever else is drawn has a generator of its own, by a seed."""

from __future__ import annotations

from typing import Any

import torch


class RandomState:
    """torch's generator on the CPU, and that of the device where it is another."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`; these are copies."""
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw what came next; on a device of another kind its generator stays as it is."""
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.device)
