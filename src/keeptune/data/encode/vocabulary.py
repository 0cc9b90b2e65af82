"""What a tokenizer does not keep of a text, and what it reads as something else: special tokens that a text spells."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import cached_property
from typing import Any

from keeptune.data.encode.mask_check import decoded

# Tokens at which well-known models stop, and others that mean something to them: what is known without a model.
KNOWN_ENDS = (
    "</s>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<turn|>",
    "<eos>",
    "<|end|>",
    "<|return|>",
    "<|endofturn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
)
KNOWN_TOKENS = (
    *KNOWN_ENDS,
    "<s>",
    "<bos>",
    "<pad>",
    "<unk>",
    "<|im_start|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<start_of_turn>",
    "<|turn>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "[INST]",
    "[/INST]",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
)
_KEPT = frozenset(("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "No", "So"))
# Letters of many scripts and every byte that may continue a character: who keeps these keeps any text.
_ALPHABET = (
    "".join(map(chr, [*range(0x21, 0x7F), *range(0xA1, 0x180)]))
    + "Ωб א ا ก ა Ꮳ ⵣ 一 龘 ꙮ 가 힝 \U0001f9ff \U00012000 \U0002070e"
)


class Vocabulary:
    """ValidationResults at texts with the eyes of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def loses(self, text: str) -> bool:
        """Whether the tokenizer does not know a character of the text: it reads "unknown" there, or nothing."""
        return not self._keeps_all and self._loses(text)

    def spelled(self, text: str) -> list[str]:
        """Special tokens that stand in the text as text, each once."""
        return spelled(self._special, text)

    @cached_property
    def _keeps_all(self) -> bool:
        return not self._loses(_ALPHABET)

    def _loses(self, text: str) -> bool:
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in ids:
            return True
        return bool(_letters(text) - _letters(decoded(self.tokenizer, ids)))

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        """Matches the special tokens that the tokenizer reads out of a text."""
        added = self.tokenizer.added_tokens_decoder
        tokens = {*self.tokenizer.all_special_tokens, *(token.content for token in added.values() if token.special)}
        return pattern_of({str(token) for token in tokens if self._reads(str(token))})

    def _reads(self, token: str) -> bool:
        ids = self.tokenizer(token, add_special_tokens=False, verbose=False)["input_ids"]
        return self.tokenizer.convert_tokens_to_ids(token) in ids


def pattern_of(tokens: Collection[str]) -> re.Pattern[str] | None:
    """Matches each of the tokens, the longest where several begin in one place; None where there are none."""
    shown = sorted((token for token in tokens if len(token.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, shown))) if shown else None


def spelled(tokens: re.Pattern[str] | None, text: str) -> list[str]:
    """What the pattern finds in the text, each once."""
    return list(dict.fromkeys(tokens.findall(text))) if tokens else []


def _letters(text: str) -> set[str]:
    """Letters, digits and pictures of a text, without what tokenizers may normalise: case, accents, joiners."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return {character for character in plain if unicodedata.category(character) in _KEPT}
