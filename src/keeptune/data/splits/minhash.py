"""Pairs of similar texts in NumPy: MinHash signatures, banding (Broder 1997), then exact Jaccard similarities.

A text is the sequence of its words; of a script without blanks, of its characters. Of a text with LONG words or more,
stretches of five words that many texts share are left out first; what remains are its own words. Shingles that many
texts share do not count either. Two texts are similar where

- the multisets of their own words have a Jaccard similarity >= WORDS and the sets of their word pairs one >= ORDER:
  about a tenth of the words may differ. This is asked of texts with at least LONG own words;
- of shorter ones, where the sets of their runs of four characters have one >= CHARACTERS: a typo in forty characters
  may be there, another word may not.

Texts are read in blocks, three times: to count what is shared, to sign, and again those that are candidates. What is
kept for each text is 4 bytes per band.

Shapes: N texts, S tokens or shingles of one block (sorted by text), K pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Hash = NDArray[np.uint64]
Mask = NDArray[np.bool_]

WORDS, ORDER, CHARACTERS = 0.8, 0.5, 0.8
LONG = 20  # own words from which words are compared
COMMON = 0.02  # share of the texts that makes them many (see `_Counts`)
MIN_SHINGLES = 8  # of its own that a text needs before a similarity means anything
STRETCH, PAIR, RUN = 5, 2, 4  # words that are wording where many texts share them; words and characters of a shingle
PAIR_BANDS, PAIR_ROWS = 24, 3  # texts whose pairs have similarity .6 are candidates with probability .997, at .5 .96
RUN_BANDS, RUN_ROWS = 16, 4  # at .8 with .9998
_BORDER = (16, 24)  # texts with so many own words are signed by both, so that no pair is missed at LONG
_SLOTS = 1 << 23  # of a table of counts; two shingles in one slot are counted as one
_BLOCK = 4_000_000  # characters
_PAIRS_AT_ONCE = 4_096
_PARTNERS = 32  # of one text in one bucket that are looked at


def similar_pairs(texts: Sequence[str], groups: Sequence[int] | Int) -> Iterator[tuple[int, int, float]]:
    """Pairs (i, j, similarity) of similar texts with groups[i] < groups[j], each once.

    Args:
        texts: normalised texts; may live on disk.
        groups: the part that each text belongs to; pairs inside a group are not looked at.
    """
    group = np.asarray(groups, dtype=np.int64)
    if len(group) < 2 or group.min() == group.max():
        return
    common = _Common(texts)
    for characters in (False, True):
        rows, bands = _signed(texts, common, characters)
        for pairs in _candidates(rows, bands, group):
            yield from _verified(pairs, texts, common, characters)


class _Counts:
    """In how many texts every shingle stands.

    Many is more than 2 % of the texts; in small sets more than 20 texts, or a quarter of them, or 3.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_SLOTS, dtype=np.uint32)
        self.most = 0.0

    def add(self, owner: Int, shingle: Hash) -> None:
        """Count the shingles of a block, once for each text."""
        once = np.unique(self._slot(shingle) | (owner << 24)) & (_SLOTS - 1)
        slots, count = np.unique(once, return_counts=True)
        self.counts[slots] += count.astype(np.uint32)

    def done(self, n: int) -> None:
        """All ``n`` texts are counted."""
        self.most = max(3, min(20, n // 4), COMMON * n)

    def many(self, shingle: Hash) -> Mask:
        """Which of them [S] many texts share."""
        return self.counts[self._slot(shingle)] > self.most

    @staticmethod
    def _slot(shingle: Hash) -> Int:
        return (shingle & np.uint64(_SLOTS - 1)).astype(np.int64)


class _Common:
    """What many texts share: stretches, word pairs, runs of characters."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.stretches, self.pairs, self.runs = _Counts(), _Counts(), _Counts()
        for _, block in _blocks(texts):
            owner, word = _words(block)
            for counts, size in ((self.stretches, STRETCH), (self.pairs, PAIR)):
                counts.add(*_runs(owner, word, size)[:2])
        for counts in (self.stretches, self.pairs):
            counts.done(len(texts))
        short = 0
        for _, block in _blocks(texts):
            chosen = self.short(block)
            short += len(chosen)
            self.runs.add(*_characters([block[row] for row in chosen.tolist()], self))
        self.runs.done(short)

    def own(self, owner: Int, word: Hash) -> Mask:
        """The words [S] that stand outside all stretches."""
        shared = np.zeros(len(word), dtype=bool)
        _, stretch, place = _runs(owner, word, STRETCH)
        many = place[self.stretches.many(stretch)]
        for offset in range(STRETCH):
            shared[many + offset] = True
        return ~shared | (np.bincount(owner)[owner] < LONG if len(owner) else shared)

    def short(self, block: Sequence[str]) -> Int:
        """The texts of a block that are compared by characters, if with each other."""
        return np.flatnonzero(_own_words(block, self)[2] < _BORDER[1])


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Runs of texts with the index of the first."""
    block: list[str] = []
    begin = size = 0
    for index, text in enumerate(texts):
        block.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield begin, block
            block, begin, size = [], index + 1, 0
    if block:
        yield begin, block


def _words(block: Sequence[str]) -> tuple[Int, Hash]:
    """Owner and hash of every word, [S]."""
    codes, text_of, letters = _codes(block)
    if not len(letters):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    first = np.append(True, (np.diff(letters) > 1) | (np.diff(text_of[letters]) > 0))
    starts = np.flatnonzero(first)
    place = np.arange(len(letters)) - np.repeat(starts, np.diff(np.append(starts, len(letters))))
    value = _mix((codes[letters].astype(np.uint64) << np.uint64(24)) + place.astype(np.uint64) + np.uint64(1))
    return text_of[letters[starts]], _mix(np.add.reduceat(value, starts))


def _codes(block: Sequence[str]) -> tuple[NDArray[np.uint32], Int, Int]:
    """Code points, the text that each belongs to, and the places of those that are no blanks."""
    spread = [_spread(text) for text in block]
    codes = np.frombuffer("".join(spread).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    text_of = np.repeat(np.arange(len(spread)), [len(text) for text in spread])
    return codes, text_of, np.flatnonzero(codes != ord(" "))


def _spread(text: str) -> str:
    """The text; of one without blanks (words of 15 characters on average), every character as a word."""
    return text if len(text) <= 16 * (text.count(" ") + 1) else " ".join(text.replace(" ", ""))


def _runs(owner: Int, token: Hash, size: int) -> tuple[Int, Hash, Int]:
    """Owner, hash and first place of every run of ``size`` tokens in one text."""
    n = len(token) - size + 1
    if n < 1:
        return np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.int64)
    value = np.zeros(n, dtype=np.uint64)
    for offset in range(size):
        value = _mix(value + token[offset : offset + n])
    place = np.flatnonzero(owner[:n] == owner[size - 1 :])
    return owner[place], value[place], place


def _own_words(block: Sequence[str], common: _Common) -> tuple[Int, Hash, NDArray[np.intp]]:
    """Owner and hash of every own word, and how many each text has [texts of the block]."""
    owner, word = _words(block)
    own = common.own(owner, word)
    owner, word = owner[own], word[own]
    return owner, word, np.bincount(owner, minlength=len(block))


def _word_pairs(owner: Int, word: Hash, common: _Common) -> tuple[Int, Hash]:
    """Owner and hash of every pair of neighbours among own words that is not common."""
    owner, pair, _ = _runs(owner, word, PAIR)
    own = ~common.pairs.many(pair)
    return owner[own], pair[own]


def _characters(block: Sequence[str], common: _Common) -> tuple[Int, Hash]:
    """Owner and hash of every run of four characters of the own words, with single blanks between these."""
    codes, text_of, letters = _codes(block)
    owner, word = _words(block)
    if not len(word):
        return owner, word
    first = np.append(True, (np.diff(letters) > 1) | (np.diff(text_of[letters]) > 0))
    kept = np.zeros(len(codes), dtype=bool)
    kept[letters] = common.own(owner, word)[np.cumsum(first) - 1]
    kept[1:] |= kept[:-1] & (codes[1:] == ord(" "))  # the blank after a word that is kept
    owner, shingle, _ = _runs(text_of[kept], codes[kept].astype(np.uint64), RUN)
    return owner, shingle


def _own_characters(block: Sequence[str], common: _Common) -> tuple[Int, Hash]:
    """Those that are not common."""
    owner, shingle = _characters(block, common)
    own = ~common.runs.many(shingle)
    return owner[own], shingle[own]


def _signed(texts: Sequence[str], common: _Common, characters: bool) -> tuple[Int, NDArray[np.uint32]]:
    """The texts that are long (short) enough, and their band keys [bands, N']."""
    shape = (RUN_BANDS, RUN_ROWS) if characters else (PAIR_BANDS, PAIR_ROWS)
    rows: list[Int] = [np.empty(0, np.int64)]
    keys = [np.empty((shape[0], 0), np.uint32)]
    for begin, block in _blocks(texts):
        if characters:
            chosen = common.short(block)
            owner, shingle = _own_characters([block[row] for row in chosen.tolist()], common)
        else:
            chosen = np.arange(len(block))
            owner, word, sizes = _own_words(block, common)
            owner, shingle = _word_pairs(owner, word, common)
            long = sizes[owner] >= _BORDER[0]
            owner, shingle = owner[long], shingle[long]
        enough = np.bincount(owner, minlength=len(block))[owner] >= MIN_SHINGLES
        owner, shingle = owner[enough], shingle[enough]
        if len(owner):
            starts = np.flatnonzero(np.append(True, np.diff(owner) > 0))
            rows.append(begin + chosen[owner[starts]])
            keys.append(_band_keys(shingle, starts, *shape))
    return np.concatenate(rows), np.concatenate(keys, axis=1)


def _band_keys(shingle: Hash, starts: Int, bands: int, size: int) -> NDArray[np.uint32]:
    """Keys [bands, N']: texts share one where the least of each of ``size`` hashes over their shingles agree."""
    base = (_mix(shingle + np.uint64(1)) >> np.uint64(32)).astype(np.uint32)
    salts = _mix(np.arange(1, bands * size + 1, dtype=np.uint64)).astype(np.uint32) | np.uint32(1)
    keys = np.empty((bands, len(starts)), dtype=np.uint32)
    product = np.empty_like(base)
    for band in range(bands):
        key = np.zeros(len(starts), dtype=np.uint64)
        for salt in salts[band * size : (band + 1) * size]:
            np.multiply(base, salt, out=product)
            key = _mix(key + np.minimum.reduceat(product, starts))
        keys[band] = (key >> np.uint64(32)).astype(np.uint32)
    return keys


def _candidates(rows: Int, bands: NDArray[np.uint32], group: Int) -> Iterator[Int]:
    """Pairs of rows [K, 2] that share a band and stand in different groups, the lower group first; each once."""
    if not len(rows):
        return
    in_group = group[rows]
    for band in range(len(bands)):
        order = np.lexsort((rows, in_group, bands[band]))
        key, of = bands[band][order], in_group[order]
        new_key = np.append(True, key[1:] != key[:-1])
        new_run = new_key | np.append(True, of[1:] != of[:-1])
        starts = np.append(np.flatnonzero(new_run), len(order))
        later = starts[np.cumsum(new_run)]  # where the rows of a later group begin, for every place
        end = np.append(np.flatnonzero(new_key), len(order))[np.cumsum(new_key)]  # where the bucket ends
        for offset in range(_PARTNERS):
            left = np.flatnonzero(later + offset < end)
            if not len(left):
                break
            one, other = order[left], order[later[left] + offset]
            fresh = np.ones(len(one), dtype=bool)
            for earlier in range(band):
                fresh &= bands[earlier][one] != bands[earlier][other]
            pairs = np.stack([rows[one[fresh]], rows[other[fresh]]], axis=1)
            for begin in range(0, len(pairs), _PAIRS_AT_ONCE):
                yield pairs[begin : begin + _PAIRS_AT_ONCE]


def _verified(pairs: Int, texts: Sequence[str], common: _Common, characters: bool) -> Iterator[tuple[int, int, float]]:
    """The pairs that are similar, by exact similarities; long ones where words are asked, short ones otherwise."""
    rows, inverse = np.unique(pairs, return_inverse=True)
    local = inverse.reshape(pairs.shape)
    block = [texts[row] for row in rows.tolist()]
    owner, word, sizes = _own_words(block, common)
    short = np.minimum(sizes[local[:, 0]], sizes[local[:, 1]]) < LONG
    asked = short if characters else ~short
    pairs, local = pairs[asked], local[asked]
    if characters:
        similarity = _jaccard(local, *_own_characters(block, common), len(block))
        similar = similarity >= CHARACTERS
    else:
        similarity = _jaccard(local, owner, _numbered(owner, word), len(block))
        ordered = _jaccard(local, *_word_pairs(owner, word, common), len(block))
        similar = (similarity >= WORDS) & (ordered >= ORDER)
    for (left, right), value in zip(pairs[similar].tolist(), similarity[similar].tolist(), strict=True):
        yield left, right, value


def _numbered(owner: Int, word: Hash) -> Hash:
    """Hashes that tell the first occurrence of a word in its text from the second: multisets as sets."""
    order = np.lexsort((word, owner))
    first = np.append(True, (np.diff(owner[order]) > 0) | (word[order][1:] != word[order][:-1]))[: len(order)]
    starts = np.flatnonzero(first)
    nth = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    numbered = np.empty_like(word)
    numbered[order] = _mix(word[order] + nth.astype(np.uint64))
    return numbered


def _jaccard(pairs: Int, owner: Int, shingle: Hash, n: int) -> NDArray[np.float64]:
    """Exact similarity of the sets of every pair [K]: how many shingles of the left text the right one has."""
    if not len(owner) or not len(pairs):
        return np.zeros(len(pairs))
    dense = np.unique(shingle, return_inverse=True)[1].astype(np.int64)
    keys = np.unique((owner << 32) | dense)
    sizes = np.bincount(keys >> 32, minlength=n)
    left, right = pairs[:, 0], pairs[:, 1]
    begin, count = np.searchsorted(keys, left << 32), sizes[left]
    pair = np.repeat(np.arange(len(pairs)), count)
    position = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count) + begin[pair]
    wanted = (right[pair] << 32) | (keys[position] & 0xFFFFFFFF)
    slot = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    shared = np.bincount(pair, weights=keys[slot] == wanted, minlength=len(pairs))
    similarity: NDArray[np.float64] = shared / np.maximum(sizes[left] + sizes[right] - shared, 1)
    return similarity


def _mix(value: Hash) -> Hash:
    """The finaliser of splitmix64 (Steele et al. 2014), a bijection that spreads every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
