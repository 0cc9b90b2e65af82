"""Parts of the model that do not train."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field
from torch import nn
from typing_extensions import override

from keeptune.core.errors import ConfigError
from keeptune.core.units import parse_share
from keeptune.methods.base import Method, WeightDelta, Wrapper, weight_delta
from keeptune.methods.partial import layer_stacks
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs


@REMEDIES.register("freeze")
class FreezeConfig(RemedyConfig):
    """Embeddings and the lowest layers stay as they are."""

    dose: ClassVar[str] = "share"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.WEIGHT_DELTAS})

    share: Annotated[float, BeforeValidator(parse_share, json_schema_input_type=float | str), Field(ge=0, le=1)] = 0.5
    """Share of the layers that is frozen, the lowest ones, rounded to whole layers."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Freeze:
        return Freeze(self)


class Freeze(Remedy):
    """Embeddings and the lowest ``share`` of the layers (of encoder and of decoder) stay as they are.

    A head that is tied to the embeddings stays, too; any other trains on. What is saved is what the method would
    save anyway.
    """

    def __init__(self, config: FreezeConfig) -> None:
        self.config = config

    @override
    def describe(self) -> str:
        return f"lowest {100 * self.config.share:g} % frozen"

    @override
    def method(self, method: Method) -> Method:
        """``method`` on the rest of the model."""
        return Frozen(weight_delta(method), self)


class Frozen(Wrapper):
    """A method that trains less than it would."""

    def __init__(self, inner: WeightDelta, freeze: Freeze) -> None:
        super().__init__(inner)
        self.freeze = freeze

    def prepare(self, model: nn.Module) -> nn.Module:
        """As the method, then take out what is to stay.

        Raises:
            ConfigError: nothing is left to train.
        """
        model = self.inner.prepare(model)
        embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        stacks = layer_stacks(model).values()
        lowest = [layer for layers in stacks for layer in layers[: round(self.freeze.config.share * len(layers))]]
        for module in (*embeddings, model.get_input_embeddings(), *lowest):  # type: ignore[operator]
            module.requires_grad_(False)
        if not self.inner.trainable(model):
            self.inner.restore(model)
            raise ConfigError(
                "nothing is left to train",
                where="freeze.share",
                remedy=f"freeze fewer than all {sum(map(len, stacks))} layers",
            )
        return model

    @override
    def describe(self) -> str:
        return f"{self.inner.describe()}, {self.freeze.describe()}"
