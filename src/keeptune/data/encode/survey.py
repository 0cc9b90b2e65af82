"""Rows as one model's tokenizer and chat template take them: which cannot be used, and what to know of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeptune.core.errors import DataError
from keeptune.data.encode.chat import REFUSALS, template_of, tokenizer_name
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.texts import ANOTHER_MODEL
from keeptune.data.encode.vocabulary import KNOWN_ENDS, KNOWN_TOKENS, pattern_of
from keeptune.data.encode.vocabulary import spelled as spelled_in
from keeptune.data.examples import Conversation, Example, Rendered
from keeptune.data.formats.conversation import own_text
from keeptune.data.formats.quarantine import Quarantined, set_aside
from keeptune.data.formats.recognise import COMPLETION, ColumnSchema
from keeptune.data.prompts.templates import TemplateSet, whole_row

LOOKED_AT = 10_000  # rows that a preview looks at
SHOWN = 4  # special tokens that a note names, and rows that are quoted
CLOCK = "strftime_now"  # the one way in which transformers lets a template see the time
_DAY = "zq7day"
_STOPPED = f"{{%- macro {CLOCK}(format) -%}}{_DAY}{{%- endmacro -%}}"  # stands in for the clock


@dataclass
class Spelled:
    """Rows whose texts spell special tokens."""

    rows: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    first: list[Example] = field(default_factory=list)

    def add(self, row: Example, tokens: Iterable[str]) -> None:
        """One row's."""
        found = set(tokens)
        self.rows += bool(found)
        self.tokens.update(found)
        if found and len(self.first) < SHOWN:
            self.first.append(row)

    def named(self) -> str:
        """The commonest of the tokens."""
        shown = [repr(token) for token, _ in self.tokens.most_common(SHOWN)]
        return ", ".join([*shown, *(["..."] if len(self.tokens) > SHOWN else [])])


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    unusable: Mapping[str, Quarantined]  # by the example's id
    remedy: str | None  # against the first of them
    notes: tuple[str, ...]


def survey(encoder: Encoder, templates: TemplateSet, examples: Sequence[Example]) -> Survey:
    """Encode every example in the first wording that is for it.

    Raises:
        DataError: a wording that cannot be rendered.
    """
    unusable: dict[str, Quarantined] = {}
    remedy = None
    unknown, spelled = 0, Spelled()
    for example in examples:
        rendered = templates.fixed(example)
        try:
            encoder.row(rendered)
            if any(map(encoder.vocabulary.loses, rendered.choices or ())):
                raise DataError(f"a choice has characters that {encoder.name} does not know", remedy=ANOTHER_MODEL)
        except DataError as error:
            remedy = error.remedy if not unusable else remedy
            unusable[example.id] = Quarantined(example.path, example.line, error.message, example.fields)
            continue
        texts = list(said(rendered))
        unknown += any(map(encoder.vocabulary.loses, texts))
        spelled.add(example, (token for text in texts for token in encoder.vocabulary.spelled(text)))
    return Survey(unusable, remedy, tuple(_notes(encoder, unknown, spelled)))


def survey_notes(encoder: Encoder, templates: TemplateSet, examples: Sequence[Example]) -> list[str]:
    """What a reader of rows should know of them all, looked for in the first 10,000."""
    found = survey(encoder, templates, examples[:LOOKED_AT])
    dated = date_note(encoder.tokenizer) if encoder.chat else None
    where = f" (of the first {LOOKED_AT:,})" if len(examples) > LOOKED_AT else ""
    notes = [*set_aside(list(found.unusable.values())), *found.notes]
    return [*(f"{note}{where}" for note in notes), *([dated] if dated else [])]


def said(rendered: Rendered) -> Iterator[str]:
    """What the row itself says, turn by turn; segments and tokens mean the special tokens that they have."""
    whole = rendered.whole
    if isinstance(whole, Conversation):
        yield from map(own_text, whole.turns)
    elif whole is None:
        yield from (rendered.system or "", rendered.prompt, rendered.completion)


def _notes(encoder: Encoder, unknown: int, spelled: Spelled) -> Iterator[str]:
    if unknown:
        yield f"{unknown:,} prompts have characters that {encoder.name} does not know; the model does not see them"
    if spelled.rows:
        yield f"{spelled.rows:,} rows spell special tokens as text ({spelled.named()}); the model reads real tokens"


def known_tokens(examples: Sequence[Example], layout: ColumnSchema) -> tuple[Spelled, Spelled]:
    """Rows with an answer that spells the end token of a well-known model; others that spell a token of one."""
    ends, others = Spelled(), Spelled()
    for example in examples:
        learned, asked = _sides(example, layout)
        found = [token for text in learned for token in spelled_in(_KNOWN_ENDS, text)]
        ends.add(example, found)
        if not found:
            others.add(example, (token for text in (*learned, *asked) for token in spelled_in(_KNOWN, text)))
    return ends, others


def _sides(example: Example, layout: ColumnSchema) -> tuple[list[str], list[str]]:
    """The texts of a row that are learned, and those that are read."""
    whole = whole_row(example)
    if isinstance(whole, Conversation):
        texts: dict[bool, list[str]] = {True: [], False: []}
        for turn in whole.turns:
            texts[turn["trained"]].append(own_text(turn))
        return texts[True], texts[False]
    if whole is not None:  # segments and tokens mean the special tokens that they have
        return [], []
    answer = example.fields[layout.completion]
    asked = [example.fields.get(column) for role, column in layout.roles.items() if role != COMPLETION]
    return [answer] if isinstance(answer, str) else list(answer), [str(text) for text in asked if text]


_KNOWN_ENDS, _KNOWN = pattern_of(KNOWN_ENDS), pattern_of(KNOWN_TOKENS)


def date_note(tokenizer: Any) -> str | None:
    """That the chat template prints the date of the day, if it does: the same row becomes another one tomorrow."""
    template = template_of(tokenizer)
    user = {"role": "user", "content": "hello"}
    if CLOCK not in template:
        return None
    for messages in ([user], [{"role": "system", "content": "hello"}, user]):
        try:
            text = tokenizer.apply_chat_template(messages, chat_template=_STOPPED + template, tokenize=False)
        except REFUSALS:  # the template knows no such turns
            continue
        if _DAY in str(text):
            return (
                f"the chat template of {tokenizer_name(tokenizer)} prints today's date ({CLOCK}), so the same rows "
                "are trained and asked with another text every day"
            )
    return None
