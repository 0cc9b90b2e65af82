"""Multi-task mixtures: how often each task is drawn, and the rows of every step drawn so.

With e_m rows of task m and a cap K, examples-proportional mixing draws task m at the rate

    r_m = min(e_m, K) / sum_n min(e_n, K),

and temperature-scaled mixing at a rate proportional to r_m^(1/T): T = 1 changes nothing, a large T makes all rates
equal (T5: Raffel et al. 2020, arXiv 1910.10683, section 3.5.2). FLAN mixes by examples with K = 3,000 (Wei et al.
2022, arXiv 2109.01652, section 2.4) and calls the cap a maximum mixing rate, in its code `mixing_rate_3k`: a task gets
no further weight for its rows beyond 3,000. The cap limits the weight and not the rows: all of them can be drawn.

Rates are shares of the rows that are drawn, not of their tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from keeptune.core.config import Config
from keeptune.core.errors import ConfigError
from keeptune.core.units import content_hash

FLAN_CAP = 3000


class MixtureConfig(Config):
    """By which rule tasks are drawn that are learned together."""

    rule: Literal["examples", "temperature", "equal", "weights"] = "examples"
    """How often a task is drawn: by its rows, by a root of them, as often as any other, or by its weight."""
    cap: int | None = Field(FLAN_CAP, ge=1)
    """Rows of a task that count at most, by 'examples' and 'temperature'; null counts all."""
    temperature: float | None = None
    """T of the rule 'temperature': rates go by rows to the power 1/T."""
    weights: dict[str, float] | None = None
    """Weight of every task, for the rule 'weights'; their sum does not matter."""

    @field_validator("temperature")
    @classmethod
    def _at_least_one(cls, value: float | None) -> float | None:
        if value is not None and not 1 <= value < math.inf:
            raise ValueError("give a number from 1 (as by 'examples') upwards; for equal rates use the rule 'equal'")
        return value

    @field_validator("weights")
    @classmethod
    def _drawable(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and not (all(0 <= w < math.inf for w in value.values()) and any(value.values())):
            raise ValueError("give numbers from 0 upwards, at least one of them above 0")
        return value

    @model_validator(mode="after")
    def _what_the_rule_needs(self) -> MixtureConfig:
        for field in ("temperature", "weights"):
            given = getattr(self, field) is not None
            if given and self.rule != field:
                raise ValueError(f"'{field}' has no effect by the rule '{self.rule}': set rule: {field}, or remove it")
            if not given and self.rule == field:
                example = "temperature: 2" if field == "temperature" else "weights: {one task: 3, another: 1}"
                raise ValueError(f"the rule '{field}' needs {field}: add for example '{example}'")
        return self


def rates(counts: Mapping[str, int], config: MixtureConfig) -> dict[str, float]:
    """The share of the drawn rows that is each task's, from its number of rows; shares add up to 1.

    Raises:
        ConfigError: weights that leave out a task, or name one that there is not.
        ValueError: a task without rows.
    """
    if not counts or min(counts.values()) < 1:
        raise ValueError(f"every task of a mixture needs rows: {dict(counts)}")
    if config.rule == "equal":
        raw = dict.fromkeys(counts, 1.0)
    elif config.weights is not None:
        raw = _weights(counts, config.weights)
    else:
        capped = {task: min(count, config.cap or count) for task, count in counts.items()}
        largest = max(capped.values())
        raw = {task: (count / largest) ** (1 / (config.temperature or 1)) for task, count in capped.items()}
    total = math.fsum(raw.values())
    return {task: value / total for task, value in raw.items()}


def mixture_order(
    tasks: Sequence[str], size: int, steps: int, rates: Mapping[str, float], seed: int
) -> list[list[int]]:
    """The row indices of every optimiser step: ``size`` times a task is drawn by its rate, then that task's next row.

    A task's rows come in shuffled order, each once before any of them comes again, then shuffled anew. All of it
    depends on ``seed`` alone: more steps go on where fewer end, another step size cuts the same sequence, and the
    order of a task's rows among themselves is the same whatever else is in the mixture. Without a mixture, training
    takes shuffled epochs over all rows (`plan.global_batches`).

    Args:
        tasks: the task of every row.
        rates: of every task, as `rates` gives them; a task at rate 0 is never drawn.

    Raises:
        ValueError: a task without a rate, a rate above 0 without rows, or no rate above 0.
    """
    rows: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        rows.setdefault(task, []).append(index)
    if not rows.keys() <= rates.keys() or any(rate > 0 and task not in rows for task, rate in rates.items()):
        raise ValueError(f"rates for {sorted(rates)} do not fit rows of {sorted(rows)}")
    names = sorted(rows)
    edges = np.cumsum([rates[name] for name in names])
    if not names or edges[-1] <= 0:
        raise ValueError("no task has a rate above 0")
    streams = [passes(len(rows[name]), seed, name) for name in names]
    draws = np.random.default_rng(seed).random(size * steps)
    chosen = np.searchsorted(edges / edges[-1], draws, side="right").tolist()  # 'right': a rate of 0 is never hit
    order = [rows[names[task]][next(streams[task])] for task in chosen]
    return [order[start : start + size] for start in range(0, len(order), size)]


def passes(rows: int, seed: int, name: str) -> Iterator[int]:
    """Row indices without end: all ``rows`` (one or more) shuffled, then shuffled anew, by ``seed`` and ``name``."""
    draw = np.random.default_rng((seed, _number(name)))
    while True:
        yield from draw.permutation(rows).tolist()


def _weights(counts: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    if missing := sorted(counts.keys() - weights.keys()):
        raise ConfigError(f"no weight for {missing[0]!r}", where="weights", remedy=f"add '{missing[0]}: 1', or 0")
    if unknown := sorted(weights.keys() - counts.keys()):
        raise ConfigError(f"there is no task {unknown[0]!r}", where="weights", remedy=f"tasks: {', '.join(counts)}")
    return {task: weights[task] for task in counts}


def _number(name: str) -> int:
    """A name as a number, for the seed of a generator."""
    return int(content_hash(name), 16)
