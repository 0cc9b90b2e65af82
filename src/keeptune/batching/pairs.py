"""Batches for encoder-decoders: prompts for the encoder, answers for the decoder, each written once.

P prompts of at most E tokens, B answers of at most D tokens, S targets.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from keeptune.batching.types import PairBatch
from keeptune.data.examples import Encoded

LIKE = 1.25  # prompts whose lengths differ by no more than about this factor are ordered by their answers' lengths


def plan_pairs(rows: Sequence[Encoded], token_budget: int, *, share: bool) -> list[list[int]]:
    """Group the indices of ``rows`` into batches of at most ``token_budget`` tokens, padding included.

    Prompts of like length go together, and among these answers of like length. With ``share`` a prompt counts once for
    all its rows. A row that is longer than the budget gets a batch of its own.
    """
    families: dict[object, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        families[row.prompt_ids if share else index].append(index)
    for family in families.values():
        family.sort(key=lambda index: -len(rows[index].completion_ids))
    groups: list[list[int]] = []
    prompts = longest_prompt = longest_answer = 0
    for family in sorted(families.values(), key=lambda family: _by_size(rows[family[0]])):
        for place, index in enumerate(family):
            prompt, answer = len(rows[index].prompt_ids), len(rows[index].completion_ids)
            wider = prompts + (place == 0), max(longest_prompt, prompt), max(longest_answer, answer)
            if groups and wider[0] * wider[1] + (len(groups[-1]) + 1) * wider[2] <= token_budget:
                groups[-1].append(index)
            else:
                groups.append([index])
                wider = 1, prompt, answer
            prompts, longest_prompt, longest_answer = wider
    return groups


def _by_size(row: Encoded) -> tuple[int, int, int]:
    prompt = max(len(row.prompt_ids), 1)
    return (-round(math.log(prompt, LIKE)), -len(row.completion_ids), -prompt)


def pair_batch(rows: Sequence[Encoded], examples: Sequence[int], start: Sequence[int], *, share: bool) -> PairBatch:
    """The batch of ``rows``.

    Args:
        rows: what to lay out.
        examples: the number of every row, for the targets' ``examples``.
        start: the tokens that the decoder starts from; they are fed and not predicted.
        share: write a prompt once for all its rows.

    Raises:
        ValueError: a row without a prompt.
    """
    if not all(row.prompt_ids for row in rows):
        raise ValueError("a row without a prompt has nothing for the encoder")
    numbers: dict[object, int] = {}
    homes = [numbers.setdefault(row.prompt_ids if share else at, len(numbers)) for at, row in enumerate(rows)]
    asked = {home: row.prompt_ids for home, row in zip(homes, rows, strict=True)}
    input_ids, mask = padded_right([asked[home] for home in range(len(asked))])
    fed = [(*start, *row.completion_ids[:-1]) for row in rows]
    decoder_input_ids, _ = padded_right(fed)
    width = decoder_input_ids.shape[1]
    supervised = [np.concatenate([np.arange(*span) for span in row.spans]) for row in rows]
    counts = [len(places) for places in supervised]
    places = np.concatenate([at * width + len(start) - 1 + found for at, found in enumerate(supervised)])
    labels = np.concatenate([np.array(row.completion_ids)[found] for row, found in zip(rows, supervised, strict=True)])
    targets = torch.arange(len(places))
    return PairBatch(
        rows=torch.from_numpy(places),
        offsets=torch.arange(len(places) + 1),
        sources=targets,
        labels=torch.from_numpy(labels.astype(np.int64)),
        weights=torch.ones(len(places)),
        examples=torch.from_numpy(np.repeat(np.array(examples, dtype=np.int64), counts)),
        tokens=sum(map(len, rows)),
        weight=float(len(places)),
        input_ids=input_ids,
        attention_mask=mask,
        decoder_input_ids=decoder_input_ids,
        prompts=torch.tensor(homes),
    )


def padded_right(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """[n, L] int64 token ids, and [n, L] 1 where a sequence stands."""
    filled = np.array(list(itertools.zip_longest(*sequences, fillvalue=-1)), dtype=np.int64).T
    mask = torch.from_numpy((filled >= 0).astype(np.int64))
    return torch.from_numpy(np.maximum(filled, 0)), mask
