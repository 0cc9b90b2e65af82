"""One task, one part, one model: every item asked and scored."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from itertools import compress

import numpy as np

from keeptune.core.errors import DataError
from keeptune.core.records import ItemRecord, Part, Record
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example, Rendered
from keeptune.evaluate.metrics.base import Answer, Kind
from keeptune.evaluate.metrics.bits_per_byte import bits_per_byte
from keeptune.evaluate.prompts import Item, PromptBuilder, Wording, chosen_items, prompt_builders
from keeptune.evaluate.requests import ChoiceScoring, Generation, RequestKind
from keeptune.evaluate.task import Asked, Task
from keeptune.evaluate.text import windows
from keeptune.inference.score import text_nats
from keeptune.models.language_model import LanguageModel
from keeptune.models.progress import Progress


class Evaluation(Record):
    """What a model scored on one part of a task, item by item, and what asking it cost."""

    suite: str
    part: Part
    metric: str
    kind: Kind  # 'mean' where a binary metric was averaged over several wordings
    items: tuple[ItemRecord, ...]
    tokens_per_request: float  # mean prompt tokens, demonstrations included; of a block where the task is free text
    window_share: float  # of the model's context
    shots_dropped: float = 0.0  # mean demonstrations per request that found no room
    truncated: int = 0  # items whose prompt lost tokens at its left end
    cut_answers: int = 0  # items whose answer ended at a limit of new tokens that a right answer may exceed
    new_tokens: int | None = None  # that limit, where text is generated
    skipped: tuple[str, ...] = ()  # ids of items that were left out because their prompt is too long
    unwritable: tuple[str, ...] = ()  # ids of items that were left out because the model could not write their answer
    unknown: int = 0  # items whose prompt, or whose text, has characters that the tokenizer does not know
    seconds: float
    signature: str = ""  # of the library that computed the metric

    def notes(self) -> list[str]:
        """What the reader of the score has to know: items that were not asked, prompts and answers that were cut."""
        found = []
        if self.skipped:
            where = f"{self.suite}: {len(self.skipped)} {self.part} items"
            found.append(f"{where} do not fit the window or the model's vocabulary and were not asked")
        if self.unwritable:
            where = f"{self.suite}: {len(self.unwritable)} {self.part} items"
            found.append(f"{where} have answers that the tokenizer cannot write, and were not asked")
        if self.unknown:
            where = f"{self.suite}: {self.unknown} {self.part} items"
            found.append(f"{where} have characters that the tokenizer does not know; the model does not see them")
        if self.truncated:
            found.append(f"{self.suite}: {self.truncated} {self.part} prompts lost their beginning to fit the window")
        if self.cut_answers:
            found.append(
                f"{self.suite}: {self.cut_answers} of {len(self.items)} {self.part} answers were cut at"
                f" {self.new_tokens} tokens and scored as they are (max_new_tokens raises the limit)"
            )
        return found

    @property
    def value(self) -> float:
        """The score: mean over items, weighted (by bytes, for bits per byte)."""
        return float(np.average([item.score for item in self.items], weights=[item.weight for item in self.items]))


def evaluate(
    lm: LanguageModel,
    task: Task,
    part: Part,
    *,
    shots: int = 0,
    draw: int = 0,
    template: Wording = "fixed",
    limit: int | None = None,
    only: Collection[str] | None = None,
    encoder: Encoder | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Ask a model every item of one part of a task, and score the answers.

    Args:
        lm: the model; evaluation mode and precision are taken care of.
        task: see `task.build_task`, `task.build_text` and `harness.build_harness`.
        part: 'validation' to choose by, 'test' for the verdict.
        shots: demonstrations from the train part in front of every prompt; as many as the window holds. A task that
            brings its own is asked with these where the number is 0.
        draw: number of the draw of demonstrations; a draw is the same list for all items.
        template: 'fixed' asks in the first wording, 'each' in all of them and averages every item's scores, 'unseen'
            does so in the wordings that training never sees.
        limit: score at most so many items, those with the smallest ids (ids are hashes: a random but fixed choice).
        only: ids of the items that are asked, of those that would be; all if None.
        encoder: by default the model's chat template is used where it has one, and over-long prompts lose tokens at
            their left end.
        progress: called after every batch with (done, all) of the current wording.

    Raises:
        DataError: the part is empty, or nothing of it fits the window.
        ConfigError: more shots than the train part has examples.

    Example:
        >>> from keeptune.builtin import task_path
        >>> from keeptune.evaluate.config import TaskConfig
        >>> from keeptune.evaluate.task import build_task
        >>> from keeptune.models.load import load
        >>> rows = task_path("addition").with_suffix(".jsonl")
        >>> task = build_task(TaskConfig(data=str(rows), fields={"prompt": "sum", "completion": "answer"}))
        >>> result = evaluate(load("builtin"), task, "test", shots=2, limit=20)
        >>> len(result.items), result.metric, 0 <= result.value <= 1
        (20, 'exact_match', True)
    """
    started = time.perf_counter()
    examples = chosen_items(task, part, limit, only)
    encoder = encoder or Encoder.of(lm, overlong="truncate_prompt")
    if task.adapter is not None:
        asked = task.adapter.ask(lm, examples, chat=encoder.chat, shots=shots, draw=draw, progress=progress)
        return _of_asked(task, part, asked, encoder, time.perf_counter() - started)
    if task.request == "text":
        return _measure_text(lm, task, part, encoder, examples, progress, started)
    if shots and part == "train":
        raise ValueError("demonstrations come from the train part: evaluate on validation or test")
    builders = prompt_builders(task, encoder, shots=shots, draw=draw, template=template)
    runs = [_Run(lm, task, prompts) for prompts in builders]
    for run in runs:
        run.ask(examples, progress)
    return _merge(task, part, examples, runs, encoder, time.perf_counter() - started)


