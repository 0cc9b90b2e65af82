"""keeptune: fine-tune a language model and see, with error bars, what it gained and what it forgot.

The public names below are imported on first use, so that ``import keeptune`` costs no torch:

    import keeptune as kt

    result = kt.Study(model="builtin", target="builtin:orders", retain=["builtin:addition"]).run()
    result.verdicts, result.to_frame(), result.report()

`train`, `evaluate` and `compare` are folders of the package, and functions when they are called.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keeptune.api.check import check as check
    from keeptune.api.compare import compare as compare
    from keeptune.api.evaluate import evaluate as evaluate
    from keeptune.api.results import Result as Result
    from keeptune.api.study import Study as Study
    from keeptune.api.study import load_recipe as load_recipe
    from keeptune.api.study import train as train

__version__ = "0.1.0"

_HOMES = {
    "Encoder": "keeptune.data.encode.encoder",
    "Example": "keeptune.data.examples",
    "ItemRecord": "keeptune.core.records",
    "KeeptuneError": "keeptune.core.errors",
    "Result": "keeptune.api.results",
    "Study": "keeptune.api.study",
    "StudyConfig": "keeptune.recipe.config",
    "Suite": "keeptune.retention.pairs",
    "Summary": "keeptune.core.records",
    "Template": "keeptune.data.prompts.templates",
    "TemplateSet": "keeptune.data.prompts.templates",
    "check": "keeptune.api.check",
    "compare_models": "keeptune.compare.models",
    "compare_samples": "keeptune.compare.samples",
    "exit_code": "keeptune.compare.gate",
    "drop_leaks": "keeptune.data.splits.drop",
    "judge": "keeptune.retention.verdict",
    "load_examples": "keeptune.data.load",
    "load_recipe": "keeptune.api.study",
    "pair": "keeptune.retention.pairs",
    "run_study": "keeptune.study.run",
    "split": "keeptune.data.splits.split",
}

_CALLED = {"compare": "keeptune.api.compare", "evaluate": "keeptune.api.evaluate", "train": "keeptune.api.study"}

__all__ = ["__version__", *sorted((*_HOMES, *_CALLED))]


class _Room(ModuleType):
    """A folder of the package that does, when it is called, what the command of its name does."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_CALLED[name]), name)(*args, **kwargs)


class _Package(ModuleType):
    """This package: a folder that it is given by an import, whoever asks for it, can be called."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _CALLED:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'keeptune' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
