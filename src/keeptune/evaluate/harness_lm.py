"""lm-eval's view of a keeptune model: its `LM` interface on the trie engine. Imports lm-eval; nothing else here does.

Texts are cut into tokens as lm-eval's Hugging Face backend cuts them (the base class sees to the boundary between
context and continuation), so per-item results agree with that backend to rounding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from typing_extensions import override

from keeptune.batching.trie import ScoringRequest
from keeptune.core.errors import DataError, ModelError
from keeptune.inference.generate import generate
from keeptune.inference.score import ranked_logprobs
from keeptune.models.language_model import LanguageModel
from keeptune.models.progress import Progress

NEW_TOKENS = 256  # generated at most where a task says nothing, as in lm-eval


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request cost: tokens of its context (of the text, where that is measured), and whether some were cut."""

    tokens: int
    cut: bool


class EngineLM(TemplateLM):  # type: ignore[misc]
    """A `LanguageModel` that lm-eval can ask. ``shown`` describes the requests of the last call, in their order.

    Raises:
        ModelError: the model is an encoder-decoder.
    """

    def __init__(self, lm: LanguageModel, progress: Progress | None = None) -> None:
        super().__init__()
        if lm.encoder_decoder:
            raise ModelError(
                "tasks of lm-eval are asked of decoder-only models alone",
                where=lm.name,
                remedy="give the task as a file of rows, or use a decoder-only model",
            )
        self.shown: list[Shown] = []
        self.tokenizer: Any = lm.tokenizer
        self._lm = lm
        self._progress = progress
        self._encoded = lru_cache(maxsize=4096)(self._encode)  # a context comes once per choice

    @property
    @override
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    @override
    def prefix_token_id(self) -> int:
        """What a text without context is predicted from: BOS, or the end token where there is none."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    @override
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    @override
    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; special tokens as the tokenizer adds them, unless the text begins with BOS itself."""
        return list(self._encoded(string, add_special_tokens))

    def _encode(self, string: str, special: bool | None) -> tuple[int, ...]:
        if special is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            special = False
        options = {} if special is None else {"add_special_tokens": special}
        return tuple(self.tokenizer.encode(string, **options, verbose=False))

    @override
    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    @override
    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-probability in nats, whether greedy decoding would say it) of every continuation after its context."""
        self.shown = []
        answers: list[tuple[float, bool]] = super().loglikelihood(list(requests), disable_tqdm=True)
        return answers

    @override
    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        room = self._lm.context + 1  # the last token is only predicted
        asked = []
        for _text, context, continuation in requests:
            if not 0 < len(continuation) < room:
                raise DataError(
                    f"an answer of {len(continuation)} tokens cannot be scored in a window of {room - 1}",
                    remedy="use a model with a longer window, or leave the task out",
                )
            kept = context[max(0, len(context) + len(continuation) - room) :]
            self.shown.append(Shown(len(kept), len(kept) < len(context)))
            asked.append(ScoringRequest(kept, [continuation]))
        return [answer[0] for answer in ranked_logprobs(self._lm, asked, progress=self._progress)]

    @override
    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-probability (nats) of every whole text, in windows where it is longer than the model's."""
        windows: list[ScoringRequest] = []
        owners: list[int] = []
        shown = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            shown.append(Shown(len(ids), cut=False))
            pairs = get_rolling_token_windows(ids, self.prefix_token_id, self._lm.context, context_len=1)
            for context, continuation in map(make_disjoint_window, pairs):
                windows.append(ScoringRequest(context, [continuation]))
                owners.append(number)
        sums = [0.0] * len(shown)
        for owner, answer in zip(owners, ranked_logprobs(self._lm, windows, progress=self._progress), strict=True):
            sums[owner] += answer[0][0]
        self.shown = shown
        return sums

    @override
    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy text up to a stop string, the end token or the request's limit of new tokens."""
        context = self._lm.context
        groups: dict[tuple[tuple[str, ...], int], list[int]] = defaultdict(list)
        prompts: list[tuple[int, ...]] = []
        self.shown = []
        for number, request in enumerate(requests):
            text, settings = request.args[:2]
            options = normalize_gen_kwargs(settings, NEW_TOKENS)
            limit = options["max_gen_toks"]
            if limit >= context:  # lm-eval refuses; half a window is left to the prompt
                limit = context // 2
            stops = handle_stop_sequences(options["until"], eos=None)
            groups[tuple(stop for stop in stops if stop), limit].append(number)
            ids = self._encoded(text, None) or (self.prefix_token_id,)
            prompts.append(ids[-(context - limit) :])
            self.shown.append(Shown(len(prompts[-1]), len(prompts[-1]) < len(ids)))
        answers = [""] * len(prompts)
        for (stops, limit), members in groups.items():
            asked = [prompts[number] for number in members]
            generated = generate(self._lm, asked, limit, stop=stops, progress=self._progress)
            for number, ids in zip(members, generated, strict=True):
                said = self.tokenizer.decode(ids, skip_special_tokens=True)
                answers[number] = postprocess_generated_text(said, list(stops), None)
        return answers
