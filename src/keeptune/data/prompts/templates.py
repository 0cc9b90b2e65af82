"""Instruction templates: an example's fields in, prompt and completion out.

A template is Jinja in the form ``prompt ||| completion``, as promptsource writes it, with optional answer choices.
Rules, the same in training, evaluation and serving:

- White space around ``|||`` is layout, like that at both ends of a completion. Line breaks that end the prompt stay.
- A plain-text prompt never ends in a space: its last spaces are dropped, and if it then ends in a visible character,
  one space is put in front of the completion, of every reference and of every choice. (A space belongs to the word
  that follows it: tokenizers have " yes" as one token, and a prompt that ends in a space leaves the model in a place
  that it has never seen.)
- Rows that bring prompt and completion of their own (`Template.raw`) are left as they are, except that spaces at the
  end of the prompt move to the front of the completion.
- For a chat template nothing is glued: turns have their own borders.
- A field that is a list of texts stands for several references: printed, it gives one of them, and the completion
  is rendered once for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from jinja2 import Template as CompiledTemplate
from jinja2.exceptions import TemplateError, UndefinedError

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.units import content_hash
from keeptune.data.examples import Conversation, Example, Rendered, Segments, Tokens
from keeptune.data.formats.conversation import asked_turn
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.prompts.sandbox import MAX_CHARACTERS, STATE, Rendering, TemplateSandbox

SEPARATOR = "|||"
_MARK = "\ue000|\ue001|\ue000"  # stands for the template's own ||| while it is rendered; data may contain |||
_ENVIRONMENT = TemplateSandbox()


class InapplicableError(DataError):
    """A wording that is not for this row: promptsource's print nothing there."""


class AnswerChoices(list[str]):
    """Answer choices by number, as promptsource has labels, or by their own text.

    A negative number is refused: -1 marks rows without a label, and would be the last choice. (With a ValueError:
    Jinja takes a LookupError for an attribute to be looked for.)
    """

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self:
                raise ValueError(f"label {key!r} is not among the choices {', '.join(map(repr, self))}")
            return key
        if isinstance(key, int) and key < 0:
            raise ValueError(f"label {key} marks a row without a label")
        return super().__getitem__(key)


