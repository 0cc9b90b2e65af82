"""Cut the corpus excerpts out of a folder of Project Gutenberg books (plain text, header and footer stripped).

    python recipes/builtin/make_corpus.py FOLDER

Only needed to redo the corpus: the excerpts ship beside this file. Each excerpt is a run of whole paragraphs from
the middle of a book, so that licence texts, contents and transcriber's notes stay out.
"""

from __future__ import annotations

import json
import lzma
import sys
from dataclasses import asdict, replace
from pathlib import Path

import corpus

SKIPPED = 0.06  # share of the book left out before the excerpt: title pages and contents
STRAIGHT = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--"})


def excerpt(text: str, size: int) -> str:
    """Whole paragraphs, one per line, up to about `size` characters."""
    plain = text.replace("\r", "").translate(STRAIGHT)
    paragraphs = [" ".join(p.split()) for p in plain.split("\n\n")]
    paragraphs = [p.replace("_", "") for p in paragraphs if len(p) > 40 and not p.isupper()]
    taken: list[str] = []
    length = 0
    for paragraph in paragraphs[int(len(paragraphs) * SKIPPED) :]:
        if length >= size:
            break
        taken.append(paragraph)
        length += len(paragraph) + 1
    return "\n".join(taken) + "\n"


def main(folder: Path) -> None:
    """Write corpus/<book>.txt.xz, and the new hashes into corpus/books.jsonl."""
    lines = []
    for book in corpus.BOOKS:
        text = excerpt((folder / f"{book.name}.txt").read_text(encoding="utf-8", errors="replace"), book.size)
        (corpus.FOLDER / f"{book.name}.txt.xz").write_bytes(lzma.compress(text.encode(), preset=9))
        lines.append(json.dumps(asdict(replace(book, sha256=corpus.digest(text)))) + "\n")
    (corpus.FOLDER / "books.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
