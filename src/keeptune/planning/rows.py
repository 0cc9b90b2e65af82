"""The rows of a training that is planned: those of the recipe's data, or as many as somebody assumes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from keeptune.batching.plan import shuffled_steps
from keeptune.core.errors import ConfigError
from keeptune.core.files import cache_folder
from keeptune.data.examples import Encoded
from keeptune.data.storage.lazy import LazyMap
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.config import StudyConfig
from keeptune.study.data import TrainingData
from keeptune.study.messages import Messages
from keeptune.study.prepare import encoder_of, prepare
from keeptune.study.suited import suited_tasks
from keeptune.train.loop import TrainConfig

ANSWER = 0.25  # of an assumed row's tokens

Steps = Sequence[Sequence[Encoded]]


def real_steps(config: StudyConfig, lm: LanguageModel, data_root: Path, messages: Messages) -> Steps:
    """The rows of every optimiser step, read, split and encoded as the study would; its run folder is not touched.

    Raises:
        KeeptuneError: whatever is wrong with recipe or data.
    """
    with TemporaryDirectory(prefix="keeptune-plan-") as scratch:
        prepared = prepare(config, Path(scratch), messages, data_root)
        encoder = encoder_of(config, lm)
        (targets, suites), _ = suited_tasks(encoder, prepared.targets, prepared.suites)
        data = TrainingData(
            encoder,
            {task.name: task for task in targets},
            {task.name: task for task in suites},
            config.train,
            config.mixture,
            cache_folder(),
            messages,
        )
        rows = data.rows(config.seeds[0])
    return LazyMap(rows.order, lambda step: [rows.train[i] for i in step])


def assumed_steps(text: str, train: TrainConfig, lm: LanguageModel) -> Steps:
    """Steps of as many random rows as '10000x512' says: rows, and tokens of each; nothing is shared among them.

    Raises:
        ConfigError: it is not written so, or a row does not fit the model's context.
    """
    match = re.fullmatch(r"\s*(\d+)\s*x\s*(\d+)\s*", text)
    count, length = (int(match[1]), int(match[2])) if match else (0, 0)
    if count < 1 or not 4 <= length <= lm.context:
        raise ConfigError(
            f"'{text}' is not rows x tokens", where="--assume", remedy=f"10000x512, up to {lm.context} tokens"
        )
    answer = max(1, round(ANSWER * length))
    drawn = np.random.default_rng(0).integers(0, len(lm.tokenizer), (min(count, 4096), length)).tolist()
    rows = [Encoded(str(i), tuple(ids[:-answer]), tuple(ids[-answer:])) for i, ids in enumerate(drawn)]
    order = shuffled_steps(count, train.global_batch, 0)
    numbers = [next(order) for _ in range(train.steps(count))]
    return LazyMap(numbers, lambda step: [rows[i % len(rows)] for i in step])
