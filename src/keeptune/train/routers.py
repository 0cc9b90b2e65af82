"""Mixtures of experts train without the auxiliary loss of their routers: that is said, since nobody would see it.

The loss that spreads tokens evenly over the experts depends on how many tokens of a batch go where. With tries, in
which a shared prefix stands once, and with the head at the supervised tokens alone it would be another one.
"""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakSet

from keeptune.models.language_model import LanguageModel

log = logging.getLogger(__name__)

_COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_said: WeakSet[LanguageModel] = WeakSet()


def say_what_routers_miss(lm: LanguageModel) -> None:
    """Warn, once per loaded model, where its configuration gives its routers a loss of their own."""
    model: Any = lm.model
    config = model.config.get_text_config()
    name = next((each for each in _COEFFICIENTS if getattr(config, each, None)), None)
    if name is None or lm in _said or not any(getattr(config, each, None) for each in _EXPERTS):
        return
    _said.add(lm)
    log.warning(
        "%s trains without the auxiliary loss that balances its routers (%s: %s)%s",
        lm.name,
        name,
        getattr(config, name),
        ", which its configuration asks for" if getattr(config, "output_router_logits", False) else "",
    )
