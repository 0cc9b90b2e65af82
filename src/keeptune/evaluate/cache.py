"""Evaluations that are never done twice: one file per content of model, task and question.

Only models whose weights have a known hash are cached: a model in training has none. Interrupted writes leave
nothing behind, and a file that cannot be read is computed again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from keeptune import __version__
from keeptune.core.records import Part, write_json
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.prompts import Wording
from keeptune.evaluate.runner import Evaluation, evaluate
from keeptune.evaluate.task import Task
from keeptune.launch.world import ALONE, World
from keeptune.models.language_model import LanguageModel
from keeptune.models.progress import Progress

log = logging.getLogger(__name__)


class EvaluationCache:
    """A folder of evaluations. Where several processes evaluate together, that of the main one counts.

    Args:
        folder: where evaluations are kept.
        world: the processes that ask together.
    """

    def __init__(self, folder: Path, world: World = ALONE) -> None:
        self.folder, self.world = folder, world

    def evaluate(
        self,
        lm: LanguageModel,
        task: Task,
        part: Part,
        *,
        shots: int = 0,
        draw: int = 0,
        template: Wording = "fixed",
        limit: int | None = None,
        only: Collection[str] | None = None,
        encoder: Encoder | None = None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Like `runner.evaluate`, but read from the folder if the same was evaluated before."""
        settings: dict[str, Any] = {"shots": shots, "draw": draw, "template": template, "limit": limit}
        if only is not None:
            settings["only"] = sorted(only)
        path = self._path(lm, task, part, encoder, settings)
        result = self._read(path) if path is not None else None
        if result is not None:
            log.info("%s on %s, %s, %d-shot: read from %s", lm.name, task.name, part, shots, path)
        else:
            result = evaluate(lm, task, part, **settings, encoder=encoder, progress=progress)
            if path is not None and self.world.is_main:
                write_json(path, result)
        if encoder is None:  # nobody who makes a report of it
            for note in result.notes():
                log.warning("%s: %s", lm.name, note)
        return result

    def _path(
        self, lm: LanguageModel, task: Task, part: Part, encoder: Encoder | None, settings: dict[str, Any]
    ) -> Path | None:
        if lm.hash is None:
            return None
        wording = task.unseen_digest if settings["template"] == "unseen" else None
        asked = [encoder.chat, encoder.overlong, encoder.context] if encoder else None
        machine = [str(lm.dtype), lm.device.type, lm.engine.name]
        key = content_hash([__version__, lm.hash, machine, task.digest, wording, part, asked, settings])
        return self.folder / f"{task.name}-{part}-{key}.json"

    def _read(self, path: Path) -> Evaluation | None:
        """The evaluation that was kept, or None if there is none that can be read."""
        kept = self.world.first(lambda: path.read_bytes() if path.is_file() else b"")
        try:
            return Evaluation.model_validate_json(kept) if kept else None
        except ValidationError:
            path.unlink(missing_ok=True)  # cut short, or another version's
            return None
