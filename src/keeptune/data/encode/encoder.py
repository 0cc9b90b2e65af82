"""Rendered text to token ids: prompt and completion apart, one code path for training and evaluation.

The boundary. Prompt and completion are tokenised apart and their ids are put one behind the other, so the ids of a
prompt are the same when a completion is trained on, scored or generated. Some tokenizers (sentencepiece style) add
a space to every text they see, which would put a space too many at the boundary; a completion is therefore
tokenised behind an anchor and accepted only when anchor + completion decodes to exactly that text.

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
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

from keeptune.core.errors import DataError, ModelError
from keeptune.data.encode.chat import AssistantTurn, assistant_turn, printed_answer, render_chat, tokenizer_name
from keeptune.data.encode.mask_check import Proof, decoded
from keeptune.data.encode.turns import Piece, as_served, chat_pieces, plain_pieces, with_shots
from keeptune.data.encode.vocabulary import Vocabulary
from keeptune.data.examples import Conversation, Encoded, Rendered, Segments, Tokens

OverlongPolicy = Literal["error", "drop", "truncate_prompt"]
SHOT_SEPARATOR = "\n\n"  # between worked examples in a plain prompt, and after a plain system text
_ANCHORS = ("a", ":", "\n", "0", ".", ")")  # texts that a completion is tokenised behind, tried in turn
ANOTHER_MODEL = "remove the row, or use a model whose tokenizer knows its characters"
TOGETHER = 256  # rows whose texts are tokenised in one call
_PROBES = (("Say it", " again now"), ("Say it:\n", "again"), ("Say it:", "\n\nagain"), ("Say (", "again)"))


@dataclass(frozen=True, slots=True)
class Overlong:
    """A row that was left out because it does not fit the context window."""

    id: str
    prompt_tokens: int
    completion_tokens: int
    reason: str
    path: str = ""
    line: int = 0


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
        context: tokens that the model can see, prompt and completion together.
        chat: apply the tokenizer's chat template; examples must be rendered with ``chat=True`` too.
        overlong: what `encode` does with a row longer than ``context``: ``drop`` it (counted, with the reason),
            ``truncate_prompt`` (the prompt loses tokens at its left end, after BOS) or raise an ``error``.
            A completion is never cut: one that leaves no room for a prompt token is dropped, or raises.
        unembedded: tokens that the model does not know; rows that need one are treated as those that are too long.

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
        self.vocabulary = Vocabulary(tokenizer)
        self._together: dict[str, tuple[int, ...]] = {}  # ids of texts that were tokenised in one call
        self.start_ids = _start_ids(tokenizer)
        self._turn: AssistantTurn | None = assistant_turn(tokenizer) if chat else None
        self.end_id: int = self._turn.end_id if self._turn else int(tokenizer.eos_token_id)
        self._check_frame()
        self._anchors = tuple((text, self._ids(text)) for text in _ANCHORS)
        self._completion_body = lru_cache(maxsize=4_096)(self._split_off)  # answers and choices that recur
        self._prove_boundaries()
        self._proof = Proof(tokenizer, {self.end_id, int(tokenizer.eos_token_id)}, self._said, self._kept)

    @property
    def name(self) -> str:
        """The tokenizer, as messages call it."""
        return f"the tokenizer of {tokenizer_name(self.tokenizer)}"

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
        if rendered.whole is not None:
            try:
                return self._single_bos(self._whole_prompt(rendered.whole, shots), rendered)
            except DataError as error:
                raise _placed(error, rendered) from error
        if self.chat:
            return self._single_bos(self._ids(render_chat(self.tokenizer, rendered, shots)), rendered)
        body = self._ids(self.plain_text(rendered, shots))
        ids = (*self.start_ids, *body)
        return self._single_bos(ids or self.beginning, rendered)

    def prompt_text(self, rendered: Rendered, shots: Sequence[Rendered] = ()) -> str:
        """The text whose ids `prompt` returns, without the BOS that a tokenizer adds to plain text."""
        if rendered.whole is not None:
            return self._decode(self._whole_prompt(rendered.whole, shots))
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
        self._refuse_unwritable(text, ids)
        return (*ids, self.end_id)

    def choice(self, text: str) -> tuple[int, ...]:
        """Token ids of a completion without its end token: what choice scoring adds up."""
        return self._completion_body(self._framed(text))

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
        return self._said(ids)

    def answer(self, text: str, references: Sequence[str]) -> str:
        """A generated text without what the chat template prints around an answer; the references have none of it."""
        return self._turn.unwrap(text, references) if self._turn else text

    def _said(self, ids: Sequence[int]) -> str:
        """What ids add to a text before them."""
        anchor, anchor_ids = self._anchors[0]
        text = self._decode((*anchor_ids, *ids))
        return text[len(anchor) :] if text.startswith(anchor) else self._decode(ids)

    def _kept(self, text: str) -> str:
        """What the tokenizer keeps of a text that follows another."""
        anchor, _ = self._anchors[0]
        return self._decode(self._ids(anchor + text)).removeprefix(anchor)

    def row(self, rendered: Rendered) -> Encoded:
        """Ids of the example at its full length, whatever the window.

        Raises:
            DataError: see `encode`.
        """
        try:
            if rendered.whole is not None:
                return self._whole_row(rendered.id, rendered.whole)
            prompt = self.prompt(rendered)
            if not rendered.completion.strip():
                raise _empty(f": {self._shown(prompt)}")
            row = Encoded(rendered.id, prompt, self.completion(rendered.completion))
            self._proof.answers(row, [self._framed(rendered.completion)])
            return row
        except DataError as error:
            raise _placed(error, rendered) from error

    def encode(self, rendered: Rendered) -> Encoded | Overlong:
        """Ids of one example, or why it was left out.

        Raises:
            DataError: an empty completion, an end token or a BOS in the text; a row longer than the window
                where the policy is ``error``.
        """
        return self._fitted(self.row(rendered), rendered)

    def _fitted(self, row: Encoded, rendered: Rendered) -> Encoded | Overlong:
        """The row inside the window, by the policy."""
        prompt, completion = row.prompt_ids, row.completion_ids
        lacks = self.lacks((*prompt, *completion))
        if lacks is not None:
            return self._unknown(rendered, row, lacks)
        if len(row) <= self.context:
            return row
        too_long = self._overlong(rendered, len(prompt), len(completion))
        room = self.context - len(completion)
        if self.overlong == "error":
            raise DataError(
                f"{too_long.reason}: {len(prompt)} prompt + {len(completion)} completion tokens, window {self.context}",
                path=rendered.path or None,
                line=rendered.line or None,
                remedy="set overlong to 'drop' or 'truncate_prompt', or use a model with a longer window",
            )
        if self.overlong == "drop" or room <= len(self.start_ids):
            return too_long
        return replace(row, prompt_ids=self.cut(prompt, room))

    def lacks(self, ids: Sequence[int]) -> str | None:
        """Which token of ``ids`` the model does not know, in words; None where it knows all."""
        found = next((id for id in ids if id in self.unembedded), None) if self.unembedded else None
        if found is None:
            return None
        return f"it needs the token {self.tokenizer.convert_ids_to_tokens(found)!r}, which the model does not embed"

    def _unknown(self, rendered: Rendered, row: Encoded, reason: str) -> Overlong:
        """A row that needs a token without an embedding, by the policy."""
        if self.overlong == "error":
            raise DataError(
                reason,
                path=rendered.path or None,
                line=rendered.line or None,
                remedy="remove the row, or drop such rows",
            )
        lengths = len(row.prompt_ids), len(row.completion_ids)
        return Overlong(rendered.id, *lengths, reason, rendered.path, rendered.line)

    def _check_frame(self) -> None:
        """Raises a ModelError where every row would need a token that the model does not know."""
        if not self.unembedded:
            return
        frame = render_chat(self.tokenizer, Rendered("", "", "hello", "", (), chat=True)) if self.chat else ""
        lacks = self.lacks((*self.beginning, *self._ids(frame), self.end_id))
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
            result = self._fitted(row, rendered)
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
            self._together = {}
        return EncodedSet(tuple(kept), tuple(dropped), truncated)

    def _tokenise_together(self, rows: Iterable[Rendered]) -> None:
        """Ids of the texts that encoding these rows will ask for."""
        texts: dict[str, None] = {}
        for row in rows:
            if row.whole is None:
                with suppress(DataError):  # said with its place when the row is encoded
                    texts[self._framed(row.completion)] = None
                if not self.chat and not row.chat:
                    texts[self.plain_text(row)] = None
        made = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        self._together = {text: tuple(ids) for text, ids in zip(texts, made, strict=True)}

    def _whole_row(self, id: str, whole: Conversation | Segments | Tokens) -> Encoded:
        """The row, its mask proven."""
        if isinstance(whole, Tokens):
            row = self._masked(id, whole.ids, whole.trained)
            self._proof.tokens(whole.ids, row)
        elif isinstance(whole, Segments):
            row = self._masked(id, *self._segment_ids(whole))
            self._proof.segments(row, self._segment_texts(whole))
        else:
            pieces = self._pieces(whole)
            row = self._masked(id, *self._assembled(pieces))
            self._proof.answers(row, [piece.text for piece in pieces if piece.trained])
        return row

    def _masked(self, id: str, ids: Sequence[int], mask: Sequence[bool]) -> Encoded:
        if not any(mask):
            raise DataError(f"no token of the row is supervised: {self._shown(ids)}", remedy="remove the row")
        return Encoded.masked(id, ids, mask)

    def _shown(self, ids: Sequence[int]) -> str:
        return self._proof.shown(Encoded("", tuple(ids), ()))

    def _whole_prompt(self, whole: Conversation | Segments | Tokens, shots: Sequence[Rendered]) -> tuple[int, ...]:
        """What stands before the answer that is asked for."""
        if isinstance(whole, Conversation):
            examples = [shot.whole for shot in shots if isinstance(shot.whole, Conversation)]
            talk = with_shots(whole, examples)
            before = self._pieces(talk)[:-1]
            if self._turn:
                as_served(self.tokenizer, talk, before, self._turn)
            return tuple(self._assembled(before)[0])
        if isinstance(whole, Tokens):
            ids, mask = list(whole.ids), list(whole.trained)
        else:
            ids, mask = self._segment_ids(whole)
        last = max(place for place, trained in enumerate(mask) if trained)
        while last and mask[last - 1]:
            last -= 1
        return tuple(ids[:last])

    def _pieces(self, talk: Conversation) -> list[Piece]:
        return chat_pieces(self.tokenizer, talk, self._turn) if self._turn else plain_pieces(talk)

    def _assembled(self, pieces: Sequence[Piece]) -> tuple[list[int], list[bool]]:
        """Ids of the pieces one behind the other; what follows an end token is tokenised behind it."""
        ids: list[int] = []
        mask: list[bool] = []
        for number, piece in enumerate(pieces):
            if piece.turn is not None:
                made = (*self._answer(piece.text), self.end_id)
            elif number:
                made = self._behind_end(piece.text)
            else:
                made = self._ids(piece.text) if self.chat else (*self.start_ids, *self._ids(piece.text))
            ids += made
            mask += [piece.trained] * len(made)
        return ids, mask

    def _answer(self, text: str) -> tuple[int, ...]:
        ids = self._completion_body(text)
        self._refuse_unwritable(text, ids)
        return ids

    def _behind_end(self, text: str) -> tuple[int, ...]:
        """Ids of a text that follows an end token: special tokens cut a text, so its left neighbour is all it needs."""
        end = self.tokenizer.convert_ids_to_tokens(self.end_id)
        ids = self._ids(end + text)
        if ids[:1] != (self.end_id,):
            raise ModelError(
                f"the tokenizer does not read the text {end!r} as its end token",
                where=tokenizer_name(self.tokenizer),
                remedy="declare it as a special token in tokenizer_config.json",
            )
        return ids[1:]

    def _segment_ids(self, whole: Segments) -> tuple[list[int], list[bool]]:
        """Segments as they are, BOS in front and EOS at the end where the texts do not spell them."""
        eos = int(self.tokenizer.eos_token_id)
        ids: list[int] = []
        mask: list[bool] = []
        for text, trained in whole.pieces:
            made = self._completion_body(text) if ids else self._ids(text)
            if trained:
                self._refuse_unwritable(text, ())  # segments spell their end tokens
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

    def cut(self, prompt_ids: Sequence[int], room: int) -> tuple[int, ...]:
        """The last tokens of a prompt that fit into ``room`` tokens, BOS kept in front."""
        if len(prompt_ids) <= room:
            return tuple(prompt_ids)
        start = self.start_ids if tuple(prompt_ids[: len(self.start_ids)]) == self.start_ids else ()
        return (*start, *prompt_ids[len(prompt_ids) - (room - len(start)) :])

    def _refuse_unwritable(self, text: str, ids: Sequence[int]) -> None:
        """Nothing, unless a model could not write this answer.

        Raises:
            DataError: it holds a token at which generation stops (the end token, or EOS), or unknown characters.
        """
        found = next((id for id in ids if id in (self.end_id, self.tokenizer.eos_token_id)), None)
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

    def _overlong(self, rendered: Rendered, prompt: int, completion: int) -> Overlong:
        fits = completion < self.context - len(self.start_ids)
        reason = "prompt and completion exceed the window" if fits else "the completion alone exceeds the window"
        return Overlong(rendered.id, prompt, completion, reason, rendered.path, rendered.line)

    def _ids(self, text: str) -> tuple[int, ...]:
        ids = self._together.get(text)
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if ids is None else ids

    def _decode(self, ids: Sequence[int]) -> str:
        return decoded(self.tokenizer, ids)

    def _split_off(self, text: str) -> tuple[int, ...]:
        """Ids of ``text`` as it continues another text: no space lost, none added."""
        direct = self._ids(text)
        anchor, anchor_ids = self._anchors[0]
        if self._decode((*anchor_ids, *direct)) == anchor + text:
            return direct
        for anchor, anchor_ids in self._anchors:
            joint = self._ids(anchor + text)
            cut = joint[len(anchor_ids) :]
            if joint[: len(anchor_ids)] == anchor_ids and self._decode((*anchor_ids, *cut)) == self._decode(joint):
                return cut
        if any(self._decode(self._ids(anchor + text)) == anchor + text for anchor, _ in self._anchors):
            raise ModelError(
                f"the tokenizer cannot be cut in front of the completion {text[:40]!r}",
                where=tokenizer_name(self.tokenizer),
                remedy="put a line break at the end of the prompt, or use another tokenizer",
            )
        return direct  # the tokenizer does not keep this text in any case (unknown characters)

    def _prove_boundaries(self) -> None:
        for prompt, completion in _PROBES:
            joint = self._decode(self._ids(prompt + completion))
            if joint == prompt + completion and self._decode(self._ids(prompt) + self._split_off(completion)) != joint:
                raise ModelError(
                    f"tokenising {prompt!r} and {completion!r} apart changes the text",
                    where=tokenizer_name(self.tokenizer),
                    remedy="use a tokenizer whose tokens can be put one behind the other",
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


def _start_ids(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens that the tokenizer puts before a text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    start = next((full[:i] for i in range(len(full)) if full[i : i + len(bare)] == bare), [])
    if tokenizer.bos_token_id is not None and start.count(tokenizer.bos_token_id) > 1:
        raise ModelError(
            "the tokenizer puts two BOS tokens before a text",
            where=tokenizer_name(tokenizer),
            remedy="remove one of them from its post-processor",
        )
    return tuple(start)


def _empty(shown: str = "") -> DataError:
    return DataError(f"an empty completion has nothing to learn from or to score{shown}", remedy="remove the row")


def _placed(error: DataError, rendered: Rendered) -> DataError:
    """The same error with file and line of the row."""
    if error.path is not None or not rendered.path:
        return error
    return DataError(
        error.message, path=rendered.path, line=rendered.line or None, field=error.field, remedy=error.remedy
    )
