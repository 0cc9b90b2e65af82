"""How the documents of lm-eval's tasks become prompts, answers and scores per item (see `harness`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import ItemRecord
from keeptune.core.units import content_hash
from keeptune.data.examples import Example
from keeptune.evaluate.harness_load import load_leaves
from keeptune.evaluate.harness_metric import HarnessMetric
from keeptune.evaluate.task import Asked, HarnessAdapter
from keeptune.models.language_model import LanguageModel
from keeptune.models.progress import Progress
from keeptune.retention.precheck import chance_level

FEWSHOT_SEED = 1234  # lm-eval's default
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of functions as Python prints them


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its hash, and where lm-eval has it."""

    id: str
    leaf: int  # index of the task, where a group has several
    docs: str  # 'training', 'validation' or 'test'
    row: int
    content: Any


@dataclass(frozen=True, slots=True)
class Texts:
    """A document without demonstrations: what is shown, and what is right."""

    prompt: str
    completion: str
    options: int = 0  # answers to choose from
    whole: bool = False  # the completion is a text that is measured as a whole


def texts_of(leaf: Any, content: Any) -> Texts:
    """The document in the task's wording, demonstrations left out."""
    if leaf.OUTPUT_TYPE == "loglikelihood_rolling":
        return Texts("", str(leaf.doc_to_target(content)), whole=True)
    if not hasattr(leaf, "multiple_input"):  # a task written in Python
        return Texts(str(leaf.doc_to_text(content)), str(leaf.doc_to_target(content)))
    config = leaf.config
    choices = list(map(str, leaf.doc_to_choice(content))) if config.doc_to_choice is not None else []
    prompt = leaf.fewshot_context(content, num_fewshot=0, gen_prefix=leaf.doc_to_prefix(content))
    if leaf.multiple_input:  # the choices are prompts, the answer is the same after each
        right = prompt[int(leaf.doc_to_text(content))]
        return Texts(right, f"{config.target_delimiter}{leaf.doc_to_target(content)}", len(choices))
    answer = leaf.doc_to_target(content)
    answer = answer[0] if isinstance(answer, list) and answer else answer
    if choices and not isinstance(answer, str):
        answer = choices[int(answer)]
    delimiter = "" if leaf.OUTPUT_TYPE == "loglikelihood" else config.target_delimiter
    return Texts(prompt, f"{delimiter}{answer}", len(choices))


