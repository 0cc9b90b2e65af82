"""The best checkpoint of a run, by validation loss."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel


class Best:
    """Keeps what the method saves of the best step on disk. Step 0 is the base, written only if nothing was better."""

    def __init__(self, lm: LanguageModel, method: Method, folder: Path) -> None:
        self.lm, self.method, self.folder = lm, method, folder / method.artifact
        self.step = 0
        self.loss = math.inf
        shutil.rmtree(self.folder, ignore_errors=True)

    def offer(self, step: int, loss: float) -> bool:
        """Keep the model as it is now if ``loss`` is the lowest so far; says whether it was."""
        if not loss < self.loss:
            return False
        self.loss = loss
        self.keep(step)
        return True

    def keep(self, step: int) -> None:
        """Keep the model as it is now."""
        self.step = step
        if step > 0:
            self._save()

    def finish(self) -> None:
        """Leave the model holding the best weights, and the folder too."""
        if self.step > 0:
            self.method.load(self.lm.model, self.folder)
            return
        self.lm.restore(self.method)
        self.lm.adapt(self.method)
        self._save()

    def _save(self) -> None:
        """Whole or not at all: written beside, then renamed."""
        partial = self.folder.with_name(self.folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.method.save(self.lm.model, partial, self.lm.tokenizer)
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)
