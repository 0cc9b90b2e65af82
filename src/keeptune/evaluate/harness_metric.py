"""Which of lm-eval's metrics a task is judged by, and its values as scores per item (see `harness`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.metrics import BITS_PER_BYTE, Kind, Metric, no_answers

_ZERO_ONE = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")  # as lm-eval itself computes them
_TEXT = ("bits_per_byte", "byte_perplexity")  # values are (log-likelihood, bytes)


@dataclass(frozen=True, slots=True)
class Picked:
    """One of a task's metrics: lm-eval's name for it, the filter in front of it, and what it is to us."""

    name: str
    filter: str
    metric: Metric

    def read(self, value: Any, where: str) -> tuple[float, float]:
        """(score, weight) of one item; higher is better except for bits per byte.

        Raises:
            DataError: the value is no number between 0 and 1.
        """
        if self.metric is BITS_PER_BYTE:
            nats, size = value
            return -float(nats) / (math.log(2) * size), float(size)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number <= 1:  # also catches nan
            raise DataError(
                f"'{self.name}' is {value!r} on an item, and not a number from 0 to 1",
                path=where,
                remedy="choose another of the task's metrics",
            )
        return (number if self.metric.higher_is_better else 1 - number), 1.0


def find_metric(leaves: Sequence[Any], wanted: str | None) -> Picked:
    """The metric that a recipe names (``metric`` or ``metric,filter``), or the first one that has a value per item.

    Raises:
        ConfigError: the tasks do not have it, or it has no value per item.
    """
    usable = [name for name in leaves[0].aggregation() if all(_usable(leaf, name) for leaf in leaves)]
    filters = [each.name for each in leaves[0]._filters]
    name, _, pipeline = (wanted or "").partition(",")
    where = f"{leaves[0].task_name}: metric"
    if not usable:
        raise ConfigError("no metric of this task has a value per item", where=where, remedy="choose another task")
    if wanted and name not in usable:
        hint = "" if name not in leaves[0].aggregation() else " has no value per item from 0 to 1"
        raise ConfigError(f"'{name}'{hint or ' is unknown'}", where=where, remedy=f"use one of {', '.join(usable)}")
    if pipeline and pipeline not in filters:
        raise ConfigError(f"no filter '{pipeline}'", where=where, remedy=f"use one of {', '.join(filters)}")
    name, pipeline = name or usable[0], pipeline or filters[0]
    if name in _TEXT and leaves[0].OUTPUT_TYPE == "loglikelihood_rolling":
        return Picked(name, pipeline, BITS_PER_BYTE)
    own = all(leaf.OUTPUT_TYPE != "loglikelihood_rolling" and not _processed(leaf) for leaf in leaves)
    kind: Kind = "binary" if own and name in _ZERO_ONE else "mean"
    better = bool(leaves[0].higher_is_better().get(name, True))
    shown = ",".join([name] if len(filters) == 1 else [name, pipeline])
    title = shown if better else f"1 - {shown}"
    return Picked(name, pipeline, Metric(title, kind, frozenset({"harness"}), no_answers, higher_is_better=better))


def _usable(leaf: Any, name: str) -> bool:
    aggregate = leaf.aggregation().get(name)
    if leaf.OUTPUT_TYPE == "loglikelihood_rolling":
        return name in _TEXT
    return getattr(aggregate, "__name__", "") in ("mean", "nanmean")


def _processed(leaf: Any) -> bool:
    """Whether the task computes its metrics by a function of its own."""
    return bool(getattr(leaf.config, "process_results", None))
