"""Train, validation and test: by cluster, stratified by label, the same whatever the order of the rows."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keeptune.core.errors import DataError
from keeptune.core.files import write_whole
from keeptune.core.units import content_hash
from keeptune.data.examples import Example, Splits
from keeptune.data.storage.lazy import LazyMap, materialize, picked

PARTS = ("train", "validation", "test")
_FORMAT = 1  # of the frozen file
_BLOCK = 4096  # ids that are put into an array together

Int = NDArray[np.int64]


def split(examples: Sequence[Example], *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Splits:
    """Divide examples into three parts.

    Parts that the source names are kept (rows without one count as train); a part that is missing is carved out
    of train. Rows of one cluster stay together, every label keeps its share, and the order of the rows plays no
    role: clusters are drawn in the order of a hash of seed and name. Fractions are of all rows that are divided.

    Raises:
        DataError: an unknown part name, too few clusters for a part, or fractions that leave nothing to train on.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise DataError(f"validation={validation} and test={test} leave nothing to train on")
    table = _Table.of(examples, seed)
    parts = {name: np.flatnonzero(table.part == number) for number, name in enumerate(PARTS)}
    wanted = {"test": test, "validation": validation}
    missing = {name: share for name, share in wanted.items() if share and not len(parts[name])}
    notes = [f"{name} ({len(parts[name])} rows) as the source says" for name in PARTS[1:] if len(parts[name])]
    if not len(parts["train"]):
        notes.append("the source has no train rows, so nothing was carved out of them")
    elif missing:
        parts |= _carve(table, parts["train"], missing, examples[int(parts["train"][0])].path)
        notes += [f"{name} ({len(parts[name])} rows) carved out of train, seed {seed}" for name in missing]
    train, valid, tests = (
        picked(examples, rows[np.argsort(table.id[rows], kind="stable")]) for rows in (parts[name] for name in PARTS)
    )
    return Splits(train, valid, tests, notes=tuple(notes))


def split_judged(examples: Sequence[Example], *, validation: float, seed: int = 0, divide_test: bool = True) -> Splits:
    """Divide examples that nothing trains on: all are test, but for the validation part, which choices are made on.

    Where the source names a test part and others, its parts are kept as `split` keeps them.

    Args:
        examples: of a retained suite.
        validation: share of the rows, where the source names no such part.
        seed: of the draw.
        divide_test: give up a share of a source that has test rows alone; else it stays without validation rows.

    Raises:
        DataError: as `split`.
    """
    named = {example.part for example in examples}
    if named == {"test"} and divide_test:
        examples = materialize(LazyMap(examples, _without_part))
    divided = split(examples, validation=validation, test=0, seed=seed)
    return divided if divided.test else judged(divided)


def _without_part(example: Example) -> Example:
    return replace(example, part=None)


def judged(divided: Splits) -> Splits:
    """The parts with all train rows as test rows, which is said."""
    counts = f"{len(divided.train):,} test and {len(divided.validation):,} validation rows"
    return replace(divided, train=(), test=divided.train, notes=(f"{counts}; no arm trains on any",))


@dataclass(frozen=True, slots=True)
class _Table:
    """What dividing needs to know of N examples, without their fields."""

    seed: int
    id: NDArray[np.bytes_]  # [N], in the order of the texts
    cluster: NDArray[np.uint64]  # [N], the hash of seed and name that clusters are drawn by
    label: NDArray[np.int32]  # [N], numbers of ``labels``
    part: NDArray[np.int8]  # [N], numbers of PARTS
    labels: Sequence[str | None]

    @staticmethod
    def of(examples: Sequence[Example], seed: int) -> _Table:
        """In one pass.

        Raises:
            DataError: an unknown part name.
        """
        ids: list[NDArray[np.bytes_]] = [np.empty(0, dtype="S1")]
        block: list[bytes] = []
        cluster, label, part = array("Q"), array("i"), array("b")
        labels: dict[str | None, int] = {}
        for example in examples:
            if example.part not in (None, *PARTS):
                raise DataError(
                    f"unknown part '{example.part}'",
                    path=example.path or None,
                    line=example.line or None,
                    remedy=f"use one of {', '.join(PARTS)}",
                )
            block.append(example.id.encode("utf-8", "surrogatepass"))
            if len(block) == _BLOCK:
                ids.append(np.array(block))
                block = []
            cluster.append(int(content_hash([seed, example.cluster]), 16))
            label.append(labels.setdefault(example.label, len(labels)))
            part.append(PARTS.index(example.part or "train"))
        ids += [np.array(block)] if block else []
        return _Table(
            seed,
            np.concatenate(ids),
            np.array(cluster, dtype=np.uint64),
            np.array(label, dtype=np.int32),
            np.array(part, dtype=np.int8),
            list(labels),
        )


