"""Many rows lie on disk, and everything that is found out about them is what is found out about a list."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeptune.core.units import content_hash
from keeptune.data.examples import Example
from keeptune.data.load import load_examples
from keeptune.data.splits.copies import keep_together
from keeptune.data.splits.drop import drop_leaks
from keeptune.data.splits.split import split
from keeptune.data.storage import lazy
from keeptune.data.storage.lazy import Concat, LazyMap, Subset
from keeptune.data.storage.spill import Spill
from keeptune.inspect.check import check
from keeptune.inspect.clean import clean

WORDS = "the red house stands near a small lake and the old man walks home with his dog".split()


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) + draw.choice(("", "s", "x", "12")) for _ in range(draw.randint(9, 30)))


def prompts(draw: random.Random, n: int) -> list[dict[str, Any]]:
    """Some repeated, some with another answer, some nearly the same, some unusable."""
    rows: list[dict[str, Any]] = []
    for _ in range(n):
        old = draw.choice(rows)["prompt"] if rows else ""
        text = draw.choice([old, old.upper(), f"{old} too"]) if old and draw.random() < 0.2 else sentence(draw)
        rows.append({"prompt": text, "completion": sentence(draw)[:20], "my id": draw.randrange(10**6)})
        if draw.random() < 0.1:
            rows.append(dict(rows[-1]))
    return [*rows, {"prompt": "", "completion": "x"}]


def contexts(draw: random.Random, n: int) -> list[dict[str, Any]]:
    """Questions on shared contexts."""
    texts = [sentence(draw) for _ in range(n // 3)]
    return [{"context": draw.choice(texts), "question": sentence(draw), "answer": sentence(draw)[:9]} for _ in range(n)]


def labels(draw: random.Random, n: int) -> list[dict[str, Any]]:
    """Classes, and parts that the source names."""
    parts = ("train", "train", "train", "test")
    return [{"text": sentence(draw), "label": draw.choice("abc"), "split": draw.choice(parts)} for _ in range(n)]


def talks(draw: random.Random, n: int) -> list[dict[str, Any]]:
    turns = ("user", "assistant", "user", "assistant")
    return [{"messages": [{"role": role, "content": sentence(draw)} for role in turns]} for _ in range(n)]


def everything(path: Path) -> tuple[Any, ...]:
    loaded = load_examples(str(path))
    assert loaded.layout is not None
    columns = loaded.layout.prompt_columns or None
    parts, leaks = drop_leaks(split(keep_together(loaded.examples, columns)), columns, "drop")
    cleaned = clean(str(path), path.with_name("out.jsonl"))
    texts = [cleaned.out.read_text(), cleaned.listed.read_text()]
    cleaned.out.unlink()
    cleaned.listed.unlink()
    found = [list(part) for part in (loaded.examples, parts.train, parts.validation, parts.test)]
    plain = (
        replace(loaded, examples=(), quarantined=tuple(loaded.quarantined)),
        replace(parts, train=(), validation=(), test=()),
    )
    return found, plain, leaks, check(str(path), against=[str(path)]), texts


@pytest.mark.parametrize("make", [prompts, contexts, labels, talks])
@pytest.mark.parametrize("seed", range(3))
def test_rows_on_disk_are_rows(make: Any, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in make(random.Random(seed), 60)))
    expected = everything(path)
    assert isinstance(load_examples(str(path)).examples, list)
    monkeypatch.setattr(lazy, "IN_MEMORY", 7)
    assert not isinstance(load_examples(str(path)).examples, list)
    assert everything(path) == expected


def carved(examples: Sequence[Example], shares: dict[str, float], seed: int) -> dict[str, list[str]]:
    """Ids of every part: the rule of `split` in plain words, for rows without parts."""
    clusters: dict[str, list[Example]] = defaultdict(list)
    for row in examples:
        clusters[row.cluster].append(row)
    label_of: dict[str, str | None] = {}
    for name, members in clusters.items():
        counts = Counter(row.label for row in members)
        label_of[name] = min(counts, key=lambda label: (-counts[label], label or ""))
    if len(set(label_of.values())) > len(clusters) / 2:
        label_of = dict.fromkeys(clusters)
    taken: dict[str, list[Example]] = {name: [] for name in ("train", *shares)}
    owed = dict.fromkeys(shares, 0.0)
    for label in sorted(set(label_of.values()), key=lambda label: content_hash([seed, "label", label])):
        stratum = [name for name in clusters if label_of[name] == label]
        for part, share in shares.items():
            owed[part] += share * sum(len(clusters[name]) for name in stratum)
        for name in sorted(stratum, key=lambda name: content_hash([seed, name])):
            part = max(owed, key=lambda part: owed[part])
            if 2 * owed[part] >= len(clusters[name]):
                owed[part] -= len(clusters[name])
            else:
                part = "train"
            taken[part] += clusters[name]
    return {part: sorted(row.id for row in rows) for part, rows in taken.items()}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([None, "a", "b", "c"])), min_size=40, max_size=90),
    st.integers(0, 3),
)
@settings(max_examples=50, deadline=None)
def test_split_follows_its_rule(rows: list[tuple[int, str | None]], seed: int) -> None:
    examples = [Example.make({"n": n}, cluster=f"c{cluster}", label=label) for n, (cluster, label) in enumerate(rows)]
    expected = carved(examples, {"test": 0.2, "validation": 0.1}, seed)
    if all(expected.values()):
        found = split(examples, seed=seed)
        assert {part: [row.id for row in found.part(part)] for part in expected} == expected


def test_sequences_that_are_made_on_access() -> None:
    kept = Spill(range(9), in_memory=4).finish()
    views: list[tuple[Sequence[int], list[int]]] = [
        (kept, list(range(9))),
        (LazyMap(kept, lambda n: n * n), [n * n for n in range(9)]),
        (Subset(kept, np.array([8, 0, 5])), [8, 0, 5]),
        (Concat([[], kept, [7], kept]), [*range(9), 7, *range(9)]),
        (Concat([]), []),
    ]
    for view, items in views:
        n = len(items)
        assert len(view) == n and list(view) == items and [view[i] for i in range(n)] == items
        assert view[1:-1] == items[1:-1] and view[::-2] == items[::-2] and view[-n:] == items[-n:]
        assert bool(view) is bool(items)
        for outside in (n, -n - 1):
            with pytest.raises(IndexError):
                view[outside]
