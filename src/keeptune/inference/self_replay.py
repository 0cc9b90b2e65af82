"""Replay without old data: what the base model says by itself stands for what it has learned.

Training on samples of the base at temperature 1 is, in expectation, training towards the base's own distribution: the
loss on them is its entropy plus KL(base || model). So it holds what the base can do as far as its samples show it
(self-synthesised rehearsal: Huang et al. 2024, arXiv 2403.01244, from prompts; Bansal and Sanghavi 2025, arXiv
2505.13811, from nothing but the token where a text starts; arXiv 2605.26097).
"""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.data.examples import Encoded
from keeptune.inference.generate import sample
from keeptune.models.language_model import LanguageModel
from keeptune.models.progress import Progress


def self_replay(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    seed: int,
    end_ids: Sequence[int] = (),
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[Encoded]:
    """One row per prompt: what ``lm``, still the base, says after it.

    Args:
        lm: the model before anything is trained.
        prompts: token ids. Free text comes from where a text starts: ``[encoder.beginning] * n`` gives n texts.
        max_new_tokens: a text that has not ended by itself is cut there: give as many as texts of the model naturally
            have. Prompt and new tokens have to fit the context.
        seed: what is drawn depends on it and on the place of a prompt in ``prompts``.
        end_ids: further tokens that end a text, beside the model's own (`Encoder.end_id`).
        token_budget: prompt and new tokens that are held at once; changes nothing but speed (and rounding).
        progress: called with (prompts done, prompts in all).

    Returns:
        Rows in the order of the prompts. All sampled tokens are trained, the end token too where one was sampled; a
        text that was cut has none, so that nothing is taught to end where the base would have gone on.
    """
    sampled = sample(
        lm, prompts, max_new_tokens, seed=seed, end_ids=end_ids, token_budget=token_budget, progress=progress
    )
    return [
        Encoded(f"self {seed} {number}", tuple(prompt), ids)
        for number, (prompt, ids) in enumerate(zip(prompts, sampled, strict=True))
    ]
