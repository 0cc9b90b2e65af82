"""Log-probabilities of given tokens: completions after a prompt, and plain text.

Every prompt is computed once, however many choices hang on it, and logits exist only where a token is scored
(see `batching.trie`). Requests are grouped by length under a token budget; grouping changes nothing but speed and
the last bits of a bf16 sum, and the same requests are always grouped in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from keeptune.batching.plan import plan
from keeptune.batching.trie import Choices, choice_batch, flat_batch
from keeptune.batching.types import Batch
from keeptune.data.examples import Encoded
from keeptune.models.forward import target_logprobs
from keeptune.models.language_model import LanguageModel

TOKEN_BUDGET = {"cpu": 4096, "cuda": 32_768}  # tokens of a batch; larger ones leave a CPU's caches and are slower
LOGIT_BUDGET = 2**26  # logits of a batch: 256 MB in float32

Progress = Callable[[int, int], None]
"""Called with (requests done, requests in all) after every batch."""


@contextmanager
def evaluating(lm: LanguageModel) -> Iterator[None]:
    """Within, the model is in evaluation mode and builds no graph; afterwards in the mode it was in."""
    training = lm.model.training
    lm.model.eval()
    try:
        with torch.no_grad():  # not inference_mode: buffers made in it could not take part in later training
            yield
    finally:
        lm.model.train(training)


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
    for request in requests:
        _check_length(lm, len(request.prompt_ids) + max(map(len, request.choices)) - 1)
    tokens = [len(request.prompt_ids) + sum(len(choice) - 1 for choice in request.choices) for request in requests]
    rows = [1 + sum(len(choice) - 1 for choice in request.choices) for request in requests]
    results: list[tuple[float, ...]] = [()] * len(requests)
    for group in _groups(lm, tokens, rows, token_budget, progress):
        chosen = [requests[index] for index in group]
        sums = iter(_sums(lm, choice_batch(chosen), sum(len(request.choices) for request in chosen)))
        for index in group:
            results[index] = tuple(next(sums) for _ in requests[index].choices)
    return results


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
    for text in texts:
        _check_length(lm, len(text) - 1)
    lengths = [len(text) - 1 for text in texts]
    results = [0.0] * len(texts)
    for group in _groups(lm, lengths, lengths, token_budget, progress):
        rows = [Encoded(str(index), tuple(texts[index][:1]), tuple(texts[index][1:])) for index in group]
        for index, value in zip(group, _sums(lm, flat_batch(rows), len(rows)), strict=True):
            results[index] = -value
    return results


def default_budget(lm: LanguageModel) -> int:
    """Tokens of a batch on the model's device."""
    return TOKEN_BUDGET["cuda" if lm.device.type == "cuda" else "cpu"]


def _check_length(lm: LanguageModel, seen: int) -> None:
    if seen > lm.context:
        raise ValueError(f"a request shows the model {seen} tokens, its context has {lm.context}")


def _groups(
    lm: LanguageModel, tokens: Sequence[int], rows: Sequence[int], token_budget: int | None, progress: Progress | None
) -> Iterator[list[int]]:
    """Indices of requests that run together: under the token budget, and under the budget of logits."""
    token_budget = token_budget or default_budget(lm)
    vocabulary: int = lm.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    per_row = vocabulary * token_budget / LOGIT_BUDGET  # what a row of logits costs, in tokens
    costs = [max(seen, round(scored * per_row)) for seen, scored in zip(tokens, rows, strict=True)]
    done = 0
    with evaluating(lm):
        for group in plan(costs, token_budget):
            yield group
            done += len(group)
            if progress is not None:
                progress(done, len(tokens))


def _sums(lm: LanguageModel, batch: Batch, examples: int) -> list[float]:
    """Log-probabilities of a batch's targets added up per example."""
    batch = batch.to(lm.device)
    sums = torch.zeros(examples, dtype=torch.float32, device=lm.device)
    values: list[float] = sums.index_add_(0, batch.examples, target_logprobs(lm, batch)).tolist()
    return values
