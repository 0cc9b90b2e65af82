"""Real rows for the tutorial: sentences of four public-domain books, each labelled with the book that it is from.

Run: python examples/books.py > books.jsonl
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "recipes" / "builtin" / "corpus"
BOOKS = {
    "Alice": "Alice-s-Adventures-in-Wonderland_11",
    "Anne": "Anne-of-Green-Gables_45",
    "Black Beauty": "Black-Beauty_271",
    "Mowgli": "The-Jungle-Book_236",
}
SENTENCES = 500  # of each book
LENGTH = range(60, 200)  # characters: neither a cry nor half a page


def sentences(book: str) -> Iterator[str]:
    """Sentences of a readable length, in the order of the book."""
    text = lzma.decompress((CORPUS / f"{book}.txt.xz").read_bytes()).decode()
    for paragraph in text.splitlines():
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph):
            if len(sentence) in LENGTH:
                yield sentence


def rows() -> Iterator[dict[str, str]]:
    """One row for every sentence."""
    for label, book in BOOKS.items():
        for text in list(sentences(book))[:SENTENCES]:
            yield {"text": text, "label": label}


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row, ensure_ascii=False))
