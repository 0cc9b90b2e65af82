"""`keeptune`: the commands, and the one place where errors become one line and an exit code."""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from keeptune import __version__
from keeptune.cli import (
    chat,
    ci,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    export,
    init,
    plan,
    push,
    recipe,
    report,
    runs,
    study,
    train,
)
from keeptune.core import allocator
from keeptune.core.errors import KeeptuneError, ResourceError
from keeptune.core.files import REFUSED
from keeptune.core.quiet import quiet_libraries, send_nothing
from keeptune.core.redact import redact
from keeptune.core.stopping import SIGNALS, listening
from keeptune.launch.torchrun import launched

LONGEST = 1_000  # characters at each end of an error: a role or a column of the data may be of any length

app = typer.Typer(
    name="keeptune",
    help="Fine-tune language models on instructions and see what they gained and what they forgot.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("study")(study.study)
app.command("train")(train.train)
app.command("plan")(plan.plan)
app.command("compare")(compare.compare)
app.add_typer(ci.app, name="ci")
app.command("evaluate")(evaluate.evaluate)
app.add_typer(data.app, name="data")
app.command("recipe")(recipe.recipe)
app.add_typer(runs.app, name="runs")
app.command("chat")(chat.chat)
app.command("export")(export.export)
app.command("push")(push.push)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"keeptune {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Prompt, LoRA or full fine-tuning? See on your own data what each gains and what it breaks."""


def main() -> None:
    """Entry point: runs the command; a foreseen error prints one line and exits with its family's code."""
    # What the libraries will change one day is our concern and not the user's.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|torch)\b")
    quiet_libraries()
    send_nothing()
    allocator.keep_memory()
    try:
        with listening(*SIGNALS):
            app()
    except KeeptuneError as error:
        _end(error)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        place = str(error.filename) if error.filename else None
        _end(ResourceError(str(error.strerror), where=place, remedy="free disk space, or check the permissions"))
    except SystemExit as end:
        if end.code in {128 + number for number in SIGNALS} and not launched():  # one for several processes says it
            Console(stderr=True).print("stopped; what was done is kept, run the same command to go on")
        raise


def _end(error: KeeptuneError) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(Text(f"error: {one_line(redact(str(error)))}", style="red"))
    sys.exit(error.exit_code)


def one_line(text: str) -> str:
    """The text on one line of readable length: what stands in it may come from data, which may hold anything.

    Line breaks and what else would steer a terminal are shown as escapes.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= 2 * LONGEST else f"{shown[:LONGEST]} ... {shown[-LONGEST:]}"
