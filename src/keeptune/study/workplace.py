"""What a job finds at its place of work, in whichever process it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.cache import EvaluationCache
from keeptune.launch.world import ALONE, World
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.config import StudyConfig
from keeptune.study.baseline import Baseline
from keeptune.study.data import TrainingData
from keeptune.study.ledger import Ledger
from keeptune.study.messages import Messages
from keeptune.study.rehearsal import Rehearsal
from keeptune.study.scorer import Scorer
from keeptune.tracking.base import Tracker
from keeptune.train.microbatch_autotune import MicrobatchMemory
from keeptune.train.sharded import Sharding


@dataclass(frozen=True)
class Workplace:
    """The parts of a study that jobs work with. A job hands single parts on, and never the whole."""

    config: StudyConfig
    ledger: Ledger
    lm: LanguageModel  # the base between two jobs
    parameters: int  # of the base
    encoder: Encoder
    data: TrainingData
    rehearsal: Rehearsal
    scorer: Scorer
    messages: Messages
    microbatches: MicrobatchMemory  # a study that goes on splits its steps as it did before
    trackers: Sequence[Tracker]  # that the recipe names
    world: World = ALONE  # the processes that do a job together
    sharding: Sharding | None = None  # of the weights that they train

    def shared(self, world: World, sharding: Sharding | None) -> Workplace:
        """The place of work of one process of ``world``, of which the main one keeps the books."""
        scorer = replace(self.scorer, cache=EvaluationCache(self.scorer.cache.folder, world))
        ledger, rehearsal = replace(self.ledger, writes=world.is_main), self.rehearsal.shared(world)
        return replace(self, ledger=ledger, rehearsal=rehearsal, scorer=scorer, world=world, sharding=sharding)

    @cached_property
    def baseline(self) -> Baseline:
        """What the base scored, as the job that measured it wrote it down."""
        suites = tuple(self.scorer.tasks[name] for name in self.scorer.suites)
        return Baseline.read(self.ledger, suites, self.data.validation_rows(self.config.seeds[0]))
