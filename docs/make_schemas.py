"""Write docs/schemas/: the JSON schema of what every command prints under --json, from the records themselves.

python docs/make_schemas.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keeptune.cli.chat import Serving
from keeptune.cli.ci import Workflow
from keeptune.cli.doctor import Diagnosis
from keeptune.compare.scores import TaskShots
from keeptune.core.documents import document_schema
from keeptune.core.findings import CheckPage
from keeptune.core.records import ForecastRecord, Summary
from keeptune.core.tokens import TokenPage
from keeptune.export.records import ExportRecord, PushRecord
from keeptune.inspect.clean import Cleaned
from keeptune.inspect.draft import Drafted
from keeptune.inspect.runs import RunRecord, RunsCompared
from keeptune.recipe.reference import Section

FOLDER = Path(__file__).parent / "schemas"

DOCUMENTS: dict[str, Any] = {  # name of the schema -> what is printed
    "check": CheckPage,
    "cleaned": Cleaned,
    "diagnosis": Diagnosis,
    "drafted": Drafted,
    "export": ExportRecord,
    "forecast": ForecastRecord,
    "preview": TokenPage,
    "push": PushRecord,
    "run": RunRecord,
    "runs": list[RunRecord],
    "runs-compared": RunsCompared,
    "scores": list[TaskShots],
    "section": Section,
    "serving": Serving,
    "summaries": list[Summary],
    "summary": Summary,
    "workflow": Workflow,
}
COMMANDS = {  # command -> name of the schema
    "chat": "serving",
    "ci init": "workflow",
    "compare": "summary",
    "data check": "check",
    "data clean": "cleaned",
    "data preview": "preview",
    "demo": "summary",
    "doctor": "diagnosis",
    "evaluate": "scores",
    "export": "export",
    "init": "drafted",
    "plan": "forecast",
    "push": "push",
    "recipe": "section",
    "report": "summaries",
    "runs": "runs",
    "runs compare": "runs-compared",
    "runs rm": "runs",
    "runs show": "summary",
    "study": "summary",
    "train": "summary",
}


def files() -> dict[str, str]:
    """Name of every file -> its text."""
    return {
        f"{name}.json": json.dumps(document_schema(kind, f"keeptune {name}"), indent=1) + "\n"
        for name, kind in DOCUMENTS.items()
    }


def table() -> str:
    """Which schema the output of a command has, as rows of docs/json.md."""
    rows = [f"| `keeptune {command}` | [{name}](schemas/{name}.json) |" for command, name in COMMANDS.items()]
    return "\n".join(("| command | schema |", "|---|---|", *rows)) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    page = FOLDER.parent / "json.md"
    head = page.read_text(encoding="utf-8").partition("| command |")[0]
    page.write_text(head + table(), encoding="utf-8")
