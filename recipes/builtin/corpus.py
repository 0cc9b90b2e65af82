"""The prose: excerpts of named public-domain books, checked by hash when they are read."""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Book:
    """A Project Gutenberg book as kept by GITenberg: `name` is its repository there, with the number at the end."""

    name: str
    commit: str  # of github.com/GITenberg/<name>
    use: Literal["base", "prose", "last-word"]  # "base": training; the others are held out, each for the suite so named
    size: int  # characters of the excerpt, about
    sha256: str  # of the excerpt, UTF-8


BOOKS: tuple[Book, ...] = tuple(
    Book(**json.loads(line)) for line in (FOLDER / "books.jsonl").read_text(encoding="utf-8").splitlines()
)


def digest(text: str) -> str:
    """SHA-256 of the UTF-8 text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(book: Book) -> str:
    """The excerpt, one paragraph per line.

    Raises:
        ValueError: the file is not the one that this recipe was written for.
    """
    text = lzma.decompress((FOLDER / f"{book.name}.txt.xz").read_bytes()).decode()
    if digest(text) != book.sha256:
        raise ValueError(f"{book.name}: excerpt changed (sha256 {digest(text)}, expected {book.sha256})")
    return text


def paragraphs(use: str) -> list[str]:
    """All paragraphs of the books of one use, in the order of `BOOKS`."""
    return [line for book in BOOKS if book.use == use for line in read(book).splitlines()]
