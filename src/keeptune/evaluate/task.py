"""A task: examples in three parts, their wordings, the metric and how to ask. Free text is a task as well.

What a recipe leaves out is found out from the data:

- wordings: the neutral one of the recognised columns;
- choices: the answers, where the data have at most `MOST_CHOICES` different ones, or the row's own options;
- metric: accuracy where there are choices; rougeL where half of the answers have more than `LONG_ANSWER` words;
  exact_match otherwise;
- how to ask: choices are scored (log-likelihood), everything else is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import ItemRecord
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example, Rendered, Splits
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.load import Loaded, load_examples
from keeptune.data.prompts.templates import TemplateSet
from keeptune.data.splits.copies import keep_together
from keeptune.data.splits.drop import drop_leaks
from keeptune.data.splits.leakage import LeakReport
from keeptune.data.splits.split import split, split_judged
from keeptune.evaluate.config import SplitConfig, TaskConfig, TextConfig, parse_margin
from keeptune.evaluate.extract import Extractor
from keeptune.evaluate.metrics.base import Metric, Request
from keeptune.evaluate.metrics.bits_per_byte import BitsPerByte
from keeptune.evaluate.metrics.find import find_metric
from keeptune.evaluate.task_templates import task_templates, unseen_templates
from keeptune.evaluate.text import byte_entropy, divide, text_examples
from keeptune.retention.pairs import Suite

if TYPE_CHECKING:  # a task is built without torch
    from keeptune.models.language_model import LanguageModel
    from keeptune.models.progress import Progress

MOST_CHOICES = 32  # more different answers than this are cheaper and fairer to generate
LONG_ANSWER = 5  # words
FEWEST_TOKENS = 16  # smallest limit of generated tokens where the recipe names none
_LOOKED_AT = 500  # rows of a part that the limit is taken from


@dataclass(frozen=True, slots=True)
class Judged:
    """How a retained suite is divided if no remedy trains on its rows: a validation part, and the rest is test.

    A recipe's own shares come first.
    """

    validation: float = 0.3  # share of the rows: whether a loss can be measured at all is decided on them
    divide_test: bool = True  # take them out of a source that has test rows alone, where choices need some

    def applies(self, settings: SplitConfig) -> bool:
        """Whether the recipe leaves the shares open."""
        return not settings.model_fields_set & {"validation", "test"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One item answered and scored, and what asking cost: prompt tokens, and whether some did not fit."""

    item: ItemRecord
    tokens: int
    cut: bool


class HarnessAdapter(Protocol):
    """Asks the items of a task in a way of its own (see `harness`)."""

    @property
    def key(self) -> Any:
        """What answers depend on beside the examples, as JSON."""
        ...

    def asked_shots(self, shots: int) -> int:
        """Demonstrations in a prompt where the caller wants ``shots``."""
        ...

    def chance(self, examples: Sequence[Example]) -> float | None:
        """Score of guessing; None where guessing scores nothing."""
        ...

    def ask(
        self,
        lm: LanguageModel,
        examples: Sequence[Example],
        *,
        chat: bool,
        shots: int,
        draw: int,
        progress: Progress | None,
    ) -> list[Asked]:
        """Every item answered and scored, in order."""
        ...


