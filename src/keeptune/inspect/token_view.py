"""Rows token by token: every box of the preview's page, in every wording, and what the window cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from keeptune.core.errors import DataError
from keeptune.core.tokens import Token, TokenPage, TokenRow, TokenView
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.token_texts import omitted, row_tokens
from keeptune.data.examples import Encoded, Example, Rendered
from keeptune.data.load import Loaded
from keeptune.data.prompts.templates import TemplateSet
from keeptune.inspect.preview import draw_examples, training_rows

RUN = 8_000  # tokens of one kind in a row that are all shown; of more, the first and the last half of it
LOOKED_AT = 10_000  # rows that are encoded to find those which do not fit


def token_page(
    loaded: Loaded,
    templates: TemplateSet,
    encoder: Encoder,
    *,
    model: str,
    rows: int = 3,
    shots: int = 0,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> TokenPage:
    """All that the page of a preview says; ``model`` as the user names it, the others as for `token_rows`."""
    long, count, looked_at, total = long_rows(loaded.examples, templates, encoder, rows=rows, seed=seed)
    return TokenPage(
        source=loaded.source,
        model=model,
        layout=loaded.layout.describe() if loaded.layout else "",
        window=encoder.context,
        policy=encoder.overlong,
        seed=seed,
        rows=tuple(token_rows(loaded.examples, templates, encoder, rows=rows, shots=shots, seed=seed)),
        long=tuple(long),
        long_count=count,
        looked_at=looked_at,
        total=total,
        notes=tuple(notes),
    )


def token_rows(
    examples: Sequence[Example],
    templates: TemplateSet,
    encoder: Encoder,
    *,
    rows: int = 3,
    shots: int = 0,
    seed: int = 0,
) -> list[TokenRow]:
    """The rows that `preview_rows` shows, each in every wording that is for it, and behind worked examples.

    Args:
        examples: in the order of the source.
        templates: the wordings; the one that training with ``seed`` draws for a row is marked.
        encoder: the object that training and evaluation use; its policy says what becomes of long rows.
        rows: how many.
        shots: worked examples in front of the few-shot prompt, which stands behind the wordings; 0: none.
        seed: of wordings and worked examples.
    """
    pool = training_rows(examples)
    return [_row(example, pool, templates, encoder, shots, seed) for example in pool[:rows]]


def long_rows(
    examples: Sequence[Example], templates: TemplateSet, encoder: Encoder, *, rows: int = 3, seed: int = 0
) -> tuple[list[TokenRow], int, int, int]:
    """Training rows that are longer than the window.

    Returns:
        the first of them, how many there are, the rows among which they were looked for, all training rows.
    """
    everything = training_rows(examples)
    pool = everything[:LOOKED_AT]
    found: list[TokenRow] = []
    count = 0
    for example in pool:
        try:
            rendered = templates.for_training(example, seed)
            row = encoder.row(rendered)
        except DataError:  # no row at all, whatever the window
            continue
        if len(row) <= encoder.context:
            continue
        count += 1
        if len(found) < rows:
            name = next((name for name, other in templates.named(example) if other == rendered), "")
            found.append(_placed(example, [_view(name, rendered, encoder, drawn=True)]))
    return found, count, len(pool), len(everything)


def _row(
    example: Example, pool: Sequence[Example], templates: TemplateSet, encoder: Encoder, shots: int, seed: int
) -> TokenRow:
    drawn = templates.for_training(example, seed)
    views = [_view(name, rendered, encoder, drawn=rendered == drawn) for name, rendered in templates.named(example)]
    demonstrations = draw_examples(example, drawn, pool, templates, shots, seed)
    if demonstrations:
        name = next((view.name for view in views if view.drawn), "")
        views.append(_shot_view(name, drawn, demonstrations, encoder))
    return _placed(example, views)


def _placed(example: Example, views: Sequence[TokenView]) -> TokenRow:
    return TokenRow(f"{example.path}:{example.line}", example.part or "", tuple(views))


def _view(name: str, rendered: Rendered, encoder: Encoder, *, drawn: bool) -> TokenView:
    try:
        row = encoder.row(rendered)
    except DataError as error:
        return TokenView(name, 0, 0, (), drawn, problem=f"cannot be used: {error.message}")
    problem, cut = _window(row, rendered, encoder)
    tokens = _shortened(row_tokens(encoder.tokenizer, row, cut=cut))
    return TokenView(name, len(row) - row.trained, row.trained, tokens, drawn, problem=problem)


def _shot_view(name: str, rendered: Rendered, shots: Sequence[Rendered], encoder: Encoder) -> TokenView:
    try:
        row = Encoded(rendered.id, encoder.prompt(rendered, shots), encoder.completion(rendered.completion))
    except DataError as error:
        return TokenView(name, 0, 0, (), shots=len(shots), problem=f"cannot be used: {error.message}")
    problem = ""
    if len(row) > encoder.context:
        problem = f"{_too_long(row, encoder)}: evaluation puts fewer examples in front"
    tokens = _shortened(row_tokens(encoder.tokenizer, row, "expected"))
    return TokenView(name, len(row.prompt_ids), len(row.completion_ids), tokens, shots=len(shots), problem=problem)


def _window(row: Encoded, rendered: Rendered, encoder: Encoder) -> tuple[str, range]:
    """What becomes of a row that is too long, in words, and the places of the tokens that go."""
    lacks = encoder.lacks((*row.prompt_ids, *row.completion_ids))
    if lacks is None and len(row) <= encoder.context:
        return "", range(0)
    said = lacks or _too_long(row, encoder)
    try:
        result = encoder.encode(rendered)
    except DataError:
        return f"{said}: training stops with an error (overlong: error)", range(0)
    if not isinstance(result, Encoded):
        why = "" if lacks else f", {result.reason} (overlong: {encoder.overlong})"
        return f"{said}: left out{why}", range(0)
    kept = len(encoder.start_ids)  # BOS stays where the prompt has one
    low = kept if row.prompt_ids[:kept] == encoder.start_ids else 0
    gone = len(row) - len(result)
    return f"{said}: the prompt loses {gone:,} tokens (overlong: {encoder.overlong})", range(low, low + gone)


def _too_long(row: Encoded, encoder: Encoder) -> str:
    return f"{len(row):,} tokens do not fit the window of {encoder.context:,}"


def _shortened(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """The tokens without the middle of very long stretches of one kind, so that both borders stay."""
    return tuple(shown for _, run in groupby(tokens, lambda t: (t.kind, t.cut)) for shown in _ends(list(run)))


def _ends(run: list[Token]) -> Iterator[Token]:
    if len(run) <= RUN:
        yield from run
        return
    half = RUN // 2
    yield from islice(run, half)
    yield from omitted(run[half:-half])
    yield from run[-half:]
