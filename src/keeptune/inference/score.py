"""Log-probabilities of given tokens: completions after a prompt, and plain text.

Requests are laid out as token tries under a budget of distinct tokens, so that prompts, demonstrations and choices
that begin alike are computed once (see `batching.trie`); logits exist only where a token is scored. What all requests
have in common is computed once for all batches, and kept as keys and values. Grouping changes nothing but speed and
the last bits of a bf16 sum, and the same requests are always grouped in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from keeptune.batching.plan import plan_paths
from keeptune.batching.trie import Choices, Path, build, choice_paths, common_prefixes, prompt_batch, row_paths
from keeptune.data.examples import Encoded
from keeptune.models.cache import Capture, Prefix
from keeptune.models.forward import target_logprobs, target_ranks
from keeptune.models.language_model import LanguageModel, evaluating

TOKEN_BUDGET = {"cpu": 4096, "cuda": 32_768}  # tokens of a batch; larger ones leave a CPU's caches and are slower
KEPT_PREFIX = 32  # tokens that all requests must have in common for their keys and values to be kept

Progress = Callable[[int, int], None]
"""Called with (done, in all) after every batch: prompts where text is generated, else choices or texts."""


def choice_logprobs(
    lm: LanguageModel,
    requests: Sequence[Choices],
    *,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[float, ...]]:
    """Log-probability (nats) of every choice after its prompt: the sum over the choice's tokens, as they are given.

    Choices usually come without the end token (`Encoder.choice`). Results are in the order of the requests.

    Raises:
        ValueError: an empty prompt or choice, or a prompt and choice longer than the model's context.
    """
    sums = iter(_sums(lm, _checked(lm, requests), token_budget, progress))
    return [tuple(next(sums) for _ in request.choices) for request in requests]


def ranked_logprobs(
    lm: LanguageModel,
    requests: Sequence[Choices],
    *,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[tuple[float, bool], ...]]:
    """As `choice_logprobs`, and of every choice whether each of its tokens is the likeliest: greedy decoding says it.

    Raises:
        ValueError: as `choice_logprobs`.
    """
    paths = _checked(lm, requests)
    beaten = torch.zeros(len(paths), dtype=torch.float32, device=lm.device)
    sums = _sums(lm, paths, token_budget, progress, beaten)
    found = iter(zip(sums, (beaten == 0).tolist(), strict=True))
    return [tuple(next(found) for _ in request.choices) for request in requests]


def _checked(lm: LanguageModel, requests: Sequence[Choices]) -> list[Path]:
    lm.check_known(ids for request in requests for ids in (request.prompt_ids, *request.choices))
    for request in requests:
        _check_length(lm, len(request.prompt_ids) + max(map(len, request.choices)) - 1)
    return choice_paths(requests)


def row_nats(lm: LanguageModel, rows: Sequence[Encoded], token_budget: int | None = None) -> list[float]:
    """Negative log-likelihood of every row's supervised tokens, nats, without dropout; nothing of no rows."""
    return [-value for value in _sums(lm, row_paths(rows), token_budget, None)]


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
        ValueError: a text of fewer than two tokens, or with more tokens to see than the model's context.
    """
    lm.check_known(texts)
    for text in texts:
        _check_length(lm, len(text) - 1)
    rows = (Encoded(str(index), tuple(text[:1]), tuple(text[1:])) for index, text in enumerate(texts))
    return [-value for value in _sums(lm, row_paths(rows), token_budget, progress)]


def default_budget(lm: LanguageModel) -> int:
    """Tokens of a batch on the model's device."""
    return TOKEN_BUDGET["cuda" if lm.device.type == "cuda" else "cpu"]


def _check_length(lm: LanguageModel, seen: int) -> None:
    if seen > lm.context:
        raise ValueError(f"a request shows the model {seen} tokens, its context has {lm.context}")


def _sums(
    lm: LanguageModel,
    paths: Sequence[Path],
    token_budget: int | None,
    progress: Progress | None,
    beaten: Tensor | None = None,
) -> list[float]:
    """Log-probabilities of the paths' targets added up per path; ``example`` numbers the paths.

    ``beaten`` [n], where it is given, is filled: how many of a path's targets are not the likeliest token.
    """
    budget = token_budget or default_budget(lm)
    sums = torch.zeros(len(paths), dtype=torch.float32, device=lm.device)
    done = 0
    with evaluating(lm):
        prefix = _kept_prefix(lm, paths) if lm.flat else None
        known = prefix.length if prefix else 0
        rest = [Path(path.ids[known:], path.labels, path.example) for path in paths]
        for group in plan_paths(rest, budget, tries=lm.flat):
            batch = build(group, share=lm.flat).to(lm.device)
            if beaten is None:
                logprobs = target_logprobs(lm, batch, prefix, known)
            else:
                logprobs, likeliest = target_ranks(lm, batch, prefix, known)
                beaten.index_add_(0, batch.examples, (~likeliest).float())
            sums.index_add_(0, batch.examples, logprobs)
            done += len(group)
            if progress is not None:
                progress(done, len(paths))
    values: list[float] = sums.tolist()
    return values


def _kept_prefix(lm: LanguageModel, paths: Sequence[Path]) -> Prefix | None:
    """Keys and values of what all of ``paths`` begin with, computed once; None where that is short.

    The last token that all share is left to the batches where it predicts a target.
    """
    if len(paths) < 2 or not lm.plain_head:
        return None
    ends = [choose(paths, key=lambda path: path.key) for choose in (min, max)]  # what these share, all between share
    length = min(common_prefixes(ends)[1], *(len(path.ids) - len(path.labels) for path in paths))
    if length < KEPT_PREFIX:
        return None
    capture = Capture()
    batch, _ = prompt_batch([paths[0].ids[:length]])
    target_logprobs(lm, batch.to(lm.device), capture)
    return Prefix(length, capture.layers)
