"""Pairs of similar texts in NumPy: shingles, MinHash signatures, banding, then the exact Jaccard similarity.

Shapes: N texts, S shingles of all texts together (sorted by text), P permutations.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Hash = NDArray[np.uint64]

WORDS, CHARACTERS = 5, 4  # length of a shingle; a typo in forty characters then leaves a similarity above .8
BANDS, ROWS = 16, 4  # P = 64; a pair at similarity .8 is found with probability .9998, at .5 with .64, then verified
COMMON = 0.02  # a shingle in more than this share of the texts is wording that rows share (see `_without_common`)
MIN_SHINGLES = 8  # of its own that a text needs before a similarity means anything
_PAIRS_AT_ONCE = 20_000
_PARTNERS = 64  # of one text in one bucket that are looked at


def similar_pairs(
    texts: Sequence[str], groups: Sequence[int], threshold: float, *, characters: bool
) -> Iterator[tuple[int, int, float]]:
    """Pairs (i, j, Jaccard) with similarity >= threshold and groups[i] < groups[j].

    Args:
        texts: normalised texts.
        groups: the part that each text belongs to; pairs inside a group are not looked at.
        threshold: of the Jaccard similarity of the sets of shingles.
        characters: shingles of four characters instead of five words.
    """
    group = np.asarray(groups, dtype=np.int64)
    if len(set(groups)) < 2:
        return
    owner, shingle = _without_common(*_shingles(texts, characters), len(texts))
    sizes = np.bincount(owner, minlength=len(texts))
    enough = sizes[owner] >= MIN_SHINGLES
    owner, shingle = owner[enough], shingle[enough]
    if not len(owner):
        return
    rows, starts = np.unique(owner, return_index=True)
    candidates = _candidates(_signatures(shingle, starts), rows, group)
    keys = (owner << 32) | shingle  # sorted, because owner and, inside it, shingle are
    for begin in range(0, len(candidates), _PAIRS_AT_ONCE):
        block = candidates[begin : begin + _PAIRS_AT_ONCE]
        for (left, right), similarity in zip(
            block.tolist(), _jaccard(block, keys, shingle, sizes).tolist(), strict=True
        ):
            if similarity >= threshold:
                yield left, right, similarity


def _shingles(texts: Sequence[str], characters: bool) -> tuple[Int, Hash]:
    """Owner and hash of every run of WORDS words or CHARACTERS characters, [S]."""
    if characters:
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
        tokens = codes.astype(np.uint64)
    else:
        words = [text.split() for text in texts]
        lengths = np.array([len(row) for row in words], dtype=np.int64)
        hashes: dict[str, int] = {}
        flat = (hashes.get(word) or hashes.setdefault(word, _word_hash(word)) for row in words for word in row)
        tokens = np.fromiter(flat, dtype=np.uint64, count=int(lengths.sum()))
    size = CHARACTERS if characters else WORDS
    owner = np.repeat(np.arange(len(texts)), lengths)
    if len(tokens) < size:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    inside = owner[size - 1 :] == owner[: len(owner) - size + 1]
    value = np.zeros(len(inside), dtype=np.uint64)
    for offset in range(size):
        value = _mix(value + tokens[offset : offset + len(inside)])
    return owner[: len(inside)][inside], value[inside]


def _without_common(owner: Int, shingle: Hash, n: int) -> tuple[Int, Int]:
    """Each text's distinct shingles as small numbers, sorted by (text, number), without those that many texts share.

    Many is more than 2 % of the texts; in small sets more than 20 texts, or a quarter of them, or 3.
    """
    if not len(owner):
        return owner, owner
    values, dense = np.unique(shingle, return_inverse=True)
    keys = np.sort((owner << 32) | dense)
    keys = keys[np.append(True, keys[1:] != keys[:-1])]
    owner, dense = keys >> 32, keys & 0xFFFFFFFF
    texts_with = np.bincount(dense, minlength=len(values))
    own = texts_with[dense] <= max(3, min(20, n // 4), COMMON * n)
    return owner[own], dense[own]


def _signatures(shingle: Int, starts: Int) -> NDArray[np.uint32]:
    """MinHash signatures [N', P]: the least of P hashes (multiplications by odd numbers) over a text's shingles."""
    base = (_mix(shingle.astype(np.uint64) + np.uint64(1)) >> np.uint64(32)).astype(np.uint32)  # 0 would stay 0
    salts = _mix(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)).astype(np.uint32) | np.uint32(1)
    signatures = np.empty((len(starts), len(salts)), dtype=np.uint32)
    product = np.empty_like(base)
    for column, salt in enumerate(salts):
        np.multiply(base, salt, out=product)
        signatures[:, column] = np.minimum.reduceat(product, starts)
    return signatures


def _candidates(signatures: NDArray[np.uint32], rows: Int, group: Int) -> Int:
    """Pairs of rows [K, 2] that share a band and stand in different groups, the lower group first."""
    found: list[Int] = []
    for band in range(BANDS):
        key = np.zeros(len(rows), dtype=np.uint64)
        for column in range(band * ROWS, (band + 1) * ROWS):
            key = _mix(key + signatures[:, column].astype(np.uint64))
        order = np.argsort(key, kind="stable")
        _, begin, size = np.unique(key[order], return_index=True, return_counts=True)
        for first, length in zip(begin[size > 1].tolist(), size[size > 1].tolist(), strict=True):
            found.extend(_across(rows[order[first : first + length]], group))
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.concatenate(found), axis=0)


def _across(members: Int, group: Int) -> list[Int]:
    """All pairs of members of one bucket from different groups."""
    pairs = []
    for later in np.unique(group[members])[1:]:
        left, right = members[group[members] < later], members[group[members] == later][:_PARTNERS]
        pairs.append(np.stack([np.repeat(left, len(right)), np.tile(right, len(left))], axis=1))
    return pairs


def _jaccard(pairs: Int, keys: Int, shingle: Int, sizes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Exact similarity of every pair [K]: how many shingles of the left text the right one has."""
    left, right = pairs[:, 0], pairs[:, 1]
    begin = np.searchsorted(keys, left << 32)
    count = np.searchsorted(keys, (left + 1) << 32) - begin
    pair = np.repeat(np.arange(len(pairs)), count)
    position = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count) + begin[pair]
    wanted = (right[pair] << 32) | shingle[position]
    slot = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    shared = np.bincount(pair, weights=keys[slot] == wanted, minlength=len(pairs))
    return shared / (sizes[left] + sizes[right] - shared)


def _mix(value: Hash) -> Hash:
    """The finaliser of splitmix64 (Steele et al. 2014), a bijection that spreads every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _word_hash(word: str) -> int:
    data = word.encode()
    return (zlib.crc32(data) << 32) | zlib.adler32(data) | 1
