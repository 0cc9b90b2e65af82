"""Token tries: from sequences to the integer arrays of a `TrieBatch`, every shared prefix written once.

In a causal model the state of a token depends on its left context only, so a prefix that several sequences share has
to be computed once. Sequences are sorted by their tokens; neighbours in that order share the longest prefixes, and
laying every sequence's new tokens behind those of its neighbour gives the trie in depth-first order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded

Ints = NDArray[np.int64]

WORTH = 16  # a shared prefix is split off where it saves at least this many tokens: a segment has a cost of its own


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A prompt and the completions to be scored after it, as token ids."""

    prompt_ids: Sequence[int]
    choices: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """One sequence, from root to leaf: ``ids`` without the last token, which is only predicted, and the targets."""

    ids: Ints  # [n]
    labels: Ints  # [k]: predicted by the last k of ``ids``, unless ``places`` says otherwise
    example: int
    places: Ints | None = None  # [k]: which of ``ids`` predict the labels

    @property
    def key(self) -> bytes:
        """Sorts sequences by their tokens."""
        return self.ids.astype(">u4").tobytes()

    @property
    def first(self) -> int:
        """Which of ``ids`` predicts the first target."""
        if self.places is None:
            return len(self.ids) - len(self.labels)
        return int(min(self.places[:1], default=len(self.ids)))

    def behind(self, known: int) -> Path:
        """The path without its first ``known`` tokens, none of which predicts a target."""
        places = None if self.places is None else self.places - known
        return Path(self.ids[known:], self.labels, self.example, places)


def row_paths(rows: Iterable[Encoded]) -> list[Path]:
    """The paths of training rows; the targets are the supervised completion tokens.

    Where the prompt is empty the first completion token has nothing to be predicted from and is not a target.

    Raises:
        ValueError: a row without a target.
    """
    found = []
    for index, row in enumerate(rows):
        ids = np.array((*row.prompt_ids, *row.completion_ids), dtype=np.int64)
        first = max(len(row.prompt_ids), 1)
        if len(ids) <= first:
            raise ValueError(f"row {row.id} has nothing to predict: {len(ids)} tokens, {len(row.prompt_ids)} of prompt")
        if row.gaps:
            start = len(row.prompt_ids)
            targets = np.concatenate([np.arange(start + a, start + b) for a, b in row.spans])
            targets = targets[targets >= first]
            found.append(Path(ids[:-1], ids[targets], index, targets - 1))
        else:
            found.append(Path(ids[:-1], ids[first:], index))
    return found


def choice_rows(requests: Iterable[ScoringRequest]) -> list[Encoded]:
    """One row per choice, those of all requests one after the other; their number is their id.

    Raises:
        ValueError: an empty prompt or an empty choice.
    """
    found: list[Encoded] = []
    for request in requests:
        if not request.prompt_ids or not all(request.choices):
            raise ValueError("a prompt and each of its choices need at least one token")
        prompt = tuple(request.prompt_ids)
        for choice in request.choices:
            found.append(Encoded(str(len(found)), prompt, tuple(choice)))
    return found


def flat_batch(rows: Iterable[Encoded]) -> TrieBatch:
    """Lay ``rows`` end to end without sharing anything: one root segment each, in their order."""
    return build(row_paths(rows), share=False)


def choice_batch(requests: Iterable[ScoringRequest]) -> TrieBatch:
    """Lay requests as a trie: every prompt once, with its choices as children; sum targets by ``examples``."""
    return build(row_paths(choice_rows(requests)))


def build(paths: Sequence[Path], *, share: bool = True, merge: bool = False) -> TrieBatch:
    """The batch of ``paths``.

    Args:
        paths: what to lay out.
        share: write common prefixes once.
        merge: add up the weights of equal targets; they keep the ``example`` of one of them.
    """
    return _build(paths, share, merge)[0]


def prompt_batch(prompts: Iterable[Sequence[int] | Ints]) -> tuple[TrieBatch, list[Ints]]:
    """Lay prompts as a trie, with a target (of no meaning) behind the last token of each.

    Returns the batch, whose ``examples`` number the prompts, and where in it the tokens of every prompt stand.
    """
    nothing = np.zeros(1, dtype=np.int64)
    paths = [Path(np.asarray(ids, dtype=np.int64), nothing, number) for number, ids in enumerate(prompts)]
    batch, rows = _build(paths, True, False)
    return batch, [rows[number] for number in range(len(paths))]


