"""Rows that are copies of each other, or nearly: found by hashes and `minhash`; kept together where rows are divided.

Of every row only hashes stay in memory; texts are kept on disk where there are many.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from keeptune.data.examples import Example
from keeptune.data.splits.compared import normalise, own_fields, own_text_of
from keeptune.data.splits.minhash import Int, similar_pairs
from keeptune.data.storage.lazy import NumberedMap, Subset, materialize, places
from keeptune.data.storage.spill import Spill

_SHORT_WORDS = 50  # a text of fewer says something else where its numbers are others


def fingerprints(examples: Sequence[Example], names: Sequence[str]) -> tuple[dict[str, Int], Sequence[str]]:
    """Of every row the hashes of its text, its normalised text and its cluster; and the normalised texts."""
    exact, normalised, cluster = array("q"), array("q"), array("q")
    plain: Spill[str] = Spill()
    for example in examples:
        text = own_text_of(example, names)
        plain_text = normalise(text)
        exact.append(hash(text))
        normalised.append(hash(plain_text))
        cluster.append(hash(example.cluster))
        plain.append(plain_text)
    arrays = {"exact": exact, "normalised": normalised, "cluster": cluster}
    return {kind: np.array(values, dtype=np.int64) for kind, values in arrays.items()}, plain.finish()


def repeats(keys: Int, rank: Int) -> Iterable[tuple[int, list[int]]]:
    """Groups of rows with one key: the one that stays (latest part, then first) and the others."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(keys[order]) != 0)) if len(keys) else order
    sizes = np.diff(np.append(starts, len(order)))
    groups = [order[start : start + size] for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True)]
    for members in sorted(groups, key=lambda members: int(members[0])):
        stays = int(members[np.argmax(rank[members])])  # the first of the highest
        yield stays, [row for row in members.tolist() if row != stays]


def alike(plain: Sequence[str], groups: Int) -> Iterable[tuple[int, int, float]]:
    """Near-duplicates among normalised texts of different groups: (row, row of a later group, similarity)."""
    for left, right, similarity in similar_pairs(plain, groups):
        one, other = plain[left], plain[right]
        if min(one.count(" "), other.count(" ")) + 1 >= _SHORT_WORDS or _numbers(one) == _numbers(other):
            yield left, right, similarity


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def keep_together(examples: Sequence[Example], fields: Sequence[str] | None = None) -> Sequence[Example]:
    """Rows that are still to be divided and look the same (copies, near-duplicates) get one cluster.

    So no part that is carved out can repeat another. Where more than a tenth of the rows would end in one cluster
    (rows filled into one form), clusters stay as they are.
    """
    pool = places(examples, lambda example: example.part in (None, "train"))
    pooled = Subset(examples, pool) if len(pool) < len(examples) else examples
    keys, plain = fingerprints(pooled, own_fields(examples, fields))
    parent = array("q", range(len(pool)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    order = np.arange(len(pool))
    for kind in ("normalised", "cluster"):
        for first, others in repeats(keys[kind], -order):
            for row in others:
                parent[root(row)] = root(first)
    for left, right, _ in alike(plain, order):
        parent[root(left)] = root(right)
    roots = np.fromiter(map(root, range(len(pool))), dtype=np.int64, count=len(pool))
    sizes = np.bincount(roots, minlength=len(pool))
    if not len(pool) or sizes.max() > max(10, len(pool) // 10):
        return examples
    merged = [(row, pooled[row].cluster) for row in np.flatnonzero(sizes[roots] > 1).tolist()]
    name: dict[int, str] = {}  # the smallest of the merged clusters' names: the order of the rows plays no role
    for row, cluster in merged:
        top = int(roots[row])
        name[top] = min(name.get(top, cluster), cluster)
    given = {int(pool[row]): name[int(roots[row])] for row, cluster in merged if cluster != name[int(roots[row])]}
    return materialize(NumberedMap(examples, partial(_renamed, given=given))) if given else examples


def _renamed(row: int, example: Example, given: Mapping[int, str]) -> Example:
    return replace(example, cluster=given[row]) if row in given else example
