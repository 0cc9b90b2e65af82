"""keeptune: fine-tune a language model and see, with error bars, what it gained and what it forgot.

The public names below are imported on first use, so that ``import keeptune`` costs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Encoder": "keeptune.data.encode.encoder",
    "Example": "keeptune.data.examples",
    "ItemRecord": "keeptune.core.records",
    "KeeptuneError": "keeptune.core.errors",
    "StudyConfig": "keeptune.recipe.config",
    "Suite": "keeptune.retention.pairs",
    "Summary": "keeptune.core.records",
    "Template": "keeptune.data.prompts.templates",
    "TemplateSet": "keeptune.data.prompts.templates",
    "compare_models": "keeptune.compare.models",
    "compare_samples": "keeptune.compare.samples",
    "exit_code": "keeptune.compare.gate",
    "drop_leaks": "keeptune.data.splits.drop",
    "judge": "keeptune.retention.verdict",
    "load_examples": "keeptune.data.load",
    "pair": "keeptune.retention.pairs",
    "run_study": "keeptune.study.run",
    "split": "keeptune.data.splits.split",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'keeptune' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
