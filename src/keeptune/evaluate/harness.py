"""Tasks of lm-eval as tasks of ours: any task or group that it knows by name, or a YAML file of its format.

lm-eval brings the documents, the prompts, the filters and the metrics; the answers come from our engine
(`harness_lm`), item by item. An item's id is lm-eval's own document hash, so results join with its sample logs.

Parts: training documents are train. Where the task has validation and test documents, these are the parts; where it
has one of them, a fifth of its documents (drawn by hash) is our validation part and the rest our test part. A document
that occurs again stays in the later part only.

Demonstrations: a retained task is asked with as many as it says itself (or the recipe's ``shots``), those that lm-eval
draws for each document with its default seed. Where the caller asks for k demonstrations (the prompting arms), all
items of a draw get the same ones, as everywhere else in keeptune.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import Part
from keeptune.core.units import content_hash
from keeptune.data.examples import Example, Splits
from keeptune.data.prompts.templates import Template, TemplateSet
from keeptune.data.splits.drop import drop_leaks
from keeptune.data.splits.leakage import LeakReport
from keeptune.evaluate.config import HARNESS, HarnessConfig, parse_margin
from keeptune.evaluate.harness_adapter import Document, LmEvalAdapter, texts_of
from keeptune.evaluate.harness_load import load_leaves
from keeptune.evaluate.harness_metric import find_metric
from keeptune.evaluate.task import Task

VALIDATION = 0.2  # share of the documents of a task that has one evaluation part
TRAIN_DOCUMENTS = 2_000  # of a retained task: enough for replay and demonstrations; a target gets all
_SEED = 0


def build_harness(config: HarnessConfig, root: Path = Path(), *, target: bool = False) -> Task:
    """The task that an entry ``harness:...`` names.

    Args:
        config: the entry.
        root: a relative path of a YAML file is below it.
        target: the task is to be learned: all training documents are taken, and without demonstrations from the
            caller it is asked without any, as it is trained.

    Raises:
        MissingExtra: lm-eval, or a package that the task needs, is not installed.
        ConfigError: no such task or metric, a task that we cannot ask, or ``shots`` for a target.
        DataError: the task's data cannot be loaded, or hold no documents to evaluate on.
    """
    if target and config.shots is not None:
        raise ConfigError(
            f"{config.task} is a target, and those are asked with the demonstrations of the prompting arms",
            where="shots",
            remedy="write them under prompt: {shots: [...]}",
        )
    place = config.task.removeprefix(HARNESS), root.absolute()
    leaves = load_leaves(*place)
    for leaf in leaves:
        _refuse_unsuitable(leaf)
    metric = find_metric(leaves, config.metric)
    parts, notes = _parts(leaves, config.limit, None if target else TRAIN_DOCUMENTS)
    documents = {document.id: document for rows in parts.values() for document in rows}
    source = config.task
    text = metric.kind == "bits_per_byte"
    splits, leaks = _splits(leaves, parts, notes, source)
    if target and (text or not splits.train):
        raise ConfigError(
            f"{source} has nothing to learn from: {'it measures free text' if text else 'no training documents'}",
            where="target",
            remedy="name another target, and this task under retain",
        )
    adapter = LmEvalAdapter(
        name=config.title,
        place=place,
        leaves=leaves,
        metric=metric,
        documents=documents,
        shots=None if target else config.shots,
        plain=target,
        max_new_tokens=config.max_new_tokens,
    )
    return Task(
        name=config.title,
        metric=metric,
        request="text" if text else "harness",
        splits=splits,
        margin=_margin(config, relative=text),
        templates=None if text else TemplateSet((Template.raw(name=config.title),)),
        limit=config.limit,
        leaks=leaks,
        source=source,
        sha256=content_hash(sorted(documents), length=64),
        adapter=adapter,
    )


def _refuse_unsuitable(leaf: Any) -> None:
    """Raises ConfigError for a task whose answers we do not give or do not run."""
    name = leaf.task_name
    reason = None
    if getattr(leaf, "MULTIMODAL", False):
        reason = "shows images or sound"
    elif getattr(leaf, "UNSAFE_CODE", False):
        reason = "runs code that the model has written"
    elif (getattr(leaf.config, "generation_kwargs", None) or {}).get("do_sample"):
        reason = "draws its answers at random, and these would differ from run to run"
    if reason is not None:
        raise ConfigError(
            f"'{name}' {reason}",
            where=f"{HARNESS}{name}",
            remedy="choose another task, or a YAML file of your own that includes it with do_sample: false",
        )


def _parts(
    leaves: Sequence[Any], limit: int | None, train_limit: int | None
) -> tuple[dict[Part, list[Document]], tuple[str, ...]]:
    """The documents of every part in the order of their ids, and how they came about."""
    seen: set[str] = set()
    found: dict[Part, list[Document]] = {"train": [], "validation": [], "test": []}
    notes: dict[str, None] = {}
    for number, leaf in enumerate(leaves):
        test = _fresh(_documents(leaf, number, "test"), seen)
        validation = _fresh(_documents(leaf, number, "validation"), seen)
        if not test or not validation:
            notes[f"{'test' if test else 'validation'} documents divided by hash"] = None
            rows = sorted(test or validation, key=lambda document: content_hash([_SEED, document.id]))
            first = min(max(1, round(VALIDATION * len(rows))), len(rows) - 1)
            validation, test = rows[: max(first, 0)], rows[max(first, 0) :]
        found["test"] += test
        found["validation"] += validation
    for number, leaf in enumerate(leaves):
        found["train"] += _fresh(_documents(leaf, number, "train"), seen)
    if not found["test"]:
        raise DataError(
            "the task has no documents to evaluate on",
            path=f"{HARNESS}{leaves[0].task_name}",
            remedy="give it a test_split or a validation_split",
        )
    limits: dict[Part, int | None] = {"train": train_limit, "validation": limit, "test": limit}
    ordered = {part: sorted(rows, key=lambda each: each.id)[: limits[part]] for part, rows in found.items()}
    if train_limit is not None and len(found["train"]) > train_limit:
        notes[f"{train_limit:,} of {len(found['train']):,} training documents, drawn by hash"] = None
    return ordered, tuple(notes)


def _documents(leaf: Any, number: int, part: Part) -> Iterator[Document]:
    """The documents of a leaf's part, numbered as lm-eval numbers them."""
    word = {"train": "training", "validation": "validation", "test": "test"}[part]
    if not getattr(leaf, f"has_{word}_docs")():
        return
    from lm_eval.utils import handle_non_serializable, hash_string

    for row, content in enumerate(getattr(leaf, f"{word}_docs")()):
        written = json.dumps(content, indent=2, default=handle_non_serializable, ensure_ascii=False)
        yield Document(hash_string(written), number, word, row, content)


