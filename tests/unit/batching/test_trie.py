from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeptune.batching import trie
from keeptune.batching.trie import (
    Path,
    ScoringRequest,
    build,
    choice_batch,
    common_prefixes,
    flat_batch,
    row_paths,
    worthwhile,
)
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded

Rows = Callable[..., list[Encoded]]
short_ids = st.lists(st.integers(1, 2), max_size=6).map(tuple)

# Rows with one supervised stretch, and rows with several.
plain_row = st.builds(Encoded, st.just("x"), short_ids, short_ids).filter(
    lambda row: len(row.completion_ids) > (not row.prompt_ids)
)
gapped_row = (
    st.lists(st.tuples(st.integers(1, 2), st.booleans()), min_size=2, max_size=9)
    .filter(lambda tokens: any(trained for _, trained in tokens[1:]))
    .map(lambda tokens: Encoded.masked("x", [token for token, _ in tokens], [trained for _, trained in tokens]))
)
shared_rows = st.lists(plain_row | gapped_row, min_size=1, max_size=12)


def from_sequences(rows: Sequence[Encoded]) -> Counter[tuple[tuple[int, ...], int]]:
    """How often a token follows a context, counted row by row."""
    counts: Counter[tuple[tuple[int, ...], int]] = Counter()
    for row in rows:
        ids = (*row.prompt_ids, *row.completion_ids)
        start = len(row.prompt_ids)
        places = [start + at for a, b in row.spans for at in range(a, b)]
        counts.update((ids[:at], ids[at]) for at in places if at)
    return counts


def contexts(batch: TrieBatch) -> list[tuple[int, ...]]:
    """For every token of the batch, the sequence that ends with it."""
    ids, segments = batch.input_ids.tolist(), batch.segments.tolist()
    found: list[tuple[int, ...]] = []
    for start, length, parent in segments:
        before = found[segments[parent][0] + segments[parent][1] - 1] if parent >= 0 else ()
        found += [(*before, *ids[start : row + 1]) for row in range(start, start + length)]
    return found


def from_batch(batch: TrieBatch) -> Counter[tuple[tuple[int, ...], int]]:
    seen = contexts(batch)
    counts: Counter[tuple[tuple[int, ...], int]] = Counter()
    rows = batch.rows[batch.sources].tolist()
    for row, label, weight in zip(rows, batch.labels.tolist(), batch.weights.tolist(), strict=True):
        counts[seen[row], label] += weight
    return counts


def check_layout(batch: TrieBatch) -> None:
    segments = batch.segments.tolist()
    ends = [start + length for start, length, _ in segments]
    assert [start for start, _, _ in segments] == [0, *ends[:-1]]
    assert ends[-1] == len(batch.input_ids)
    assert all(length > 0 for _, length, _ in segments)
    open_: list[int] = []  # depth first: a parent is the segment before or one that is still open around it
    for number, (_, _, parent) in enumerate(segments):
        while open_ and open_[-1] != parent:
            open_.pop()
        assert parent == -1 or open_
        open_.append(number)
    assert batch.positions.tolist() == [len(context) - 1 for context in contexts(batch)]
    assert batch.rows.tolist() == sorted(set(batch.rows.tolist()))
    assert batch.offsets.tolist() == [int((batch.sources < row).sum()) for row in range(len(batch.rows) + 1)]
    assert batch.sources.tolist() == sorted(batch.sources.tolist())
    assert batch.weight == float(batch.weights.sum())


