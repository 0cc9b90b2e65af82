"""Rows token by token: every box of the preview's page, in every wording, and what the window cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from keeptune.core.errors import DataError
from keeptune.core.tokens import Token, TokenPage, TokenRow, TokenView
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.survey import survey_notes
from keeptune.data.encode.token_texts import omitted, row_tokens
from keeptune.data.encode.turns import PLAIN_NOTE
from keeptune.data.examples import Encoded, Example, Rendered
from keeptune.data.load import Loaded, load_examples
from keeptune.data.prompts.templates import TemplateSet
from keeptune.evaluate.config import TaskConfig
from keeptune.evaluate.task_templates import plain_templates
from keeptune.inspect.preview import Shown, preview_rows, training_rows, wording_name

RUN = 8_000  # tokens of one kind in a row that are all shown; of more, the first and the last half of it
TRIED = 500  # rows that tell whether a user's wordings print the answers that the data bring
LOOKED_AT = 10_000  # rows that are encoded to find those which do not fit


class TrainingRows:
    """The rows of a source that training learns from, ready to be shown.

    Args:
        loaded: the source.
        templates: the wordings.
        encoder: encodes as training with this model does; its policy says what becomes of rows that are too long.
        seed: of the wordings that training draws.
    """

    def __init__(self, loaded: Loaded, templates: TemplateSet, encoder: Encoder, seed: int = 0) -> None:
        self.loaded, self.templates, self.encoder, self.seed = loaded, templates, encoder, seed
        self.layout = loaded.layout

    @staticmethod
    def read(config: TaskConfig, encoder: Encoder, seed: int = 0) -> TrainingRows:
        """The rows that ``config`` names.

        Raises:
            DataError: see `load_examples`.
            ConfigError: neither templates nor recognised columns.
        """
        texts = config.templates or ()
        loaded = load_examples(
            config.data,
            fields=config.fields,
            templated=bool(texts),
            format=config.format,
            supervise=config.supervise,
        )
        templates = plain_templates(loaded.layout, texts, training_rows(loaded.examples)[:TRIED])
        return TrainingRows(loaded, templates.for_chat(encoder.chat), encoder, seed)

    def notes(self) -> list[str]:
        """What a reader should know of all rows."""
        return row_notes(self.loaded, self.templates, self.encoder)

    def shown(self, rows: int = 3) -> list[Shown]:
        """The first ``rows`` of them, each in the wording that training takes."""
        return preview_rows(self.loaded.examples, self.templates, self.encoder, rows=rows, seed=self.seed)

    def page(self, *, model: str, rows: int = 3) -> TokenPage:
        """All that the page of a preview says; ``model`` as the user names it."""
        examples, templates, encoder, seed = self.loaded.examples, self.templates, self.encoder, self.seed
        long, count, looked_at, total = long_rows(examples, templates, encoder, rows=rows, seed=seed)
        return TokenPage(
            source=self.loaded.source,
            model=model,
            layout=self.layout.describe() if self.layout else "",
            window=encoder.context,
            policy=encoder.overlong,
            seed=seed,
            rows=tuple(token_rows(examples, templates, encoder, rows=rows, seed=seed)),
            long=tuple(long),
            long_count=count,
            looked_at=looked_at,
            total=total,
            notes=tuple(self.notes()),
        )


def row_notes(loaded: Loaded, templates: TemplateSet, encoder: Encoder) -> list[str]:
    """What a reader should know of all rows: of conversations without a chat template, and what a tokenizer loses."""
    plain = loaded.layout is not None and loaded.layout.talks and not encoder.chat
    return [*([PLAIN_NOTE] if plain else []), *survey_notes(encoder, templates, loaded.examples)]


def token_rows(
    examples: Sequence[Example],
    templates: TemplateSet,
    encoder: Encoder,
    *,
    rows: int = 3,
    seed: int = 0,
) -> list[TokenRow]:
    """The rows that `preview_rows` shows, each in every wording that is for it.

    Args:
        examples: in the order of the source.
        templates: the wordings; the one that training with ``seed`` draws for a row is marked.
        encoder: the object that training and evaluation use; its policy says what becomes of long rows.
        rows: how many.
        seed: of the wordings.
    """
    return [_row(example, templates, encoder, seed) for example in training_rows(examples)[:rows]]


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
        if encoder.window.holds(row):
            continue
        count += 1
        if len(found) < rows:
            name = wording_name(templates, example, rendered)
            found.append(_placed(example, [_view(name, rendered, encoder, drawn=True)]))
    return found, count, len(pool), len(everything)


def _row(example: Example, templates: TemplateSet, encoder: Encoder, seed: int) -> TokenRow:
    drawn = templates.for_training(example, seed)
    named = templates.named(example)
    return _placed(example, [_view(name, rendered, encoder, drawn=rendered == drawn) for name, rendered in named])


def _placed(example: Example, views: Sequence[TokenView]) -> TokenRow:
    return TokenRow(f"{example.path}:{example.line}", example.part or "", tuple(views))


def _view(name: str, rendered: Rendered, encoder: Encoder, *, drawn: bool) -> TokenView:
    try:
        row = encoder.row(rendered)
    except DataError as error:
        return TokenView(name, 0, 0, (), drawn, problem=f"cannot be used: {error.message}")
    problem, cut = _window(row, rendered, encoder)
    tokens = shortened(row_tokens(encoder.tokenizer, row, cut=cut))
    return TokenView(name, len(row) - row.trained, row.trained, tokens, drawn, problem=problem)


def _window(row: Encoded, rendered: Rendered, encoder: Encoder) -> tuple[str, range]:
    """What becomes of a row that is too long, in words, and the places of the tokens that go."""
    lacks = encoder.lacks((*row.prompt_ids, *row.completion_ids))
    if lacks is None and encoder.window.holds(row):
        return "", range(0)
    said = lacks or encoder.window.too_long(row)
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


def shortened(tokens: Sequence[Token]) -> tuple[Token, ...]:
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
