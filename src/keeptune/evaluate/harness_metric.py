"""Which of lm-eval's metrics a task is judged by, and its values as scores per item (see `harness`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.metrics.base import Kind, Metric, from_0_to_1
from keeptune.evaluate.metrics.bits_per_byte import BitsPerByte

_ZERO_ONE = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")  # as lm-eval itself computes them
_TEXT = ("bits_per_byte", "byte_perplexity")  # values are (log-likelihood, bytes)


@dataclass(frozen=True)
class HarnessMetric(Metric):
    """One of a task's metrics. lm-eval computes it for every item, so it scores no answers."""

    name: str  # as we show it
    measure: str  # as lm-eval calls it
    filter: str  # what lm-eval puts in front of it
    kind: Kind
    higher_is_better: bool = True
    requests = frozenset({"harness"})

    def read(self, value: Any, where: str) -> tuple[float, float]:
        """(score, weight) of one item; higher is better except for bits per byte.

        Raises:
            DataError: the value is no number between 0 and 1.
        """
        if self.kind == "bits_per_byte":
            nats, size = value
            return -float(nats) / (math.log(2) * size), float(size)
        number = from_0_to_1(value)
        if number is None:
            raise DataError(
                f"'{self.measure}' is {value!r} on an item, and not a number from 0 to 1",
                path=where,
                remedy="choose another of the task's metrics",
            )
        return (number if self.higher_is_better else 1 - number), 1.0


def find_metric(leaves: Sequence[Any], wanted: str | None) -> HarnessMetric:
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
        return HarnessMetric(BitsPerByte.name, name, pipeline, "bits_per_byte", higher_is_better=False)
    own = all(leaf.OUTPUT_TYPE != "loglikelihood_rolling" and not _processed(leaf) for leaf in leaves)
    kind: Kind = "binary" if own and name in _ZERO_ONE else "mean"
    better = bool(leaves[0].higher_is_better().get(name, True))
    shown = ",".join([name] if len(filters) == 1 else [name, pipeline])
    title = shown if better else f"1 - {shown}"
    return HarnessMetric(title, name, pipeline, kind, better)


def _usable(leaf: Any, name: str) -> bool:
    aggregate = leaf.aggregation().get(name)
    if leaf.OUTPUT_TYPE == "loglikelihood_rolling":
        return name in _TEXT
    return getattr(aggregate, "__name__", "") in ("mean", "nanmean")


def _processed(leaf: Any) -> bool:
    """Whether the task computes its metrics by a function of its own."""
    return bool(getattr(leaf.config, "process_results", None))
