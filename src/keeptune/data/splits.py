"""Train, validation and test: by cluster, stratified by label, the same whatever the order of the rows."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.core.files import whole
from keeptune.core.units import content_hash
from keeptune.data.examples import Example, Splits

PARTS = ("train", "validation", "test")
_FORMAT = 1  # of the frozen file


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
    parts: dict[str, list[Example]] = {name: [] for name in PARTS}
    for example in examples:
        if example.part not in (None, *PARTS):
            raise DataError(
                f"unknown part '{example.part}'",
                path=example.path or None,
                line=example.line or None,
                remedy=f"use one of {', '.join(PARTS)}",
            )
        parts[example.part or "train"].append(example)
    wanted = {"test": test, "validation": validation}
    missing = {name: share for name, share in wanted.items() if share and not parts[name]}
    notes = [f"{name} ({len(parts[name])} rows) as the source says" for name in PARTS[1:] if parts[name]]
    if not parts["train"]:
        notes.append("the source has no train rows, so nothing was carved out of them")
    elif missing:
        parts |= _carve(parts["train"], missing, seed)
        notes += [f"{name} ({len(parts[name])} rows) carved out of train, seed {seed}" for name in missing]
    train, valid, tests = (sorted(parts[name], key=lambda example: example.id) for name in PARTS)
    return Splits(train, valid, tests, notes=tuple(notes))


def _carve(rows: Sequence[Example], shares: dict[str, float], seed: int) -> dict[str, list[Example]]:
    """Part -> rows, for train and every part in ``shares``."""
    taken: dict[str, list[Example]] = {name: [] for name in ("train", *shares)}
    owed = dict.fromkeys(shares, 0.0)  # rows that a part is still to get from the strata seen so far
    for stratum in _strata(rows, seed):
        size = sum(len(cluster) for cluster in stratum)
        for name, share in shares.items():
            owed[name] += share * size
        for cluster in stratum:
            name = max(owed, key=lambda part: owed[part])
            if 2 * owed[name] >= len(cluster):
                taken[name] += cluster
                owed[name] -= len(cluster)
            else:
                taken["train"] += cluster
    empty = [name for name, kept in taken.items() if not kept]
    if empty:
        clusters = len({row.cluster for row in rows})
        raise DataError(
            f"{len(rows)} rows in {clusters} clusters are too few to give {' and '.join(empty)} a row",
            path=rows[0].path or None,
            remedy="add rows, or name the parts in a column 'split'; of a text, take more of it or smaller blocks",
        )
    return taken


def _strata(rows: Sequence[Example], seed: int) -> list[list[list[Example]]]:
    """Strata of clusters of rows, all in the order of a hash. A cluster belongs to its commonest label."""
    clusters: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        clusters[row.cluster].append(row)
    label_of = {name: _commonest(row.label for row in members) for name, members in clusters.items()}
    if len(set(label_of.values())) > len(clusters) / 2:  # answers rather than labels
        label_of = dict.fromkeys(clusters)
    strata: dict[str | None, list[str]] = defaultdict(list)
    for name in sorted(clusters, key=lambda name: content_hash([seed, name])):
        strata[label_of[name]].append(name)
    ordered = sorted(strata, key=lambda label: content_hash([seed, "label", label]))
    return [[clusters[name] for name in strata[label]] for label in ordered]


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
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
