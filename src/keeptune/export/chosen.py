"""Which trained arm of a run is exported, and what it is asked to prove that it is still itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.errors import ConfigError
from keeptune.core.records import ArmSummary, ItemRecord, Summary, read_json, read_records
from keeptune.study.weights import ADAPTER, arm_weights, trained_arms

PROMPTS = 16  # that an exported model is asked


@dataclass(frozen=True)
class Chosen:
    """A trained arm of a finished study."""

    run: Path
    summary: Summary
    arm: ArmSummary
    weights: Path  # a model folder, or an adapter's

    @property
    def adapter(self) -> bool:
        """Whether the weights belong on top of the base."""
        return self.weights.name == ADAPTER

    @property
    def base(self) -> str:
        """The model that the study started from: hub name, folder or "builtin"."""
        return str(self.summary.manifest.config["model"])

    def prompts(self) -> list[str]:
        """Prompts that the arm answered in the study, at most `PROMPTS`, each once.

        Raises:
            ConfigError: the run has none.
        """
        found = list(dict.fromkeys(self._asked()))[:PROMPTS]
        if not found:
            raise ConfigError("no prompts in its records to check the exported model on", where=str(self.run))
        return found

    def _asked(self) -> Iterator[str]:
        for file in sorted((self.weights.parent / "items").glob("*.jsonl")):
            yield from (item.prompt for item in read_records(file, ItemRecord) if item.prompt)
        yield from (sample.prompt for sample in self.summary.samples)
        yield from (card.example_prompt for card in self.summary.cards)


def choose(run: Path, arm: str | None = None) -> Chosen:
    """The named arm of a run; by default the recommended one, or else the one that ``run/tuned`` points at.

    Raises:
        ConfigError: no such arm, it trained nothing, or its weights are gone.
        DataError: not a run folder of a finished study.
    """
    summary = read_json(run / "summary.json", Summary)
    trained = trained_arms(summary.arms)
    if not trained:
        raise ConfigError("no arm of this run was trained", where=str(run), remedy="name a run that trained one")
    if arm is not None and arm not in trained:
        raise ConfigError(f"no trained arm '{arm}'", where=str(run), remedy=f"its trained arms: {', '.join(trained)}")
    name = arm or _default(run, summary, trained)
    weights = arm_weights(run, trained[name])
    if weights is None:
        place = run / str(trained[name].folder)
        raise ConfigError(f"the weights of {name} are gone", where=str(place), remedy="run the study again")
    return Chosen(run, summary, trained[name], weights)


def _default(run: Path, summary: Summary, trained: dict[str, ArmSummary]) -> str:
    """The recommended arm where it trained something, or the one whose weights ``run/tuned`` names."""
    if summary.recommendation.arm in trained:
        return str(summary.recommendation.arm)
    tuned = (run / "tuned").resolve().parent
    linked = (name for name, each in trained.items() if (run / str(each.folder)).resolve() == tuned)
    return next(linked, next(iter(trained)))
