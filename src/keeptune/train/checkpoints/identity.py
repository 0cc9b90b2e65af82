"""What a checkpoint belongs to: a training that would go on otherwise does not take it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any

import torch

from keeptune import __version__
from keeptune.core.units import content_hash
from keeptune.data.examples import Encoded
from keeptune.models.language_model import hash_parameters
from keeptune.tracking.base import Run
from keeptune.train.remedies.base import Remedy


def identity(
    run: Run, steps: Iterable[Sequence[Encoded]], validation: Sequence[Encoded], remedies: Sequence[Remedy], key: str
) -> str:
    """Content hash of everything that decides the result of a training of an adapted model.

    The number of processes is not part of it, nor is the number of threads: both change results in rounding only.

    Args:
        steps: the rows of every optimiser step.
        key: what else the caller knows.
    """
    parts: list[Any] = [key, __version__, torch.__version__, dict(run.settings), run.lr, run.seed, str(run.lm.dtype)]
    parts += [run.method.describe(), [remedy.describe() for remedy in remedies]]
    parts += [[name, list(p.shape)] for name, p in run.method.trainable(run.lm.model).items()]
    parts += [run.lm.base_hash or hash_parameters(run.lm.model), _digest(chain(steps, [validation]))]
    return content_hash(parts, length=64)


def _digest(steps: Iterable[Sequence[Encoded]]) -> str:
    digest = sha256()
    for rows in steps:
        digest.update(b"step %d" % len(rows))
        for row in rows:
            for ids in (row.prompt_ids, row.completion_ids, [at for gap in row.gaps for at in gap]):
                digest.update(array("q", (len(ids), *ids)).tobytes())
    return digest.hexdigest()