class _Run:
    """One pass over the items in one wording."""

    def __init__(self, lm: LanguageModel, task: Task, prompts: PromptBuilder) -> None:
        self.lm, self.task, self.prompts = lm, task, prompts
        self.kind: RequestKind = (
            ChoiceScoring(per_byte=task.metric.per_byte)
            if prompts.max_new_tokens is None
            else Generation(prompts.max_new_tokens)
        )
        self.items: dict[str, Item] = {}  # by example id; without those that are too long or cannot be answered
        self.unwritable: set[str] = set()
        self.answers: dict[str, Answer] = {}
        self.scores: dict[str, float] = {}
        self.signature = ""

    def ask(self, examples: Sequence[Example], progress: Progress | None) -> None:
        """Render, encode, answer and score all items."""
        for example in examples:
            asked = self.prompts.ask(example)
            if isinstance(asked, Item):
                self.items[example.id] = asked
            elif asked.unwritable:
                self.unwritable.add(example.id)
        items = list(self.items.values())
        answers = self.kind.answer(self.lm, self.prompts.encoder, items, self.prompts.shots, progress)
        extracted = [self._extract(answer) for answer in answers]
        scored = self.task.metric.score(extracted)
        self.answers = {answer.id: answer for answer in extracted}
        self.scores = {answer.id: value for answer, value in zip(extracted, scored.values, strict=True)}
        self.signature = scored.signature

    def _extract(self, answer: Answer) -> Answer:
        extract = self.task.extractor
        if extract is None:
            return answer
        references = tuple(found if (found := extract(text)) is not None else text for text in answer.references)
        return Answer(answer.id, extract(answer.prediction) or "", references, answer.cut)


