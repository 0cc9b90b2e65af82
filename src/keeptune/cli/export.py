"""`keeptune export`: the tuned model of a run as a folder for other programs, checked on logits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json

Arm = Annotated[str | None, typer.Option(help="A trained arm by its name; default: the recommended one.")]
Merge = Annotated[bool, typer.Option("--merge", help="Add an adapter to its base's weights, in float32.")]
Dtype = Annotated[
    Literal["fp32", "bf16", "fp16"] | None,
    typer.Option(help="Of whole weights, cast once; default: as they are stored, merged ones as the base's."),
]


def export(
    run: Annotated[Path, typer.Argument(help="The run folder of a finished study.")],
    out: Annotated[Path | None, typer.Option(help="A new folder; default RUN/export.")] = None,
    arm: Arm = None,
    merge: Merge = False,
    dtype: Dtype = None,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="One file for llama.cpp and Ollama, merged; Llama, Qwen2, Qwen3 shapes.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Write weights, tokenizer, chat template and generation settings; refuse what says other things than the study."""
    from keeptune.export.chosen import choose

    chosen, folder = choose(run, arm), out or run / "export"

    from keeptune.export import folder as exported  # imports torch: what is wrong with the command is said before

    record = exported.export(chosen, folder, merge=merge, dtype=dtype, gguf=gguf)
    if as_json:
        print_json(record)
        return
    if quiet:
        typer.echo(str(folder))
        return
    typer.echo(
        f"{folder}: {record.arm}{', merged' if record.merged else ''}; on {record.prompts} prompts"
        f" {record.kl:.2g} nats per token from the study's model (refused above {record.bound:g}),"
        f" the same token first at {100 * record.agreement:.4g} % of the positions"
    )
