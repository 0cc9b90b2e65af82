"""A recipe and what its parts take, in round numbers: ten seconds a training."""

from __future__ import annotations

import yaml

from keeptune.core.config import parse_recipe
from keeptune.recipe.config import StudyConfig
from keeptune.study.schedule.estimates import Estimates
from keeptune.train.estimate import Needs


def config(**changes: object) -> StudyConfig:
    values = {
        "model": "builtin",
        "target": {"task": "builtin:orders"},
        "arms": ["prompt", "full", "lora", "lora+replay:5%"],
        "seeds": [0, 1, 2],
        "curve": {"sizes": [50, 100], "arms": ["lora"]},
        "full": {"learning_rates": [1e-5, 1e-4, 1e-3]},
        "lora": {"learning_rates": [1e-4, 1e-3, 1e-2]},
        **changes,
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def estimates(**changes: object) -> Estimates:
    needs = Needs(seconds_per_token=1e-3, seconds_per_step=0.0, memory_bytes=1000)
    values = {
        "needs": {"full": needs, "lora": needs},
        "tasks": 1,
        "rows": 1000,
        "steps": 10,
        "tokens": 10_000,
        "validation_seconds": 0.0,
        "test_seconds": 0.0,
        "bytes_of_model": 400,
        **changes,
    }
    return Estimates(**values)  # type: ignore[arg-type]
