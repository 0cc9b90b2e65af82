"""Train a small T5 on the corpus and the questions of the built-in base; README.md beside this file says what it is.

    python recipes/t5/make_model.py OUT

Writes OUT/model (Hugging Face folder, bf16 safetensors), OUT/steps.jsonl and OUT/validation.jsonl.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

sys.path.append(str(Path(__file__).parent.parent / "builtin"))

from spans import span_rows

import corpus
import rows
from keeptune.builtin import model_path
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded, Rendered
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.loop import TrainConfig, fit
from train import Print

SEED = 20261129
CONTEXT = 512
SENTINELS = 32
QUESTIONS, CHECKS = 12_000, 60  # of every skill, to train on and to validate by
PASSES = 1  # over the prose
RATE = 2e-3
STEP_TOKENS = 8192  # about, per optimiser step
HELD_BACK = 7680  # tokens of prose that are not trained on


def tokenizer() -> PreTrainedTokenizerFast:
    """The pieces of the built-in base, T5's way: </s> behind a text, nothing before it, sentinels for gaps."""
    made = AutoTokenizer.from_pretrained(model_path())
    made.add_special_tokens({"pad_token": "<pad>"})
    made.add_tokens([AddedToken(f"<extra_id_{number}>", special=True) for number in range(SENTINELS)])
    end = made.eos_token
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, made.eos_token_id)]
    )
    made.bos_token = None
    made.model_max_length = CONTEXT
    return made


def untrained(pieces: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """A T5 (version 1.1) of 5.3 million parameters with random weights, bf16."""
    torch.manual_seed(SEED)
    config = T5Config(
        vocab_size=len(pieces),
        d_model=256,
        d_kv=32,
        d_ff=512,
        num_layers=3,
        num_decoder_layers=3,
        num_heads=8,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        n_positions=CONTEXT,
        eos_token_id=pieces.eos_token_id,
        pad_token_id=pieces.pad_token_id,
        decoder_start_token_id=pieces.pad_token_id,
    )
    return T5ForConditionalGeneration(config).to(torch.bfloat16)


def question_rows(texts: Sequence[tuple[str, str, str]], encoder: Encoder) -> list[Encoded]:
    """Questions and answers as a study encodes them."""
    asked = [Rendered(f"{at}", f"{at}", prompt, answer, (answer,)) for at, (_, prompt, answer) in enumerate(texts)]
    return list(encoder.encode_batch(asked).rows)


def training_rows(pieces: PreTrainedTokenizerFast) -> tuple[list[Encoded], list[Encoded]]:
    """Train and validation rows: prose with gaps, every pass over it cut at other places, and questions."""
    rng = random.Random(SEED)
    ids = rows.prose_ids(pieces, corpus.paragraphs("base"))
    gaps = [pieces.convert_tokens_to_ids(f"<extra_id_{number}>") for number in range(SENTINELS)]
    encoder = Encoder(pieces, context=CONTEXT, encoder_decoder=True)
    train = question_rows(rows.skill_texts(QUESTIONS, SEED), encoder)
    for number in range(PASSES):
        train += span_rows(ids[:-HELD_BACK], gaps, pieces.eos_token_id, rng, f"prose-{number}")
    validation = span_rows(ids[-HELD_BACK:], gaps, pieces.eos_token_id, rng, "held-back")
    return train, validation + question_rows(rows.skill_texts(CHECKS, SEED + 1), encoder)


def main() -> None:
    """Rows, then training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max-steps", type=int, help="stop after so many; the schedule is fitted to it")
    arguments = parser.parse_args()
    pieces = tokenizer()
    lm = LanguageModel.wrap(untrained(pieces), pieces, name="small T5")
    train, validation = training_rows(pieces)
    tokens = sum(map(len, train))
    config = TrainConfig(
        epochs=1,
        max_steps=arguments.max_steps,
        global_batch=round(STEP_TOKENS * len(train) / tokens),
        validations_per_epoch=12,
    )
    steps = config.steps(len(train))
    print(f"{lm.parameters} parameters, {len(train)} rows, {tokens} tokens, {steps} steps", flush=True)
    result = fit(
        lm, FullConfig().build(), train, validation, config, arguments.out, lr=RATE, seed=SEED, hooks=[Print()]
    )
    print(result, flush=True)


if __name__ == "__main__":
    main()
