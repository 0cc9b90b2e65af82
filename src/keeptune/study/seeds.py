"""How many seeds a study trains where its recipe names none: three where a training is small, otherwise one.

Small is a matter of arithmetic, not of a clock, so that the same recipe has the same seeds everywhere.
"""

from __future__ import annotations

from keeptune.recipe.config import StudyConfig
from keeptune.study.data import TrainingData

SMALL = 5e12  # operations of one training, 6 for every parameter and token: about a minute on two cores
SEVERAL = (0, 1, 2)  # the least that says anything about a method


def with_seeds(config: StudyConfig, data: TrainingData, parameters: int) -> StudyConfig:
    """The recipe with its seeds settled; what is trained besides the chosen rates is one seed's in any case.

    Args:
        config: the recipe.
        data: what a training sees.
        parameters: of the model.
    """
    if "seeds" in config.model_fields_set or not config.methods:
        return config
    rows = data.rows(config.seeds[0])
    tokens = sum(len(rows.train[i]) for step in rows.order for i in step)
    small = 6 * parameters * tokens <= SMALL
    return config.model_copy(update={"seeds": SEVERAL}) if small else config