def _build(paths: Sequence[Path], share: bool, merge: bool) -> tuple[TrieBatch, dict[int, Ints]]:
    """(the batch, the rows of every path by its example)."""
    if share:
        paths = sorted(paths, key=lambda path: path.key)
        shared = worthwhile(common_prefixes(paths), [len(path.ids) for path in paths])
    else:
        shared = [0] * len(paths)
    ids, depths, segments, places = _lay_out(paths, shared)
    rows = np.concatenate([_predicting(path, place) for path, place in zip(paths, places, strict=True)])
    labels = np.concatenate([path.labels for path in paths])
    examples = np.repeat([path.example for path in paths], [len(path.labels) for path in paths])
    weights = np.ones(len(labels), dtype=np.float32)
    if merge:
        _, first, twin = np.unique(rows * (labels.max() + 1) + labels, return_index=True, return_inverse=True)
        weights = np.bincount(twin.reshape(-1)).astype(np.float32)
        rows, labels, examples = rows[first], labels[first], examples[first]
    order = np.argsort(rows, kind="stable")
    kept, sources, counts = np.unique(rows[order], return_inverse=True, return_counts=True)
    batch = TrieBatch(
        input_ids=torch.from_numpy(ids),
        positions=torch.from_numpy(depths),
        segments=torch.from_numpy(segments),
        rows=torch.from_numpy(kept),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])),
        sources=torch.from_numpy(sources.reshape(-1).astype(np.int64)),
        labels=torch.from_numpy(labels[order]),
        weights=torch.from_numpy(weights[order]),
        examples=torch.from_numpy(examples[order].astype(np.int64)),
        tokens=sum(len(path.ids) + 1 for path in paths),
        weight=float(weights.sum()),
    )
    return batch, {path.example: place for path, place in zip(paths, places, strict=True)}


def _predicting(path: Path, place: Ints) -> Ints:
    """[k] rows of the batch that predict a path's labels."""
    return place[len(place) - len(path.labels) :] if path.places is None else place[path.places]


def common_prefixes(paths: Sequence[Path]) -> list[int]:
    """[n] tokens that every path shares with the one before it (0 for the first)."""
    return [0, *(_common(before.ids, path.ids) for before, path in itertools.pairwise(paths))]


def _common(a: Ints, b: Ints) -> int:
    size = min(len(a), len(b))
    differing = a[:size] != b[:size]
    at = int(differing.argmax()) if size else 0
    return at if size and differing[at] else size


def worthwhile(shared: Sequence[int], lengths: Sequence[int], worth: int = WORTH) -> list[int]:
    """Lower common prefixes where sharing them whole saves less than ``worth`` tokens.

    A branch at depth d below one at depth e costs a segment and saves (d - e) tokens for every further sequence that
    hangs on it. Where that is little, its sequences branch at e instead and compute those few tokens again. A sequence
    that goes on where its neighbour ends, or equals it, shares for free.
    """
    free = [shared[i] == lengths[i - 1] if i else False for i in range(len(shared))]
    result = list(shared)
    open_: list[tuple[int, list[int]]] = [(0, [])]  # depths of the branches around, and who hangs on them

    def close(depth: int) -> None:
        """Decide the innermost branch: kept, or lowered to the one around it (at least ``depth``)."""
        level, members = open_.pop()
        outer = max(open_[-1][0], depth)
        if (level - outer) * len(members) >= worth or all(free[i] for i in members):
            return
        for i in members:
            result[i] = outer
        if outer > open_[-1][0]:
            open_.append((outer, members))
        else:
            open_[-1][1].extend(members)

    for number in range(1, len(shared)):
        while open_[-1][0] > shared[number]:
            close(shared[number])
        if open_[-1][0] < shared[number]:
            open_.append((shared[number], []))
        open_[-1][1].append(number)
    while len(open_) > 1:
        close(0)
    return result


def _lay_out(paths: Sequence[Path], shared: Sequence[int]) -> tuple[Ints, Ints, Ints, list[Ints]]:
    """(input ids [T], depths [T], segments [N, 3], the rows [n] of every path's tokens)."""
    lengths = np.array([len(path.ids) for path in paths])
    starts = np.concatenate([[0], np.cumsum(lengths - np.asarray(shared))])
    ids = np.concatenate([path.ids[common:] for path, common in zip(paths, shared, strict=True)])
    depths = np.concatenate([np.arange(common, n) for common, n in zip(shared, lengths, strict=True)])
    cuts: dict[int, int] = {}  # first row of a segment -> the row that it continues, or -1
    rows: list[Ints] = []
    for number, common in enumerate(shared):
        start, stop = int(starts[number]), int(starts[number + 1])
        before = rows[-1][:common] if number else np.zeros(0, dtype=np.int64)
        if number and common and common < len(rows[-1]):  # the neighbour goes on another way: a branch
            cuts.setdefault(int(rows[-1][common]), int(before[-1]))
            if stop > start:
                cuts[start] = int(before[-1])
        elif not common:
            cuts[start] = -1
        rows.append(np.concatenate([before, np.arange(start, stop)]))
    first = np.array(sorted(cuts), dtype=np.int64)
    parents = np.array([cuts[int(row)] for row in first], dtype=np.int64)
    owner = np.where(parents < 0, -1, np.searchsorted(first, parents, side="right") - 1)
    return ids, depths, np.stack([first, np.diff(np.append(first, len(ids))), owner], axis=1), rows
