"""The recipe of a study: what to learn, what to keep, which arms to run. Only model and target have no default."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator

from keeptune.batching.mixture import MixtureConfig
from keeptune.core.config import Config, CountOrAuto, validate
from keeptune.core.records import PROMPTING
from keeptune.core.registry import Registry
from keeptune.core.units import parse_duration
from keeptune.evaluate.config import HarnessConfig
from keeptune.methods.base import METHODS, MethodConfig
from keeptune.recipe.arms import Arm, ArmName
from keeptune.recipe.entries import Retained, Targets
from keeptune.recipe.search import SEARCH, SearchConfig, arm_of, searched_doses
from keeptune.recommend.doses import DoseRange, Setting
from keeptune.recommend.search import TOGETHER
from keeptune.tracking.base import ALWAYS, TRACKERS
from keeptune.train.loop import TrainConfig
from keeptune.train.remedies.base import REMEDIES, Need, RemedyConfig


class PromptConfig(Config):
    """The prompting arms."""

    shots: tuple[int, ...] = (0, 1, 4)
    """Numbers of demonstrations to ask with."""
    draws: int = Field(3, ge=1)
    """Draws of the demonstrations, over which the score of an item is averaged."""

    @field_validator("shots")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(k < 0 for k in value) or len(set(value)) < len(value):
            raise ValueError("give different numbers of shots, 0 or more")
        return tuple(sorted(value))


class CostsConfig(Config):
    """How costs are counted."""

    cached_token_price: float = Field(0.1, ge=0, le=1)
    """Price of a demonstration's token, where a fresh token costs 1."""


class RehearsalConfig(Config):
    """Where old rows come from where the base's own training data are not at hand."""

    text: str | None = None
    """A file, a folder or a glob pattern of unlabelled text, for text-replay and text-ewc."""
    rows: int = Field(512, ge=1)
    """Texts that the base writes, and pieces that are taken of the unlabelled text, evenly."""
    tokens: int = Field(64, ge=1)
    """Longest of them, in tokens."""


def key_of(name: str) -> str:
    """The key of a registered name in a recipe: self-replay is self_replay there."""
    return name.replace("-", "_")


def _settings(title: str, registry: Registry[Any]) -> type[Config]:
    """A class with the settings of everything that is registered, each under its key."""
    kinds = {key_of(name): registry[name] for name in registry}
    fields: dict[str, Any] = {
        key: (kind, Field(kind(), description=inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]))
        for key, kind in kinds.items()
    }
    doc = f"The settings of every {registry.kind}, each under its name."
    return create_model(title, __base__=Config, __doc__=doc, **fields)


if TYPE_CHECKING:

    class MethodSettings(Config):
        """The settings of every registered method, each under its name."""

    class RemedySettings(Config):
        """The settings of every registered remedy, each under its name."""

else:
    MethodSettings = _settings("MethodSettings", METHODS)
    RemedySettings = _settings("RemedySettings", REMEDIES)


class CurveConfig(Config):
    """The learning curve: the chosen rate of some arms on parts of the training rows."""

    sizes: tuple[int, ...] = (50, 100, 250, 500, 1000, 2000, 5000, 10_000)
    """Numbers of training rows; those above all rows are left out, and all rows come last."""
    arms: tuple[str, ...] = ("lora",)
    """Arms that are trained at every size."""


class SequenceConfig(Config):
    """The targets one after another, in one or several orders of their names; as listed where no order is given."""

    orders: tuple[tuple[str, ...], ...] = ()
    """Orders of the targets by their names; as they are listed where no order is given."""
    arms: tuple[str, ...] = ("full", "lora", "full+replay", "lora+replay")
    """Arms that learn the targets one after another; replay is of the tasks before."""

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [ArmName.parse(name) for name in value]
        if any(name.interpolated for name in names):
            raise ValueError("a sequence merges every stage: interpolate has no place in it")
        for remedy in (remedy for name in names for remedy, _ in name.remedies):
            if Need.MARGINS in REMEDIES[remedy].needs:
                raise ValueError(f"a {remedy} watches retained suites, which a sequence does not score: leave it out")
        if len(set(names)) < len(names):
            raise ValueError("name each arm once")
        return tuple(map(str, names))


