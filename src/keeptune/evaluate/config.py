"""What a recipe says about a task, a free text or a task of lm-eval, and margins as recipes write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

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

    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows that becomes the validation part."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the rows that becomes the test part."""
    seed: int = 0
    """Decides which row goes to which part."""
    on_leak: Literal["error", "drop"] = "error"
    """What happens to train rows that stand in another part, too: an error, or they leave train."""

    @model_validator(mode="after")
    def _something_left(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to train on: their shares must add up to less than 1")
        return self


class TaskConfig(Config):
    """Data, wordings, metric and decoding of one task. Every field but data can be found out from the data."""

    data: str
    """A file, a folder of split files, or hf:owner/name."""
    name: str = ""
    """What tables call the task; by default the name of the file."""
    format: str | None = None
    """How to read the rows, where that cannot be found out."""
    supervise: Supervise | None = None
    """Turns of conversations to learn from."""
    fields: dict[str, str] | None = None
    """Role to column, where columns are not recognised: {completion: answer}."""
    cluster: str | None = None
    """Column whose equal values mark rows of one source, which go to one part."""
    label: str | None = None
    """Column whose values are spread evenly over the parts."""
    templates: tuple[str, ...] | None = None
    """Wordings, one or several: 'prompt ||| completion'."""
    unseen_templates: tuple[str, ...] | None = None
    """Wordings that are asked in and never trained on."""
    pack: str | None = None
    """Wordings instead of templates: a named set, or a file (promptsource, pairs)."""
    answer_choices: str | tuple[str, ...] | None = None
    """The completions to choose from: a list, or a template that gives one."""
    system: str | None = None
    """System message in front of every prompt."""
    metric: str | None = None
    """How answers are scored; by default accuracy, exact_match or rougeL, by the data."""
    extract: str | None = None
    """Regular expression for the answer inside the text: its group 1 where there is one."""
    extract_first: bool = False
    """Whether the first match counts instead of the last."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Longest answer, in tokens; by default what the completions of the train part need."""
    margin: float | str | None = None
    """Points that may be lost where retained; by default 5 % of what the base has above chance, from 1 to 3."""
    split: SplitConfig = SplitConfig()
    """How rows are divided into parts."""

    @field_validator(
        "templates", "unseen_templates", mode="before", json_schema_input_type=str | tuple[str, ...] | None
    )
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

    task: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{HARNESS}"})]
    """harness: and the name of a task or group of lm-eval, or of a YAML file of its format."""
    name: str = ""
    """What tables call the task; by default the name of the task or file."""
    metric: str | None = None
    """As lm-eval names it, with a filter behind a comma; by default the first one."""
    shots: int | None = Field(default=None, ge=0)
    """Demonstrations of a retained task; a task held out has none."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Longest answer, in tokens."""
    limit: int | None = Field(default=None, gt=0)
    """Largest number of items of a part that are scored."""
    margin: float | str | None = None
    """Points that may be lost, by default as for a task; for bits per byte a share, by default 1%."""

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
    """Share of the blocks that becomes the validation part."""
    test: float = Field(default=0.6, ge=0, lt=1)
    """Share of the blocks that becomes the test part."""


class TextConfig(Config):
    """Free text as a retained suite, measured in bits per byte."""

    text: str
    """A file, a folder or a glob pattern."""
    name: str = ""
    """What tables call the text; by default the name of the file or folder."""
    margin: float | str = "1%"
    """Share of its bits per byte by which the text may get worse."""
    block_bytes: int = Field(default=1024, ge=64)
    """Bytes of a block, which is one item."""
    limit: int | None = Field(default=1000, gt=0)
    """Largest number of blocks of a part that are scored."""
    split: TextSplitConfig = TextSplitConfig()
    """How blocks are divided into parts."""

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
