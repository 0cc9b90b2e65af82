"""How the rows of a trie are arranged for attention: groups of query runs, each with the keys of its ancestors.

A run is a stretch of consecutive rows whose queries all see the same ancestors (its *path*) and, of its own rows, those
that stand before them on the way from the root. Long segments are runs of their own; small sub-tries below one parent
are packed into one run, in which a query sees a key as long as the key's sub-trie has not ended. Groups are padded:
either all runs of a group hang on one path, whose keys are used once for all of them, or every run brings its own.

T rows of the batch, C rows of a prefix before them; m paths of a group, n runs on each, L rows of a run, P of a path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keeptune.batching.types import TrieBatch

Ints = NDArray[np.int64]

PACKED = 64  # rows of a run made of small sub-tries
SHARED = 4  # so many runs on one path use its keys together; fewer gather them run by run, in wider groups
WASTE = 2**15  # scores of padding per head that cost less than a group of its own


@dataclass(eq=False)
class Group:
    """Runs that are computed together. Rows in ``path`` count from the start of the prefix, those in ``query`` not."""

    shape: tuple[int, int, int, int]  # m, n, L, P
    query: Tensor | None  # [m * n * L] int64; pads repeat the run's last row; None: the whole batch, in order
    pads: Tensor | None  # [.] int64, the slots of ``query`` that are padding; None: there are none
    path: Tensor | None  # [m * P] int64; None: P is 0
    depth: Tensor  # [m * n, L] int64, position of every query
    ends: Tensor | None  # [m * n, L] int64, local row where the sub-trie of the row's segment ends; None: one segment
    reach: Tensor | None  # [m] int64, real length of every path; None: all are P long
    deepest: int  # largest position of a query
    _masks: dict[tuple[str, int | None], Tensor | None] = field(default_factory=dict)

    def own_hidden(self, window: int | None) -> Tensor | None:
        """[m, 1, n, 1, L, L] bool, true where a query (fifth axis) must not see a key of its run.

        None where plain causal attention inside the run is right.
        """
        if self.ends is None and (window is None or window >= self.shape[2]):
            return None
        return self._cached("own", window)

    def path_hidden(self, window: int | None) -> Tensor | None:
        """Broadcasts to [m, 1, n, 1, L, P], true where a query must not see a key of its path; None: all are seen."""
        if window is not None and window > self.deepest:
            window = None
        if self.path is None or (self.reach is None and window is None):
            return None
        return self._cached("path", window)

    def _cached(self, kind: str, window: int | None) -> Tensor | None:
        key = (kind, window)
        if key not in self._masks:
            self._masks[key] = self._own(window) if kind == "own" else self._path(window)
        return self._masks[key]

    def _own(self, window: int | None) -> Tensor:
        m, n, length, _ = self.shape
        at = torch.arange(length, device=self.depth.device)
        hidden = (at[None, :] > at[:, None]).expand(m * n, length, length)
        if self.ends is not None:
            hidden = hidden | (self.ends[:, None, :] <= at[None, :, None])
        if window is not None:
            hidden = hidden | (self.depth[:, :, None] - self.depth[:, None, :] >= window)
        return hidden.view(m, 1, n, 1, length, length)

    def _path(self, window: int | None) -> Tensor:
        m, n, length, reach = self.shape
        at = torch.arange(reach, device=self.depth.device)
        hidden = torch.zeros((m, 1, 1, 1, 1, reach), dtype=torch.bool, device=at.device)
        if self.reach is not None:
            hidden = hidden | (at >= self.reach[:, None]).view(m, 1, 1, 1, 1, reach)
        if window is not None:
            hidden = hidden | (self.depth[:, :, None] - at >= window).view(m, 1, n, 1, length, reach)
        return hidden


@dataclass(eq=False)
class Arrangement:
    """Made once per batch, used by every layer."""

    groups: list[Group]
    order: Tensor | None  # [T] int64 into the groups' slots laid end to end; None: they are the rows, in order
    prefix: int  # C

    def to_rows(self, slots: Sequence[Tensor]) -> Tensor:
        """The groups' slots, [m * n * L, ...] each, as the rows of the batch [T, ...]."""
        joined = slots[0] if len(slots) == 1 else torch.cat(list(slots))
        return joined if self.order is None else joined.index_select(0, self.order)


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    stop: int
    parent: int  # segment, or -1
    reach: int  # rows of the path, the prefix included
    branching: bool  # several segments

    @property
    def rows(self) -> int:
        return self.stop - self.start


