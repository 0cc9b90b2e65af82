"""Parts of the model that do not train."""

from __future__ import annotations

from torch import nn

from keeptune.core.errors import ConfigError, ModelError
from keeptune.methods.base import Method, Wrapper
from keeptune.train.remedies.base import Remedy
from keeptune.train.remedies.config import FreezeConfig


class Freeze(Remedy):
    """Embeddings and the lowest ``share`` of the layers stay as they are.

    A head that is tied to the embeddings stays, too; any other trains on. What is saved is what the method would
    save anyway.
    """

    def __init__(self, config: FreezeConfig) -> None:
        self.config = config

    def describe(self) -> str:
        """As people read it."""
        return f"lowest {100 * self.config.share:g} % frozen"

    def method(self, method: Method) -> Method:
        """``method`` on the rest of the model."""
        return Frozen(method, self)


class Frozen(Wrapper):
    """A method that trains less than it would."""

    def __init__(self, inner: Method, freeze: Freeze) -> None:
        super().__init__(inner)
        self.freeze = freeze

    def prepare(self, model: nn.Module) -> nn.Module:
        """As the method, then take out what is to stay.

        Raises:
            ConfigError: nothing is left to train.
        """
        model = self.inner.prepare(model)
        embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        layers = stack(model)
        lowest = layers[: round(self.freeze.config.share * len(layers))]
        for module in (*embeddings, model.get_input_embeddings(), *lowest):  # type: ignore[operator]
            module.requires_grad_(False)
        if not self.inner.trainable(model):
            self.inner.restore(model)
            raise ConfigError(
                "nothing is left to train", where="freeze.share", remedy=f"freeze fewer than all {len(layers)} layers"
            )
        return model

    def describe(self) -> str:
        """As people read it."""
        return f"{self.inner.describe()}, {self.freeze.describe()}"


def stack(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers, lowest first: the longest list of modules that is not part of another one.

    Raises:
        ModelError: there is none.
    """
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [found for name, found in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    if not outer:
        raise ModelError("no layers to freeze: the model keeps them in no list", where=type(model).__name__)
    return max(outer, key=len)
