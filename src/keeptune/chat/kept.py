"""Answers that are kept as examples: rows of prompt and completion in a JSONL file, which every command reads."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock

from keeptune.core.errors import DataError
from keeptune.core.files import writing
from keeptune.data.rows.jsonl import read_jsonl

FIELDS = ("prompt", "completion", "answered_by")


class KeptRows:
    """The rows of one file; new ones are added at its end.

    Args:
        path: a .jsonl file; it is made with the first row.

    Raises:
        DataError: the file is there and holds other rows, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._rows: set[tuple[str, str]] = set()
        if path.suffix != ".jsonl":
            raise DataError("no name of a JSONL file", path=path, remedy="name one that ends in .jsonl: --keep FILE")
        for row in read_jsonl(path) if path.exists() else ():
            if not row.fields.keys() >= set(FIELDS[:2]) or row.fields.keys() - set(FIELDS):
                raise DataError(
                    f"a row of {', '.join(row.fields)} and not of {', '.join(FIELDS)}",
                    path=path,
                    line=row.line,
                    remedy="name another file: --keep FILE",
                )
            self._rows.add((str(row.fields["prompt"]), str(row.fields["completion"])))

    def keep(self, prompt: str, completion: str, answered_by: str) -> int:
        """Add a row; returns the number of rows that are in the file.

        Raises:
            DataError: an empty prompt or completion, or a row that is there already.
            ResourceError: the file cannot be written.
        """
        if not prompt.strip() or not completion.strip():
            raise DataError("an example needs a prompt and a completion", remedy="write what the answer should be")
        with self._lock:
            if (prompt, completion) in self._rows:
                raise DataError("this answer to this prompt is kept already", path=self.path)
            line = json.dumps(dict(zip(FIELDS, (prompt, completion, answered_by), strict=True)), ensure_ascii=False)
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                open_line = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("\n" * open_line + line + "\n")
            self._rows.add((prompt, completion))
            return len(self._rows)