def arrange(batch: TrieBatch, prefix: int = 0) -> Arrangement:
    """Arrange the rows of ``batch``; all its roots continue a prefix of ``prefix`` tokens that is not part of it."""
    segments = batch.segments.numpy()
    ends = _subtree_ends(segments)
    depth = _depths(segments) + prefix
    groups, slots = [], []
    for runs, shared in _grouped(_runs(segments, ends, depth, prefix)):
        group, query, real = _group(runs, shared, segments, ends, depth, prefix, batch.input_ids.device)
        groups.append(group)
        slots.append(np.where(real, query, -1))
    flat = np.concatenate(slots)
    order = np.empty(len(depth), dtype=np.int64)
    order[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
    if len(flat) == len(order) and bool((order == np.arange(len(order))).all()):
        if len(groups) == 1:
            groups[0].query = None
        return Arrangement(groups, None, prefix)
    return Arrangement(groups, torch.from_numpy(order).to(batch.input_ids.device), prefix)


def _depths(segments: Ints) -> Ints:
    """[T] positions, from the segments: reading the batch's own would wait for a GPU."""
    depth = np.zeros(len(segments), dtype=np.int64)
    for number in np.flatnonzero(segments[:, 2] >= 0):
        parent = segments[number, 2]
        depth[number] = depth[parent] + segments[parent, 1]
    return np.arange(segments[:, 1].sum()) - np.repeat(segments[:, 0] - depth, segments[:, 1])


def _subtree_ends(segments: Ints) -> Ints:
    """[N] row behind the last descendant of every segment."""
    ends = segments[:, 0] + segments[:, 1]
    for number in range(len(segments) - 1, -1, -1):
        parent = segments[number, 2]
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[number])
    return ends


def _runs(segments: Ints, ends: Ints, depth: Ints, prefix: int) -> list[_Run]:
    """Cut the rows into runs. Segments come in depth-first order, so one pass meets siblings one after the other."""
    runs: list[_Run] = []
    number = 0
    while number < len(segments):
        start, length, parent = map(int, segments[number])
        reach = int(depth[start])
        stop = int(ends[number])
        if stop - start > PACKED:  # a run of its own; its descendants follow
            runs.append(_Run(start, start + length, parent, reach, False))
            number += 1
            continue
        after = int(np.searchsorted(segments[:, 0], stop))
        before = runs[-1] if runs else None
        if before and reach and before.parent == parent and before.stop == start and stop - before.start <= PACKED:
            runs[-1] = _Run(before.start, stop, parent, reach, True)
        else:
            runs.append(_Run(start, stop, parent, reach, after > number + 1))
        number = after
    return runs


def _grouped(runs: Sequence[_Run]) -> Iterator[tuple[list[_Run], bool]]:
    """(runs of similar size, whether they hang on one path), in a fixed order."""
    families: dict[int, list[_Run]] = defaultdict(list)
    for run in runs:
        families[run.parent].append(run)
    single: list[_Run] = []
    for family in families.values():
        for group in _similar(family):
            if len(group) >= SHARED or not group[0].reach:
                yield group, True
            else:
                single += group
    for group in _similar(single):
        yield group, False


def _similar(runs: Sequence[_Run]) -> Iterator[list[_Run]]:
    """Runs in groups, longest first; one more joins as long as padding all to the largest wastes little."""
    group: list[_Run] = []
    length = reach = real = 0
    for run in sorted(runs, key=lambda run: (-run.rows, -run.reach, run.start)):
        cells = run.rows * (run.rows + run.reach)
        length, reach, real = length or run.rows, max(reach, run.reach), real + cells
        waste = (len(group) + 1) * length * (length + reach) - real
        if group and waste > max(WASTE, real / 2):
            yield group
            group, length, reach, real = [], run.rows, run.reach, cells
        group.append(run)
    if group:
        yield group


def _group(
    runs: Sequence[_Run],
    shared: bool,
    segments: Ints,
    ends: Ints,
    depth: Ints,
    prefix: int,
    device: torch.device,
) -> tuple[Group, Ints, NDArray[np.bool_]]:
    """(the group, its query rows, which of them are real)."""
    starts, lengths = np.array([run.start for run in runs]), np.array([run.rows for run in runs])
    local = np.arange(lengths.max())
    query = starts[:, None] + np.minimum(local, lengths[:, None] - 1)
    real = local < lengths[:, None]
    heads = runs[:1] if shared else runs
    reach = np.array([run.reach for run in heads])
    paths = np.zeros((len(heads), reach.max()), dtype=np.int64)
    for row, run in zip(paths, heads, strict=True):
        row[: run.reach] = _path(run.parent, segments, prefix)
    local_ends = None
    if any(run.branching for run in runs):
        of_row = np.repeat(ends, segments[:, 1])
        local_ends = np.where(real, of_row[query] - starts[:, None], local + 1)

    def on(array: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    group = Group(
        shape=(len(heads), len(runs) // len(heads), len(local), int(reach.max())),
        query=on(query.reshape(-1)),
        pads=None if real.all() else on(np.flatnonzero(~real)),
        path=on(paths.reshape(-1)) if reach.max() else None,
        depth=on(depth[query]),
        ends=None if local_ends is None else on(local_ends),
        reach=None if (reach == reach.max()).all() else on(reach),
        deepest=int(depth[query].max()),
    )
    return group, query.reshape(-1), real.reshape(-1)


def _path(parent: int, segments: Ints, prefix: int) -> Ints:
    """Rows of a segment and all its ancestors, the prefix first; the batch's own rows count from its end."""
    pieces: list[Ints] = []
    while parent >= 0:
        start, length, up = map(int, segments[parent])
        pieces.append(np.arange(prefix + start, prefix + start + length))
        parent = up
    return np.concatenate([np.arange(prefix), *reversed(pieces)])
