"""Where old rows come from: train rows of retained suites, texts that the base writes, or a file of unlabelled text.

Where only some suites have train rows, texts of the base's own stand for the others: what no row speaks for is lost.

One object for each, whatever draws on it: replay, Fisher information, a remedy of another package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from pydantic import ValidationError

from keeptune import __version__
from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import write_json
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded, Example
from keeptune.data.splits.compared import TELLING, normalise
from keeptune.data.storage.lazy import evenly
from keeptune.evaluate.config import TextConfig
from keeptune.evaluate.task import Task
from keeptune.evaluate.text import text_examples, windows
from keeptune.inference.self_replay import self_replay
from keeptune.launch.world import ALONE, World
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import RehearsalConfig, StudyConfig
from keeptune.recipe.entries import Entry
from keeptune.study.data import TrainingData
from keeptune.study.messages import Messages
from keeptune.study.records import TextsRecord
from keeptune.train.remedies.base import Need, RemedyInputs

FILE = "texts.json"  # in the base's folder of a run
TOKEN_BYTES = 8  # of text that are cut for a token: few tokens are longer
LOOKED_AT = 100  # rows of a source, where their sizes are asked for
ASKED = 0.5  # share of a piece's stretches that a retained text also has, from which on the piece is part of it

Pools = Mapping[str, Sequence[Encoded]]  # rows by where they are from


class RowSource(Protocol):
    """Rows that stand for what the base can do."""

    def rows(self, seed: int) -> Pools:
        """The rows, made where they were not made before; the seed of a training draws wordings and nothing else."""
        ...


@dataclass(frozen=True)
class OwnTexts:
    """Texts that the base writes context-free: from the token where a text starts, at temperature 1.

    Written once for a base, whatever study asks: they are kept by content in ``cache``, and in the run's folder, where
    all its machines read them.
    """

    lm: LanguageModel
    base: str | None  # content hash of the base, which the model may no longer be
    encoder: Encoder
    config: RehearsalConfig
    folder: Path  # of what the run keeps of its base
    cache: Path
    messages: Messages
    world: World = ALONE  # the processes that write together

    def rows(self, seed: int) -> Pools:
        """The texts, the same for every seed.

        Raises:
            RuntimeError: they were not written, and the model is no longer the base.
        """
        places = (self.folder / FILE, self.cache / f"texts-{self._key()}.json")
        found = {place: self._read(place) for place in places} if self.world.is_main else {}
        kept = self.world.first(lambda: next(filter(None, found.values()), b""))
        record = TextsRecord.model_validate_json(kept) if kept else self._write()
        for place, there in found.items():
            if not there:
                write_json(place, record)
        return {"self": [Encoded(*row) for row in record.rows]}

    def key(self) -> Any:
        """How many, and how long."""
        return [self.config.rows, self.config.tokens]

    def _key(self) -> str:
        lm, encoder = self.lm, self.encoder
        machine = [str(lm.dtype), lm.device.type, lm.base_engine.name]
        asked = [encoder.beginning, encoder.end_id, self.key()]
        return content_hash([__version__, self.base, machine, asked])

    def _read(self, place: Path) -> bytes:
        """The file, if it holds these texts; otherwise nothing."""
        try:
            kept = place.read_bytes()
            return kept if TextsRecord.model_validate_json(kept).key == self._key() else b""
        except (FileNotFoundError, ValidationError):
            return b""

    def _write(self) -> TextsRecord:
        if self.lm.hash is None:
            raise RuntimeError("a model in training cannot write what the base would")
        prompts = [self.encoder.beginning] * self.config.rows
        with self.messages.progress("the base writes texts") as update:
            rows = self_replay(
                self.lm, prompts, self.config.tokens, seed=0, end_ids=(self.encoder.end_id,), progress=update
            )
        return TextsRecord(key=self._key(), rows=tuple((row.id, row.prompt_ids, row.completion_ids) for row in rows))


@dataclass(frozen=True)
class SuiteRows:
    """Train rows of the retained suites, and texts of the base's own where some of the suites have none."""

    data: TrainingData
    own: OwnTexts

    def rows(self, seed: int) -> Pools:
        """By suite; none where no suite has train rows."""
        found = self.data.rehearsal_rows(seed)
        lacking = 0 < len(found) < len(self.data.suites) and not self.own.lm.encoder_decoder
        return {**found, **self.own.rows(seed)} if lacking else found


@dataclass(frozen=True)
class TextPieces:
    """Pieces of the recipe's unlabelled text, each behind the token where a text starts."""

    blocks: Sequence[Example]
    encoder: Encoder
    config: RehearsalConfig

    def rows(self, seed: int) -> Pools:
        """The same for every seed; a piece with a token that the model does not know is left out."""
        start = len(self.encoder.beginning)
        pieces = [
            ids
            for block in self.blocks
            for ids in windows(self.encoder, str(block.fields["text"]), self.config.tokens)
            if self.encoder.lacks(ids) is None
        ]
        chosen = evenly(pieces, self.config.rows)
        return {"text": [Encoded(f"unlabelled {i}", ids[:start], ids[start:]) for i, ids in enumerate(chosen)]}

    def key(self) -> Any:
        """The text, and how much of it."""
        return [[block.id for block in self.blocks], self.config.rows, self.config.tokens]


