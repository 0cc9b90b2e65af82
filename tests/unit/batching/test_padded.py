from __future__ import annotations

from keeptune.batching.padded import unfold
from keeptune.batching.trie import ScoringRequest, choice_batch, flat_batch
from keeptune.data.examples import Encoded


def test_rows_are_padded_on_the_right() -> None:
    padded = unfold(flat_batch([Encoded("a", (1, 2, 3), (4, 5)), Encoded("b", (6,), (7,))]), pad_id=9)
    assert padded.input_ids.tolist() == [[1, 2, 3, 4], [6, 9, 9, 9]]
    assert padded.attention_mask.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert padded.kept.tolist() == [[0, 2], [0, 3], [1, 0]]


def test_a_tree_becomes_one_row_per_leaf() -> None:
    prompt = list(range(1, 17))
    padded = unfold(choice_batch([ScoringRequest(prompt, [(30, 40, 50), (60, 70), (80,)])]))
    assert padded.input_ids.tolist() == [[*prompt, 30, 40], [*prompt, 60, 0]]
    assert padded.attention_mask.tolist() == [[1] * 18, [1] * 17 + [0]]
    assert padded.kept.tolist() == [[0, 15], [0, 16], [0, 17], [1, 16]]
