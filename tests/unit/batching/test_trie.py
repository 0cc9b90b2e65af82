from __future__ import annotations

import pytest

from keeptune.batching.trie import Choices, choice_batch, flat_batch
from keeptune.data.examples import Encoded


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
    batch = choice_batch([Choices((1, 2), [(3, 4, 5), (6,)]), Choices((7,), [(8, 9)])])
    assert batch.input_ids.tolist() == [1, 2, 3, 4, 7, 8]
    assert batch.positions.tolist() == [0, 1, 2, 3, 0, 1]
    assert batch.segments.tolist() == [[0, 2, -1], [2, 2, 0], [4, 1, -1], [5, 1, 2]]
    assert batch.labels.tolist() == [3, 4, 5, 6, 8, 9]
    assert batch.rows[batch.sources].tolist() == [1, 2, 3, 1, 4, 5]
    assert batch.rows.tolist() == [1, 2, 3, 4, 5]  # the state that two choices share is listed once
    assert batch.examples.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.tokens == 2 + 3 + 1 + 1 + 2


@pytest.mark.parametrize("request_", [Choices((), [(1,)]), Choices((1,), [(1,), ()])])
def test_empty_prompts_and_choices_are_refused(request_: Choices) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        choice_batch([request_])


def test_moving_keeps_segments_on_the_cpu() -> None:
    batch = flat_batch([Encoded("a", (1,), (2, 3))]).to("meta")
    assert batch.input_ids.device.type == "meta"
    assert batch.segments.device.type == "cpu"
    assert batch.weight == 2.0
