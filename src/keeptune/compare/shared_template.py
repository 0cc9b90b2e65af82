"""One chat template for two models: what they are asked in must not be what tells them apart."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptune.core.errors import ModelError
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.tokenizer import default_template, read_tokenizer
from keeptune.models.adapters import adapter_tokenizer, check_adapter, is_adapter
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import model_folder

PROBE = "What is 27 + 15?\nÉtude: naïve, 你好."  # a text that shows how a tokenizer begins and cuts


@dataclass(frozen=True)
class SharedTemplate:
    """The chat template that both models are asked in; None if both already have the same one."""

    template: str | None
    notes: tuple[str, ...] = ()  # what the reader has to know

    def put_on(self, lm: LanguageModel) -> None:
        """Ask ``lm`` in this chat template.

        Raises:
            ModelError: its tokenizer cannot use it.
        """
        if self.template is None or lm.tokenizer.chat_template == self.template:
            return
        lm.tokenizer.chat_template = self.template
        lm.chat = True
        lm.hash = content_hash([lm.hash, self.template]) if lm.hash is not None else None
        try:
            Encoder.of(lm)
        except ModelError as error:
            raise ModelError(
                f"this model cannot be asked in the chat template of the other: {error.message}",
                where=lm.name,
                remedy="give both the same chat template (chat_template.jinja); in two layouts they cannot be compared",
            ) from error


def shared_template(base: str, tuned: str) -> SharedTemplate:
    """The tuned model's chat template if it has one, because it was trained in it; otherwise the base's.

    Raises:
        ModelError: a tokenizer or an adapter that cannot be read.
    """
    before = read_tokenizer(str(model_folder(base)), base)
    if is_adapter(tuned):
        check_adapter(Path(tuned))  # before the base is asked anything
        after = adapter_tokenizer(Path(tuned), deepcopy(before))  # which may get the adapter's template
    else:
        after = read_tokenizer(str(model_folder(tuned)), tuned)
    tokens = _note_on_tokens(before, after, base, tuned)
    mine, theirs = default_template(before.chat_template), default_template(after.chat_template)
    if mine == theirs:
        return SharedTemplate(None, tokens)
    which, other = (tuned, base) if theirs else (base, tuned)
    has = "has none" if not (mine and theirs) else "has another"
    note = f"Both models were asked in the chat template of {short_name(which)}; {short_name(other)} {has}."
    return SharedTemplate(str(theirs or mine), (note, *tokens))


def _note_on_tokens(before: Any, after: Any, base: str, tuned: str) -> tuple[str, ...]:
    """What the reader has to know where a text becomes other tokens for one model than for the other."""
    ids = [tokenizer(PROBE).input_ids for tokenizer in (before, after)]
    if ids[0] == ids[1]:
        return ()
    begins = [tokenizer.decode(each[:1]) for tokenizer, each in zip((before, after), ids, strict=True)]
    return (
        f"The two tokenizers make other tokens of the same text: {short_name(base)} {len(ids[0])} "
        f"(first {begins[0]!r}), {short_name(tuned)} {len(ids[1])} (first {begins[1]!r}) of a short one.",
    )


def short_name(name: str) -> str:
    """A model as tables name it: of a folder, the last two parts of its path."""
    return "/".join(Path(name).parts[-2:]) if Path(name).is_dir() else name
