"""Simulated tasks for search strategies: what a training would score and lose, by its setting.

The shapes are those seen on the built-in base. There full fine-tuning scored 95.8 and lost 10 margins of addition and
75 of prose; EWC 50 scored 83.2 and lost 1.2 margins at most of a skill and 4.9 of prose; EWC 100 with 10 % replay
scored 37.2; replay of 70 % alone 76.0, category lost 5.4 margins and four suites were kept. A pull of dose d keeps the
target until d comes near a dose that grows with the steps, and lets losses fall as a power of d; replay lets losses
fall as a power of what is not replayed, takes a part of the target, and makes a pull the stronger against the rest of
it (EWC 32 over three times the epochs scored 85.5, 82.0 and 5.6 with 32, 45 and 70 % replay); interpolation loses the
target faster than the loss. Where these doses and powers lie differs from task to task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from keeptune.recommend.doses import DoseRange, Setting
from keeptune.recommend.pick import Candidate
from keeptune.recommend.search import ALPHAS, Seen, Space, Tried

Floats = NDArray[np.float64]

SUITES = 8
RATE = 1e-3
RANGES = {
    "ewc": DoseRange(low=0.1, high=10_000.0),
    "replay": DoseRange(low=0.02, high=0.7, share=True),
}


@dataclass(frozen=True)
class Surface:
    """One task: what a setting truly scores and loses, and what a few items show of it.

    Attributes:
        plain: target score of full fine-tuning, which is 0 before.
        stops: dose of EWC that halves the target at the recipe's epochs.
        sharp: power with which it goes.
        steps: power of the epochs with which that dose grows.
        cost: share of the target that replay of everything would take.
        losses: of every suite in margins, without a remedy [S].
        soft: dose of EWC from which losses fall [S].
        fall: power with which they do [S].
        replayed: power of the share that is not replayed [S].
        floor: share of a loss that replay does not touch [S].
        longer: power of the epochs with which losses grow.
        bend: power of alpha with which the target comes, and with which losses come.
    """

    plain: float
    stops: float
    sharp: float
    steps: float
    cost: float
    losses: Floats
    soft: Floats
    fall: Floats
    replayed: Floats
    floor: Floats
    longer: float
    bend: tuple[float, float]
    errors: Floats  # standard error of a suite's loss in margins, validation items [S]
    items: Floats = field(repr=False)  # difficulty of every target item, 0 to 1 [N]
    flips: Floats = field(repr=False)  # what suites' items add to every model's losses, standard normal [S, N]
    alike: float  # share of what items add to a loss that is the same for every training

    @classmethod
    def draw(cls, rng: np.random.Generator, items: int = 200) -> Surface:
        """A task whose dose that matters lies anywhere between 1 and 1000."""
        scale = 10 ** rng.uniform(0.0, 3.0)
        losses = np.exp(rng.normal(np.log(6), 0.7, SUITES))
        losses[0] *= 10 ** rng.uniform(0.0, 0.9)  # prose, whose margin is small
        margin = rng.uniform(0.02, 0.04)  # of a skill, as a share of its items
        flips = rng.uniform(0.02, 0.10, SUITES)
        return cls(
            plain=rng.uniform(0.6, 0.97),
            stops=scale,
            sharp=rng.uniform(1.5, 4.0),
            steps=rng.uniform(0.3, 1.2),
            cost=rng.uniform(0.05, 0.4),
            losses=losses,
            soft=scale * 10 ** rng.uniform(-2.2, -0.8, SUITES),
            fall=rng.uniform(0.8, 1.4, SUITES),
            replayed=rng.uniform(0.3, 3.5, SUITES),
            floor=rng.choice([0.0, 0.0, 0.05, 0.2], SUITES),
            longer=rng.uniform(0.0, 0.4),
            bend=(rng.uniform(2.0, 6.0), rng.uniform(1.0, 2.0)),
            errors=np.sqrt(flips / items) / margin,
            items=rng.random(items),
            flips=rng.normal(0, 1, (SUITES, items)),
            alike=rng.uniform(0.2, 0.8),
        )

    def truth(self, setting: Setting, alpha: float = 1.0) -> tuple[float, Floats]:
        """(target score, loss of every suite in margins [S]) with infinitely many items."""
        dose, share = setting.dose("ewc"), setting.dose("replay")
        pull = dose / (1 - share)  # against the target's own rows
        held = (pull / (self.stops * setting.longer**self.steps)) ** self.sharp
        target = self.plain * (1 - self.cost * share) / (1 + held)
        losses = self.losses * (1 + pull / self.soft) ** -self.fall
        losses = losses * (self.floor + (1 - self.floor) * (1 - share) ** self.replayed)
        return target * alpha ** self.bend[0], losses * setting.longer**self.longer * alpha ** self.bend[1]

    def train(self, setting: Setting, rng: np.random.Generator) -> Trained:
        """A training as validation items show it."""
        trained = rng.normal(0, 0.02), rng.normal(0, 0.15, SUITES)  # what another seed would change
        alike, own = np.sqrt(self.alike), np.sqrt(1 - self.alike)
        noise = alike * self.flips + own * rng.normal(0, 1, self.flips.shape)  # of every item [S, N]
        models, candidates, truths = [], [], []
        for alpha in ALPHAS:
            target, losses = self.truth(setting, alpha)
            target, losses = float(np.clip(target + alpha * trained[0], 0, 1)), losses * np.exp(trained[1])
            errors = self.errors * np.sqrt(np.clip(losses, 0.05, 1))  # the fewer flips the less noise
            lost = losses[:, None] + errors[:, None] * np.sqrt(noise.shape[1]) * noise
            scores = (np.clip(self.items + rng.normal(0, 0.03, len(self.items)), 0, 1) < target).astype(float)
            error = float(scores.std() / np.sqrt(len(scores)))
            models.append(Seen(alpha, float(scores.mean()), error, tuple(lost.mean(1)), tuple(errors), tuple(lost)))
            candidates.append(Candidate(f"{setting} {alpha}", cost=0.0, scores=scores))
            truths.append((target, losses))
        return Trained(Tried(setting, tuple(models)), tuple(candidates), tuple(truths))

    def space(self, spare: float) -> Space:
        """Full fine-tuning with EWC, replay and three times the epochs."""
        return Space((Setting("full", RATE),), {"full": RANGES}, longer=3, spare=spare)


@dataclass(frozen=True)
class Trained:
    """A simulated training: what a strategy sees, what the choice is made of, and what is true."""

    tried: Tried
    candidates: tuple[Candidate, ...]  # as if they kept everything
    truths: tuple[tuple[float, Floats], ...]

    def judged(self, by: Tried, spare: float) -> list[Candidate]:
        """The candidates with the losses of ``by``, ``spare`` standard errors of them allowed for."""
        worst = [model.worst(spare) for model in by.models]
        return [replace(c, cost=w, tier=0 if w <= 1 else 2) for c, w in zip(self.candidates, worst, strict=True)]

    def true(self) -> Mapping[str, tuple[float, Floats]]:
        """The truth about every model by its candidate's name."""
        return {each.name: truth for each, truth in zip(self.candidates, self.truths, strict=True)}
