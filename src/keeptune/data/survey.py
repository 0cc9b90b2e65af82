"""Rows as one model's tokenizer and chat template take them: which cannot be used, and what to know of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeptune.core.errors import DataError
from keeptune.data.chat import REFUSALS, template_of, tokenizer_name
from keeptune.data.conversation import own_text
from keeptune.data.encode import Encoder
from keeptune.data.examples import Conversation, Example, Rendered, Segments
from keeptune.data.quarantine import Quarantined
from keeptune.data.templates import TemplateSet

SHOWN = 4  # special tokens that a note names
CLOCK = "strftime_now"  # the one way in which transformers lets a template see the time
_DAY = "zq7day"
_STOPPED = f"{{%- macro {CLOCK}(format) -%}}{_DAY}{{%- endmacro -%}}"  # stands in for the clock


@dataclass
class Spelled:
    """Rows whose texts spell special tokens."""

    rows: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, tokens: Sequence[str]) -> None:
        """One row's."""
        self.rows += bool(tokens)
        self.tokens.update(tokens)

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
            if encoder.unwritable(rendered):
                raise DataError(f"a choice has characters that {encoder.name} does not know")
        except DataError as error:
            remedy = error.remedy if not unusable else remedy
            unusable[example.id] = Quarantined(example.path, example.line, error.message, example.fields)
            continue
        texts = list(said(rendered))
        unknown += any(map(encoder.vocabulary.loses, texts))
        spelled.add([token for text in texts for token in encoder.vocabulary.spelled(text)])
    return Survey(unusable, remedy, tuple(_notes(encoder, unknown, spelled)))


def said(rendered: Rendered) -> Iterator[str]:
    """What the row itself says, turn by turn; segments and tokens mean the special tokens that they have."""
    whole = rendered.whole
    if isinstance(whole, Conversation):
        yield from map(own_text, whole.turns)
    elif whole is None:
        yield from (rendered.system or "", rendered.prompt, rendered.completion)
    elif isinstance(whole, Segments):
        yield from ()


def _notes(encoder: Encoder, unknown: int, spelled: Spelled) -> Iterator[str]:
    if unknown:
        yield f"{unknown:,} prompts have characters that {encoder.name} does not know; the model does not see them"
    if spelled.rows:
        yield (
            f"{spelled.rows:,} rows spell special tokens as text ({spelled.named()}); the model reads the tokens "
            "themselves"
        )


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
