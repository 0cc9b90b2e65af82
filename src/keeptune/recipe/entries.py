"""What a recipe names: tasks, free texts, tasks of lm-eval, and files that hold one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag, WithJsonSchema, model_validator

from keeptune.core.config import Config, read_recipe
from keeptune.core.errors import ConfigError
from keeptune.evaluate.config import HARNESS, HarnessConfig, TaskConfig, TextConfig
from keeptune.evaluate.standard import STANDARD, SetName, expand

BUILTIN = "builtin:"


class TaskFile(Config):
    """A task that stands in a file of its own; its data path is relative to that file."""

    task: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^(?!{HARNESS})"})]
    """A YAML file with the fields of a task or a text, or builtin:name."""
    margin: float | str | None = None
    """Margin instead of the file's: points, for free text a share."""

    def read(self) -> TaskConfig | TextConfig:
        """The task or text that the file describes.

        Such files are handed from one person to another: what one names lies below its own folder, or below the
        folder that the command is run in, wherever links lead.

        Raises:
            ConfigError: no such file, a key that neither a task nor a text has, or a file that lies elsewhere.
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
        found = relative_to(config.model_copy(update=changes), path.parent)
        if not self.task.startswith(BUILTIN):
            _check_within(found, path)
        return found


def _check_within(config: TaskConfig | TextConfig, file: Path) -> None:
    """Refuse files that a task file names and that are neither below its folder nor below the current one."""
    named = [config.text] if isinstance(config, TextConfig) else [config.data, config.wordings_file]
    metric = getattr(config, "metric", None) or ""
    if metric.startswith("python:"):
        named.append(metric.removeprefix("python:").rpartition(":")[0])
    for name in named:
        if name is None or name.startswith("hf:"):
            continue
        place = Path(name).resolve()
        if not any(place.is_relative_to(folder.resolve()) for folder in (file.parent, Path())):
            raise ConfigError(
                f"names '{name}', which is neither below its folder nor below this one",
                where=str(file),
                remedy="name the file in the recipe itself, or put it beside the task's file",
            )


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


def _several(value: Any) -> Any:
    """One entry stands for a list of one."""
    return [value] if isinstance(value, dict | Config) else value


Targets = Annotated[
    tuple[TargetEntry, ...],
    BeforeValidator(_several, json_schema_input_type=TargetEntry | tuple[TargetEntry, ...]),
]
Retained = Annotated[
    tuple[Entry, ...],
    BeforeValidator(expand, json_schema_input_type=SetName | tuple[Entry | SetName, ...] | None),
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
    """Tasks, texts and tasks of lm-eval."""
