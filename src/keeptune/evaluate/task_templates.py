"""The wordings of a task: the recipe's, its pack's or the neutral one, with the answers that the data know."""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.examples import Example
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.prompts.pack import load_pack
from keeptune.data.prompts.templates import Template, TemplateSet, default_templates
from keeptune.data.prompts.wordings import load_wordings
from keeptune.evaluate.config import TaskConfig


def task_templates(config: TaskConfig, layout: ColumnSchema | None, rows: Sequence[Example]) -> TemplateSet:
    """The recipe's wordings, its pack's, or the neutral one; with the choices that are known.

    Raises:
        ConfigError: neither wordings nor recognised columns, or an unknown pack.
        DataError: a wording that cannot be parsed.
    """
    if config.templates is not None:
        wordings = parsed(config.templates, config.title)
    elif config.wordings_file is not None:
        wordings = load_wordings(config.wordings_file, config.fields)
    elif config.pack is not None:
        wordings = load_pack(config.pack, layout, config.fields)
    elif layout is not None:
        wordings = default_templates(layout)
    else:  # load_examples refuses unknown columns unless the recipe has wordings
        raise ConfigError("a task needs templates or recognised columns", where=config.title)
    system = config.system if config.system is not None else _system(layout)
    if config.answer_choices is not None:
        return TemplateSet(wordings, config.answer_choices, system)
    own = rows if config.templates is not None else ()
    return with_known_choices(TemplateSet(wordings, None, system), layout, own)


def plain_templates(
    layout: ColumnSchema | None, texts: Sequence[str] = (), rows: Sequence[Example] = ()
) -> TemplateSet:
    """The wordings in ``texts``, or the neutral one of the layout, as a task of these ``rows`` has them.

    Raises:
        ConfigError: neither a layout nor a wording.
    """
    wordings = parsed(texts, "wording") or (default_templates(layout) if layout is not None else ())
    return with_known_choices(TemplateSet(wordings, None, _system(layout)), layout, rows if texts else ())


def parsed(texts: Sequence[str], title: str) -> tuple[Template, ...]:
    """Templates from their sources, numbered behind the title."""
    return tuple(Template.parse(text, f"{title} {number}") for number, text in enumerate(texts, 1))


def with_known_choices(bare: TemplateSet, layout: ColumnSchema | None, rows: Sequence[Example]) -> TemplateSet:
    """The wordings with the answers that the data bring, unless they print another answer for one of the ``rows``.

    The answers are a row's own options, or the few answers of the whole set. A user's own wordings may rename them.
    """
    known = TemplateSet(bare.templates, _known_choices(layout), bare.system)
    try:
        for row in rows if known != bare else ():
            list(known.each(row))
    except DataError:
        return bare
    return known


def unseen_templates(
    config: TaskConfig, seen: TemplateSet, choices: bool, rows: Sequence[Example]
) -> TemplateSet | None:
    """The wordings held out from training, with the answers of the others; None where the recipe has none.

    Raises:
        ConfigError: one of them is trained on, too, or asks for something else than the others.
        DataError: one of them does not render.
    """
    if config.unseen_templates is None:
        return None
    texts = {each.text for each in seen.templates}
    for text in config.unseen_templates:
        if text in texts:
            raise ConfigError(f"'{text[:60]}' is among the trained wordings", where="unseen_templates")
    wordings = parsed(config.unseen_templates, f"{config.title} unseen")
    unseen = TemplateSet(wordings, seen.answer_choices, seen.system)
    if any((rendered.choices is not None) != choices for row in rows[:5] for rendered in unseen.each(row)):
        raise ConfigError("the unseen wordings need the same answer choices as the others", where="unseen_templates")
    return unseen


def _system(layout: ColumnSchema | None) -> str | None:
    """The column of system texts, as a template."""
    return f"{{{{ {layout.roles['system']} }}}}" if layout is not None and "system" in layout.roles else None


def _known_choices(layout: ColumnSchema | None) -> str | tuple[str, ...] | None:
    """The answers that the data bring: the row's own options, or the few answers of the whole set."""
    if layout is None:
        return None
    if "choices" in layout.roles:
        return f"{{{{ {layout.roles['choices']} | join(' ||| ') }}}}"
    known = tuple(dict.fromkeys(choice.strip() for choice in layout.choices or ()))
    return known if len(known) > 1 else None
