"""OSF: weights train in the subspace that their largest singular values leave free (arXiv 2504.07097)."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import nn
from typing_extensions import override

from keeptune.methods.base import METHODS, task_type
from keeptune.methods.peft import TAKES_APART, PeftMethodConfig


@METHODS.register("osf")
class OsfConfig(PeftMethodConfig):
    """OSF: of every weight, the singular directions that the base uses least train. Made against forgetting."""

    kept: float = Field(0.5, gt=0, lt=1)
    """Share of the singular directions, the largest ones, that are frozen."""
    target_modules: tuple[str, ...] | None = None
    """Linear layers, by name or the end of it; by default all of them."""
    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)

    @override
    def peft(self, model: nn.Module) -> Any:
        from peft import OSFConfig

        head = model.get_output_embeddings()  # type: ignore[operator]
        linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        targets = self.target_modules or tuple(name for name, module in linear.items() if module is not head)
        ranks = {
            name: max(1, round(self.kept * min(module.weight.shape)))
            for name, module in linear.items()
            if any(name == target or name.endswith(f".{target}") for target in targets)
        }
        return OSFConfig(task_type=task_type(model), target_modules=list(targets), rank_pattern=ranks)

    @override
    def needs_plain(self, stored: str) -> str | None:
        return TAKES_APART

    @override
    def title(self) -> str:
        return f"OSF, {100 * self.kept:g} % kept"
