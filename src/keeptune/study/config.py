"""The recipe of a study: what to learn, what to keep, which arms to run. Only model and target have no default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from keeptune.batching.mixture import MixtureConfig
from keeptune.core.config import Config, CountOrAuto, read_recipe
from keeptune.core.units import parse_duration
from keeptune.evaluate.config import HARNESS, HarnessConfig, TaskConfig, TextConfig
from keeptune.evaluate.standard import STANDARD, expand
from keeptune.methods.config import FullConfig, LoraConfig
from keeptune.study.remedy_config import RemediesConfig
from keeptune.study.spec import ArmSpec
from keeptune.train.config import TrainConfig

if TYPE_CHECKING:  # a recipe is read without torch
    from keeptune.methods.base import Method

BUILTIN = "builtin:"


class TaskFile(Config):
    """A task that stands in a file of its own; its data path is relative to that file."""

    task: str  # a YAML file with the fields of a task, or builtin:name
    margin: float | str | None = None  # overrides the file's

    def read(self) -> TaskConfig | TextConfig:
        """The task or text that the file describes.

        Raises:
            ConfigError: no such file, or a key that neither a task nor a text has.
        """
        if self.task.startswith(BUILTIN):
            from keeptune.builtin import task_path

            path = task_path(self.task.removeprefix(BUILTIN))
        else:
            path = Path(self.task)
        config = read_recipe(_TaskOrText, path).entry
        changes: dict[str, Any] = {} if self.margin is None else {"margin": self.margin}
        if not config.name:
            changes["name"] = path.stem
        return relative_to(config.model_copy(update=changes), path.parent)


def relative_to(config: TaskConfig | TextConfig, root: Path) -> TaskConfig | TextConfig:
    """The same entry with its relative paths below ``root``."""
    paths = {"text": config.text} if isinstance(config, TextConfig) else {"data": config.data}
    if isinstance(config, TaskConfig) and config.wordings_file is not None:
        paths["pack"] = config.wordings_file
    changes = {
        field: str(root / place)
        for field, place in paths.items()
        if not place.startswith("hf:") and not Path(place).is_absolute()
    }
    return config.model_copy(update=changes)


def _kind(value: Any) -> str:
    if isinstance(value, HarnessConfig):
        return "(harness)"
    if isinstance(value, TaskFile | TaskConfig | TextConfig):
        return {TaskFile: "(file)", TaskConfig: "(task)", TextConfig: "(text)"}[type(value)]
    keys = value.keys() if isinstance(value, dict) else ()
    if "task" in keys and str(value["task"]).startswith(HARNESS):
        return "(harness)"
    return "(file)" if "task" in keys else "(text)" if "text" in keys and "data" not in keys else "(task)"


def entries_of(spec: str, margin: float | None = None) -> list[Any]:
    """What a command line names: one entry (`entry_of`), or a set of them by its name."""
    return list(STANDARD.get(spec, (entry_of(spec, margin),)))


def entry_of(spec: str, margin: float | None = None) -> dict[str, Any]:
    """What a command line names as one entry: a task's YAML file, builtin:name, harness:name, text files, or a data
    file.

    ``margin`` is in points and holds for data files and for tasks that stand in files of their own; free text keeps
    its relative margin.
    """
    points = {} if margin is None else {"margin": margin}
    if spec.startswith((BUILTIN, HARNESS)) or spec.endswith((".yaml", ".yml")):
        return {"task": spec, **points}
    if spec.endswith((".txt", ".md")):
        return {"text": spec}
    return {"data": spec, **points}


_Inline = Annotated[Annotated[TaskConfig, Tag("(task)")] | Annotated[TextConfig, Tag("(text)")], Discriminator(_kind)]
Entry = Annotated[
    Annotated[TaskFile, Tag("(file)")]
    | Annotated[TaskConfig, Tag("(task)")]
    | Annotated[TextConfig, Tag("(text)")]
    | Annotated[HarnessConfig, Tag("(harness)")],
    Discriminator(_kind),
]
TargetEntry = Annotated[
    Annotated[TaskFile, Tag("(file)")]
    | Annotated[TaskConfig, Tag("(task)")]
    | Annotated[HarnessConfig, Tag("(harness)")],
    Discriminator(_kind),
]


class _TaskOrText(Config):
    """A file that is one entry."""

    entry: _Inline

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, value: Any) -> Any:
        return {"entry": value}


class RetainList(Config):
    """Entries that do not stand in a recipe."""

    entries: tuple[Entry, ...]


class PromptConfig(Config):
    """The prompting arms."""

    shots: tuple[int, ...] = (0, 1, 4)
    draws: int = Field(3, ge=1)  # of the demonstrations; item scores are averaged over them

    @field_validator("shots")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(k < 0 for k in value) or len(set(value)) < len(value):
            raise ValueError("give different numbers of shots, 0 or more")
        return tuple(sorted(value))


class CostsConfig(Config):
    """How costs are counted."""

    cached_token_price: float = Field(0.1, ge=0, le=1)  # of a demonstration's token, where a fresh one costs 1


class FullArm(FullConfig):
    """Full fine-tuning and its rates."""

    rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4)


class LoraArm(LoraConfig):
    """LoRA and its rates, centred ten times above those of full fine-tuning."""

    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)


class CurveConfig(Config):
    """The learning curve: the chosen rate of some arms on parts of the training rows."""

    sizes: tuple[int, ...] = (50, 100, 250, 500, 1000, 2000, 5000, 10_000)  # those below all rows; all rows come last
    arms: tuple[str, ...] = ("lora",)


class SequenceConfig(Config):
    """The targets one after another, in one or several orders of their names; as listed where no order is given."""

    orders: tuple[tuple[str, ...], ...] = ()
    arms: tuple[str, ...] = ("full", "lora", "full+replay", "lora+replay")  # replay is of the tasks before

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        specs = [ArmSpec.parse(name) for name in value]
        if any(spec.interpolated for spec in specs):
            raise ValueError("a sequence merges every stage: interpolate has no place in it")
        if any(name == "guard" for spec in specs for name, _ in spec.remedies):
            raise ValueError("a guard watches retained suites, which a sequence does not score: leave it out")
        if len(set(specs)) < len(specs):
            raise ValueError("name each arm once")
        return tuple(spec.name for spec in specs)


class StudyConfig(Config):
    """One target, one retained suite, several arms."""

    model: str  # hub name, local folder or "builtin"
    target: tuple[TargetEntry, ...]  # one task, or several that are learned together (or one after another: sequence)
    retain: tuple[Entry, ...] = ()  # tasks and free texts that must not get worse; standard; none: it does not matter
    arms: tuple[str, ...] = ("prompt", "full", "lora")  # prompt, or a method with remedies: lora+replay:5%
    seeds: tuple[int, ...] = (0,)  # where none is named and a training is small, 0, 1 and 2
    prompt: PromptConfig = PromptConfig()
    train: TrainConfig = TrainConfig()
    full: FullArm = FullArm()
    lora: LoraArm = LoraArm()
    remedies: RemediesConfig = RemediesConfig()
    mixture: MixtureConfig | None = None  # how several targets are mixed; by default every row once per epoch
    sequence: SequenceConfig | None = None
    curve: CurveConfig | None = None
    held_out: tuple[TargetEntry, ...] = ()  # tasks that nothing is trained on, scored before and after
    checkpoints: bool = False  # target and retained suites at every validation on the way, for frontiers
    title: str = ""
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    overlong: Literal["error", "drop", "truncate_prompt"] = "drop"
    validation_items: int = Field(200, ge=20)  # per task and suite, for choosing rates and shots
    test_items: int | None = Field(None, ge=20)  # per task and suite; all where not given
    indifference: float = Field(1.0, ge=0)  # points of target score that do not matter to you
    requests: int = Field(10_000, ge=0)  # predictions that the choice is made for
    costs: CostsConfig = CostsConfig()
    workers: CountOrAuto = "auto"  # processes that train at the same time
    budget: str | None = None  # wall time, "4h" or "30min": trials are dropped in a stated order
    forgetting: Literal["measured", "harmless"] = "measured"  # harmless: retain says none

    @field_validator("target", "held_out", mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict | Config) else value

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

    @field_validator("retain", mode="before")
    @classmethod
    def _sets(cls, value: Any) -> Any:
        return expand(value)

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name if name == "prompt" else ArmSpec.parse(name).name for name in value)
        if not names or len(set(names)) < len(names):
            raise ValueError("name each arm once: prompt, full, lora, lora+replay:5%")
        return names

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
        for name in self.methods:
            rates = self.rates(name)
            if not rates or any(rate <= 0 for rate in rates) or len(set(rates)) < len(rates):
                raise ValueError(f"{name}.rates must be one or more positive numbers, each once")
        for spec in (*self.specs, *self.in_turn):
            self.remedies.check(spec)
        for arm in self.curve.arms if self.curve else ():
            if arm not in self.arms or ArmSpec.parse(arm).interpolated:
                raise ValueError(f"the learning curve needs '{arm}' among the arms that train")
        return self

    @property
    def specs(self) -> tuple[ArmSpec, ...]:
        """The arms that train."""
        return tuple(ArmSpec.parse(arm) for arm in self.arms if arm != "prompt")

    @property
    def in_turn(self) -> tuple[ArmSpec, ...]:
        """The arms that learn the targets one after another."""
        return tuple(map(ArmSpec.parse, self.sequence.arms)) if self.sequence else ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that trains somewhere, once."""
        return tuple(dict.fromkeys(spec.method for spec in (*self.specs, *self.in_turn)))

    def rates(self, method: str) -> tuple[float, ...]:
        """Peak learning rates to try."""
        return tuple(sorted(getattr(self, method).rates))

    def build_method(self, method: str) -> Method:
        """A fresh instance of a method."""
        built: Method = getattr(self, method).build()
        return built

    def method_settings(self, method: str) -> dict[str, Any]:
        """What, besides the rate, makes the method."""
        settings: dict[str, Any] = getattr(self, method).model_dump(mode="json", exclude={"rates"})
        return settings


class ScoringConfig(Config):
    """What `keeptune evaluate` scores."""

    model: str
    tasks: tuple[str, ...]
    adapter: Path | None = None
    shots: tuple[int, ...] = (0,)
    draws: int = Field(3, ge=1)
    part: Literal["validation", "test"] = "test"
    limit: int | None = None
    template: Literal["fixed", "each"] = "fixed"
    on_leak: Literal["error", "drop"] = "error"
    fields: dict[str, str] | None = None  # role -> column, of data files
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    @field_validator("shots")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(k < 0 for k in value):
            raise ValueError("give numbers of shots, 0 or more")
        return value
