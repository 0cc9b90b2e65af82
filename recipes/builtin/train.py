"""Train the built-in base model; README.md beside this file says what it is.

    python recipes/builtin/train.py first OUT1
    python recipes/builtin/train.py second OUT2 --start OUT1/model

Each writes OUT/model (Hugging Face folder, bf16 safetensors), OUT/steps.jsonl and OUT/validation.jsonl.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import corpus
import rows
from keeptune.core.records import StepRecord, ValidationRecord
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.tracking.base import Callback, Run
from keeptune.train.loop import TrainConfig, fit
from tokenizer import train_tokenizer

SEED = 20261123
PIECES, CONTEXT = 2048, 1024
HELD_BACK = 60  # blocks of prose that are not trained on; they measure the validation loss


@dataclass(frozen=True)
class Phase:
    """What one run reads."""

    seed: int  # of the questions and of the order of the rows
    questions: int  # of every skill
    passes: float  # over the prose
    rate: float  # peak
    held_back: int  # blocks of prose in validation
    checks: int  # questions of every skill in validation
    fewer: tuple[str, ...] = ()  # skills that need only a quarter of the questions
    stop_after: int | None = None  # steps after which the run ends, before its schedule does


PHASES = {
    "first": Phase(SEED, questions=17_600, passes=1.7, rate=2e-3, held_back=60, checks=60, stop_after=584),
    "second": Phase(
        SEED + 100,
        questions=12_800,
        passes=0.33,
        rate=1.2e-3,
        held_back=10,
        checks=150,
        fewer=("alphabet", "largest", "agreement"),
    ),
}


def untrained(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of 4.66 million parameters with random weights, bf16."""
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=PIECES,
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        intermediate_size=640,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def training_rows(
    tokenizer: PreTrainedTokenizerFast, texts: list[tuple[str, str, str]], phase: Phase
) -> tuple[list[Encoded], list[Encoded]]:
    """Train and validation rows: the prose, every pass over it cut at other places, and the questions."""
    rng = random.Random(phase.seed)
    ids = rows.prose_ids(tokenizer, corpus.paragraphs("base"))
    cut = len(ids) - HELD_BACK * 256
    blocks: list[Encoded] = []
    passes = phase.passes
    while passes > 0:
        one = rows.prose_rows(ids[:cut], tokenizer, rng, f"prose-{len(blocks)}")
        rng.shuffle(one)
        blocks += one[: int(min(passes, 1) * len(one))]
        passes -= 1
    held_back = rows.prose_rows(ids[cut:], tokenizer, rng, "held-back")
    unseen = rows.skill_rows(rows.skill_texts(phase.checks, SEED + 1), tokenizer, "check")
    return blocks + rows.skill_rows(texts, tokenizer, "question"), held_back[: phase.held_back] + unseen


class Print(Callback):
    """A line every 20 steps and at every validation."""

    def after_step(self, run: Run, record: StepRecord) -> None:
        """Loss and speed."""
        if record.step % 20 == 0:
            rate = record.tokens / record.seconds
            print(f"step {record.step}/{run.steps} loss {record.loss:.3f} {rate:.0f} tokens/s", flush=True)

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """The loss that decides which checkpoint is kept."""
        print(f"step {record.step} validation loss {record.loss:.4f}", flush=True)


class Stop(Callback):
    """Ends the run after a step; the best checkpoint so far is on disk."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """Leave at the step."""
        if record.step == self.step:
            raise SystemExit(f"stopped after step {self.step}")


def starting_point(start: Path | None, texts: list[tuple[str, str, str]]) -> LanguageModel:
    """The model in a folder, or a new tokenizer and random weights."""
    if start is not None:
        tokenizer = AutoTokenizer.from_pretrained(start)
        model = LlamaForCausalLM.from_pretrained(start, dtype=torch.bfloat16)
        return LanguageModel.wrap(model, tokenizer, name="builtin")
    sample = [prompt + answer for _, prompt, answer in texts[::8]]
    tokenizer = train_tokenizer(corpus.paragraphs("base") + sample, pieces=PIECES, context=CONTEXT)
    return LanguageModel.wrap(untrained(tokenizer), tokenizer, name="builtin")


def main() -> None:
    """Rows, then training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=sorted(PHASES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="folder of a model to go on from")
    parser.add_argument("--step-tokens", type=int, default=8192, help="about, per optimiser step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    phase = PHASES[arguments.phase]
    texts = rows.skill_texts(phase.questions, phase.seed, phase.fewer)
    lm = starting_point(arguments.start, texts)
    train, validation = training_rows(lm.tokenizer, texts, phase)
    tokens = sum(map(len, train))
    config = TrainConfig(
        epochs=1,
        global_batch=round(arguments.step_tokens * len(train) / tokens),
        weight_decay=0.1,
        validations_per_epoch=12,
    )
    print(f"{len(train)} rows, {tokens} tokens, {len(train) // config.global_batch} steps", flush=True)
    hooks = [Print(), *([Stop(phase.stop_after)] if phase.stop_after else [])]
    method = FullConfig().build()
    rate, seed = phase.rate, phase.seed
    print(fit(lm, method, train, validation, config, arguments.out, lr=rate, seed=seed, hooks=hooks), flush=True)


if __name__ == "__main__":
    main()