def _carve(table: _Table, rows: Int, shares: dict[str, float], path: str) -> dict[str, Int]:
    """Part -> rows, for train and every part in ``shares``, out of ``rows``."""
    order = rows[np.argsort(table.cluster[rows], kind="stable")]  # clusters one behind the other
    keys = table.cluster[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    names = ("train", *shares)
    taken = np.zeros(len(starts), dtype=np.int8)  # number in ``names`` of every cluster
    owed = dict.fromkeys(shares, 0.0)  # rows that a part is still to get from the strata seen so far
    for stratum in _strata(table, order, starts):
        size = int(sizes[stratum].sum())
        for name, share in shares.items():
            owed[name] += share * size
        for cluster, members in zip(stratum.tolist(), sizes[stratum].tolist(), strict=True):
            name = max(owed, key=lambda part: owed[part])
            if 2 * owed[name] >= members:
                taken[cluster] = names.index(name)
                owed[name] -= members
    of_rows = np.repeat(taken, sizes)
    parts = {name: order[of_rows == number] for number, name in enumerate(names)}
    empty = [name for name, kept in parts.items() if not len(kept)]
    if empty:
        raise DataError(
            f"{len(rows)} rows in {len(starts)} clusters are too few to give {' and '.join(empty)} a row",
            path=path or None,
            remedy="add rows, or name the parts in a column 'split'; of a text, take more of it or smaller blocks",
        )
    return parts


def _strata(table: _Table, order: Int, starts: Int) -> list[Int]:
    """Strata of clusters (numbers of ``starts``), all in the order of a hash. A cluster has its commonest label."""
    labels = table.label[order]
    of_cluster = np.minimum.reduceat(labels, starts)
    mixed = np.flatnonzero(of_cluster != np.maximum.reduceat(labels, starts))
    ends = np.append(starts[1:], len(order))
    numbers = {label: number for number, label in enumerate(table.labels)}
    for cluster in mixed.tolist():
        members = labels[starts[cluster] : ends[cluster]].tolist()
        of_cluster[cluster] = numbers[_commonest(table.labels[number] for number in members)]
    found = np.unique(of_cluster).tolist()
    if len(found) > len(starts) / 2:  # answers rather than labels
        return [np.arange(len(starts))]
    ordered = sorted(found, key=lambda number: content_hash([table.seed, "label", table.labels[number]]))
    return [np.flatnonzero(of_cluster == number) for number in ordered]


def _commonest(labels: Iterable[str | None]) -> str | None:
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label or ""))


def freeze(splits: Splits, path: Path) -> None:
    """Write the ids of every part as JSON, whole or not at all."""
    content = {
        "format": _FORMAT,
        "parts": {name: [example.id for example in splits.part(name)] for name in PARTS},
        "near_duplicates": splits.near_duplicates,
        "duplicates": splits.duplicates,
        "notes": list(splits.notes),
    }
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def frozen_ids(path: Path, part: str) -> frozenset[str]:
    """The ids of one part, as `freeze` wrote them.

    Raises:
        DataError: no such file, or not one of `freeze`.
    """
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["parts"][part])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("does not say how the rows were divided", path=path, remedy="run the study again") from error