@dataclass(frozen=True)
class Template:
    """One wording of a task. Make one with `parse` or `raw`."""

    name: str
    text: str
    answer_choices: str | tuple[str, ...] | None = None
    verbatim: bool = False  # prompt and completion were glued by the user
    whole: bool = False  # the row is a conversation, segments or tokens, and is encoded from there

    @staticmethod
    def parse(text: str, name: str = "", answer_choices: str | Sequence[str] | None = None) -> Template:
        """A template from its source, compiled once to see that it can be.

        Args:
            text: Jinja with exactly one ``|||`` on every path through it.
            name: named in errors; the text's hash if empty.
            answer_choices: a Jinja text "a ||| b", or a list of Jinja texts.

        Raises:
            DataError: no ``|||``, a syntax error, or a construct that the sandbox refuses.
        """
        name = name or f"template {content_hash(text, 8)}"
        if SEPARATOR not in text:
            raise DataError(
                f"template '{name}' has no '|||' between prompt and completion",
                remedy="write it as: prompt ||| {{ completion }}",
            )
        template = Template(name, text, _frozen(answer_choices))
        _compiled(text, name)
        for choice in template._choice_sources(None):
            _compiled(choice, f"{name}, answer_choices")
        return template

    @staticmethod
    def raw(
        prompt: str | None = "prompt", completion: str = "completion", name: str = "as given", whole: bool = False
    ) -> Template:
        """Prompt and completion as two fields hold them (no prompt: a text); ``whole`` rows are more than these."""
        asked = "" if prompt is None else f"{{{{ fields[{prompt!r}] }}}}"
        return Template(name, f"{asked}|||{{{{ fields[{completion!r}] }}}}", verbatim=True, whole=whole)

    def render(
        self,
        example: Example,
        choices: str | Sequence[str] | None = None,
        *,
        system: str | None = None,
        chat: bool = False,
    ) -> Rendered:
        """The example in this wording.

        Args:
            example: the row; its fields are the template's variables.
            choices: answer choices for templates that have none of their own.
            system: text of a system turn, a Jinja text too.
            chat: a chat template will be applied, so nothing is glued.

        Raises:
            DataError: a missing field (named, with the fields present), a template that raises or grows without
                bound, an empty completion, an answer that is not among the choices.
        """
        variables: dict[str, Any] = {**example.fields, "fields": example.fields}
        answers = self._answers(example, variables, choices)
        if answers is not None:
            variables["answer_choices"] = AnswerChoices(answers)
        prompt, completions = self._sides(example, variables)
        if chat:
            prompt, space = prompt.strip(), ""
            completions = tuple(text.strip() for text in completions)
        else:
            prompt, space = self._glue(prompt)
        whole = whole_row(example) if self.whole else None
        if isinstance(whole, Conversation) and not chat:
            space = " "  # behind "Assistant:"
        index = None if answers is None else self._index(completions[0], answers, example)
        texts = tuple(space + text for text in completions)
        before, _, after = texts[0].partition(texts[0].strip())  # choices are framed as the completion is
        return Rendered(
            id=example.id,
            cluster=example.cluster,
            prompt=prompt,
            completion=texts[0],
            references=texts,
            choices=None if answers is None else tuple(before + answer + after for answer in answers),
            answer=index,
            system=self._render(system, example, variables, Rendering()) if system else None,
            chat=chat,
            path=example.path,
            line=example.line,
            whole=whole,
        )

    def _sides(self, example: Example, variables: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """The prompt, and the completion once per reference."""
        state = Rendering()
        prompt, completion = self._split(self._render(self.text, example, variables, state), example)
        if len(state.lengths) > 1:
            raise self._error("prints lists of different lengths", example, "print one list of references only")
        completions = [completion]
        for pick in range(1, max(state.lengths, default=1)):
            other, completion = self._split(self._render(self.text, example, variables, Rendering(pick)), example)
            if other != prompt:
                raise self._error("prints a list in its prompt", example, "print it with a loop or {{ field | join }}")
            completions.append(completion)
        return prompt, tuple(completions)

    def _split(self, text: str, example: Example) -> tuple[str, str]:
        if not text.strip():
            raise InapplicableError(
                f"template '{self.name}' prints nothing for this row",
                path=example.path or None,
                line=example.line or None,
                remedy="add a wording for such rows",
            )
        parts = text.split(_MARK)
        if len(parts) != 2:
            found = f"{len(parts) - 1} times '|||'" if len(parts) > 2 else "nothing after its '|||'"
            raise self._error(f"gives {found}", example, "every row needs one prompt and one completion")
        prompt, completion = parts if self.verbatim else (parts[0], parts[1].strip())
        if not completion.strip():
            raise self._error("gives an empty completion", example, "remove the row or name another field")
        return prompt, completion

    def _glue(self, prompt: str) -> tuple[str, str]:
        """The prompt without its last spaces, and what is put in front of every completion."""
        bare = prompt.rstrip(" \t")
        if self.verbatim:
            return bare, prompt[len(bare) :]
        return bare, "" if not bare or bare[-1].isspace() else " "

    def _choice_sources(self, choices: str | Sequence[str] | None) -> tuple[str, ...]:
        own = self.answer_choices if self.answer_choices is not None else choices
        if own is None:
            return ()
        return (own,) if isinstance(own, str) else tuple(own)

    def _answers(
        self, example: Example, variables: Mapping[str, Any], choices: str | Sequence[str] | None
    ) -> tuple[str, ...] | None:
        sources = self._choice_sources(choices)
        if not sources:
            return None
        texts = [self._render(source, example, variables, Rendering()) for source in sources]
        answers = tuple(answer.strip() for text in texts for answer in text.split(_MARK))
        if len(set(answers)) < max(2, len(answers)) or not all(answers):
            twice = sorted({answer for answer in answers if answers.count(answer) > 1})
            why = f"twice {twice[0]!r}" if twice else f"{list(answers)}"
            raise self._error(f"has unusable answer_choices: {why}", example, "give two or more that differ")
        return answers

    def _index(self, completion: str, answers: tuple[str, ...], example: Example) -> int:
        answer = completion.strip()
        if answer not in answers:
            shown = ", ".join(repr(choice) for choice in answers[:8]) + (", ..." if len(answers) > 8 else "")
            raise self._error(
                f"gives the answer {answer[:60]!r}, which is not among the choices {shown}",
                example,
                "add it to answer_choices, or print {{ answer_choices[...] }} as the completion",
            )
        return answers.index(answer)

    def _render(self, source: str, example: Example, variables: Mapping[str, Any], state: Rendering) -> str:
        pieces: list[str] = []
        size = 0
        try:
            for piece in _compiled(source, self.name).generate({**variables, STATE: state}):
                size += len(piece)
                if size > MAX_CHARACTERS:
                    raise self._error(f"prints more than {MAX_CHARACTERS:,} characters", example, "limit its loops")
                pieces.append(piece)
        except DataError:
            raise
        except UndefinedError as error:
            raise self._undefined(error, example) from error
        except Exception as error:  # whatever a stranger's template raises (RecursionError, NameError) is its fault
            null = [name for name, value in variables.items() if value is None]
            hint = f"null fields: {', '.join(null)}" if null else "correct the template or the row"
            raise self._error(f"cannot be rendered: {error}", example, hint) from error
        return "".join(pieces)

    def _undefined(self, error: UndefinedError, example: Example) -> DataError:
        found = re.search(r"'([^']+)' is undefined|has no (?:attribute|element) '?([^']+)'?", error.message or "")
        missing = (found.group(1) or found.group(2)) if found else None
        return DataError(
            f"template '{self.name}' needs a field that the row does not have: {error.message}",
            path=example.path or None,
            line=example.line or None,
            field=missing,
            remedy=f"fields present: {', '.join(example.fields)}",
        )

    def _error(self, message: str, example: Example, remedy: str) -> DataError:
        return DataError(
            f"template '{self.name}' {message}",
            path=example.path or None,
            line=example.line or None,
            remedy=remedy,
        )


@dataclass(frozen=True)
class TemplateSet:
    """The wordings of one task.

    Attributes:
        templates: one or more wordings.
        answer_choices: for the templates that have none of their own.
        system: text of a system turn (chat) or in front of the prompt (plain).
        chat: examples are rendered for the tokenizer's chat template.
    """

    templates: tuple[Template, ...]
    answer_choices: str | tuple[str, ...] | None = None
    system: str | None = None
    chat: bool = False

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("a task needs at least one template", remedy="give templates or the name of a pack")

    def for_training(self, example: Example, seed: int = 0) -> Rendered:
        """The example in a wording drawn by seed and id, the same whatever the order of the rows."""
        return self.fixed(example, int(content_hash([seed, example.id]), 16) % len(self.templates))

    def fixed(self, example: Example, index: int = 0) -> Rendered:
        """The example in the wording number ``index``, or the next one that is for such rows."""
        in_turn = (*self.templates[index:], *self.templates[:index])
        for template in in_turn[:-1]:
            try:
                return self._with(template, example)
            except InapplicableError:
                continue
        return self._with(in_turn[-1], example)

    def each(self, example: Example) -> Iterator[Rendered]:
        """The example in every wording that is for such rows, in order."""
        return (rendered for _, rendered in self.named(example))

    def named(self, example: Example) -> Iterator[tuple[str, Rendered]]:
        """Like `each`, with the names of the wordings."""
        for template in self.templates:
            try:
                yield template.name, self._with(template, example)
            except InapplicableError:
                continue

    def for_chat(self, chat: bool = True) -> TemplateSet:
        """The same wordings for a model with (or without) a chat template."""
        return replace(self, chat=chat)

    def _with(self, template: Template, example: Example) -> Rendered:
        return template.render(example, self.answer_choices, system=self.system, chat=self.chat)


def default_templates(layout: ColumnSchema) -> tuple[Template, ...]:
    """One neutral wording for a recognised layout, as a tuple of one.

    Prompt-completion rows stay as they are. Everything else shows its parts in order, a blank line between them,
    named where a reader could not tell them apart; empty and missing parts are left out.
    """
    if layout.raw:
        return (Template.raw(layout.roles.get("prompt"), layout.completion, whole=bool(layout.shape)),)
    named = {"question": "Question", "premise": "Premise", "hypothesis": "Hypothesis"}
    cue = {"question": "Answer:", "inference": "Label:", "classification": "Label:", "summary": "Summary:"}
    parts = []
    for role, column in layout.roles.items():
        if role in {"completion", "system"}:
            continue
        label = f"{named[role]}: " if role in named else ""
        listed = " | join('\n')" if role == "choices" else ""
        field = f"fields.get({column!r})"
        parts.append(f"{{% if {field} %}}{label}{{{{ {field}{listed} }}}}\n\n{{% endif %}}")
    text = "".join(parts) + cue.get(layout.name, "") + f"|||{{{{ fields[{layout.completion!r}] }}}}"
    return (Template.parse(text, f"{layout.name} as it is"),)


def whole_row(example: Example) -> Conversation | Segments | Tokens | None:
    """What a format (see `shapes`) put into the row beside prompt and completion."""
    fields = example.fields
    if "messages" in fields:
        turns = tuple(fields["messages"])
        return Conversation(turns, asked_turn(turns), tuple(fields.get("tools", ())))
    if "segments" in fields:
        return Segments(tuple((text, trained) for text, trained in fields["segments"]))
    if "tokens" in fields:
        return Tokens(tuple(fields["tokens"]["ids"]), tuple(map(bool, fields["tokens"]["trained"])))
    return None


def _frozen(choices: str | Sequence[str] | None) -> str | tuple[str, ...] | None:
    return choices if choices is None or isinstance(choices, str) else tuple(str(choice) for choice in choices)


def renaming(columns: Mapping[str, str]) -> str:
    """Jinja in front of a template that gives columns the names that it uses: name -> column."""
    others = ((name, column) for name, column in columns.items() if name != column)
    return "".join(f"{{% set {name} = fields[{column!r}] %}}" for name, column in others)


@lru_cache(maxsize=512)
def _compiled(text: str, name: str) -> CompiledTemplate:
    source = re.sub(r"[ \t]*\|\|\|\s*", _MARK, text)
    try:
        return _ENVIRONMENT.from_string(_ENVIRONMENT.guarded(source))
    # Python's own compiler has the last word: nested too deep (RecursionError, SyntaxError), a number of 5,000 digits.
    except (TemplateError, SyntaxError, RecursionError, ValueError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f" in line {line}" if line else ""
        reason = str(error).replace(_MARK, SEPARATOR).replace(repr(_MARK[0])[1:-1], SEPARATOR)
        raise DataError(f"template '{name}' cannot be used{place}: {reason}", remedy="correct the template") from error
