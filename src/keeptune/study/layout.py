"""One layout for two models: what they are asked in must not be what tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keeptune.core.errors import ModelError
from keeptune.core.units import content_hash
from keeptune.data.encode import Encoder
from keeptune.data.tokenizer import default_template, read_tokenizer
from keeptune.models.adapters import adapter_tokenizer, check_adapter, is_adapter
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import model_folder


@dataclass(frozen=True)
class Layout:
    """The chat template that both models are asked in; None: each in its own, which is the same."""

    template: str | None
    notes: tuple[str, ...] = ()  # what the reader has to know

    def put_on(self, lm: LanguageModel) -> None:
        """Ask ``lm`` in this layout.

        Raises:
            ModelError: its tokenizer cannot be asked so.
        """
        if self.template is None or lm.tokenizer.chat_template == self.template:
            return
        lm.tokenizer.chat_template = self.template
        lm.chat = True
        lm.hash = content_hash([lm.hash, self.template]) if lm.hash is not None else None
        try:
            Encoder(lm.tokenizer, context=lm.context, chat=True)
        except ModelError as error:
            raise ModelError(
                f"this model cannot be asked in the chat template of the other: {error.message}",
                where=lm.name,
                remedy="give both the same chat template (chat_template.jinja); in two layouts they cannot be compared",
            ) from error


def one_layout(base: str, tuned: str) -> Layout:
    """The tuned side's chat template where it has one, for it was trained in that; else the base's.

    Raises:
        ModelError: a tokenizer that cannot be read.
    """
    before = read_tokenizer(str(model_folder(base)), base)
    own = before.chat_template
    if is_adapter(tuned):
        check_adapter(Path(tuned))  # before the base is asked anything
        after = adapter_tokenizer(Path(tuned), before).chat_template
    else:
        after = read_tokenizer(str(model_folder(tuned)), tuned).chat_template
    if default_template(own) == default_template(after):
        return Layout(None)
    which, other = (tuned, base) if after else (base, tuned)
    has = "has none" if not (own and after) else "has another"
    return Layout(
        str(default_template(after or own)),
        (f"Both models were asked in the chat template of {_short(which)}; {_short(other)} {has}.",),
    )


def _short(name: str) -> str:
    return "/".join(Path(name).parts[-2:]) if Path(name).is_dir() else name
