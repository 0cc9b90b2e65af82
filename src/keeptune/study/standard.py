"""What a study retains where its recipe does not say: the standard suites, for models of the hub."""

from __future__ import annotations

from pathlib import Path

from keeptune.core.errors import KeeptuneError
from keeptune.evaluate.config import HarnessConfig
from keeptune.evaluate.harness import build_harness
from keeptune.evaluate.standard import STANDARD_V1, installed
from keeptune.evaluate.task import Task
from keeptune.recipe.config import StudyConfig

_OFF = "retain: none in the recipe switches this off"


def applies(config: StudyConfig) -> bool:
    """Whether the recipe leaves out ``retain`` and its model is one of the hub, which has skills to lose."""
    return "retain" not in config.model_fields_set and config.model != "builtin" and not Path(config.model).exists()


def default_suites() -> tuple[dict[HarnessConfig, Task], list[str]]:
    """The standard suites that can be had here, and what the reader must know about those that cannot."""
    if not installed():
        return {}, [f"nothing is retained: the standard suites need pip install 'keeptune[harness]'; {_OFF}"]
    found: dict[HarnessConfig, Task] = {}
    missing = []
    for number, entry in enumerate(STANDARD_V1):
        config = HarnessConfig(**entry)
        try:
            found[config] = build_harness(config)
        except KeeptuneError as error:
            unreached = isinstance(error.__cause__, ConnectionError)
            names = [HarnessConfig(**each).title for each in STANDARD_V1[number:]] if unreached else [config.title]
            missing.append(f"not retained: {', '.join(names)}; {error}; {_OFF}")
            if unreached:  # every further one would wait for the network as long
                break
    return found, missing