@dataclass
class LmEvalAdapter(HarnessAdapter):
    """Asks lm-eval's tasks through the trie engine.

    Pickled, it leaves lm-eval's own objects out, which need not be picklable: they are loaded again from ``place``.
    """

    name: str
    place: tuple[str, Path]  # what lm-eval knows the task by, and the folder that a YAML file is below
    leaves: Sequence[Any]
    metric: HarnessMetric
    documents: Mapping[str, Document]
    shots: int | None = None  # instead of what the tasks say
    plain: bool = False  # no demonstrations unless the caller asks for some
    max_new_tokens: int | None = None
    _ordered: dict[tuple[int, str, str], dict[int, Any]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> tuple[dict[str, Any], Any]:
        return {**vars(self), "leaves": (), "_ordered": {}}, self.key

    def __setstate__(self, state: tuple[dict[str, Any], Any]) -> None:
        """Raises:
        ConfigError: the task is no longer what it was, and would be asked in another way.
        """
        fields, key = state
        vars(self).update(fields, leaves=load_leaves(*fields["place"]))
        if self.key != key:
            raise ConfigError("the task has changed since it was loaded", where=self.place[0], remedy="start again")

    @property
    @override
    def key(self) -> Any:
        from lm_eval import __version__

        settings = []
        for leaf in self.leaves:
            config = {
                name: _ADDRESS.sub("", str(value)) for name, value in leaf.dump_config().items() if name != "metadata"
            }
            settings.append([str(leaf.VERSION), config])
        return [
            __version__,
            settings,
            [self.metric.measure, self.metric.filter, self.shots, self.plain, self.max_new_tokens],
        ]

    @override
    def asked_shots(self, shots: int) -> int:
        return shots or self.demonstrations(self.leaves[0])

    def demonstrations(self, leaf: Any) -> int:
        """How many a task is asked with where the caller asks for none."""
        if self.plain:
            return 0
        return self.shots if self.shots is not None else int(leaf.config.num_fewshot or 0)

    @override
    def chance(self, examples: Sequence[Example]) -> float | None:
        options = [int(example.fields.get("options", 0)) for example in examples]
        chosen = self.metric.measure.startswith("acc") and self.metric.higher_is_better
        if not chosen or min(options, default=0) < 2:
            return None
        if any(leaf.OUTPUT_TYPE != "multiple_choice" for leaf in self.leaves):
            return None
        if any(getattr(leaf, "multiple_input", 0) for leaf in self.leaves):  # the right answer is one of the prompts
            return sum(1 / k for k in options) / len(options)
        return chance_level([str(example.fields["completion"]).strip() for example in examples], options)

    @override
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
        """Every item answered and scored, in order.

        Raises:
            ConfigError: more demonstrations than the task has documents for.
            DataError: the task's own code fails, or gives no number per item.
        """
        from keeptune.evaluate.harness_lm import EngineLM, Shown

        engine = EngineLM(lm, progress)
        template = engine.apply_chat_template if chat else None
        wanted = [self.documents[example.id] for example in examples]
        contexts = self._contexts(wanted, engine, chat, shots, draw)
        asked: list[tuple[Example, Document, list[Any]]] = []
        waiting: dict[str, list[Any]] = defaultdict(list)
        for example, document in zip(examples, wanted, strict=True):
            leaf = self.leaves[document.leaf]
            built = leaf.construct_requests(
                doc=document.content,
                ctx=contexts[example.id],
                metadata=(leaf.task_name, document.row, 1),
                apply_chat_template=chat,
                chat_template=template,
            )
            requests = built if isinstance(built, list) else [built]
            asked.append((example, document, requests))
            for request in requests:
                waiting[request.request_type].append(self._limited(request))
        shown: dict[int, Shown] = {}
        for kind, requests in waiting.items():
            for request, answer, cost in zip(requests, getattr(engine, kind)(requests), engine.shown, strict=True):
                request.resps = [answer]
                shown[id(request)] = cost
        for number, leaf in enumerate(self.leaves):
            leaf._instances = [each for _, document, rows in asked if document.leaf == number for each in rows]
            if leaf._instances:
                leaf.apply_filters()
                leaf._instances = None
        return [
            Asked(
                self._record(example, document, requests),
                tokens=shown[id(requests[0])].tokens,
                cut=any(shown[id(request)].cut for request in requests),
            )
            for example, document, requests in asked
        ]

    def _limited(self, request: Any) -> Any:
        if self.max_new_tokens is not None and request.request_type == "generate_until":
            context, settings = request.arguments[:2]
            request.arguments = (context, {**settings, "max_gen_toks": self.max_new_tokens})
        return request

    def _record(self, example: Example, document: Document, requests: Sequence[Any]) -> ItemRecord:
        leaf, metric = self.leaves[document.leaf], self.metric
        answers = [request.filtered_resps[metric.filter] for request in requests]
        try:
            values = leaf.process_results(document.content, answers)
        except Exception as error:  # the task's own code
            raise DataError(
                f"lm-eval cannot score the document: {type(error).__name__}: {error}",
                path=example.path,
                line=example.line,
                remedy="mend the task's process_results, or choose another task",
            ) from error
        if metric.measure not in values:
            raise ConfigError(
                f"'{metric.measure}' has no value on an item",
                where=f"{leaf.task_name}: metric",
                remedy=f"use one of {', '.join(values)}",
            )
        score, weight = metric.read(values[metric.measure], example.path)
        right = str(example.fields.get("completion", "")).strip()
        return ItemRecord(
            suite=self.name,
            id=example.id,
            cluster=example.cluster,
            score=score,
            weight=weight,
            label=right if example.fields.get("options") else None,
            prediction=_prediction(leaf, document.content, requests, answers),
            prompt=example.fields.get("prompt"),
            references=(right,) if right else (),
        )

    def _contexts(
        self, documents: Sequence[Document], engine: Any, chat: bool, shots: int, draw: int
    ) -> dict[str, Any]:
        """What is shown in front of the answer, by document id."""
        found: dict[str, Any] = {}
        for document in documents:
            leaf = self.leaves[document.leaf]
            if shots:
                leaf.set_fewshot_seed(FEWSHOT_SEED + draw)  # every item of a draw gets the same list
            if shots or not self.demonstrations(leaf):
                found[document.id] = _context(leaf, document.content, shots, engine, chat)
            else:
                ordered = self._in_order(document.leaf, document.docs, engine, chat)
                found[document.id] = ordered[document.row]
        return found

    def _in_order(self, number: int, docs: str, engine: Any, chat: bool) -> dict[int, Any]:
        """Contexts by row, kept: lm-eval draws the demonstrations of all documents from one stream, in their order."""
        leaf, tokenizer = self.leaves[number], engine.tokenizer
        turns = content_hash([tokenizer.chat_template, tokenizer.special_tokens_map]) if chat else ""
        key = (number, docs, turns)
        if key not in self._ordered:
            rows = {each.row for each in self.documents.values() if (each.leaf, each.docs) == (number, docs)}
            leaf.set_fewshot_seed(FEWSHOT_SEED)
            count = self.demonstrations(leaf)
            everything = enumerate(getattr(leaf, f"{docs}_docs")())
            contexts = {row: _context(leaf, content, count, engine, chat) for row, content in everything}
            self._ordered[key] = {row: context for row, context in contexts.items() if row in rows}
        return self._ordered[key]


def _context(leaf: Any, content: Any, count: int, engine: Any, chat: bool) -> Any:
    """The prompt of a document behind ``count`` demonstrations: a text, or one per choice.

    Raises:
        ConfigError: more demonstrations than the task has documents for.
    """
    try:
        return leaf.fewshot_context(
            content,
            num_fewshot=count,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            chat_template=engine.apply_chat_template if chat else None,
            gen_prefix=leaf.doc_to_prefix(content),
        )
    except (AssertionError, ValueError) as error:
        raise ConfigError(
            f"{count} demonstrations: {error}",
            where=f"{leaf.task_name}: shots",
            remedy="ask for fewer, or give the task more documents to draw them from",
        ) from error


def _prediction(leaf: Any, content: Any, requests: Sequence[Any], answers: Sequence[Any]) -> str | None:
    """The model's answer: the generated text behind the filter, or the likeliest choice."""
    if requests[0].request_type == "generate_until":
        return str(answers[0])
    if leaf.OUTPUT_TYPE != "multiple_choice" or not hasattr(leaf, "multiple_input"):
        return None
    choices = leaf.doc_to_choice(content)
    return str(choices[int(np.argmax([answer[0] for answer in answers[: len(choices)]]))]).strip()
