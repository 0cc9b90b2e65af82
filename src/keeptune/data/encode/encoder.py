"""Rendered text to token ids: prompt and completion apart, one code path for training and evaluation.

The boundary. Prompt and completion are tokenised apart (see `texts`) and their ids are put one behind the other,
so the ids of a prompt are the same when a completion is trained on, scored or generated.

The end. Every completion ends with one end token: the tokenizer's EOS or, with a chat template, the token which the
template puts after an assistant's turn. The loss mask follows the position and never the value of a token, so an
EOS that doubles as padding is trained like any other token.

The start. Plain prompts begin as the tokenizer begins its texts (one BOS, or none); chat prompts begin as the chat
template prints them. A second BOS is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keeptune.core.errors import DataError, ModelError
from keeptune.data.encode.chat import AssistantTurn, assistant_turn, printed_answer, render_chat, tokenizer_name
from keeptune.data.encode.mask_check import Proof
from keeptune.data.encode.texts import Texts
from keeptune.data.encode.tokenizer import tokenizer_digest
from keeptune.data.encode.whole_rows import WholeRows
from keeptune.data.encode.window import Overlong, OverlongPolicy, Window
from keeptune.data.examples import Encoded, Rendered

SHOT_SEPARATOR = "\n\n"  # between worked examples in a plain prompt, and after a plain system text
TOGETHER = 256  # rows whose texts are tokenised in one call


@dataclass(frozen=True, slots=True)
class EncodedSet:
    """Rows ready for training, and the rows that were left out."""

    rows: Sequence[Encoded]
    dropped: tuple[Overlong, ...] = ()
    truncated: int = 0  # rows whose prompt lost tokens at its left end

    def reasons(self) -> dict[str, int]:
        """Reason -> number of dropped rows."""
        return dict(Counter(row.reason for row in self.dropped))


class Encoder:
    """Turns rendered examples into token ids for one tokenizer.

    Args:
        tokenizer: a transformers tokenizer (fast or slow).
        context: tokens that the model can see, prompt and completion together (see ``encoder_decoder``).
        chat: apply the tokenizer's chat template; examples must be rendered with ``chat=True`` too.
        overlong: what `encode` does with a row longer than ``context``: ``drop`` it (counted, with the reason),
            ``truncate_prompt`` (the prompt loses tokens at its left end, after BOS) or raise an ``error``.
            A completion is never cut: one that leaves no room for a prompt token is dropped, or raises.
        unembedded: tokens that the model does not know; rows that need one are treated as those that are too long.
        encoder_decoder: an encoder reads the prompt and a decoder writes the answer: both are texts of their own, each
            in a window of ``context`` tokens, and the prompt ends as the tokenizer ends its texts.

    Raises:
        ModelError: no EOS, no chat template although ``chat`` is set, a chat template whose prompt is not the
            beginning of the full conversation, a doubled BOS, or a tokenizer that cannot be cut at a boundary.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        context: int,
        chat: bool = False,
        overlong: OverlongPolicy = "drop",
        unembedded: frozenset[int] = frozenset(),
        encoder_decoder: bool = False,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no end-of-sequence token, so no completion could ever end",
                where=tokenizer_name(tokenizer),
                remedy="set eos_token in tokenizer_config.json",
            )
        self.tokenizer = tokenizer
        self.context = context
        self.chat = chat
        self.overlong = overlong
        self.unembedded = unembedded
        self.encoder_decoder = encoder_decoder
        self.texts = Texts(tokenizer, apart=encoder_decoder)
        self.vocabulary, self.start_ids = self.texts.vocabulary, self.texts.start_ids
        self.window = Window(tokenizer, context, overlong, unembedded, self.start_ids, encoder_decoder)
        self._turn: AssistantTurn | None = assistant_turn(tokenizer) if chat else None
        self.end_id: int = self._turn.end_id if self._turn else int(tokenizer.eos_token_id)
        self._check_frame()
        self.texts.prove_boundaries()
        stops = {self.end_id, int(tokenizer.eos_token_id)}
        self.proof = Proof(tokenizer, stops, self.texts.said, self.texts.kept)
        self._whole = WholeRows(self.texts, self._turn, self.end_id, self.beginning, self.proof)

    @classmethod
    def of(cls, lm: Any, *, overlong: OverlongPolicy = "drop") -> Encoder:
        """For a loaded model: its tokenizer, its window, and its chat template where it has one."""
        return cls(
            lm.tokenizer,
            context=lm.context,
            chat=lm.chat,
            overlong=overlong,
            unembedded=lm.unembedded,
            encoder_decoder=lm.encoder_decoder,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments but the tokenizer: what makes the same encoder in another process."""
        names = ("context", "chat", "overlong", "unembedded", "encoder_decoder")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def tokenizer_digest(self) -> str:
        """Content hash of the tokenizer: saving it takes up to a second, and a study asks for it once per task."""
        return tokenizer_digest(self.tokenizer)

    @property
    def name(self) -> str:
        """The tokenizer, as messages call it."""
        return self.texts.name

    @property
    def beginning(self) -> tuple[int, ...]:
        """What plain text is predicted from: the start tokens; where there are none BOS, or else the end token."""
        if self.start_ids:
            return self.start_ids
        bos = self.tokenizer.bos_token_id
        return (int(self.tokenizer.eos_token_id if bos is None else bos),)

    def prompt(self, rendered: Rendered, shots: Sequence[Rendered] = ()) -> tuple[int, ...]:
        """Token ids of the prompt, BOS included where the tokenizer uses one, worked examples in front.

        Raises:
            DataError: the text brings a BOS of its own.
            ValueError: rendered for chat and encoded as plain text, or the other way round.
        """
        for row in (rendered, *shots):
            if row.chat != self.chat:
                raise ValueError(
                    f"example {row.id} was rendered with chat={row.chat}, the encoder has chat={self.chat}"
                )
        if self.encoder_decoder:
            self._refuse_promptless(rendered)
        if rendered.whole is not None:
            try:
                return self._single_bos(self._whole.prompt(rendered.whole, shots), rendered)
            except DataError as error:
                raise _placed(error, rendered) from error
        if self.chat:
            ids = (*self.texts.ids(render_chat(self.tokenizer, rendered, shots)), *self.texts.end_ids)
            return self._single_bos(ids, rendered)
        ids = (*self.start_ids, *self.texts.ids(self.plain_text(rendered, shots)), *self.texts.end_ids)
        return self._single_bos(ids or self.beginning, rendered)

    def prompt_text(self, rendered: Rendered, shots: Sequence[Rendered] = ()) -> str:
        """The text whose ids `prompt` returns, without the BOS that a tokenizer adds to plain text."""
        if rendered.whole is not None:
            return self.texts.decode(self._whole.prompt(rendered.whole, shots))
        return render_chat(self.tokenizer, rendered, shots) if self.chat else self.plain_text(rendered, shots)

    @staticmethod
    def plain_text(rendered: Rendered, shots: Sequence[Rendered] = ()) -> str:
        """System text, worked examples and prompt as one text."""
        blocks = [rendered.system] if rendered.system else []
        blocks += [shot.prompt + shot.completion for shot in shots]
        return SHOT_SEPARATOR.join([*blocks, rendered.prompt])

    def completion(self, text: str) -> tuple[int, ...]:
        """Token ids of a completion and its end token.

        Raises:
            DataError: the text is empty, spells an end token, or has characters that the tokenizer does not know.
        """
        if not text.strip():
            raise _empty()
        ids = self.choice(text)
        self.texts.refuse_unwritable(text, ids, self.proof.end_ids)
        return (*ids, self.end_id)

    def choice(self, text: str) -> tuple[int, ...]:
        """Token ids of a completion without its end token: what choice scoring adds up."""
        return self.texts.following(self._framed(text))

    def unwritable(self, rendered: Rendered) -> bool:
        """Whether the model cannot be judged by this example: it could write no reference, or not every choice."""
        if rendered.choices is not None:
            return any(map(self.vocabulary.loses, rendered.choices))
        return not any(map(self._writes, rendered.references))

    def _writes(self, text: str) -> bool:
        try:
            self.completion(text)
        except DataError:
            return False
        return True

    def _framed(self, text: str) -> str:
        """A completion as the chat template prints it, without the end token."""
        return printed_answer(self.tokenizer, self._turn, text) if self._turn else text

    def text(self, ids: Sequence[int]) -> str:
        """The text that completion ids stand for, up to the end token; inverse of `completion`."""
        ids = list(ids)
        if self.end_id in ids:
            ids = ids[: ids.index(self.end_id)]
        return self.texts.said(ids)

    def answer(self, text: str, references: Sequence[str]) -> str:
        """A generated text without what the chat template prints around an answer; the references have none of it."""
        return self._turn.unwrap(text, references) if self._turn else text

    def row(self, rendered: Rendered) -> Encoded:
        """Ids of the example at its full length, whatever the window.

        Raises:
            DataError: see `encode`.
        """
        try:
            if rendered.whole is not None and not self.encoder_decoder:
                return self._whole.row(rendered.id, rendered.whole)
            prompt = self.prompt(rendered)
            if not rendered.completion.strip():
                raise _empty(f": {self._shown(prompt)}")
            row = Encoded(rendered.id, prompt, self.completion(rendered.completion))
            self.proof.answers(row, [self._framed(rendered.completion)])
            return row
        except DataError as error:
            raise _placed(error, rendered) from error

    def encode(self, rendered: Rendered) -> Encoded | Overlong:
        """Ids of one example, or why it was left out.

        Raises:
            DataError: an empty completion, an end token or a BOS in the text; a row longer than the window
                where the policy is ``error``.
        """
        return self.window.fitted(self.row(rendered), rendered)

    def lacks(self, ids: Sequence[int]) -> str | None:
        """Which token of ``ids`` the model does not know, in words; None where it knows all."""
        return self.window.lacks(ids)

    def _check_frame(self) -> None:
        """Raises a ModelError where every row would need a token that the model does not know."""
        if not self.unembedded:
            return
        frame = render_chat(self.tokenizer, Rendered("", "", "hello", "", (), chat=True)) if self.chat else ""
        lacks = self.lacks((*self.beginning, *self.texts.ids(frame), self.end_id))
        if lacks is not None:
            raise ModelError(
                f"no text can be encoded: {lacks}",
                where=tokenizer_name(self.tokenizer),
                remedy="use the tokenizer and the chat template that the model was trained with",
            )

    def encode_all(self, rows: Iterable[Rendered]) -> EncodedSet:
        """Encode every row; rows that do not fit are listed with the reason."""
        kept: list[Encoded] = []
        dropped: list[Overlong] = []
        truncated = 0
        for rendered in rows:
            row = self.row(rendered)
            result = self.window.fitted(row, rendered)
            if isinstance(result, Overlong):
                dropped.append(result)
                continue
            kept.append(result)
            truncated += len(result) < len(row)
        return EncodedSet(tuple(kept), tuple(dropped), truncated)

    def encode_batch(self, rows: Sequence[Rendered]) -> EncodedSet:
        """As `encode_all`, a quarter faster: plain prompts and completions are tokenised in few calls, then proven."""
        kept: list[Encoded] = []
        dropped: list[Overlong] = []
        truncated = 0
        try:
            for start in range(0, len(rows), TOGETHER):
                block = rows[start : start + TOGETHER]
                self._tokenise_together(block)
                made = self.encode_all(block)
                kept += made.rows
                dropped += made.dropped
                truncated += made.truncated
        finally:
            self.texts.tokenise_together(())
        return EncodedSet(tuple(kept), tuple(dropped), truncated)

    def _tokenise_together(self, rows: Iterable[Rendered]) -> None:
        """Ids of the texts that encoding these rows will ask for."""
        texts: list[str] = []
        for row in rows:
            if row.whole is None:
                with suppress(DataError):  # said with its place when the row is encoded
                    texts.append(self.texts.as_following(self._framed(row.completion)))
                if not self.chat and not row.chat:
                    texts.append(self.plain_text(row))
        self.texts.tokenise_together(texts)

    def _shown(self, ids: Sequence[int]) -> str:
        return self.proof.shown(Encoded("", tuple(ids), ()))

    def cut(self, prompt_ids: Sequence[int], room: int) -> tuple[int, ...]:
        """The last tokens of a prompt that fit into ``room`` tokens, BOS kept in front."""
        return self.window.cut(prompt_ids, room)

    @staticmethod
    def _refuse_promptless(rendered: Rendered) -> None:
        """Raises a DataError where an encoder would have nothing to read, or a decoder several answers to write."""
        if rendered.whole is not None:
            what = "a row of several turns, segments or token ids"
        elif not rendered.prompt.strip():
            what = "a row without a prompt"
        else:
            return
        raise DataError(
            f"{what} does not say what the encoder reads and what the decoder writes",
            path=rendered.path or None,
            line=rendered.line or None,
            remedy="give rows of one prompt and one completion, or use a decoder-only model",
        )

    def _single_bos(self, ids: Sequence[int], rendered: Rendered) -> tuple[int, ...]:
        bos = self.tokenizer.bos_token_id
        if bos is not None and list(ids[:2]) == [bos, bos]:
            raise DataError(
                f"the prompt begins with two BOS tokens: {self._shown(ids)}",
                path=rendered.path or None,
                line=rendered.line or None,
                remedy=f"remove {self.tokenizer.bos_token!r} from the template; the encoder puts it there",
            )
        return tuple(ids)


def _empty(shown: str = "") -> DataError:
    return DataError(f"an empty completion has nothing to learn from or to score{shown}", remedy="remove the row")


def _placed(error: DataError, rendered: Rendered) -> DataError:
    """The same error with file and line of the row."""
    if error.path is not None or not rendered.path:
        return error
    return DataError(
        error.message, path=rendered.path, line=rendered.line or None, field=error.field, remedy=error.remedy
    )
