from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.metrics.bits_per_byte import bits_per_byte
from keeptune.evaluate.text import STRETCH, cut_blocks, read_documents, text_examples, windows

STORY = 'Es war einmal ein König, der hatte drei Töchter.\n\n  The eldest said:  "No!"\n' * 40


@pytest.mark.parametrize("size", [64, 100, 1000, 100_000])
@pytest.mark.parametrize("text", [STORY, "  x", "naïve", "語" * 700, "a " * 500 + "\n\n"])
def test_blocks_are_the_text_and_about_so_long(text: str, size: int) -> None:
    blocks = cut_blocks(text, size)
    assert "".join(blocks) == text
    assert all(len(block.encode()) <= 1.25 * size + 4 for block in blocks)
    if len(blocks) > 1:
        assert min(len(block.encode()) for block in blocks) >= size / 4


def test_cuts_fall_on_white_space() -> None:
    assert all(block[0].isspace() for block in cut_blocks(STORY, 100)[1:])


def test_files_folders_and_separators(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("two\nlines<|endoftext|>third\n<|endoftext|>\n")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.md").write_text("no")
    found = [(path.name, line, text) for path, line, text in read_documents(str(tmp_path))]
    assert found == [("a.txt", 1, "one"), ("b.txt", 1, "two\nlines"), ("b.txt", 2, "third\n")]
    assert [text for _, _, text in read_documents(str(tmp_path / "*.md"))] == ["no"]


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such text file -> the pattern"):
        read_documents(str(tmp_path / "*.txt"))
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match="the text files are empty"):
        read_documents(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"ok\nna\xefve\n")
    with pytest.raises(DataError, match=r"latin\.txt:2: not UTF-8 text -> convert"):
        read_documents(str(tmp_path))


def test_clusters_are_documents_where_there_are_many(tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"{number}.txt").write_text(f"Story {number}. " + f"word{number} " * 60)
    examples = text_examples(str(tmp_path), block_bytes=128)
    assert len({example.cluster for example in examples}) == 120
    assert len(examples) > 240


def test_clusters_are_stretches_where_there_are_few(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(" ".join(map(str, range(3000))))
    examples = text_examples(str(tmp_path / "book.txt"), block_bytes=128)
    clusters = [example.cluster for example in examples]
    assert len(set(clusters)) == math.ceil(len(examples) / STRETCH)
    assert clusters[:STRETCH] == [clusters[0]] * STRETCH
    assert clusters[STRETCH] != clusters[0]


def test_repeated_blocks_count_once(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("the same licence text")
    assert len(text_examples(str(tmp_path), block_bytes=128)) == 1


def test_windows_see_every_token_once(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=16)
    pieces = windows(encoder, STORY[:200])
    ids = tokenizer(STORY[:200], add_special_tokens=False)["input_ids"]
    assert [token for piece in pieces for token in piece[1:]] == ids
    assert {piece[0] for piece in pieces} == {tokenizer.bos_token_id}
    assert max(map(len, pieces)) == 17  # the last token is only predicted


def test_bits_per_byte_counts_bytes() -> None:
    assert bits_per_byte(math.log(2) * 12, "König") == pytest.approx(2.0)
