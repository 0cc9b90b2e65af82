"""Free text as a retained suite: bits per byte on blocks of it.

Documents are cut into blocks of about ``block_bytes`` UTF-8 bytes, at white space, so blocks do not depend on any
tokenizer and their bytes are exact: put one behind the other they are the document. A block is predicted on its
own, from BOS (or the end token where the tokenizer has no BOS), and

    bits per byte = -sum log p / (ln 2 * bytes).

Clusters are documents where there are at least `FEWEST_DOCUMENTS` of them. With fewer, clusters are stretches of
`STRETCH` consecutive blocks of one document, and what is found is about these documents and no others. Rows that a
remedy trains on are of documents of their own in either case: from fewer than three none are taken.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keeptune.core.errors import DataError
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example, Splits
from keeptune.data.splits.split import judged, split

FEWEST_DOCUMENTS = 100  # with a half of them in the test part, there are 50 clusters
FEWEST_TO_TRAIN_ON = 3  # documents; with fewer all are judged, and none is left to train on
STRETCH = 4  # blocks of a cluster that is not a document
SEPARATOR = "<|endoftext|>"  # ends a document inside a file


def read_documents(pattern: str) -> list[tuple[Path, int, str]]:
    """(file, first line, text) of every document of the files that match a glob pattern, in the order of their names.

    A file is one document, or several where ``<|endoftext|>`` stands between them. A folder means its ``*.txt``
    files, at any depth.

    Raises:
        DataError: nothing matches, a file is not UTF-8 text, or all files are empty.
    """
    documents = [document for path in text_files(pattern) for document in _split_documents(path)]
    if not documents:
        raise DataError("the text files are empty", path=pattern, remedy="give files with text")
    return documents


def text_files(pattern: str) -> list[Path]:
    """The files of a free text, in the order of their names.

    Raises:
        DataError: nothing matches.
    """
    place = Path(pattern).expanduser()
    found = place.rglob("*.txt") if place.is_dir() else map(Path, glob.glob(str(place), recursive=True))
    paths = sorted(path for path in found if path.is_file())
    if not paths:
        raise DataError("no such text file", path=pattern, remedy="the pattern is relative to where you run")
    return paths


def _split_documents(path: Path) -> Iterator[tuple[Path, int, str]]:
    try:
        text = path.read_bytes().decode("utf-8")  # bytes: line ends stay as they are
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError("not UTF-8 text", path=path, line=line, remedy="convert the file to UTF-8") from error
    line = 1
    for piece in text.split(SEPARATOR):
        if piece.strip():
            yield path, line, piece
        line += piece.count("\n")


def cut_blocks(text: str, block_bytes: int) -> list[str]:
    """Pieces of ``text`` of about ``block_bytes`` bytes; joined they are the text.

    Cuts are in front of white space, or after block_bytes / 4 characters where there is none. A last piece shorter
    than a quarter of a block is joined to the one before it.
    """
    word_pattern = rf"\s*\S{{1,{max(1, block_bytes // 4)}}}(?:\s+\Z)?"
    blocks: list[str] = []
    current: list[str] = []
    size = 0
    for word in re.findall(word_pattern, text):
        width = len(word.encode())
        if current and size + width > block_bytes:
            blocks.append("".join(current))
            current, size = [], 0
        current.append(word)
        size += width
    if current:
        last = "".join(current)
        if blocks and 4 * size < block_bytes:
            blocks[-1] += last
        else:
            blocks.append(last)
    return blocks


def text_examples(pattern: str, block_bytes: int) -> tuple[Example, ...]:
    """The distinct blocks of all documents as examples with the field 'text', clustered (see the module).

    Where documents are few, the label of a block is its document.
    """
    documents = read_documents(pattern)
    by_document = len(documents) >= FEWEST_DOCUMENTS
    examples: dict[str, Example] = {}
    for path, first_line, text in documents:
        line = first_line
        document = None if by_document else f"{path.name}:{first_line}"
        for number, block in enumerate(cut_blocks(text, block_bytes)):
            cluster = content_hash([text[:200], len(text), 0 if by_document else number // STRETCH])
            example = Example.make({"text": block}, cluster=cluster, label=document, path=str(path), line=line)
            examples.setdefault(example.id, example)
            line += block.count("\n")
    return tuple(examples.values())


def divide(examples: Sequence[Example], validation: float, test: float, seed: int) -> Splits:
    """Divide a text by document where there are many; otherwise train gets documents of its own if there are three.

    There is no train part where the shares of the others add up to 1.
    """
    documents = sorted({e.label for e in examples if e.label}, key=lambda name: content_hash([seed, name]))
    if not documents:
        return split(examples, validation=validation, test=test, seed=seed)
    spared: set[str | None] = set()
    if len(documents) >= FEWEST_TO_TRAIN_ON and validation + test < 1:
        spared.update(documents[: max(1, round((1 - validation - test) * len(documents)))])
    asked = [e for e in examples if e.label not in spared]
    divided = split(asked, validation=validation / (validation + test), test=0.0, seed=seed)
    if validation + test >= 1:
        return judged(divided)
    return replace(divided, train=[e for e in examples if e.label in spared], test=divided.train, notes=())


def byte_entropy(texts: Iterable[str]) -> float:
    """Bits per byte of a model that knows how often every byte occurs in these texts and nothing else (order 0)."""
    counts = np.bincount(np.frombuffer("".join(texts).encode(), dtype=np.uint8), minlength=256)
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(shares * np.log2(shares)).sum())


def windows(encoder: Encoder, text: str, limit: int | None = None) -> list[tuple[int, ...]]:
    """Token ids of a block behind the token that it is predicted from; several where it exceeds the model's window
    (or ``limit``).
    """
    ids = tuple(encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    start = encoder.beginning
    size = encoder.context - len(start) + 1  # the last token is only predicted
    size = min(size, limit or size)
    return [(*start, *ids[at : at + size]) for at in range(0, len(ids), size)]