@dataclass(frozen=True)
class Rehearsal:
    """All that remedies of a study may draw on."""

    suites: SuiteRows
    text: TextPieces

    @property
    def own(self) -> OwnTexts:
        """Texts that the base writes."""
        return self.suites.own

    @property
    def keys(self) -> dict[Need, Any]:
        """What a training that draws on rows of no task depends on, beside the model and the tasks of its study."""
        return {Need.SELF_GENERATED_ROWS: self.own.key(), Need.TEXT_ROWS: self.text.key()}

    @property
    def sources(self) -> dict[Need, RowSource]:
        """Every source by what a remedy says that it needs."""
        return {
            Need.REHEARSAL_ROWS: self.suites,
            Need.SELF_GENERATED_ROWS: self.own,
            Need.TEXT_ROWS: self.text,
        }

    def inputs(self, seed: int, within_margins: Callable[[LanguageModel], bool] = lambda lm: True) -> RemedyInputs:
        """What the remedies of one training may draw on."""
        return RemedyInputs(
            rehearsal_rows=lambda: self.suites.rows(seed),
            self_generated_rows=lambda: self.own.rows(seed),
            text_rows=lambda: self.text.rows(seed),
            within_margins=within_margins,
        )

    def shared(self, world: World) -> Rehearsal:
        """The same where the processes of ``world`` do every job together."""
        return replace(self, suites=replace(self.suites, own=replace(self.own, world=world)))


def tokens_per_trained(pools: Sequence[Sequence[Encoded]]) -> float:
    """Tokens of rows for each that they train, where sources take turns, a row each; 1 without rows."""
    drawn = [evenly(rows, LOOKED_AT) for rows in pools]
    trained = sum(fmean(row.trained for row in rows) for rows in drawn)
    return sum(fmean(map(len, rows)) for rows in drawn) / trained if trained else 1.0


def drawn_on(arm: Arm, with_rows: int, suites: int) -> set[Need]:
    """The sources that the remedies of an arm draw on, where so many of the retained suites have train rows."""
    found: set[Need] = set()
    for remedy in arm.remedies:
        from_suites = {Need.REHEARSAL_ROWS} & remedy.needs if with_rows else set()
        found |= from_suites
        if not from_suites or with_rows < suites:
            found |= remedy.needs & {Need.SELF_GENERATED_ROWS, Need.TEXT_ROWS}
    return found


def text_of(config: StudyConfig) -> list[TextConfig]:
    """The unlabelled text of a recipe, where an arm draws on it."""
    text = config.rehearsal.text
    return [TextConfig(text=text)] if text and any(arm.needs(Need.TEXT_ROWS) for arm in config.every_arm) else []


def blocks_of(text: Entry, config: RehearsalConfig) -> tuple[Example, ...]:
    """As many blocks of a text as rows are to come of them, or all, from its beginning to its end.

    Raises:
        DataError: no such file, or no text.
    """
    assert isinstance(text, TextConfig)
    return tuple(evenly(text_examples(text.text, TOKEN_BYTES * config.tokens), config.rows))


def check_apart(blocks: Sequence[Example], suites: Sequence[Task]) -> None:
    """Nothing, where the unlabelled text is not what a retained text is measured on.

    Two texts are the same where they share half of their stretches of `TELLING` words, wherever they were cut.

    Raises:
        DataError: a block is part of a retained text's validation or test.
    """
    for suite in (suite for suite in suites if suite.request == "text"):
        asked: set[str] = set()
        for example in (*suite.splits.validation, *suite.splits.test):
            asked |= _stretches(str(example.fields["text"]))
        for block in blocks:
            stretches = _stretches(str(block.fields["text"]))
            if stretches and len(stretches & asked) >= ASKED * len(stretches):
                raise DataError(
                    f"the unlabelled text holds what {suite.name} is measured on",
                    path=block.path,
                    line=block.line,
                    field="rehearsal.text",
                    remedy="name another text, or retain another one",
                )


def check_room(config: RehearsalConfig, encoder: Encoder) -> None:
    """Nothing, where a text of the base's own fits its window.

    Raises:
        ConfigError: it does not.
    """
    room = encoder.context - len(encoder.beginning)
    if config.tokens > room:
        raise ConfigError(
            f"{config.tokens} tokens do not fit the model's window of {encoder.context}",
            where="rehearsal.tokens",
            remedy=f"say {room} or fewer",
        )


def _stretches(text: str) -> set[str]:
    words = normalise(text).split()
    return {" ".join(words[i : i + TELLING]) for i in range(len(words) - TELLING + 1)}