def _fresh(documents: Iterable[Document], seen: set[str]) -> list[Document]:
    """The documents that have not been seen before; they count as seen from now on."""
    kept = []
    for document in documents:
        if document.id not in seen:
            seen.add(document.id)
            kept.append(document)
    return kept


def _splits(
    leaves: Sequence[Any], parts: Mapping[Part, Sequence[Document]], notes: tuple[str, ...], source: str
) -> tuple[Splits, LeakReport | None]:
    """The documents as examples; what repeats an item of a later part leaves the earlier one."""
    whole = leaves[0].OUTPUT_TYPE == "loglikelihood_rolling"
    found: dict[Part, list[Example]] = {}
    for part, documents in parts.items():
        rows = [_example(leaves, document, part, source) for document in documents]
        needed = "text" if whole else "completion"
        found[part] = [row for row in rows if str(row.fields[needed]).strip() or not (whole or part == "train")]
    splits = Splits(found["train"], found["validation"], found["test"], notes=notes)
    if not splits.train:
        return splits, None
    return drop_leaks(splits, ["text"] if whole else ["prompt", "completion"], "drop")


def _example(leaves: Sequence[Any], document: Document, part: Part, source: str) -> Example:
    """The document as prompt and completion without demonstrations; ``options`` counts the answers to choose from."""
    try:
        texts = texts_of(leaves[document.leaf], document.content)
    except Exception as error:  # the task's own code
        raise DataError(
            f"lm-eval cannot render the document: {type(error).__name__}: {error}",
            path=source,
            line=document.row + 1,
            remedy="mend the task's doc_to_text, doc_to_target or doc_to_choice",
        ) from error
    fields: dict[str, Any] = {"prompt": texts.prompt, "completion": texts.completion, "options": texts.options}
    if texts.whole:
        fields = {"text": texts.completion}
    return Example(document.id, document.id, fields, part=part, path=source, line=document.row + 1)


def _margin(config: HarnessConfig, *, relative: bool) -> float | None:
    if config.margin is None and not relative:
        return None
    given = parse_margin("1%" if config.margin is None else config.margin)
    if given.relative != relative:
        raise ConfigError(
            f"the margin of {config.task} is {'relative' if relative else 'in points'}: {config.margin}",
            where="margin",
            remedy="bits per byte take a share (1%), every other metric points (2)",
        )
    return given.value