def _merge(
    task: Task, part: Part, examples: Sequence[Example], runs: Sequence[_Run], encoder: Encoder, seconds: float
) -> Evaluation:
    """Every item once: its mean score over the runs, with the text of the first."""
    kept = [example for example in examples if all(example.id in run.items for run in runs)]
    unwritable: set[str] = set().union(*(run.unwritable for run in runs))
    done = {*unwritable, *(example.id for example in kept)}
    if not kept and len(unwritable) == len(examples):
        raise DataError(
            f"no {part} answer of '{task.name}' can be written with {encoder.name}: it does not know their characters,"
            " or they spell its end token",
            path=task.source or None,
            remedy="use a model whose tokenizer knows the characters of this task",
        )
    if not kept:
        raise DataError(
            f"no {part} prompt of '{task.name}' fits the window of {encoder.context} tokens",
            path=task.source or None,
            remedy="use overlong: truncate_prompt, or a model with a longer window",
        )
    prompts = [run.items[example.id].prompt for run in runs for example in kept]
    tokens = float(np.mean([len(prompt.ids) for prompt in prompts]))
    limit = runs[0].prompts.max_new_tokens
    room = limit is None or limit >= task.longest_answer(encoder)  # then what is longer is no right answer
    return Evaluation(
        suite=task.name,
        part=part,
        metric=task.metric.name,
        kind="mean" if len(runs) > 1 else task.metric.kind,
        items=tuple(_record(task, example, runs) for example in kept),
        tokens_per_request=tokens,
        window_share=tokens / encoder.context,
        shots_dropped=float(np.mean([prompt.dropped for prompt in prompts])),
        truncated=sum(any(run.items[example.id].prompt.cut for run in runs) for example in kept),
        cut_answers=0 if room else sum(any(run.answers[example.id].cut for run in runs) for example in kept),
        new_tokens=limit,
        skipped=tuple(each.id for each in examples if each.id not in done),
        unwritable=tuple(example.id for example in examples if example.id in unwritable),
        unknown=sum(encoder.vocabulary.loses(runs[0].items[example.id].rendered.prompt) for example in kept),
        seconds=seconds,
        signature=runs[0].signature,
    )


def _record(task: Task, example: Example, runs: Sequence[_Run]) -> ItemRecord:
    first = runs[0]
    answer = first.answers[example.id]
    return ItemRecord(
        suite=task.name,
        id=example.id,
        cluster=example.cluster,
        score=float(np.mean([run.scores[example.id] for run in runs])),
        label=_label(example, first.items[example.id].rendered),
        prediction=answer.prediction,
        prompt=first.items[example.id].rendered.prompt,
        references=answer.references,
    )


def _label(example: Example, rendered: Rendered) -> str | None:
    """The right choice; otherwise the example's own label."""
    if rendered.choices is not None and rendered.answer is not None:
        return rendered.choices[rendered.answer].strip()
    return example.label


def _of_asked(task: Task, part: Part, asked: Sequence[Asked], encoder: Encoder, seconds: float) -> Evaluation:
    """The evaluation of items that were asked by the task's own adapter."""
    tokens = float(np.mean([each.tokens for each in asked]))
    return Evaluation(
        suite=task.name,
        part=part,
        metric=task.metric.name,
        kind=task.metric.kind,
        items=tuple(each.item for each in asked),
        tokens_per_request=tokens,
        window_share=min(1.0, tokens / encoder.context),
        truncated=sum(each.cut for each in asked),
        unknown=sum(any(map(encoder.vocabulary.loses, each.item.references)) for each in asked),
        seconds=seconds,
    )


def _measure_text(
    lm: LanguageModel,
    task: Task,
    part: Part,
    encoder: Encoder,
    examples: Sequence[Example],
    progress: Progress | None,
    started: float,
) -> Evaluation:
    """Bits per byte of every block; `weight` is its bytes."""
    everything, asked = examples, [windows(encoder, str(example.fields["text"])) for example in examples]
    known = [not any(map(encoder.lacks, block)) for block in asked]
    examples, pieces = list(compress(everything, known)), list(compress(asked, known))
    texts = [str(example.fields["text"]) for example in examples]
    if not texts:
        raise DataError(
            f"no {part} text of '{task.name}' is without tokens that the model does not embed", path=task.source or None
        )
    flat = [ids for block in pieces for ids in block]
    nats = iter(text_nats(lm, flat, progress=progress))
    items = []
    for example, text, block in zip(examples, texts, pieces, strict=True):
        total = sum(next(nats) for _ in block)
        items.append(
            ItemRecord(
                suite=task.name,
                id=example.id,
                cluster=example.cluster,
                score=bits_per_byte(total, text),
                weight=len(text.encode()),
            )
        )
    tokens = sum(map(len, flat)) / len(texts)
    return Evaluation(
        suite=task.name,
        part=part,
        metric=task.metric.name,
        kind=task.metric.kind,
        items=tuple(items),
        tokens_per_request=tokens,
        window_share=min(1.0, tokens / encoder.context),
        skipped=tuple(example.id for example, whole in zip(everything, known, strict=True) if not whole),
        unknown=sum(map(encoder.vocabulary.loses, texts)),
        seconds=time.perf_counter() - started,
    )
