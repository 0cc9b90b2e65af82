"""The best checkpoint of a run: by what it keeps, where that is asked, then by validation loss."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from keeptune.core.files import readable, writing
from keeptune.launch.world import ALONE, World
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel

LAST = 9  # tier of what nobody asked about


class Best:
    """Keeps what the method saves of the best step on disk. Step 0 is the base, written only if nothing was better.

    A checkpoint may come with a tier, the lower the better (0: it keeps everything); a lower one goes before a lower
    loss. The base keeps everything and learned nothing, so it goes last, and so does what has a higher loss than it.
    """

    def __init__(self, lm: LanguageModel, method: Method, folder: Path, world: World = ALONE) -> None:
        self.lm, self.method, self.folder = lm, method, folder / method.artifact
        self.world = world
        self.step = 0
        self.loss = self._base_loss = math.inf
        self.tier = LAST

    def begin(self) -> None:
        """Remove what an earlier training left in the folder."""
        if self.world.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def offer(self, step: int, loss: float, tier: int = LAST) -> bool:
        """Keep the model as it is now if it is the best so far; says whether it was."""
        if step == 0:
            self._base_loss = loss
        tier = tier if step > 0 and loss < self._base_loss else LAST
        if not math.isfinite(loss) or (tier, loss) >= (self.tier, self.loss):
            return False
        self.tier, self.loss = tier, loss
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
        if not self.world.is_main:  # what a method draws when it begins is drawn anew, in every process for itself
            self.method.load(self.lm.model, self.folder)

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`; the weights of the best step are in the folder."""
        known = {"step": self.step, "tier": self.tier}
        losses = {"loss": self.loss, "base_loss": self._base_loss}
        return {**known, **{name: loss if math.isfinite(loss) else None for name, loss in losses.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was the best so far."""
        self.step, self.tier = state["step"], state["tier"]
        self.loss, self._base_loss = (
            math.inf if state[name] is None else state[name] for name in ("loss", "base_loss")
        )

    def _save(self) -> None:
        """By the main process; no other one goes on before the weights are there."""
        if self.world.is_main:
            self._write()
        self.world.wait()

    def _write(self) -> None:
        """Whole or not at all: written beside, then renamed."""
        partial = self.folder.with_name(self.folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with writing(self.folder):
            partial.mkdir(parents=True)
            self.method.save(self.lm.model, partial, self.lm.tokenizer)
            readable(partial)
            shutil.rmtree(self.folder, ignore_errors=True)
            partial.rename(self.folder)
