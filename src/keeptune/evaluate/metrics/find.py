"""The metric that a recipe names."""

from __future__ import annotations

import difflib

from keeptune.core.errors import ConfigError
from keeptune.evaluate.metrics.base import METRICS, Metric
from keeptune.evaluate.metrics.python_function import PythonFunction


def find_metric(name: str) -> Metric:
    """The metric of a name, or the user's own function for 'python:file.py:function'.

    Raises:
        ConfigError: no such metric (the nearest name is given), no such file, no such function.
    """
    if name.startswith("python:"):
        return PythonFunction(name)
    if name in METRICS:
        return METRICS[name]()
    if name in ("perplexity", "bits_per_byte"):
        raise ConfigError(f"'{name}' is measured on free text", where="metric", remedy="use a 'text:' entry for it")
    near = difflib.get_close_matches(name.replace("-", "_"), METRICS, n=1, cutoff=0.5)
    remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(METRICS)}, python:file.py:function"
    raise ConfigError(f"no metric '{name}'", where="metric", remedy=remedy)
