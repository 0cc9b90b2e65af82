"""`keeptune ci init`: a job that fails where a change of the model lost something."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from keeptune import __version__
from keeptune.cli.options import AsJson, Quiet, Verbose, print_json

app = typer.Typer(help="Gate a CI job on what a model has lost.", no_args_is_help=True)

GITHUB, GITLAB = Path(".github/workflows/keeptune.yml"), Path(".gitlab/keeptune.yml")
RUN = "runs/ci"
OUTPUTS = f"--out {RUN} --overwrite --junit keeptune.xml --markdown keeptune.md"
HEAD = """\
# Written by `keeptune ci init`. Fails with 10 where a suite is Harmed, with 11 where none is and one is undecided;
# codes 1 to 5 are errors. To let undecided suites pass, put `|| [ $? -eq 11 ]` behind the comparison.
# Until keeptune is on PyPI, install it from its repository: pip install "keeptune @ git+URL".
"""
INSTALL = f"pip install keeptune=={__version__} --extra-index-url https://download.pytorch.org/whl/cpu"

WORKFLOW = """{head}name: keeptune
on: [pull_request]
permissions:
  contents: read
jobs:
  compare:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.11", cache: pip, cache-dependency-path: {path}}}
      - uses: actions/cache@v4 # the base's answers, and models of the hub
        with:
          path: |
            ~/.cache/keeptune
            ~/.cache/huggingface
          key: keeptune-${{{{ github.run_id }}}}
          restore-keys: keeptune-
      - run: {install}
      - name: Did the model lose anything?
        run: |
          {command}
      - if: always() && hashFiles('keeptune.md') != ''
        run: cat keeptune.md >> "$GITHUB_STEP_SUMMARY"
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: keeptune
          path: |
            keeptune.xml
            keeptune.md
            {run}/report.html
"""

PIPELINE = """{head}keeptune:
  image: python:3.11
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
  variables:
    PIP_CACHE_DIR: $CI_PROJECT_DIR/.cache/pip
    KEEPTUNE_CACHE: $CI_PROJECT_DIR/.cache/keeptune
    HF_HOME: $CI_PROJECT_DIR/.cache/huggingface
  cache: # packages, the base's answers, and models of the hub
    key: keeptune
    paths: [.cache/]
    when: always
  script:
    - {install}
    - |
      {command}
  artifacts:
    when: always
    paths: [keeptune.md, {run}/report.html]
    reports:
      junit: keeptune.xml
"""


@dataclass(frozen=True)
class Workflow:
    """What was written."""

    path: Path
    system: Literal["github", "gitlab"]
    command: str  # that the job runs
    include: str | None  # line for .gitlab-ci.yml


@app.callback()
def _group() -> None:
    """Gate a CI job on what a model has lost."""


@app.command("init", context_settings={"ignore_unknown_options": True})
def init_command(
    compare: Annotated[
        list[str], typer.Argument(metavar="BEFORE AFTER OPTIONS...", help="What `keeptune compare` is to be given.")
    ],
    system: Annotated[Literal["github", "gitlab"], typer.Option(help="Whose workflow to write.")] = "github",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a workflow that is there.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Write a workflow that runs `keeptune compare` on every pull request and fails where something was lost."""
    from keeptune.core.errors import ConfigError
    from keeptune.core.files import write_whole

    check_comparison(compare)
    path, text = (GITHUB, WORKFLOW) if system == "github" else (GITLAB, PIPELINE)
    if path.exists() and not overwrite:
        raise ConfigError("is there already", where=str(path), remedy="say --overwrite, or add the job by hand")
    command = f"keeptune compare {shlex.join(compare)} {OUTPUTS}"
    write_whole(path, text.format(head=HEAD, path=path, install=INSTALL, command=command, run=RUN))
    include = f"include: [{{local: {path}}}]" if system == "gitlab" else None
    if as_json:
        print_json(Workflow(path=path, system=system, command=command, include=include))
        return
    typer.echo(f"wrote {path}")
    if include is not None:
        typer.echo(f"add to .gitlab-ci.yml: {include}")
    if not quiet:
        typer.echo(f"next: {command}  # what the job will say")


def check_comparison(arguments: list[str]) -> None:
    """End with usage and code 2 where `keeptune compare` would not take the arguments."""
    from keeptune.cli.compare import compare

    parser = typer.Typer()
    parser.command()(compare)
    typer.main.get_command(parser).make_context("keeptune compare", list(arguments))
