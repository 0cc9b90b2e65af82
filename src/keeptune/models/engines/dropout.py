"""Whether what several rows begin with may be computed once: not where every row needs dropout of its own."""

from __future__ import annotations

import logging

from torch import nn

from keeptune.models.loaded import LoadedModel

log = logging.getLogger(__name__)


class DropoutWatch:
    """Asks a model whether it draws dropout; all its modules have to be asked, so the answer is kept."""

    def __init__(self) -> None:
        self._asked: tuple[nn.Module, bool] | None = None  # the model last asked, and whether it draws dropout
        self._said = False

    def shares(self, lm: LoadedModel) -> bool:
        """Whether rows may share; a log message says once why they do not."""
        if not lm.model.training or not self._drops_out(lm.model):
            return True
        if not self._said:
            self._said = True
            log.warning("%s trains with dropout: prefixes are computed for every row anew", lm.name)
        return False

    def _drops_out(self, model: nn.Module) -> bool:
        if self._asked is None or self._asked[0] is not model:
            self._asked = (model, draws_dropout(model))
        return self._asked[1]


def draws_dropout(model: nn.Module) -> bool:
    """Whether the model draws dropout in training: by a module, or by a function with a rate that a module holds."""
    modules = list(model.modules())
    if any(isinstance(module, nn.Dropout) and module.p > 0 for module in modules):
        return True
    rates = (value for module in modules for name, value in vars(module).items() if "drop" in name)
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
