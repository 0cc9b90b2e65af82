"""Full fine-tuning: every parameter is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.errors import ModelError
from keeptune.methods.base import METHODS, MethodConfig, WeightDelta, trainable_parameters
from keeptune.methods.quantised import check_plain

_READING = Lock()  # transformers builds a model under settings of the whole process
TRAINS_BASE = "it trains the base's own weights, and packed ones have no gradient"


class OwnWeightsConfig(MethodConfig):
    """Settings of a method that trains weights of the base itself."""

    copies_base: ClassVar[bool] = True

    @override
    def needs_plain(self, stored: str) -> str | None:
        return TRAINS_BASE


@METHODS.register("full")
class FullConfig(OwnWeightsConfig):
    """Full fine-tuning: every weight trains."""

    shards: ClassVar[bool] = True

    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4)

    @override
    def build(self) -> Full:
        return Full()


class Full(WeightDelta):
    """Trains all parameters. Keeps a copy of the base's in host memory (its size once more) until `restore`."""

    artifact = "model"

    def __init__(self) -> None:
        self._base: dict[str, Tensor] = {}
        self._frozen: nn.Module | None = None  # a model around the base's parameters, where somebody wanted one

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """All parameters require gradients.

        Raises:
            ModelError: the model is quantised.
        """
        check_plain(model, self.describe(), lambda stored: TRAINS_BASE)
        self._base = {name: _host_copy(p) for name, p in model.named_parameters()}
        model.requires_grad_(True)
        return model

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """A model folder that `transformers` and `keeptune.models.load` read, in the model's dtype."""
        transformers.utils.logging.disable_progress_bar()
        model.save_pretrained(folder)  # type: ignore[operator]
        tokenizer.save_pretrained(folder)

    @override
    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the weights of `save` back in place.

        By transformers, which stores the weights of some architectures under other names, and experts one by one.

        Raises:
            ModelError: a stored tensor is not one of the model's, or of another size, or one of the model's is not
                stored; or a file is damaged.
        """
        if not any(folder.glob("*.safetensors")):
            raise ModelError("all weights are missing", where=str(folder))
        transformers.utils.logging.disable_progress_bar()
        try:
            with _READING:
                stored, report = type(model).from_pretrained(  # type: ignore[attr-defined]
                    folder,
                    dtype=model.dtype,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"its weights cannot be read: {error}", where=str(folder)) from error
        missing = report["missing_keys"]
        if missing:
            raise ModelError(f"{len(missing)} weights are missing, among them {min(missing)}", where=str(folder))
        unknown = report["unexpected_keys"]
        if unknown:
            raise ModelError(
                f"{len(unknown)} weights are not the model's, among them {min(unknown)}", where=str(folder)
            )
        try:
            model.load_state_dict(stored.state_dict())
        except RuntimeError as error:
            raise ModelError("its weights are of another size than the model's", where=str(folder)) from error

    @override
    @torch.no_grad()
    def restore(self, model: nn.Module) -> nn.Module:
        """Copy the base's parameters back and freeze them."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self._base[name])
            parameter.grad = None
        self._base, self._frozen = {}, None
        return model.requires_grad_(False)

    @override
    def merge(self, model: nn.Module) -> nn.Module:
        """The model as it is, frozen."""
        self._base, self._frozen = {}, None
        for parameter in model.parameters():
            parameter.grad = None
        return model.requires_grad_(False)

    @override
    def describe(self) -> str:
        return "full fine-tuning"

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """A second model around the base's parameters: on a CPU those of the copy, elsewhere copied there once."""
        if self._frozen is None:
            frozen = {
                id(p): nn.Parameter(self._base[name].to(p.device), requires_grad=False)
                for name, p in model.named_parameters()
            }
            self._frozen = copy.deepcopy(model, memo=frozen)
        yield self._frozen

    @override
    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that train."""
        return trainable_parameters(model)

    @override
    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Tuned minus base, for the parameters that train."""
        for name, parameter in self.weights(model).items():
            yield name, parameter.float() - self._base[name].to(parameter.device).float()

    @override
    @torch.no_grad()
    def blend(self, model: nn.Module, alpha: float) -> None:
        """Interpolate in float32, and round."""
        for name, parameter in model.named_parameters():
            base = self._base[name].to(parameter.device)
            if alpha == 0:
                parameter.copy_(base)
            elif alpha != 1:
                parameter.copy_(base.float().lerp(parameter.float(), alpha))


def _host_copy(parameter: Tensor) -> Tensor:
    """A copy in host memory; of a parameter without data another one."""
    return parameter.detach().clone() if parameter.is_meta else parameter.detach().to("cpu", copy=True)
