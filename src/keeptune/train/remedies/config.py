"""Settings of the remedies. They need no torch: a recipe is checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from keeptune.core.config import Config
from keeptune.core.units import parse_share
from keeptune.data.examples import Encoded

if TYPE_CHECKING:
    from keeptune.train.remedies.ewc import Ewc
    from keeptune.train.remedies.freeze import Freeze
    from keeptune.train.remedies.guard import Check, Guard
    from keeptune.train.remedies.kl import Kl
    from keeptune.train.remedies.l2sp import L2Sp
    from keeptune.train.remedies.replay import Replay
    from keeptune.train.remedies.talr import Talr


def replayed_share(value: Any) -> float:
    """'5%', '0.05' or 0.05 -> 0.05.

    Raises:
        ValueError: not a share from 0 to below 1.
    """
    share = parse_share(value)
    if not 0 <= share < 1:
        raise ValueError("write a share of the trained tokens as 5% or 0.05, below 100%")
    return share


class EwcConfig(Config):
    """How strongly weights are held, and on how many examples it is measured which ones matter."""

    strength: float = Field(1.0, gt=0)  # nats per trained token and unit of the quadratic form
    examples: int = Field(200, ge=1)  # at most; one forward and backward each, before training

    def build(self, pools: Mapping[str, Sequence[Encoded]]) -> Ewc:
        """A fresh instance for one training; ``pools`` show the skills to keep: train parts of retained suites."""
        from keeptune.train.remedies.ewc import Ewc

        return Ewc(self, pools)


class FreezeConfig(Config):
    """How much of the model stays the base."""

    # Of the layers, the lowest ones, rounded to whole layers.
    share: Annotated[float, BeforeValidator(parse_share), Field(ge=0, le=1)] = 0.5

    def build(self) -> Freeze:
        """A fresh instance for one training."""
        from keeptune.train.remedies.freeze import Freeze

        return Freeze(self)


class GuardConfig(Config):
    """A guard has no settings of its own: what is allowed, its check decides."""

    def build(self, check: Check) -> Guard:
        """A fresh instance for one training."""
        from keeptune.train.remedies.guard import Guard

        return Guard(check)


class KlConfig(Config):
    """How strongly predictions are held."""

    weight: float = Field(1.0, gt=0)  # nats of likelihood that a nat of divergence is worth

    def build(self) -> Kl:
        """A fresh instance for one training."""
        from keeptune.train.remedies.kl import Kl

        return Kl(self)


class L2SpConfig(Config):
    """How strongly weights are held."""

    strength: float = Field(0.01, gt=0)  # nats per trained token and unit of squared length

    def build(self) -> L2Sp:
        """A fresh instance for one training."""
        from keeptune.train.remedies.l2sp import L2Sp

        return L2Sp(self)


class ReplayConfig(Config):
    """How much is replayed; what, is said by who builds it."""

    share: Annotated[float, BeforeValidator(replayed_share)] = 0.05  # of the trained tokens

    def build(self, pools: Mapping[str, Sequence[Encoded]], name: str = "replay") -> Replay:
        """A fresh instance for one training."""
        from keeptune.train.remedies.replay import Replay

        return Replay(pools, self.share, name)


class TalrConfig(Config):
    """How far the weight of a token may fall."""

    floor: float = Field(0.01, ge=0, le=1)

    def build(self) -> Talr:
        """A fresh instance for one training."""
        from keeptune.train.remedies.talr import Talr

        return Talr(self)
