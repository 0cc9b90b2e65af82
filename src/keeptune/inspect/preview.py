"""Rows as the model sees them: which tokens it reads, which it is trained on, where the prompt ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from keeptune.core.errors import DataError, ModelError
from keeptune.core.tokens import Kind, visible
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.mask_check import decoded
from keeptune.data.encode.tokenizer import read_tokenizer, unembedded_tokens
from keeptune.data.examples import Encoded, Example, Rendered, Segments, Tokens
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.prompts.templates import Template, TemplateSet, default_templates
from keeptune.data.storage.lazy import picked, places


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens of one kind, decoded; special tokens stand alone."""

    text: str
    kind: Kind
    special: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One row, ready to be printed."""

    id: str
    place: str
    part: str
    wording: str  # the template's name
    segments: tuple[Segment, ...]
    prompt_tokens: int
    completion_tokens: int  # end token included
    boundary: str  # how the prompt ends and the completion begins, spaces visible
    references: tuple[str, ...]  # further accepted completions
    choices: tuple[str, ...]
    shots: int
    problem: str | None = None  # why the row would be left out


def load_tokenizer(model: str) -> tuple[Any, int, frozenset[int]]:
    """The tokenizer of a model folder or hub name, its context window in tokens, and the tokens that the model lacks.

    Loads no weights.

    Raises:
        ModelError: no such model, or it has no tokenizer.
    """
    from transformers import AutoConfig

    tokenizer = read_tokenizer(model, model)
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"config.json cannot be used: {lines[0] if lines else type(error).__name__}", where=model
        ) from error
    text_config = config.get_text_config()
    window = getattr(text_config, "max_position_embeddings", None) or getattr(text_config, "n_positions", None)
    lacking = unembedded_tokens(tokenizer, text_config.vocab_size, model)
    return tokenizer, int(window or min(tokenizer.model_max_length, 1 << 20)), lacking


def wordings(layout: ColumnSchema | None, texts: Sequence[str] = ()) -> TemplateSet:
    """The user's wordings, or the neutral one of the layout, with the answers that the layout knows.

    Raises:
        ConfigError: neither a layout nor a wording.
    """
    if layout is None:
        return TemplateSet(_parsed(texts))
    known = tuple(dict.fromkeys(choice.strip() for choice in layout.choices or ()))
    answers: str | tuple[str, ...] | None = known if len(known) > 1 else None
    if "choices" in layout.roles:
        answers = f"{{{{ {layout.roles['choices']} | join(' ||| ') }}}}"
    system = f"{{{{ {layout.roles['system']} }}}}" if "system" in layout.roles else None
    return TemplateSet(_parsed(texts) or default_templates(layout), answer_choices=answers, system=system)


def _parsed(texts: Sequence[str]) -> tuple[Template, ...]:
    return tuple(Template.parse(text, name=f"wording {number}") for number, text in enumerate(texts, 1))


def preview_rows(
    examples: Sequence[Example],
    templates: TemplateSet,
    encoder: Encoder,
    *,
    rows: int = 3,
    shots: int = 0,
    seed: int = 0,
) -> list[Shown]:
    """The first ``rows`` examples of the training part (else of all) as token runs.

    Args:
        examples: in the order of the source.
        templates: the wordings; each row shows the one that training with ``seed`` draws for it.
        encoder: holds the tokenizer; the same object that training and evaluation use.
        rows: how many.
        shots: worked examples in front of each prompt, drawn from train by ``seed``; nothing is then trained on.
        seed: of wordings and worked examples.
    """
    train = training_rows(examples)
    return [_show(example, train, templates, encoder, shots, seed) for example in train[:rows]]


def training_rows(examples: Sequence[Example]) -> Sequence[Example]:
    """The rows of the training part; all where there is none."""
    return picked(examples, places(examples, lambda example: example.part in (None, "train"))) or examples


def _show(
    example: Example, pool: Sequence[Example], templates: TemplateSet, encoder: Encoder, shots: int, seed: int
) -> Shown:
    rendered = templates.for_training(example, seed)
    demonstrations = draw_examples(example, rendered, pool, templates, shots, seed)
    row = Encoded(example.id, (), ())
    problem = None
    try:
        if demonstrations:
            row = Encoded(example.id, encoder.prompt(rendered, demonstrations), encoder.completion(rendered.completion))
        else:
            row = encoder.row(rendered)
        if len(row) > encoder.context:
            problem = f"{len(row)} tokens do not fit the window of {encoder.context}"
        problem = encoder.lacks((*row.prompt_ids, *row.completion_ids)) or problem
    except DataError as error:
        problem = error.message
    return Shown(
        id=example.id,
        place=f"{example.path}:{example.line}",
        part=example.part or "",
        wording=_wording(templates, rendered, example),
        segments=tuple(_runs(encoder.tokenizer, row, "expected" if demonstrations else "trained")),
        prompt_tokens=len(row) - row.trained,
        completion_tokens=row.trained,
        boundary=f"{visible(rendered.prompt[-12:])}|{visible(rendered.completion[:12])}",
        references=rendered.references[1:],
        choices=rendered.choices or (),
        shots=len(demonstrations),
        problem=problem,
    )


def _runs(tokenizer: Any, row: Encoded, answer: Kind) -> Iterator[Segment]:
    """The row's tokens, read and supervised ones in turn."""
    ids = (*row.prompt_ids, *row.completion_ids)
    start = len(row.prompt_ids)
    borders = [0, *(start + border for span in row.spans for border in span)]
    kinds: list[Kind] = ["prompt", answer]
    for number, (low, high) in enumerate(pairwise(borders)):
        yield from segments(tokenizer, ids[low:high], kinds[number % 2], before=ids[:low])


def draw_examples(
    example: Example, rendered: Rendered, pool: Sequence[Example], templates: TemplateSet, shots: int, seed: int
) -> list[Rendered]:
    """Worked examples from other clusters, the same ones whatever the order of the rows."""
    if not shots or isinstance(rendered.whole, Segments | Tokens):  # rows that no example can stand in front of
        return []
    others = [other for other in pool if other.cluster != example.cluster]
    drawn = sorted(others, key=lambda other: content_hash([seed, example.id, other.id]))[:shots]
    return [templates.fixed(other) for other in drawn]


def _wording(templates: TemplateSet, rendered: Rendered, example: Example) -> str:
    """The name of the template that gave this rendering."""
    names = [template.name for template in templates.templates]
    return next(name for i, name in enumerate(names) if templates.fixed(example, i) == rendered)


def segments(tokenizer: Any, ids: Sequence[int], kind: Kind, before: Sequence[int] = ()) -> list[Segment]:
    """Ids as runs of ordinary text and single special tokens.

    Each run is what it adds to the decoded text in front of it, so no space is lost or added; ``before`` are
    the ids that stand in front of the first run.
    """
    special = set(tokenizer.all_special_ids)
    runs: list[Segment] = []
    start = 0
    for end in range(1, len(ids) + 1):
        here = ids[start] in special
        if end < len(ids) and not here and ids[end] not in special:
            continue
        text = _added(tokenizer, [*before, *ids[:start]], [*before, *ids[:end]])
        if here:
            text = str(tokenizer.convert_ids_to_tokens(ids[start]))
        runs.append(Segment(text, kind, here))
        start = end
    return runs


def _added(tokenizer: Any, left: Sequence[int], whole: Sequence[int]) -> str:
    """What the ids behind ``left`` add to its text."""
    base, full = decoded(tokenizer, left), decoded(tokenizer, whole)
    return full[len(base) :] if full.startswith(base) else decoded(tokenizer, whole[len(left) :])
