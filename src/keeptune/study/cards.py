"""What can be said of a study's data before anything is trained: cards, margins that are too small, chance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from keeptune.core.records import DataCard, RehearsalCard
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.token_texts import excerpt, row_tokens
from keeptune.data.encode.turns import PLAIN_NOTE
from keeptune.data.examples import Rendered
from keeptune.data.storage.lazy import Concat
from keeptune.evaluate.prompts import chosen_items
from keeptune.evaluate.task import Task
from keeptune.retention.precheck import margin_warning
from keeptune.study.messages import Messages
from keeptune.study.rehearsal import Rehearsal
from keeptune.train.remedies.base import Need

log = logging.getLogger(__name__)

CARD_TOKENS = 400  # of the example in a data card


def say_formats(tasks: Sequence[Task], encoder: Encoder, messages: Messages) -> None:
    """How the rows of every task are read and divided; and that turns are laid out plainly without a chat template."""
    for task in tasks:
        layout = task.loaded.layout if task.loaded is not None else None
        if layout is not None:
            log.info("%s: read as %s", task.name, layout.describe())
            if layout.talks and not encoder.chat:
                messages.warn(f"{task.name}: {PLAIN_NOTE}")
    for task in tasks:
        log.info("%s: %s", task.name, "; ".join(task.splits.notes) or "parts as the source says")
        for note in task.loaded.notes if task.loaded else ():
            messages.say(f"{task.name}: {note}")


def margin_warnings(suites: Sequence[Task], test_items: int | None) -> list[str]:
    """Margins that the items cannot decide, before anything is trained."""
    found = []
    for suite in suites:
        items = suite.splits.test[: suite.limit]
        n = min(len(items), test_items or len(items))
        clusters = min(n, len({item.cluster for item in items}))
        warning = margin_warning(suite.suite(), n, clusters=clusters if clusters < n else None)
        found += [warning] if warning else []
    return found


def chance_of(targets: Sequence[Task], test_items: int | None) -> float | None:
    """Score of guessing on the test items of all targets; None where guessing scores nothing on one of them."""
    known = [(task.chance(), len(chosen_items(task, "test", test_items))) for task in targets]
    if any(chance is None for chance, _ in known):
        return None
    return sum((chance or 0.0) * n for chance, n in known) / sum(n for _, n in known)


def data_card(task: Task, encoder: Encoder) -> DataCard:
    """What a target task consists of, with one example as the model sees it."""
    wordings = task.wordings(encoder.chat)
    shown = task.splits.train or task.splits.validation or task.splits.test
    first = wordings.fixed(shown[0])
    prompts: list[int] = []
    completions: list[int] = []
    for row in map(wordings.fixed, shown):
        prompts.append(len(encoder.prompt(row)))
        completions.append(len(encoder.completion(row.completion)))
    everything = Concat([task.splits.part(part) for part in ("train", "validation", "test")])
    loaded = task.loaded
    return DataCard(
        name=task.name,
        source=task.source,
        sha256=task.sha256,
        rows=len(everything) + (len(loaded.quarantined) if loaded else 0),
        counts={part: len(task.splits.part(part)) for part in ("train", "validation", "test")},
        clusters=len({example.cluster for example in everything}),
        quarantined=len(loaded.quarantined) if loaded else 0,
        duplicates=task.splits.duplicates,
        near_duplicates=task.splits.near_duplicates,
        leaks=task.leaks.sentence() if task.leaks else "",
        prompt_tokens=_spread(prompts),
        completion_tokens=_spread(completions),
        templates=tuple(template.text for template in wordings.templates),
        example_prompt=encoder.prompt_text(first),
        example_completion=first.completion,
        example_tokens=_example_tokens(encoder, first),
    )


def rehearsal_cards(rehearsal: Rehearsal, drawing_on: Callable[[Need], list[str]], seed: int) -> list[RehearsalCard]:
    """What the remedies of a study drew on, a card for every source; ``drawing_on`` names the arms."""
    found = []
    for need, source in rehearsal.sources.items():
        if arms := drawing_on(need):
            pools = source.rows(seed)
            rows = [row for pool in pools.values() for row in pool]
            first = (*rows[0].prompt_ids, *rows[0].completion_ids) if rows else ()
            card = RehearsalCard(
                source=need.value,
                arms=tuple(arms),
                rows={name: len(pool) for name, pool in pools.items()},
                sha256=content_hash([(row.prompt_ids, row.completion_ids) for row in rows], length=64),
                example=rehearsal.own.encoder.tokenizer.decode(first),
            )
            found.append(card)
    return found


def _example_tokens(encoder: Encoder, rendered: Rendered) -> tuple[tuple[str, str], ...]:
    """The row of the card token by token, a stretch around the border where it is long."""
    tokens = excerpt(row_tokens(encoder.tokenizer, encoder.row(rendered)), CARD_TOKENS)
    return tuple((token.text, token.look) for token in tokens)


def _spread(values: list[int]) -> tuple[int, int, int]:
    """(median, 95th percentile, largest)."""
    middle, high = np.percentile(values, [50, 95])
    return round(middle), round(high), max(values)
