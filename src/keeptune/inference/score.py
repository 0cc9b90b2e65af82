"""Log-probabilities of given tokens: completions after a prompt, and plain text.

The model's engine groups requests under a budget of tokens and runs them. Where it can, prompts, demonstrations and
choices that begin alike are computed once, and logits exist only where a token is scored. Grouping changes nothing but
speed and the last bits of a bf16 sum, and the same requests are always grouped in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from keeptune.batching.trie import ScoringRequest, choice_rows
from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.progress import Progress, default_budget

NO_LIKELIHOOD = "free text has no likelihood under an encoder-decoder: it writes answers to prompts"


def choice_logprobs(
    lm: LanguageModel,
    requests: Sequence[ScoringRequest],
    *,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[float, ...]]:
    """Log-probability (nats) of every choice after its prompt: the sum over the choice's tokens, as they are given.

    ScoringRequest usually come without the end token (`Encoder.choice`). Results are in the order of the requests.

    Raises:
        ValueError: an empty prompt or choice, or a prompt and choice longer than the model's context.
    """
    sums = iter(_sums(lm, _checked(lm, requests), token_budget, progress))
    return [tuple(next(sums) for _ in request.choices) for request in requests]


def ranked_logprobs(
    lm: LanguageModel,
    requests: Sequence[ScoringRequest],
    *,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[tuple[float, bool], ...]]:
    """As `choice_logprobs`, and of every choice whether each of its tokens is the likeliest: greedy decoding says it.

    Raises:
        ValueError: as `choice_logprobs`.
    """
    rows = _checked(lm, requests)
    beaten = torch.zeros(len(rows), dtype=torch.float32, device=lm.device)
    sums = _sums(lm, rows, token_budget, progress, beaten)
    found = iter(zip(sums, (beaten == 0).tolist(), strict=True))
    return [tuple(next(found) for _ in request.choices) for request in requests]


def _checked(lm: LanguageModel, requests: Sequence[ScoringRequest]) -> list[Encoded]:
    lm.check_known(ids for request in requests for ids in (request.prompt_ids, *request.choices))
    for request in requests:
        longest = lm.fed(max(map(len, request.choices)))
        if len(request.prompt_ids) > lm.prompt_room(longest):
            seen = len(request.prompt_ids) + longest
            raise ValueError(f"a request shows the model {seen} tokens, its context has {lm.context}")
    return choice_rows(requests)


def row_nats(lm: LanguageModel, rows: Sequence[Encoded], token_budget: int | None = None) -> list[float]:
    """Negative log-likelihood of every row's supervised tokens, nats, without dropout; nothing of no rows."""
    return [-value for value in _sums(lm, rows, token_budget, None)]


def text_nats(
    lm: LanguageModel,
    texts: Sequence[Sequence[int]],
    *,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Negative log-likelihood (nats) of every text: the sum over its tokens but the first, which is only seen.

    The caller puts the token in front that the text is to be predicted from (BOS).

    Raises:
        ModelError: the model is an encoder-decoder.
        ValueError: a text of fewer than two tokens, or with more tokens to see than the model's context.
    """
    if lm.encoder_decoder:
        raise ModelError(NO_LIKELIHOOD, where=lm.name, remedy="leave free text out, or use a decoder-only model")
    lm.check_known(texts)
    for text in texts:
        if len(text) - 1 > lm.context:
            raise ValueError(f"a text shows the model {len(text) - 1} tokens, its context has {lm.context}")
    rows = [Encoded(str(index), tuple(text[:1]), tuple(text[1:])) for index, text in enumerate(texts)]
    return [-value for value in _sums(lm, rows, token_budget, progress)]


def _sums(
    lm: LanguageModel,
    rows: Sequence[Encoded],
    token_budget: int | None,
    progress: Progress | None,
    beaten: Tensor | None = None,
) -> list[float]:
    """Log-probabilities of the rows' targets added up per row.

    ``beaten`` [n], where it is given, is filled: how many of a row's targets are not the likeliest token.
    """
    budget = token_budget or default_budget(lm.device)
    sums = torch.zeros(len(rows), dtype=torch.float32, device=lm.device)
    done = 0
    with evaluating(lm):
        for scores in lm.engine.score(lm, rows, budget, ranks=beaten is not None):
            if beaten is not None and scores.likeliest is not None:
                beaten.index_add_(0, scores.examples, (~scores.likeliest).float())
            sums.index_add_(0, scores.examples, scores.logprobs)
            done += scores.rows
            if progress is not None:
                progress(done, len(rows))
    values: list[float] = sums.tolist()
    return values
