"""`keeptune push`: the tuned model of a run, with its card, to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.export import Arm, Dtype, Merge
from keeptune.cli.options import AsJson, Quiet, Verbose, print_json


def push(
    run: Annotated[Path, typer.Argument(help="The run folder of a finished study.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository; made where there is none.")],
    arm: Arm = None,
    merge: Merge = False,
    dtype: Dtype = None,
    private: Annotated[bool, typer.Option("--private", help="Of a repository that is made.")] = False,
    license: Annotated[str | None, typer.Option(help="Of the weights, as the hub names it: apache-2.0.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Export as `keeptune export` does, write a model card from the study's records, and upload both."""
    from keeptune.export.chosen import choose

    chosen = choose(run, arm)

    from keeptune.export import push as pushed  # imports torch: what is wrong with the command is said before

    done = pushed.push(chosen, repo, merge=merge, dtype=dtype, private=private, license=license)
    if as_json:
        print_json(done)
    else:
        typer.echo(done.url)
