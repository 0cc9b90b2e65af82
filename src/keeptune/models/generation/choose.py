"""Which token comes next: the likeliest, or one that is drawn.

Shapes: B rows, V vocabulary, H halvings of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

Ints = NDArray[np.int64]
Choose = Callable[[Tensor, Ints], Ints]
"""Next tokens [B] from logits [B, V] and, for every row, the index of its prompt [B]."""


def likeliest(logits_BV: Tensor, prompts_B: Ints | None = None) -> Ints:
    """[B] token with the largest logit in each row, the first of equal ones."""
    if logits_BV.device.type == "cpu":  # NumPy's is vectorised, torch's is not
        found: Ints = logits_BV.float().numpy().argmax(-1)
    else:
        found = logits_BV.argmax(-1).cpu().numpy()
    return found


class Sampler:
    """Draws every token from the model's own distribution (ancestral sampling, temperature 1, nothing cut off).

    Every prompt has random numbers of its own, so that what is drawn for it does not depend on the rows beside it. A
    token is found by halving the vocabulary, with a random number per halving: logits that differ by rounding, as they
    do between batches, then change a token about as seldom as can be. (With one number for a walk along cumulated
    probabilities, rounding moves all tokens behind it: at 2,000 tokens, 60 times as many draws were seen to differ.)

    An instance serves one generation.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._draws: dict[int, np.random.Generator] = {}  # by prompt

    def __call__(self, logits_BV: Tensor, prompts_B: Ints) -> Ints:
        """[B] a token for each row."""
        mass = logits_BV.float().softmax(-1)
        halves: list[Tensor] = []  # [B, n, 2] probability of pairs of tokens, of pairs of pairs, ...
        while mass.shape[1] > 1:
            halves.append(pad(mass, (0, mass.shape[1] % 2)).reshape(len(mass), -1, 2))
            mass = halves[-1].sum(-1)
        numbers = np.stack([self._draw(prompt).random(len(halves), dtype=np.float32) for prompt in prompts_B.tolist()])
        numbers_BH = torch.from_numpy(numbers).to(logits_BV.device)
        rows_B = torch.arange(len(prompts_B), device=logits_BV.device)
        tokens_B = torch.zeros_like(rows_B)
        for number_B, pairs in zip(numbers_BH.unbind(1), reversed(halves), strict=True):
            left_B, right_B = pairs[rows_B, tokens_B].unbind(1)
            goes_right_B = (number_B * (left_B + right_B) >= left_B) & (right_B > 0)
            tokens_B = 2 * tokens_B + goes_right_B
        found: Ints = tokens_B.cpu().numpy()
        return found

    def _draw(self, prompt: int) -> np.random.Generator:
        if prompt not in self._draws:
            self._draws[prompt] = np.random.default_rng((self._seed, prompt))
        return self._draws[prompt]
