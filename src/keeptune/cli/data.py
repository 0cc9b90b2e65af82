"""`keeptune data`: look at the data before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json
from keeptune.core.errors import ConfigError

if TYPE_CHECKING:  # commands start fast
    from keeptune.data.encode.encoder import Encoder
    from keeptune.data.encode.window import OverlongPolicy
    from keeptune.data.formats.conversation import Supervise
    from keeptune.evaluate.config import TaskConfig
    from keeptune.inspect.asked import AskedItems
    from keeptune.inspect.token_view import TrainingRows

app = typer.Typer(
    help="Look at data before training: what is in it, and what the model will see.", no_args_is_help=True
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A .jsonl, .json, .csv, .tsv or .parquet file, a folder of parts, or hf:owner/name."
    ),
]
FieldMap = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="ROLE=COLUMN", help="Map a column, e.g. completion=answer. May be repeated."),
]
Format = Annotated[
    str | None, typer.Option("--format", help="How to read the rows, where that cannot be found out (see docs/data).")
]
Turns = Annotated[
    str | None, typer.Option("--supervise", help="Turns of conversations to learn from: all, last or weights.")
]


@app.command("check")
def check_command(
    source: Source,
    fields: FieldMap = None,
    cluster: Annotated[str | None, typer.Option(help="Column that names what several rows share.")] = None,
    format: Format = None,
    supervise: Turns = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="DATA", help="A benchmark whose rows should not be here. May be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model whose tokenizer and chat template should be able to use the rows.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page that quotes the rows in question.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Print counts, lengths, labels, duplicates, leaks between parts and unusable rows."""
    from keeptune.api.check import check
    from keeptune.cli.data_view import print_check

    _refuse_folder(html, "check.html")
    checked = check(
        source,
        fields=field_map(fields),
        cluster=cluster,
        format=format,
        supervise=supervised_turns(supervise),
        against=against,
        model=model,
        quiet=quiet or as_json,
    )
    if html is not None:
        checked.report(html)
    if as_json:
        print_json(checked.page)
        return
    if quiet:
        typer.echo("\n".join(checked.problems) or "nothing needs attention")
        return
    print_check(checked.page, Console())
    if html is not None:
        typer.echo(f"the rows in question are quoted in {html}")


@app.command("clean")
def clean_command(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="The cleaned copy, a .jsonl file that does not exist yet.")],
    fields: FieldMap = None,
    cluster: Annotated[str | None, typer.Option(help="Column that names what several rows share.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Write a copy without repeated, leaking and unusable rows, and a list of what went and why."""
    from keeptune.inspect.clean import clean

    cleaned = clean(source, out, fields=field_map(fields), cluster=cluster)
    if as_json:
        print_json(cleaned)
        return
    typer.echo(f"{cleaned.kept:,} rows in {cleaned.out}, {sum(cleaned.removed.values()):,} left out")
    if quiet:
        return
    for reason, n in cleaned.removed.items():
        typer.echo(f"  {n:,} x {reason}")
    typer.echo(f"each with its reason in {cleaned.listed}")


@app.command("preview")
def preview_command(
    source: Source,
    model: Annotated[str, typer.Option(help="Model folder or hub name, or builtin; only its tokenizer is loaded.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows to print.")] = 3,
    shots: Annotated[
        int, typer.Option(min=0, help="Show test items as evaluation asks them, behind so many worked examples.")
    ] = 0,
    template: Annotated[
        list[str] | None, typer.Option("--template", help="A wording: 'prompt ||| completion'. May be repeated.")
    ] = None,
    fields: FieldMap = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the wordings; with --shots the number of the draw of worked examples.")
    ] = 0,
    format: Format = None,
    supervise: Turns = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with every token in a box instead of printing."),
    ] = None,
    overlong: Annotated[
        str, typer.Option(help="Rows longer than the window on the page: drop, truncate_prompt or error.")
    ] = "drop",
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Show rows as the model sees them, with the tokens that are trained on or expected marked."""
    from keeptune.cli.data_view import print_preview
    from keeptune.evaluate.config import SplitConfig, TaskConfig

    policy = overlong_policy(overlong)
    _refuse_folder(html, "preview.html")
    config = TaskConfig(
        data=source,
        fields=field_map(fields),
        templates=tuple(template) if template else None,
        format=format,
        supervise=supervised_turns(supervise),
        split=SplitConfig(on_leak="drop"),
    )
    from keeptune.inspect.preview import encoder_of

    encoder = encoder_of(model, policy)
    preview = _preview(config, encoder, shots, seed)
    if html is None and not (as_json or quiet):
        print_preview(preview.shown(rows), encoder.context, Console(), preview.layout, preview.notes())
        return
    page = preview.page(model=model, rows=rows)
    if html is not None:
        from keeptune.report.preview import write_preview

        write_preview(page, html)
    if as_json:
        print_json(page)
        return
    where = "" if html is None else f" in {html}"
    typer.echo(f"{len(page.rows):,} rows{where}; {page.long_count:,} of {page.looked_at:,} are too long for the window")


def _preview(config: TaskConfig, encoder: Encoder, shots: int, seed: int) -> TrainingRows | AskedItems:
    """Shows training rows, or with worked examples the items that evaluation asks behind them."""
    if shots:
        from keeptune.evaluate.task import build_task
        from keeptune.inspect.asked import AskedItems

        return AskedItems(build_task(config), encoder, shots=shots, draw=seed)
    from keeptune.inspect.token_view import TrainingRows

    return TrainingRows.read(config, encoder, seed)


def _refuse_folder(html: Path | None, example: str) -> None:
    if html is not None and html.is_dir():
        raise ConfigError(f"--html {html} is a folder", remedy=f"name a file, e.g. {example}")


def supervised_turns(text: str | None) -> Supervise | None:
    """The value of --supervise, checked."""
    return None if text is None else cast("Supervise", _one_of("supervise", text, ("all", "last", "weights")))


def overlong_policy(text: str) -> OverlongPolicy:
    """The value of --overlong, checked."""
    return cast("OverlongPolicy", _one_of("overlong", text, ("drop", "truncate_prompt", "error")))


def _one_of(option: str, text: str, known: Sequence[str]) -> str:
    """The text, if the option knows it.

    Raises:
        ConfigError: the option does not know it.
    """
    if text not in known:
        raise ConfigError(f"--{option} {text} is unknown", remedy=f"write {', '.join(known[:-1])} or {known[-1]}")
    return text


def field_map(pairs: list[str] | None) -> dict[str, str] | None:
    """['completion=answer'] -> {'completion': 'answer'}.

    Raises:
        ConfigError: a pair without '='.
    """
    if not pairs:
        return None
    fields: dict[str, str] = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not equals or not role.strip() or not column:
            raise ConfigError(f"--field {pair} is no pair", remedy="write --field ROLE=COLUMN, e.g. completion=answer")
        fields[role.strip()] = column
    return fields