class StudyConfig(MethodSettings):
    """Targets to learn, skills to keep, and the arms that are compared.

    Example:
        >>> config = StudyConfig(model="builtin", target=[{"task": "builtin:orders"}], arms=["prompt", "lora+kl:0.5"])
        >>> [arm.name for arm in config.training_arms]
        ['lora+kl:0.5']
    """

    model: str
    """Hub name, local folder, or builtin."""
    target: Targets
    """The task to learn, or several that are learned together (with sequence: also one after another)."""
    retain: Retained = ()
    """Tasks, free texts and named sets that must not get worse; none says that it does not matter."""
    arms: tuple[str, ...] = ("prompt", "full", "lora")
    """What is compared: prompt, search, or a method with any remedies, as in lora+replay:5%."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the trainings; where none is named and a training is small, 0, 1 and 2."""
    prompt: PromptConfig = PromptConfig()
    """How the base is asked."""
    train: TrainConfig = TrainConfig()
    """How every arm is trained."""
    remedies: RemedySettings = RemedySettings()
    """Settings of the remedies against forgetting, each under its name."""
    rehearsal: RehearsalConfig = RehearsalConfig()
    """Where the rows of remedies come from that draw on no suite: texts of the base's own, or a file."""
    mixture: MixtureConfig | None = None
    """How several targets are mixed; by default every row comes once per epoch."""
    search: SearchConfig = SearchConfig()
    """How an arm that keeps is searched for, where search is among the arms."""
    sequence: SequenceConfig | None = None
    """Also learn the targets one after another."""
    curve: CurveConfig | None = None
    """Also train on parts of the rows: how many examples are enough?"""
    held_out: Targets = ()
    """Tasks that nothing is trained on, scored before and after: what carries over?"""
    checkpoints: bool = False
    """Whether target and retained suites are scored at every validation on the way."""
    title: str = ""
    """Heading of the report."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda or cuda:1."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Format that the model computes in; auto takes bf16 where the device has it in hardware."""
    quantise: Literal["none", "nf4", "int8"] = "none"
    """How the linear layers of the base are stored."""
    overlong: Literal["error", "drop", "truncate_prompt"] = "drop"
    """What happens to rows that are longer than the model's window."""
    validation_items: int = Field(200, ge=20)
    """Items of every task and suite that rates, shots and checkpoints are chosen on."""
    test_items: int | None = Field(None, ge=20)
    """Items of every task and suite that the verdict is made on; by default all."""
    indifference: float = Field(1.0, ge=0)
    """Points of target score that do not matter to you."""
    requests: int = Field(10_000, ge=0)
    """Predictions that the choice is made for."""
    costs: CostsConfig = CostsConfig()
    """How costs are counted."""
    workers: CountOrAuto = "auto"
    """Processes that train at the same time."""
    parallel: Literal["auto", "arms", "ddp", "fsdp"] = "auto"
    """With --nproc: an arm in each process, or one over all, with whole weights (ddp) or shards of them (fsdp)."""
    offload: bool = False
    """With fsdp on GPUs: whether shards and what the optimiser keeps are in host memory."""
    trackers: tuple[str, ...] = Field((), exclude=True)
    """Further trackers by their names; they change no result."""
    budget: str | None = None
    """Wall time, such as 4h or 30min: trainings are dropped in a stated order."""
    forgetting: Literal["measured", "harmless"] = "measured"
    """Whether forgetting is measured; harmless is what retain: none sets."""

    @field_validator("held_out")
    @classmethod
    def _zero_shot(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """What carries over is asked without demonstrations, however many a task of lm-eval says."""
        for entry in value:
            if isinstance(entry, HarnessConfig) and entry.shots:
                raise ValueError(f"{entry.task} is held out, and those are asked zero-shot: leave out its shots")
        return tuple(
            entry.model_copy(update={"shots": 0}) if isinstance(entry, HarnessConfig) else entry for entry in value
        )

    @model_validator(mode="before")
    @classmethod
    def _none(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("retain", ()) in (None, "none"):
            return {**values, "retain": [], "forgetting": "harmless"}
        return values

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name if name in (PROMPTING, SEARCH) else str(ArmName.parse(name)) for name in value)
        if not names or len(set(names)) < len(names):
            raise ValueError("name each arm once: prompt, full, lora, lora+replay:5%")
        return names

    @field_validator("trackers")
    @classmethod
    def _known_trackers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _ = TRACKERS[name]
            if name in ALWAYS:
                raise ValueError(f"'{name}' is always there: name further trackers only")
        if len(set(value)) < len(value):
            raise ValueError("name each tracker once")
        return value

    @field_validator("budget")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> StudyConfig:
        if not self.target:
            raise ValueError("a study needs a target")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("give one seed or more, each once")
        _ = self.training_arms, self.sequence_arms  # their doses and parts are checked
        for arm in self.curve.arms if self.curve else ():
            if arm not in self.arms or ArmName.parse(arm).interpolated:
                raise ValueError(f"the learning curve needs '{arm}' among the arms that train")
        if self.quantise != "none":
            self._check_stored()
        if self.parallel == "fsdp":
            for each in (*self.training_arms, *self.sequence_arms):
                each.check_sharded()
            if self.quantise != "none":
                raise ValueError("packed weights cannot be sharded: leave out quantise, or use parallel: ddp")
        if self.searches:
            self._check_search()
        self._check_text()
        return self

    def _check_text(self) -> None:
        """Refuse a remedy that draws on a text where the recipe names none."""
        for arm in self.every_arm:
            needing = arm.needs(Need.TEXT_ROWS)
            if needing and self.rehearsal.text is None:
                raise ValueError(f"'{arm.name}': {needing[0]} draws on a text: name it, rehearsal: {{text: FILE}}")

    def _check_search(self) -> None:
        """Refuse a search that has nothing to start from, nothing to keep or nothing to try."""
        if self.forgetting == "harmless":
            raise ValueError("a search keeps what is retained, and retain says none: leave search out of the arms")
        if not any(arm.plain for arm in self.training_arms):
            raise ValueError("a search starts from a plain method: name one among the arms, as in prompt, lora, search")
        if not self.searched_arms:
            tried = ", ".join(self.search.remedies)
            raise ValueError(f"none of the plain arms goes with a remedy of the search ({tried}): name others")

    def _check_stored(self) -> None:
        """Refuse what cannot work on a quantised base."""
        for arm in self.training_arms:
            arm.check_stored(self.quantise)
        if self.sequence:
            raise ValueError(
                "a sequence merges every stage into the weights, and those of a quantised base would become plain ones:"
                " leave out sequence or quantise"
            )

    @property
    def prompts(self) -> bool:
        """Whether the base is asked as it is."""
        return PROMPTING in self.arms

    @property
    def training_arms(self) -> tuple[Arm, ...]:
        """The arms that train."""
        return tuple(Arm.of(arm, self) for arm in self.arms if arm not in (PROMPTING, SEARCH))

    @property
    def searches(self) -> bool:
        """Whether an arm that keeps is searched for."""
        return SEARCH in self.arms

    @property
    def searched_arms(self) -> tuple[Arm, ...]:
        """Every plain arm with remedies of the search, as many as one training may have, at middling doses."""
        plain = [arm for arm in self.training_arms if arm.plain] if self.searches else []
        found = []
        for arm in plain:
            doses = sorted((name, doses.middle) for name, doses in self.searched_doses(arm).items())
            together = combinations(doses, min(TOGETHER, len(doses)))
            found += [arm_of(Setting(arm.name, 1.0, each), self) for each in together if each]
        return tuple(found)

    def searched_doses(self, arm: Arm) -> dict[str, DoseRange]:
        """Remedies that a search adds to a plain arm, and their doses."""
        return searched_doses(arm, self.search, self, self.quantise)

    @property
    def sequence_arms(self) -> tuple[Arm, ...]:
        """The arms that learn the targets one after another."""
        return tuple(Arm.of(arm, self) for arm in self.sequence.arms) if self.sequence else ()

    @property
    def every_arm(self) -> tuple[Arm, ...]:
        """All arms that train somewhere."""
        return (*self.training_arms, *self.searched_arms, *self.sequence_arms)

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that trains somewhere, once."""
        return tuple(dict.fromkeys(arm.method.name for arm in (*self.training_arms, *self.sequence_arms)))

    @property
    def method_keys(self) -> tuple[str, ...]:
        """The keys of all methods' settings, those of methods that no arm has included."""
        return tuple(map(key_of, METHODS))

    def method(self, name: str) -> MethodConfig:
        """The settings of a method."""
        settings: MethodConfig = getattr(self, key_of(name))
        return settings

    def remedy(self, name: str) -> RemedyConfig:
        """The settings of a remedy, before an arm's dose."""
        settings: RemedyConfig = getattr(self.remedies, key_of(name))
        return settings

    def learning_rates(self, arm: Arm) -> tuple[float, ...]:
        """Peak learning rates that are left to try for an arm."""
        return self.method(arm.method.name).learning_rates

    def with_learning_rates(self, rates: Mapping[str, tuple[float, ...]]) -> StudyConfig:
        """The recipe with other rates, by method."""
        changes = {
            key_of(name): self.method(name).model_copy(update={"learning_rates": kept}) for name, kept in rates.items()
        }
        return self.model_copy(update=changes)

    def needs(self, need: Need) -> bool:
        """Whether a remedy of an arm that is no sequence has a need."""
        return any(arm.needs(need) for arm in (*self.training_arms, *self.searched_arms))


def with_search(config: StudyConfig) -> StudyConfig:
    """The recipe with a search among its arms.

    Raises:
        ConfigError: it has nothing to start from, nothing to keep or nothing to try.
    """
    stated = {name: getattr(config, name) for name in config.model_fields_set}  # seeds are settled where none are named
    arms = config.arms if config.searches else (*config.arms, SEARCH)
    return validate(StudyConfig, {**stated, "arms": arms})
