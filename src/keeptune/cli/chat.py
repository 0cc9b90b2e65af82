"""`keeptune chat`: one prompt, answered side by side in the browser."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json


@dataclass(frozen=True)
class Serving:
    """A page that is served."""

    url: str
    columns: int  # that answer side by side


def chat(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN|MODEL...", help="Folders of finished studies; models by folder or hub name."),
    ],
    keep: Annotated[Path, typer.Option(metavar="FILE", help="Where answers that you keep are added as rows.")] = Path(
        "kept.jsonl"
    ),
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer, in tokens; never more than half of a model's window.")
    ] = 256,
    device: Annotated[str, typer.Option(help="Where the models run: auto, cpu, cuda or cuda:1.")] = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine the page asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8020,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Ask the base, its best prompting and every tuned arm the same thing, on a page in the browser."""
    from keeptune.chat.columns import read_sources
    from keeptune.chat.kept import KeptRows

    kept, sources = KeptRows(keep), read_sources(names)
    for note in sources.notes:
        typer.echo(f"note: {note}", err=True)

    from keeptune.chat.serve import chat_server  # imports torch: what is wrong with the command is said before

    with chat_server(sources, kept, max_new_tokens=max_new_tokens, device=device, host=host, port=port) as server:
        if as_json:
            print_json(Serving(server.url, len(sources.columns)))
        elif quiet:
            typer.echo(server.url)
        else:
            typer.echo(f"{len(sources.columns)} side by side: {server.url}  (Ctrl-C ends it)")
        sys.stdout.flush()  # who reads it in a program waits for the address
        server.serve_forever()
