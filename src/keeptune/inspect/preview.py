"""Training rows as the model sees them: which tokens it reads, which it is trained on, where the prompt ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptune.builtin import model_path
from keeptune.core.errors import DataError, ModelError
from keeptune.core.tokens import TokenView, visible
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.token_texts import row_tokens
from keeptune.data.encode.tokenizer import read_tokenizer, unembedded_tokens
from keeptune.data.encode.window import OverlongPolicy
from keeptune.data.examples import Encoded, Example, Rendered
from keeptune.data.prompts.templates import TemplateSet
from keeptune.data.storage.lazy import picked, places


@dataclass(frozen=True, slots=True)
class Shown:
    """One row, ready to be printed."""

    place: str
    part: str
    view: TokenView
    boundary: str  # how the prompt ends and the completion begins, spaces visible
    references: tuple[str, ...]  # further accepted completions
    choices: tuple[str, ...]

    @staticmethod
    def make(example: Example, part: str, rendered: Rendered, view: TokenView) -> Shown:
        """The row with what its rendering says beside the tokens."""
        return Shown(
            place=f"{example.path}:{example.line}",
            part=part,
            view=view,
            boundary=f"{visible(rendered.prompt[-12:])}|{visible(rendered.completion[:12])}",
            references=rendered.references[1:],
            choices=rendered.choices or (),
        )


def load_tokenizer(model: str) -> tuple[Any, int, frozenset[int], bool]:
    """The tokenizer of a model folder or hub name, its context window in tokens, the tokens that the model lacks, and
    whether the model is an encoder-decoder.

    Loads no weights. The window is the one that `LanguageModel` finds for the loaded model.

    Raises:
        ModelError: no such model, or it has no tokenizer.
    """
    from transformers import AutoConfig

    tokenizer = read_tokenizer(model, model)
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"config.json cannot be used: {lines[0] if lines else type(error).__name__}", where=model
        ) from error
    text_config = config.get_text_config()
    stated = [getattr(text_config, field, None) for field in ("max_position_embeddings", "n_positions", "max_seq_len")]
    limits = [n for n in (*stated, tokenizer.model_max_length) if isinstance(n, int) and 0 < n < 10**9]
    lacking = unembedded_tokens(tokenizer, text_config.vocab_size, model)
    return tokenizer, min(limits, default=2048), lacking, bool(config.is_encoder_decoder)


def preview_rows(
    examples: Sequence[Example], templates: TemplateSet, encoder: Encoder, *, rows: int = 3, seed: int = 0
) -> list[Shown]:
    """The first ``rows`` examples of the training part (else of all), token by token.

    Args:
        examples: in the order of the source.
        templates: the wordings; each row shows the one that training with ``seed`` draws for it.
        encoder: holds the tokenizer; the same object that training and evaluation use.
        rows: how many.
        seed: of the wordings.
    """
    return [_show(example, templates, encoder, seed) for example in training_rows(examples)[:rows]]


def training_rows(examples: Sequence[Example]) -> Sequence[Example]:
    """The rows of the training part; all where there is none."""
    return picked(examples, places(examples, lambda example: example.part in (None, "train"))) or examples


def _show(example: Example, templates: TemplateSet, encoder: Encoder, seed: int) -> Shown:
    rendered = templates.for_training(example, seed)
    row = Encoded(example.id, (), ())
    problem = None
    try:
        row = encoder.row(rendered)
        if not encoder.window.holds(row):
            problem = encoder.window.too_long(row)
        problem = encoder.lacks((*row.prompt_ids, *row.completion_ids)) or problem
    except DataError as error:
        problem = error.message
    view = TokenView(
        name=wording_name(templates, example, rendered),
        prompt_tokens=len(row) - row.trained,
        completion_tokens=row.trained,
        tokens=tuple(row_tokens(encoder.tokenizer, row)),
        drawn=True,
        problem=problem or "",
    )
    return Shown.make(example, example.part or "", rendered, view)


def wording_name(templates: TemplateSet, example: Example, rendered: Rendered) -> str:
    """The name of the template that gave this rendering of the example."""
    return next((name for name, other in templates.named(example) if other == rendered), "")


def encoder_of(model: str, overlong: OverlongPolicy = "drop") -> Encoder:
    """An encoder that works as training with this model does; no weights are loaded.

    Raises:
        ModelError: no such model, or it has no tokenizer.
    """
    place = str(model_path()) if model == "builtin" else model
    if "@" in model and not Path(model).exists():
        from keeptune.models.load import model_folder  # imports torch

        place = str(model_folder(model))  # a pinned model is fetched as it is for training
    tokenizer, context, lacking, encoder_decoder = load_tokenizer(place)
    return Encoder(
        tokenizer,
        context=context,
        chat=bool(getattr(tokenizer, "chat_template", None)),
        overlong=overlong,
        unembedded=lacking,
        encoder_decoder=encoder_decoder,
    )
