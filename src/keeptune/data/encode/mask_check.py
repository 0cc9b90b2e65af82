"""Whether the loss mask of a row is right, shown on the row itself.

Proven for every row before it is trained on: there are supervised tokens; decoded, they are exactly the answers and
their end tokens; every answer ends in an end token that is supervised; there is one BOS at most at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any

from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded

SHOWN = 160  # characters on either side of the place that is wrong


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of the ids, special tokens and spaces as they are."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


class Proof:
    """Proves masks for one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        end_ids: the tokens that may end an answer.
        said: ids -> the text that they add to one before them.
        kept: what the tokenizer makes of a text: encoded and decoded again. Tokenizers that lose characters lose them
            in the row and in the answer it is compared with.
    """

    def __init__(
        self,
        tokenizer: Any,
        end_ids: Collection[int],
        said: Callable[[Sequence[int]], str],
        kept: Callable[[str], str],
    ) -> None:
        self.tokenizer = tokenizer
        self.end_ids = frozenset(end_ids)
        self.said = said
        self.kept = kept

    def answers(self, row: Encoded, texts: Sequence[str]) -> None:
        """The supervised stretches are ``texts``, each with one end token behind it.

        Raises:
            DataError: they are not; the row is shown.
        """
        self.row(row)
        if len(row.spans) != len(texts):
            raise self._error(f"{len(row.spans)} stretches are supervised, the row has {len(texts)} answers", row)
        for (start, stop), text in zip(row.spans, texts, strict=True):
            if row.completion_ids[stop - 1] not in self.end_ids:
                raise self._unended(row, stop)
            self._says(row, (start, stop - 1), text)

    def segments(self, row: Encoded, texts: Sequence[str]) -> None:
        """The supervised stretches are ``texts``, which spell the end tokens that they have; the last one does.

        Raises:
            DataError: they are not; the row is shown.
        """
        self.row(row)
        if len(row.spans) != len(texts):
            raise self._error(f"{len(row.spans)} stretches are supervised, not {len(texts)}", row)
        for span, text in zip(row.spans, texts, strict=True):
            self._says(row, span, text)

    def _says(self, row: Encoded, span: tuple[int, int], text: str) -> None:
        found = self.said(row.completion_ids[span[0] : span[1]])
        if text != found and self.kept(text) != found:
            raise self._error(f"the supervised tokens say {found[:60]!r}, the answer is {text[:60]!r}", row)

    def row(self, row: Encoded) -> None:
        """What holds for every row, whoever wrote its mask.

        Raises:
            DataError: it does not hold; the row is shown.
        """
        ids = (*row.prompt_ids, *row.completion_ids)
        if not row.trained:
            raise self._error("no token of the row is supervised", row)
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos) and bos not in self.end_ids:
            raise self._error("the row begins with two BOS tokens", row)
        if row.completion_ids[-1] not in self.end_ids:
            raise self._unended(row, len(row.completion_ids))

    def tokens(self, ids: Sequence[int], row: Encoded) -> None:
        """A row whose mask somebody else made; ``ids`` are all of it, ``row`` is what is trained on.

        Raises:
            DataError: ids that the tokenizer does not have, an end token that was masked, or what `row` raises.
        """
        unknown = max(ids)
        if unknown >= len(self.tokenizer):
            raise DataError(
                f"token id {unknown} is none of the tokenizer's {len(self.tokenizer):,}: the row was made with another",
                remedy="tokenise the texts with this model's tokenizer, or give the texts",
            )
        after = len(row)
        if row.completion_ids[-1] not in self.end_ids and after < len(ids) and ids[after] in self.end_ids:
            pad = self.tokenizer.pad_token_id
            why = " because it equals the padding token" if ids[after] == pad else ""
            raise self._error(
                f"the end token behind the last answer is not supervised (label -100){why}, so the model would never "
                "learn to stop",
                row,
                "mask padding by attention_mask and not by its id, or give the texts",
            )
        self.row(row)

    def _unended(self, row: Encoded, stop: int) -> DataError:
        last = self.tokenizer.convert_ids_to_tokens(row.completion_ids[stop - 1])
        ends = " or ".join(repr(self.tokenizer.convert_ids_to_tokens(end)) for end in sorted(self.end_ids))
        return self._error(
            f"an answer ends in {last!r} and not in {ends}, so the model would never learn to stop",
            row,
            "put the end token behind the answer",
        )

    def _error(self, message: str, row: Encoded, remedy: str = "correct the row or the template") -> DataError:
        return DataError(f"{message}: {self.shown(row)}", remedy=remedy)

    def shown(self, row: Encoded) -> str:
        """The row as text, supervised stretches in brackets, cut in its middle."""
        text = self._decode(row.prompt_ids)
        borders = [0, *(border for span in row.spans for border in span)]
        for number, (start, stop) in enumerate(pairwise(borders)):
            piece = self._decode(row.completion_ids[start:stop])
            text += f"⟦{piece}⟧" if number % 2 and piece else piece
        return text if len(text) <= 2 * SHOWN else f"{text[:SHOWN]} ... {text[-SHOWN:]}"

    def _decode(self, ids: Sequence[int]) -> str:
        return decoded(self.tokenizer, ids)
