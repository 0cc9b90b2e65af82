"""What a job finds at its place of work, in whichever process it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from keeptune.core.errors import ConfigError
from keeptune.core.records import write_json
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded
from keeptune.evaluate.cache import EvaluationCache
from keeptune.inference.self_replay import self_replay
from keeptune.launch.world import ALONE, World
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.config import StudyConfig
from keeptune.study.baseline import Baseline
from keeptune.study.data import TrainingData
from keeptune.study.ledger import Ledger
from keeptune.study.messages import Messages
from keeptune.study.records import TextsRecord, finished
from keeptune.study.scorer import Scorer
from keeptune.tracking.base import Tracker
from keeptune.train.microbatch_autotune import MicrobatchMemory
from keeptune.train.remedies.self_replay import SelfReplayConfig
from keeptune.train.sharded import Sharding

NO_TEXTS = "an encoder-decoder writes no texts of its own to replay"


@dataclass(frozen=True)
class Workplace:
    """The parts of a study that jobs work with. A job hands single parts on, and never the whole."""

    config: StudyConfig
    ledger: Ledger
    lm: LanguageModel  # the base between two jobs
    parameters: int  # of the base
    encoder: Encoder
    data: TrainingData
    scorer: Scorer
    messages: Messages
    microbatches: MicrobatchMemory  # a study that goes on splits its steps as it did before
    trackers: Sequence[Tracker]  # that the recipe names
    world: World = ALONE  # the processes that do a job together
    sharding: Sharding | None = None  # of the weights that they train

    def shared(self, world: World, sharding: Sharding | None) -> Workplace:
        """The place of work of one process of ``world``, of which the main one keeps the books."""
        scorer = replace(self.scorer, cache=EvaluationCache(self.scorer.cache.folder, world))
        return replace(
            self, ledger=replace(self.ledger, writes=world.is_main), scorer=scorer, world=world, sharding=sharding
        )

    @cached_property
    def baseline(self) -> Baseline:
        """What the base scored, as the job that measured it wrote it down."""
        suites = tuple(self.scorer.tasks[name] for name in self.scorer.suites)
        return Baseline.read(self.ledger, suites, self.data.validation_rows(self.config.seeds[0]))

    def self_generated_rows(self, seed: int) -> dict[str, list[Encoded]]:
        """Texts that the base writes itself, from where a text starts; written once for a run's folder.

        Raises:
            ConfigError: the base is an encoder-decoder.
        """
        if self.lm.encoder_decoder:
            raise ConfigError(NO_TEXTS, where="replay", remedy="retain suites that have train rows")
        settings = self.config.remedy("self-replay")
        assert isinstance(settings, SelfReplayConfig)
        path = self.ledger.folder / "base" / f"texts-seed{seed}.json"
        key = self.ledger.key("texts", settings.rows, settings.tokens, seed)
        found = finished(path, TextsRecord, key)
        if found is not None:
            return {"self": [Encoded(*row) for row in found.rows]}
        if self.lm.hash is None:
            raise RuntimeError("a model in training cannot write what the base would")
        prompts = [self.encoder.beginning] * settings.rows
        with self.messages.progress("the base writes texts to replay") as update:
            rows = self_replay(
                self.lm, prompts, settings.tokens, seed=seed, end_ids=(self.encoder.end_id,), progress=update
            )
        texts = tuple((row.id, row.prompt_ids, row.completion_ids) for row in rows)
        if self.ledger.writes:
            write_json(path, TextsRecord(key=key, rows=texts))
        return {"self": rows}
