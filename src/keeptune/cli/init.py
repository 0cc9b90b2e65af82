"""`keeptune init`: from a data file to a recipe that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keeptune.cli.data import FieldMap, field_map
from keeptune.cli.options import AsJson, Quiet, Verbose, print_json

if TYPE_CHECKING:
    from keeptune.inspect.draft import Answers

NOTHING, LATER, SKILLS = "none", "later", "builtin"  # SKILLS: what the built-in model can do


def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A data file, a folder of split files, or hf:owner/name.")
    ],
    model: Annotated[str | None, typer.Option(help="Hub name, local folder, or 'builtin'. Not asked then.")] = None,
    retain: Annotated[
        list[str] | None,
        typer.Option(help="What must not get worse: a file, builtin:name, harness:name, standard; or none."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Wall time, such as 1h or 30min; or none.")] = None,
    fields: FieldMap = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is not given has its default.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The recipe; default: the data's name, .yaml, in this folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a recipe that is there.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Look at a data file, ask at most three questions, and write a commented recipe that runs."""
    from keeptune.core.errors import ConfigError
    from keeptune.core.files import write_whole
    from keeptune.inspect.draft import NO_TRAIN, Drafted, draft, look

    path = out or Path(f"{Path(data.removeprefix('hf:')).stem}.yaml")
    if path.exists() and not overwrite:
        raise ConfigError("is there already", where=str(path), remedy="name another --out, or say --overwrite")
    columns = field_map(fields)
    found = look(data, columns)
    if not (quiet or as_json):
        counted = ", ".join(f"{n:,} {part}" for part, n in found.rows.items())
        typer.echo(f"{data}: {counted}; {found.answers}; metric {found.metric}")
        if not found.rows["train"]:
            typer.echo(f"note: {NO_TRAIN}: the recipe asks prompts alone")
    text = draft(data, found, _answers(model, retain, budget, ask=not yes), path, columns)

    from keeptune.core.config import parse_recipe
    from keeptune.recipe.config import StudyConfig  # imports torch: what is wrong with the answers is said before
    from keeptune.recipe.reference import EDITORS, SCHEMA_FILE, recipe_schema

    parse_recipe(StudyConfig, text, source=str(path))
    write_whole(path.with_name(SCHEMA_FILE), json.dumps(recipe_schema(), indent=1) + "\n")
    write_whole(path, f"{EDITORS.format(SCHEMA_FILE)}\n{text}")
    if as_json:
        print_json(Drafted(path, path.with_name(SCHEMA_FILE), found))
        return
    typer.echo(f"wrote {path}, and {SCHEMA_FILE} for editors")
    if not quiet:
        typer.echo(f"next: keeptune study {path}")


def _answers(model: str | None, retain: list[str] | None, budget: str | None, *, ask: bool) -> Answers:
    """What the command line gives, and otherwise the user, and otherwise a default.

    Raises:
        KeeptuneError: something that must not get worse cannot be found, or a budget is no time.
    """
    from keeptune.core.errors import ConfigError
    from keeptune.core.units import parse_duration
    from keeptune.inspect.draft import Answers, builtin_suites

    def answer(question: str, default: str) -> str:
        return typer.prompt(question, default=default).strip() if ask else default

    model = model or answer("model (hub name, folder, or builtin)", "builtin")
    if not retain:
        question = "what must not get worse (files, standard, none; separated by spaces)"
        retain = answer(question, SKILLS if model == "builtin" else LATER).split()
    entries = builtin_suites() if retain == [SKILLS] else None if retain == [LATER] else _entries(retain)
    budget = budget or answer("time that it may take (such as 1h)", NOTHING)
    if budget != NOTHING:
        try:
            parse_duration(budget)
        except ValueError as error:
            raise ConfigError(f"'{budget}': {error}", where="budget") from error
    return Answers(model, entries, None if budget == NOTHING else budget)


def _entries(specs: list[str]) -> tuple[Any, ...]:
    """Entries of a recipe, with all their files there; named sets stay names."""
    from keeptune.evaluate.standard import STANDARD
    from keeptune.recipe.entries import entry_of
    from keeptune.recipe.files import named_entries

    named = [spec for spec in specs if spec != NOTHING]
    named_entries([spec for spec in named if spec not in STANDARD], "drop")
    return tuple(spec if spec in STANDARD else entry_of(spec) for spec in named)
