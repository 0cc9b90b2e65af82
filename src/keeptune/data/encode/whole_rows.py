"""Rows that are more than prompt and completion, as token ids: conversations, segments, rows of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from keeptune.core.errors import DataError
from keeptune.data.encode.chat import AssistantTurn
from keeptune.data.encode.mask_check import Proof
from keeptune.data.encode.texts import Texts
from keeptune.data.encode.turns import Piece, as_served, chat_pieces, plain_pieces, with_shots
from keeptune.data.examples import Conversation, Encoded, Rendered, Segments, Tokens

Whole = Conversation | Segments | Tokens


class WholeRows:
    """Encodes whole rows for one tokenizer.

    Args:
        texts: the tokenizer's texts.
        turn: how the chat template prints an assistant's turn; None for plain text.
        end_id: what ends every answer.
        beginning: what plain text is predicted from.
        proof: of every mask.
    """

    def __init__(
        self, texts: Texts, turn: AssistantTurn | None, end_id: int, beginning: tuple[int, ...], proof: Proof
    ) -> None:
        self.texts, self.tokenizer = texts, texts.tokenizer
        self.turn, self.end_id, self.beginning, self.proof = turn, end_id, beginning, proof
        self.start_ids = texts.start_ids

    def row(self, id: str, whole: Whole) -> Encoded:
        """The row, its mask proven."""
        if isinstance(whole, Tokens):
            row = self._masked(id, whole.ids, whole.trained)
            self.proof.tokens(whole.ids, row)
        elif isinstance(whole, Segments):
            row = self._masked(id, *self._segment_ids(whole))
            self.proof.segments(row, self._segment_texts(whole))
        else:
            pieces = self._pieces(whole)
            row = self._masked(id, *self._assembled(pieces))
            self.proof.answers(row, [piece.text for piece in pieces if piece.trained])
        return row

    def prompt(self, whole: Whole, shots: Sequence[Rendered]) -> tuple[int, ...]:
        """What stands before the answer that is asked for."""
        if isinstance(whole, Conversation):
            examples = [shot.whole for shot in shots if isinstance(shot.whole, Conversation)]
            talk = with_shots(whole, examples)
            before = self._pieces(talk)[:-1]
            if self.turn:
                as_served(self.tokenizer, talk, before, self.turn)
            return tuple(self._assembled(before)[0])
        if isinstance(whole, Tokens):
            ids, mask = list(whole.ids), list(whole.trained)
        else:
            ids, mask = self._segment_ids(whole)
        last = max(place for place, trained in enumerate(mask) if trained)
        while last and mask[last - 1]:
            last -= 1
        return tuple(ids[:last])

    def _masked(self, id: str, ids: Sequence[int], mask: Sequence[bool]) -> Encoded:
        if not any(mask):
            raise DataError(
                f"no token of the row is supervised: {self.proof.shown(Encoded('', tuple(ids), ()))}",
                remedy="remove the row",
            )
        return Encoded.masked(id, ids, mask)

    def _pieces(self, talk: Conversation) -> list[Piece]:
        return chat_pieces(self.tokenizer, talk, self.turn) if self.turn else plain_pieces(talk)

    def _assembled(self, pieces: Sequence[Piece]) -> tuple[list[int], list[bool]]:
        """Ids of the pieces one behind the other; what follows an end token is tokenised behind it."""
        ids: list[int] = []
        mask: list[bool] = []
        for number, piece in enumerate(pieces):
            if piece.turn is not None:
                made = (*self._answer(piece.text), self.end_id)
            elif number:
                made = self.texts.behind(self.end_id, piece.text)
            else:
                made = self.texts.ids(piece.text) if self.turn else (*self.start_ids, *self.texts.ids(piece.text))
            ids += made
            mask += [piece.trained] * len(made)
        return ids, mask

    def _answer(self, text: str) -> tuple[int, ...]:
        ids = self.texts.following(text)
        self.texts.refuse_unwritable(text, ids, self.proof.end_ids)
        return ids

    def _segment_ids(self, whole: Segments) -> tuple[list[int], list[bool]]:
        """Segments as they are, BOS in front and EOS at the end where the texts do not spell them."""
        eos = int(self.tokenizer.eos_token_id)
        ids: list[int] = []
        mask: list[bool] = []
        for text, trained in whole.pieces:
            made = self.texts.following(text) if ids else self.texts.ids(text)
            if trained:
                self.texts.refuse_unwritable(text, (), ())  # segments spell their end tokens
            ids += made
            mask += [trained] * len(made)
        if ids[-1] != eos:
            ids.append(eos)
            mask.append(any(mask))  # an end belongs to what is learned
        spelled = len(self.start_ids) if tuple(ids[: len(self.start_ids)]) == self.start_ids else 0
        mask[:spelled] = [False] * spelled
        start = () if spelled else self.start_ids
        if mask[0] and not start:
            start = self.beginning  # the first token is predicted from something
        return [*start, *ids], [*([False] * len(start)), *mask]

    def _segment_texts(self, whole: Segments) -> list[str]:
        """What is learned from segments, stretch by stretch, with the EOS that `_segment_ids` puts behind."""
        runs = ["".join(text for text, _ in run) for trained, run in groupby(whole.pieces, lambda p: p[1]) if trained]
        eos, bos = self.tokenizer.eos_token, self.tokenizer.bos_token
        if whole.pieces[0][1] and bos and self.start_ids:
            runs[0] = runs[0].removeprefix(bos)
        return [*runs[:-1], runs[-1].removesuffix(eos) + eos]