@dataclass(frozen=True)
class Task:
    """Everything that evaluation needs to know, apart from the model.

    Make one with `build_task`, `build_text` or `harness.build_harness`. It can be pickled, and has the same digest in
    another process.
    """

    name: str
    metric: Metric
    request: Request
    splits: Splits
    margin: float | None  # a fraction; relative for free text; None: a share of what the base has above chance
    templates: TemplateSet | None = None  # None for free text
    unseen: TemplateSet | None = None  # wordings that no training sees
    extractor: Extractor | None = None
    max_new_tokens: int | None = None
    limit: int | None = None  # items of a part that are scored
    loaded: Loaded | None = None  # None for free text
    leaks: LeakReport | None = None  # None for free text
    source: str = ""
    sha256: str = ""
    adapter: HarnessAdapter | None = None  # where items are asked in a way of their own
    _chances: dict[str, float | None] = field(default_factory=dict, compare=False, repr=False)
    _longest: dict[tuple[str, bool], int] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def digest(self) -> str:
        """Content hash of all that scores depend on: examples of every part, wordings, metric, decoding.

        Unseen wordings have their own, `unseen_digest`: no training depends on them.
        """
        wordings = _wordings_key(self.templates) if self.templates is not None else None
        parts = [[(each.id, each.cluster) for each in self.splits.part(p)] for p in ("train", "validation", "test")]
        extract = self.extractor.key if self.extractor else None
        decoding = [self.request, self.max_new_tokens, self.limit, extract]
        own = [self.adapter.key] if self.adapter else []
        return content_hash([self.name, wordings, parts, decoding, self.metric.key, *own])

    @cached_property
    def unseen_digest(self) -> str | None:
        """Content hash of the wordings that no training sees; None without any."""
        return content_hash(_wordings_key(self.unseen)) if self.unseen is not None else None

    def wordings(self, chat: bool, *, unseen: bool = False) -> TemplateSet:
        """The wordings for a model with or without a chat template; ``unseen``: those that no training sees.

        Raises:
            TypeError: free text has none, and few tasks have unseen ones.
        """
        wordings = self.unseen if unseen else self.templates
        if wordings is None:
            raise TypeError(f"'{self.name}' has no {'unseen ' if unseen else ''}wordings")
        return wordings.for_chat(chat)

    def new_tokens(self, encoder: Encoder) -> int:
        """Limit of generated tokens: as the recipe says, or 1.25 times the longest completion of 500 rows of each part.

        It leaves half of the window to the prompt, or what the longest completion leaves.
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        longest = self.longest_answer(encoder)
        half = encoder.context // 2 if not encoder.encoder_decoder else encoder.context - 1  # it shares no window
        most = max(half, min(longest, encoder.context - 1))
        return min(max(longest * 5 // 4, FEWEST_TOKENS), most)

    def longest_answer(self, encoder: Encoder) -> int:
        """Tokens of the longest completion of 500 rows of each part, its end token among them."""
        key = (encoder.name, encoder.chat)
        if key not in self._longest:  # asked with every evaluation
            wordings = self.wordings(encoder.chat)
            parts = (self.splits.train, self.splits.validation, self.splits.test)
            rows = [row for part in parts for row in sorted(part, key=lambda example: example.id)[:_LOOKED_AT]]
            self._longest[key] = max(len(encoder.choice(wordings.fixed(row).completion)) + 1 for row in rows)
        return self._longest[key]

    def chance(self, part: str = "test") -> float | None:
        """Score of guessing on a part; None where guessing scores nothing.

        See `Metric.chance`. Free text: bits per byte of a model that knows the bytes' frequencies alone.
        """
        if part not in self._chances:  # rendering all rows takes a second
            self._chances[part] = self._chance(part)
        return self._chances[part]

    def asked_shots(self, shots: int) -> int:
        """Demonstrations in a prompt where the caller wants ``shots``: a task may bring some of its own."""
        return self.adapter.asked_shots(shots) if self.adapter else shots

    def _chance(self, part: str) -> float | None:
        if self.adapter is not None:
            return self.adapter.chance(self.splits.part(part))
        if self.request == "text":
            return byte_entropy(str(example.fields["text"]) for example in self.splits.part(part)[: self.limit])
        return self.metric.chance(map(self.wordings(chat=False).fixed, self.splits.part(part)))

    def suite(self, part: str = "test") -> Suite:
        """The task as a retained suite, for `retention.judge`."""
        documents = {example.label for example in self.splits.part(part)} if self.request == "text" else {None}
        few = None if None in documents else len(documents)
        return Suite(self.name, self.metric.name, self.metric.kind, self.margin, self.chance(part), few)


def build_task(config: TaskConfig, judged: Judged | None = None) -> Task:
    """Load, split, guard against leaks, and settle how to ask and what to measure.

    Args:
        config: what the recipe says.
        judged: rows are judged and none is trained on; see `Judged`.

    Raises:
        ConfigError: a metric that does not fit the task, an unknown metric, pack or column.
        DataError: unreadable data, a leak between the parts, a template that does not fit the rows.
    """
    own_words = config.templates is not None or config.pack is not None
    loaded = load_examples(
        config.data,
        fields=config.fields,
        cluster=config.cluster,
        label=config.label,
        templated=own_words,
        as_is=config.wordings_file is not None and config.format is None,
        format=config.format,
        supervise=config.supervise,
    )
    _refuse_unasked(loaded.layout, config.data)
    splits, leaks = _split(loaded.examples, config.split, loaded.layout, judged)
    looked_at = list(splits.train or splits.test or splits.validation)[:_LOOKED_AT]
    templates = task_templates(config, loaded.layout, looked_at)
    sample = [templates.fixed(example) for example in looked_at]
    metric = find_metric(config.metric or _automatic_metric(sample))
    request = _request(metric, sample[0], _states_choices(config, templates))
    return Task(
        name=config.title,
        metric=metric,
        request=request,
        splits=splits,
        margin=None if config.margin is None else parse_margin(config.margin).value,
        templates=templates,
        unseen=unseen_templates(config, templates, sample[0].choices is not None, looked_at),
        extractor=Extractor(config.extract, config.extract_first) if config.extract else None,
        max_new_tokens=config.max_new_tokens,
        loaded=loaded,
        leaks=leaks,
        source=config.data,
        sha256=loaded.sha256,
    )


def _refuse_unasked(layout: ColumnSchema | None, source: str) -> None:
    """Refuse rows that hold nothing that a model could be asked.

    Raises:
        DataError: whole texts, or token ids.
    """
    if layout is not None and layout.name == "text":
        raise DataError(
            "rows are whole texts: nothing says what is asked and what is answered",
            path=source,
            remedy="give rows a completion beside the text; whole texts can be a retained suite (text: FILE)",
        )
    if layout is not None and layout.name == "tokenised":
        raise DataError(
            "rows are token ids of one tokenizer: they can be trained on, but answers to them cannot be scored",
            path=source,
            remedy="give the texts",
        )


def build_text(config: TextConfig, judged: Judged | None = None) -> Task:
    """Build free text as a retained suite; with ``judged`` nothing trains on it (see `Judged`).

    Raises:
        DataError: no such file, no text, or too little of it to divide.
    """
    examples = text_examples(config.text, config.block_bytes)
    settings = config.split
    validation, test = settings.validation, settings.test
    if judged is not None and judged.applies(settings):
        validation, test = judged.validation, 1 - judged.validation
    return Task(
        name=config.title,
        metric=BitsPerByte(),
        request="text",
        splits=divide(examples, validation, test, settings.seed),
        margin=parse_margin(config.margin).value,
        limit=config.limit,
        source=config.text,
        sha256=content_hash([example.id for example in examples], length=64),
    )


def _wordings_key(wordings: TemplateSet) -> Any:
    pieces = [
        (each.text, each.answer_choices, each.verbatim, *(["whole"] if each.whole else []))
        for each in wordings.templates
    ]
    return [pieces, wordings.answer_choices, wordings.system]


def _split(
    examples: Sequence[Example], settings: SplitConfig, layout: ColumnSchema | None, judged: Judged | None
) -> tuple[Splits, LeakReport]:
    columns = layout.prompt_columns if layout is not None and layout.prompt_columns else None
    grouped = keep_together(examples, columns)
    if judged is None or not judged.applies(settings):
        divided = split(grouped, validation=settings.validation, test=settings.test, seed=settings.seed)
    else:
        share, divide_test = judged.validation, judged.divide_test
        divided = split_judged(grouped, validation=share, seed=settings.seed, divide_test=divide_test)
    return drop_leaks(divided, columns, settings.on_leak)


def _automatic_metric(sample: Sequence[Rendered]) -> str:
    choices = sample[0].choices
    if choices is not None and len(choices) <= MOST_CHOICES:
        return "accuracy"
    long = sum(len(row.completion.split()) > LONG_ANSWER for row in sample)
    return "rougeL" if 2 * long > len(sample) else "exact_match"


def _states_choices(config: TaskConfig, templates: TemplateSet) -> bool:
    """Whether the recipe or a wording says what can be answered (the data's own few answers say less)."""
    return config.answer_choices is not None or any(each.answer_choices is not None for each in templates.templates)


def _request(metric: Metric, row: Rendered, stated: bool) -> Request:
    """Whether the answers are chosen or generated.

    Raises:
        ConfigError: the metric does not fit the task.
    """
    if row.choices is not None and "choices" in metric.requests:
        return "choices"
    if "generate" not in metric.requests:
        raise ConfigError(
            f"'{metric.name}' needs answers to choose from, and this task has none",
            where="metric",
            remedy="give answer_choices, or use exact_match, which compares generated text",
        )
    if stated and row.choices is not None and not metric.choices_as_text:
        raise ConfigError(
            f"'{metric.name}' compares texts, and this task chooses among {len(row.choices)} answers",
            where="metric",
            remedy="use accuracy, accuracy_norm or macro_f1, or leave out answer_choices to generate text",
        )
    return "generate"
