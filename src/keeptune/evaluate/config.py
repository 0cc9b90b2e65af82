"""What a recipe says about a task, a free text or a task of lm-eval, and margins as recipes write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from keeptune.core.config import Config
from keeptune.data.formats.conversation import Supervise
from keeptune.data.prompts.wordings import is_wordings_file

HARNESS = "harness:"  # in front of the name of a task of lm-eval


@dataclass(frozen=True, slots=True)
class Margin:
    """The loss that is still acceptable: a fraction, or a share of the score before if ``relative``."""

    value: float
    relative: bool


def parse_margin(text: float | str) -> Margin:
    """2 or '2' -> 2 points (0.02); '1%' -> 1 % of the score before (0.01).

    Raises:
        ValueError: not a number above 0 and below 100, with or without '%'.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", str(text))
    if match is None or not 0 < float(match[1]) < 100:
        raise ValueError("write points (2) or, for free text, a share (1%); above 0 and below 100")
    return Margin(float(match[1]) / 100, match[2] == "%")


def _safe_name(text: str, default: str) -> str:
    """A name that can be a file's name: runs of other characters become '-'."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or default


class SplitConfig(Config):
    """How rows without a part of their own are divided, and what happens to copies across parts."""

    validation: float = Field(default=0.1, ge=0, lt=1)  # share of the rows
    test: float = Field(default=0.2, ge=0, lt=1)
    seed: int = 0
    on_leak: Literal["error", "drop"] = "error"  # 'drop' takes leaking rows out of train

    @model_validator(mode="after")
    def _something_left(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to train on: their shares must add up to less than 1")
        return self


class TaskConfig(Config):
    """Data, wordings, metric and decoding of one task. Every field but ``data`` can be found out from the data."""

    data: str  # a file, a folder of split files, or hf:owner/name
    name: str = ""  # default: the name of the file
    format: str | None = None  # how to read the rows, where that cannot be found out
    supervise: Supervise | None = None  # turns of conversations to learn from: all, last or weights
    fields: dict[str, str] | None = None  # role -> column, where columns are not recognised
    cluster: str | None = None  # column: rows with the same value come from one source
    label: str | None = None  # column to stratify by
    templates: tuple[str, ...] | None = None  # 'prompt ||| completion', one or several wordings
    unseen_templates: tuple[str, ...] | None = None  # wordings that are asked in and never trained on
    pack: str | None = None  # wordings instead of templates: a named set, or a file (promptsource, pairs)
    answer_choices: str | tuple[str, ...] | None = None  # the completions to choose from
    system: str | None = None
    metric: str | None = None  # default: accuracy, exact_match or rougeL, by the data
    extract: str | None = None  # regular expression: the answer inside the text, group 1 where there is one
    extract_first: bool = False  # the first match instead of the last
    max_new_tokens: int | None = Field(default=None, gt=0)  # default: by the completions of the train part
    # points that may be lost where retained; default: 5 % of what the base has above chance, between 1 and 3 points
    margin: float | str | None = None
    split: SplitConfig = SplitConfig()

    @field_validator("templates", "unseen_templates", mode="before")
    @classmethod
    def _one_template(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("margin")
    @classmethod
    def _points(cls, value: float | str | None) -> float | str | None:
        if value is not None and parse_margin(value).relative:
            raise ValueError("a task's margin is in points: write 2, not 2%")
        return value

    @model_validator(mode="after")
    def _one_source_of_wordings(self) -> TaskConfig:
        if self.pack is not None and self.templates is not None:
            raise ValueError("give 'pack' or 'templates', not both")
        return self

    @property
    def wordings_file(self) -> str | None:
        """The value of ``pack`` if it names a file, otherwise None."""
        return self.pack if self.pack is not None and is_wordings_file(self.pack) else None

    @property
    def title(self) -> str:
        """The task's name, safe as a file name."""
        return _safe_name(self.name or Path(self.data.removeprefix("hf:")).stem, "task")


class HarnessConfig(Config):
    """A task of lm-eval; the task's own settings hold for every field that is left out."""

    task: str  # harness: and the name of a task or group, or of a YAML file
    name: str = ""  # default: the name of the task or file
    metric: str | None = None  # as lm-eval names it, with a filter behind a comma; default: the first one
    shots: int | None = Field(default=None, ge=0)  # demonstrations of a retained task; one held out has none
    max_new_tokens: int | None = Field(default=None, gt=0)
    limit: int | None = Field(default=None, gt=0)  # items of a part that are scored
    margin: float | str | None = None  # points, by default as for a task; for bits per byte a share, default 1%

    @field_validator("task")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.removeprefix(HARNESS).strip():
            raise ValueError("write harness: and the name of a task, or of its YAML file")
        return value

    @field_validator("margin")
    @classmethod
    def _readable(cls, value: float | str | None) -> float | str | None:
        if value is not None:
            parse_margin(value)
        return value

    @property
    def title(self) -> str:
        """The task's name, safe as a file name."""
        place = self.task.removeprefix(HARNESS)
        stem = Path(place).stem if place.endswith((".yaml", ".yml")) else place
        return _safe_name(self.name or stem, "task")


class TextSplitConfig(SplitConfig):
    """How free text is divided: more of it is measured than of a task, because little of it is ever replayed."""

    validation: float = Field(default=0.2, ge=0, lt=1)
    test: float = Field(default=0.6, ge=0, lt=1)


class TextConfig(Config):
    """Free text as a retained suite, measured in bits per byte (see `text`)."""

    text: str  # a file, a folder or a glob pattern
    name: str = ""  # default: the name of the file or folder
    margin: float | str = "1%"  # relative
    block_bytes: int = Field(default=1024, ge=64)
    limit: int | None = Field(default=1000, gt=0)  # blocks of a part that are scored
    split: TextSplitConfig = TextSplitConfig()

    @field_validator("margin")
    @classmethod
    def _relative(cls, value: float | str) -> float | str:
        if not parse_margin(value).relative:
            raise ValueError("bits per byte have a relative margin: write 1%")
        return value

    @property
    def title(self) -> str:
        """The suite's name, safe as a file name."""
        place = Path(self.text)
        stem = place.parent.name if "*" in place.name else place.stem
        return _safe_name(self.name or stem, "text")
