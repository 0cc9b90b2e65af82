"""Texts as token ids that can be put one behind the other.

Prompt and completion are tokenised apart. Some tokenizers (sentencepiece style) add a space to every text they see,
which would put a space too many at the boundary; what follows another text is therefore tokenised behind an anchor and
accepted only when anchor + text decodes to exactly that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from keeptune.core.errors import DataError, ModelError
from keeptune.data.encode.chat import tokenizer_name
from keeptune.data.encode.mask_check import decoded
from keeptune.data.encode.vocabulary import Vocabulary

ANOTHER_MODEL = "remove the row, or use a model whose tokenizer knows its characters"
_ANCHORS = ("a", ":", "\n", "0", ".", ")")  # texts that a completion is tokenised behind, tried in turn
_PROBES = (("Say it", " again now"), ("Say it:\n", "again"), ("Say it:", "\n\nagain"), ("Say (", "again)"))


class Texts:
    """The texts of one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        apart: what follows another text is read apart from it, as an encoder-decoder reads prompt and answer.

    Attributes:
        start_ids: the special tokens that the tokenizer puts before a text.
        end_ids: those that it puts behind a prompt that is read apart from its answer.
        following: ids of a text as it continues another one; kept, since answers and choices recur.

    Raises:
        ModelError: the tokenizer puts two BOS tokens before a text.
    """

    def __init__(self, tokenizer: Any, *, apart: bool = False) -> None:
        self.tokenizer = tokenizer
        self.apart = apart
        self.vocabulary = Vocabulary(tokenizer)
        self._together: dict[str, tuple[int, ...]] = {}  # ids of texts that were tokenised in one call
        self.start_ids, end_ids = frame_ids(tokenizer)
        self.end_ids = end_ids if apart else ()
        self._anchors = tuple((text, self.ids(text)) for text in _ANCHORS)
        self.following = lru_cache(maxsize=4_096)(self._following)

    @property
    def name(self) -> str:
        """The tokenizer, as messages call it."""
        return f"the tokenizer of {tokenizer_name(self.tokenizer)}"

    def tokenise_together(self, texts: Iterable[str]) -> None:
        """Tokenise in one call what `ids` will be asked for; what was tokenised so before is forgotten."""
        wanted = list(dict.fromkeys(texts))
        made = self.tokenizer(wanted, add_special_tokens=False, verbose=False)["input_ids"] if wanted else []
        self._together = {text: tuple(ids) for text, ids in zip(wanted, made, strict=True)}

    def ids(self, text: str) -> tuple[int, ...]:
        """Ids of a text that begins something."""
        ids = self._together.get(text)
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if ids is None else ids

    def as_following(self, text: str) -> str:
        """What is tokenised of a text that follows another: read apart, the space between them means nothing."""
        return text.lstrip() if self.apart else text

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens and spaces as they are."""
        return decoded(self.tokenizer, ids)

    def said(self, ids: Sequence[int]) -> str:
        """What ids add to a text before them."""
        if self.apart:
            return self.decode(ids)
        anchor, anchor_ids = self._anchors[0]
        text = self.decode((*anchor_ids, *ids))
        return text[len(anchor) :] if text.startswith(anchor) else self.decode(ids)

    def kept(self, text: str) -> str:
        """What the tokenizer keeps of a text that follows another."""
        if self.apart:
            return self.decode(self._following(text))
        anchor, _ = self._anchors[0]
        return self.decode(self.ids(anchor + text)).removeprefix(anchor)

    def behind(self, end_id: int, text: str) -> tuple[int, ...]:
        """Ids of a text that follows an end token: special tokens cut a text, so its left neighbour is all it needs."""
        end = self.tokenizer.convert_ids_to_tokens(end_id)
        ids = self.ids(end + text)
        if ids[:1] != (end_id,):
            raise ModelError(
                f"the tokenizer does not read the text {end!r} as its end token",
                where=tokenizer_name(self.tokenizer),
                remedy="declare it as a special token in tokenizer_config.json",
            )
        return ids[1:]

    def refuse_unwritable(self, text: str, ids: Sequence[int], stops: Collection[int]) -> None:
        """Nothing, unless a model could not write this answer.

        Raises:
            DataError: it holds one of the tokens at which generation stops, or unknown characters.
        """
        found = next((id for id in ids if id in stops), None)
        spelled = None if found is None else str(self.tokenizer.convert_ids_to_tokens(found))
        if spelled is not None and spelled in text:  # a tokenizer may use the same token for what it does not know
            raise DataError(
                f"a completion contains the end token {spelled!r} as text",
                remedy="remove it from the data; it is put there by the encoder",
            )
        if self.vocabulary.loses(text):
            raise DataError(
                f"a completion has characters that {self.name} does not know",
                remedy=ANOTHER_MODEL,
            )

    def prove_boundaries(self) -> None:
        """Raises a ModelError where tokenising two texts apart changes them."""
        for prompt, completion in () if self.apart else _PROBES:
            joint = self.decode(self.ids(prompt + completion))
            if joint == prompt + completion and self.decode(self.ids(prompt) + self._following(completion)) != joint:
                raise ModelError(
                    f"tokenising {prompt!r} and {completion!r} apart changes the text",
                    where=tokenizer_name(self.tokenizer),
                    remedy="use a tokenizer whose tokens can be put one behind the other",
                )

    def _following(self, text: str) -> tuple[int, ...]:
        """Ids of ``text`` as it continues another text: no space lost, none added."""
        if self.apart:
            return self.ids(self.as_following(text))
        direct = self.ids(text)
        anchor, anchor_ids = self._anchors[0]
        if self.decode((*anchor_ids, *direct)) == anchor + text:
            return direct
        for anchor, anchor_ids in self._anchors:
            joint = self.ids(anchor + text)
            cut = joint[len(anchor_ids) :]
            if joint[: len(anchor_ids)] == anchor_ids and self.decode((*anchor_ids, *cut)) == self.decode(joint):
                return cut
        if any(self.decode(self.ids(anchor + text)) == anchor + text for anchor, _ in self._anchors):
            raise ModelError(
                f"the tokenizer cannot be cut in front of the completion {text[:40]!r}",
                where=tokenizer_name(self.tokenizer),
                remedy="put a line break at the end of the prompt, or use another tokenizer",
            )
        return direct  # the tokenizer does not keep this text in any case (unknown characters)


def frame_ids(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that the tokenizer puts before a text, and those that it puts behind.

    Raises:
        ModelError: it puts two BOS tokens before a text.
    """
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    place = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), None)
    start, end = ([], []) if place is None else (full[:place], full[place + len(bare) :])
    if tokenizer.bos_token_id is not None and start.count(tokenizer.bos_token_id) > 1:
        raise ModelError(
            "the tokenizer puts two BOS tokens before a text",
            where=tokenizer_name(tokenizer),
            remedy="remove one of them from its post-processor",
        )
    return tuple(start), tuple(end)