@contextmanager
def worth(tokens: int) -> Iterator[None]:
    """Within, a shared prefix is split off where it saves ``tokens`` tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trie, "worthwhile", partial(worthwhile, worth=tokens))
        yield


def test_flat_rows_lie_end_to_end_without_their_last_tokens() -> None:
    batch = flat_batch([Encoded("a", (1, 2, 3), (4, 5)), Encoded("b", (6,), (7,))])
    assert batch.input_ids.tolist() == [1, 2, 3, 4, 6]
    assert batch.positions.tolist() == [0, 1, 2, 3, 0]
    assert batch.segments.tolist() == [[0, 4, -1], [4, 1, -1]]
    assert batch.rows[batch.sources].tolist() == [2, 3, 4]
    assert batch.labels.tolist() == [4, 5, 7]
    assert batch.examples.tolist() == [0, 0, 1]
    assert (batch.tokens, batch.weight) == (7, 3.0)


def test_an_empty_prompt_leaves_the_first_token_unpredicted() -> None:
    batch = flat_batch([Encoded("a", (), (4, 5, 6))])
    assert batch.input_ids.tolist() == [4, 5]
    assert batch.labels.tolist() == [5, 6]
    assert batch.tokens == 3


@pytest.mark.parametrize("row", [Encoded("x", (1, 2), ()), Encoded("x", (), (1,)), Encoded("x", (), ())])
def test_a_row_without_targets_is_refused(row: Encoded) -> None:
    with pytest.raises(ValueError, match="row x has nothing to predict"):
        flat_batch([row])


def test_choices_share_their_prompt_and_its_last_state() -> None:
    prompt = list(range(11, 27))
    batch = choice_batch([ScoringRequest(prompt, [(3, 4, 5), (6, 7), (8,)]), ScoringRequest((7,), [(8, 9)])])
    assert batch.input_ids.tolist() == [7, 8, *prompt, 3, 4, 6]
    assert batch.positions.tolist() == [0, 1, *range(16), 16, 17, 16]
    assert batch.segments.tolist() == [[0, 2, -1], [2, 16, -1], [18, 2, 1], [20, 1, 1]]
    assert batch.rows.tolist() == [0, 1, 17, 18, 19, 20]  # the state that three choices share is listed once
    targets = zip(batch.rows[batch.sources].tolist(), batch.labels.tolist(), batch.examples.tolist(), strict=True)
    assert sorted(targets) == [
        *[(0, 8, 3), (1, 9, 3)],
        *[(17, 3, 0), (17, 6, 1), (17, 8, 2), (18, 4, 0), (19, 5, 0), (20, 7, 1)],
    ]
    assert batch.tokens == (16 + 3) + (16 + 2) + (16 + 1) + 3


@pytest.mark.parametrize("request_", [ScoringRequest((), [(1,)]), ScoringRequest((1,), [(1,), ()])])
def test_empty_prompts_and_choices_are_refused(request_: ScoringRequest) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        choice_batch([request_])


def test_moving_keeps_segments_on_the_cpu() -> None:
    batch = flat_batch([Encoded("a", (1,), (2, 3))]).to("meta")
    assert batch.input_ids.device.type == "meta"
    assert batch.segments.device.type == "cpu"
    assert batch.weight == 2.0


@pytest.mark.parametrize("tokens", [0, 1, 5, 16, 10_000])
@pytest.mark.parametrize("merge", [False, True])
@settings(deadline=None, max_examples=60, derandomize=True)
@given(rows=shared_rows)
def test_a_trie_holds_what_its_sequences_hold(tokens: int, merge: bool, rows: list[Encoded]) -> None:
    paths = row_paths(rows)
    with worth(tokens):
        batch = build(paths, merge=merge)
    check_layout(batch)
    assert from_batch(batch) == from_sequences(rows)
    assert batch.tokens == sum(map(len, rows))
    if not merge:
        own: dict[int, list[int]] = {number: [] for number in range(len(rows))}
        for label, example in zip(batch.labels.tolist(), batch.examples.tolist(), strict=True):
            own[example].append(label)
        assert own == {path.example: path.labels.tolist() for path in paths}
    flat = sum(len(path.ids) for path in paths)
    distinct = len({tuple(path.ids[: n + 1]) for path in paths for n in range(len(path.ids))})
    assert distinct <= len(batch.input_ids) <= flat
    if not tokens:
        assert len(batch.input_ids) == distinct
        assert len(batch.labels) == (len(from_batch(batch)) if merge else batch.weight)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tokens", [0, 16])
def test_long_rows_that_share(branching_rows: Rows, seed: int, tokens: int) -> None:
    rows = branching_rows(25, seed=seed, longest=50)
    with worth(tokens):
        batch = build(row_paths(rows), merge=True)
    check_layout(batch)
    assert from_batch(batch) == from_sequences(rows)
    assert len(batch.input_ids) < sum(len(row) - 1 for row in rows)


def test_thousands_of_copies_are_computed_once() -> None:
    row = Encoded("a", (1, 2), (3, 4, 5))
    batch = build(row_paths([row] * 3000), merge=True)
    assert batch.input_ids.tolist() == [1, 2, 3, 4]
    assert batch.segments.tolist() == [[0, 4, -1]]
    assert batch.labels.tolist() == [3, 4, 5]
    assert batch.weights.tolist() == [3000.0] * 3
    assert (batch.tokens, batch.weight) == (15_000, 9000.0)


def test_one_row_alone_is_one_segment() -> None:
    row = Encoded("a", (1, 2), (3, 4))
    for batch in (build(row_paths([row]), merge=True), flat_batch([row])):
        assert batch.segments.tolist() == [[0, 3, -1]]
        assert batch.weights.tolist() == [1.0, 1.0]


def test_a_row_that_goes_on_where_another_ends_needs_no_segment() -> None:
    batch = build(row_paths([Encoded("b", (1, 2), (3, 4, 5)), Encoded("a", (1,), (2, 3))]), merge=True)
    assert batch.input_ids.tolist() == [1, 2, 3, 4]
    assert batch.segments.tolist() == [[0, 4, -1]]
    assert (batch.labels.tolist(), batch.weights.tolist()) == ([2, 3, 4, 5], [1.0, 2.0, 1.0, 1.0])


def test_merged_targets_keep_apart_what_differs() -> None:
    batch = build(
        row_paths([Encoded("a", (1, 2), (3,)), Encoded("b", (1, 2), (4,)), Encoded("c", (1, 2), (3,))]), merge=True
    )
    assert batch.rows.tolist() == [1]
    assert batch.sources.tolist() == [0, 0]
    assert (batch.labels.tolist(), batch.weights.tolist()) == ([3, 4], [2.0, 1.0])


def test_common_prefixes_are_those_with_the_path_before() -> None:
    ids = [(1, 2, 3), (1, 2, 3), (1, 2, 3, 4), (1, 5), (6,)]
    paths = [Path(np.array(each), np.array([9]), 0) for each in ids]
    assert common_prefixes(paths) == [0, 3, 3, 1, 0]
    assert common_prefixes(paths[:1]) == [0]


@pytest.mark.parametrize(
    ("shared", "lengths", "expected"),
    [
        pytest.param([0, 16], [20, 20], [0, 16], id="enough tokens for one sequence"),
        pytest.param([0, 15], [20, 20], [0, 0], id="one too few"),
        pytest.param([0, 4, 4, 4, 4], [9] * 5, [0, 4, 4, 4, 4], id="few tokens for many sequences"),
        pytest.param([0, 4, 4, 4], [9] * 4, [0, 0, 0, 0], id="for too few of them"),
        pytest.param([0, 30, 35], [40, 40, 40], [0, 30, 30], id="the deeper branch joins the one around it"),
        pytest.param([0, 3, 3], [3, 3, 9], [0, 3, 3], id="copies and continuations are free"),
    ],
)
def test_a_prefix_is_split_off_where_it_saves_enough(
    shared: list[int], lengths: list[int], expected: list[int]
) -> None:
    assert worthwhile(shared, lengths, 16) == expected
