"""How far predictions moved away from the base's, at a sample of supervised positions: cheap, and no verdict.

P positions, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keeptune.core.errors import DataError
from keeptune.core.files import whole
from keeptune.core.records import Drift
from keeptune.data.examples import Encoded
from keeptune.data.storage.lazy import evenly
from keeptune.methods.base import Method, WeightDelta
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.outputs import logits
from keeptune.train.microbatch_autotune import DEFAULT

POSITIONS = 256
OF_A_ROW = 8  # positions at most, unless there are too few rows: those of one row resemble one another


@dataclass(frozen=True)
class DriftBase:
    """What the base predicts, to be compared with many tuned models."""

    positions: Sequence[Encoded]  # rows that end at the position, the one of their tokens that is supervised
    logprobs_PV: Tensor  # float32 on the CPU: 50 MB for a vocabulary of 50,000

    @classmethod
    def of(cls, lm: LanguageModel, rows: Sequence[Encoded]) -> DriftBase:
        """The base's predictions at up to 256 supervised positions of ``rows``; ``lm`` is not adapted.

        Positions are spread over rows, and rows drawn, in the same way every time.

        Raises:
            DataError: no row has anything to predict.
        """
        positions = positions_of(rows)
        found = torch.empty(0)
        for places, logprobs in _predictions(lm, positions):
            if not len(found):
                found = torch.empty(len(positions), logprobs.shape[-1])
            found[places.cpu()] = logprobs.cpu()
        return cls(positions, found)

    @classmethod
    def read(cls, path: Path, rows: Sequence[Encoded]) -> DriftBase:
        """What `write` left of predictions at positions of the same rows."""
        return cls(positions_of(rows), load_file(path)["logprobs"])

    def write(self, path: Path) -> None:
        """Leave the predictions in a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            save_file({"logprobs": self.logprobs_PV}, partial)


def positions_of(rows: Sequence[Encoded]) -> list[Encoded]:
    """Up to 256 supervised positions of ``rows``.

    Raises:
        DataError: there is none.
    """
    positions = list(itertools.islice(_positions(rows), POSITIONS))
    if not positions:
        raise DataError("no supervised position to drift", remedy="give rows with completions")
    return positions


def drift(lm: LanguageModel, method: Method, base: DriftBase) -> Drift:
    """The distance of a model that is adapted by ``method`` from its base; see `records.Drift`."""
    kl = agreement = 0.0
    for places, tuned in _predictions(lm, base.positions):
        before = base.logprobs_PV[places.cpu()].to(tuned.device)
        kl += float((before.exp() * (before - tuned)).sum())
        agreement += float((before.argmax(-1) == tuned.argmax(-1)).sum())
    count = len(base.positions)
    return Drift(kl=kl / count, agreement=agreement / count, positions=count, weight_l2=_length(lm, method))


@torch.no_grad()
def _length(lm: LanguageModel, method: Method) -> float | None:
    """Of all that was added to the base's weights; None for a method that adds nothing to them."""
    if not isinstance(method, WeightDelta):
        return None
    return math.sqrt(max(float(method.squared_length(lm.model)), 0.0))


def _positions(rows: Sequence[Encoded]) -> Iterator[Encoded]:
    """Supervised positions, evenly over every row, rows in an order drawn from a fixed seed."""
    most = max(OF_A_ROW, math.ceil(POSITIONS / max(len(rows), 1)))
    for number in random.Random(0).sample(range(len(rows)), len(rows)):
        row = rows[number]
        first = 0 if row.prompt_ids else 1  # the first token of a text is predicted from nothing
        supervised = [at for a, b in row.spans for at in range(max(a, first), b)]
        for at in evenly(supervised, most):
            yield replace(row, completion_ids=row.completion_ids[: at + 1], gaps=((0, at),) if at else ())


def _predictions(lm: LanguageModel, positions: Sequence[Encoded]) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices of positions [P], float32 log-probabilities of every token there [P, V]), batch by batch."""
    with evaluating(lm):
        for made in lm.engine.score_batches(positions, DEFAULT):
            batch = made.to(lm.device)
            yield batch.examples, logits(lm, batch)[batch.sources].float().log_softmax(-1)
