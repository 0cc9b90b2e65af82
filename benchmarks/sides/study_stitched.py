"""The stitched side of `study.py`: what a good engineer would write from TRL, peft, lm-eval and transformers.

Training is TRL's own `train()` in one of its settings, validated and saved every epoch, the best checkpoint loaded in
the end. Choices, free texts and validation rows are scored by lm-eval's Hugging Face backend, and texts are generated
by transformers in batches sorted by length. A model is in memory from its training to its last validation item; only
what is chosen is saved and read again. Rows and items come as token ids, so tokenising costs nothing.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForCausalLM
from trl import SFTConfig

from common.rows import Example, load_tokenizer
from common.trl_setting import TrlSetting
from common.workers import Channel
from keeptune.train.schedule import learning_rate
from sides.generate_transformers import until
from sides.train_trl import IGNORED, CountingTrainer

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
EVALUATION_BATCH = 32


class Trainer(CountingTrainer):
    """Follows keeptune's schedule, so that a rate means the same; knows how long its validations took."""

    evaluation_seconds = 0.0
    warmup = 0.0  # share of the steps

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Warm-up and half a cosine, one step ahead of transformers', whose first step has the rate zero."""
        steps = num_training_steps
        self.lr_scheduler = LambdaLR(
            optimizer or self.optimizer, lambda done: learning_rate(min(done + 1, steps), steps, 1.0, self.warmup)
        )
        return self.lr_scheduler

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        """As it is, with the time beside."""
        started = time.perf_counter()
        try:
            return super().evaluate(*arguments, **named)
        finally:
            self.evaluation_seconds += time.perf_counter() - started


class Stitched:
    """One process of the script: trains and scores, one model at a time."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.spec = json.loads(Path(settings["spec"]).read_text())
        self.setting = TrlSetting.parse(settings["setting"])
        self.dtype = DTYPES[settings["precision"]]
        self.batches: dict[str, int] = settings["batches"]
        self.tokenizer = load_tokenizer(self.spec["model"])
        self._loaded: tuple[str, Any] = ("", None)

    def model(self, folder: str, dtype: torch.dtype) -> Any:
        """A model from its folder."""
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)

    def scored(self, folder: str) -> Any:
        """The same in the precision of scoring; the last one is kept."""
        if self._loaded[0] != folder:
            self._loaded = (folder, self.model(folder, self.dtype).eval())
        return self._loaded[1]

    def train(self, method: str, lr: float, save: str, ask: list[str], max_steps: int | None = None) -> dict[str, Any]:
        """Train, save, score on validation items. With ``max_steps`` only that many, and nothing else."""
        started = time.perf_counter()
        self._loaded = ("", None)
        trainer = self._trainer(method, lr, max_steps)
        trainer.reset_counts()
        trainer.train()
        seconds = time.perf_counter() - started
        counts = {name: trainer.counts[name] for name in ("tokens", "supervised")}
        if max_steps is not None:
            return {"seconds": seconds, **counts}
        model = self._best(trainer, method)
        model.save_pretrained(save)
        said = self._score(model, ask)
        losses = self._likelihoods(model, [(p, [c]) for p, c in self.spec["rows"]["validation"]])
        return {
            **counts,
            "steps": trainer.state.global_step,
            "seconds": seconds - trainer.evaluation_seconds,
            "scoring_seconds": time.perf_counter() - started - seconds + trainer.evaluation_seconds,
            "said": said,
            "losses": [-sums[0] for sums in losses],
        }

    def score(self, folder: str, ask: list[str], first: int | None = None) -> dict[str, Any]:
        """Answers to parts of tasks, as ``task/part``; with ``first`` only to the first items."""
        started = time.perf_counter()
        said = self._score(self.scored(folder), ask, first)
        return {"scoring_seconds": time.perf_counter() - started, "said": said}

    def use(self, batches: dict[str, int]) -> dict[str, Any]:
        """Other batch sizes from now on."""
        self.batches = batches
        return {}

    def _best(self, trainer: Trainer, method: str) -> Any:
        """The best checkpoint as one model in the precision of scoring; the base where no epoch beat it."""
        before = next(log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log)
        if not (trainer.state.best_metric or math.inf) < before:
            return self.model(self.spec["model"], self.dtype).eval()
        model = trainer.model.merge_and_unload() if method == "lora" else trainer.model
        return model.to(self.dtype).eval()

    def _trainer(self, method: str, lr: float, max_steps: int | None) -> Trainer:
        shown = self._shown()
        lora = LoraConfig(**self.spec["lora"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        dtype = torch.bfloat16 if self.setting.precision == "pure" else torch.float32
        trainer = Trainer(
            model=self.model(self.spec["model"], dtype),
            args=self._arguments(shown, lr, max_steps),
            train_dataset=dataset(shown),
            eval_dataset=dataset(self.spec["rows"]["validation"]),
            processing_class=self.tokenizer,
            peft_config=lora if method == "lora" else None,
        )
        trainer.warmup = self.spec["warmup"]
        return trainer

    def _shown(self) -> list[Example]:
        """The rows of all steps in keeptune's order, where a setting keeps it; otherwise every row once."""
        rows = self.spec["rows"]["train"]
        return [rows[i] for step in self.spec["order"] for i in step] if self.setting.keeps_order else rows

    def _arguments(self, shown: list[Example], lr: float, max_steps: int | None) -> SFTConfig:
        """keeptune's optimiser and validations in TRL's words; everything else is TRL's default."""
        spec, setting = self.spec, self.setting
        steps = max_steps or len(spec["order"])
        every = "no" if max_steps else "steps"
        interval = max(1, round(steps / spec["epochs"]))
        return SFTConfig(
            output_dir=tempfile.mkdtemp(prefix="trl-"),
            use_cpu=True,
            **layout(setting, shown, spec["global_batch"]),
            per_device_eval_batch_size=EVALUATION_BATCH,
            gradient_checkpointing=setting.checkpointed,
            bf16=setting.precision == "bf16",
            learning_rate=lr,
            weight_decay=spec["weight_decay"],
            max_grad_norm=spec["clip"],
            max_steps=steps,
            eval_strategy=every,
            eval_steps=interval,
            eval_on_start=max_steps is None,
            save_strategy=every,
            save_steps=interval,
            save_only_model=True,
            save_total_limit=1,
            load_best_model_at_end=max_steps is None,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        )

    def _score(self, model: Any, ask: list[str], first: int | None = None) -> dict[str, list[Any]]:
        said: dict[str, list[Any]] = {}
        for name in ask:
            asked = self.spec["asked"][name]
            items = asked["items"][:first]
            if asked["kind"] == "generate":
                said[name] = self._generated(model, [prompt for ((prompt, _),) in items], asked["limit"])
            else:
                found = iter(self._likelihoods(model, [request for item in items for request in item]))
                said[name] = [[next(found) for _ in item] for item in items]
        return said

    def _likelihoods(self, model: Any, requests: list[tuple[list[int], list[list[int]]]]) -> list[list[float]]:
        """Log-probability of every choice after its prompt, by lm-eval; rounded to bf16 they would tie."""
        backend = HFLM(
            pretrained=model, tokenizer=self.tokenizer, batch_size=self.batches["score"], softmax_dtype="float32"
        )
        pairs = [(None, prompt, choice) for prompt, choices in requests for choice in choices]
        with torch.no_grad():
            sums = iter(backend._loglikelihood_tokens(pairs, disable_tqdm=True))
        return [[next(sums)[0] for _ in choices] for _, choices in requests]

    @torch.no_grad()
    def _generated(self, model: Any, prompts: list[list[int]], limit: int) -> list[list[int]]:
        """Greedy ids, prompts of like lengths together, padded on the left."""
        end, pad, size = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id, self.batches["generate"]
        by_length = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        found: dict[int, list[int]] = {}
        for at in range(0, len(prompts), size):
            rows = by_length[at : at + size]
            longest = len(prompts[rows[0]])
            blanks = [longest - len(prompts[row]) for row in rows]
            output = model.generate(
                input_ids=torch.tensor([[pad] * n + prompts[row] for n, row in zip(blanks, rows, strict=True)]),
                attention_mask=torch.tensor([[0] * n + [1] * (longest - n) for n in blanks]),
                max_new_tokens=limit,
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=end,
            )
            new = output[:, longest:].tolist()
            found |= {row: until(ids, end) for row, ids in zip(rows, new, strict=True)}
        return [found[row] for row in range(len(prompts))]


def dataset(rows: list[Example]) -> Dataset:
    """Rows as TRL takes them as they are."""
    return Dataset.from_dict(
        {
            "input_ids": [[*prompt, *completion] for prompt, completion in rows],
            "labels": [[IGNORED] * len(prompt) + list(completion) for prompt, completion in rows],
        }
    )


def layout(setting: TrlSetting, rows: list[Example], batch: int) -> dict[str, Any]:
    """How rows become steps of ``batch`` rows; packed, of as many tokens on average."""
    if setting.layout != "bfd":
        micro = min(setting.micro_batch, batch)
        return {
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": max(1, batch // micro),
            "padding_free": setting.layout == "padding_free",
            "train_sampling_strategy": "group_by_length" if setting.layout == "grouped" else "sequential",
            "max_length": None,
        }
    lengths = [len(prompt) + len(completion) for prompt, completion in rows]
    mean = sum(lengths) / len(lengths)
    bin_tokens = max(*lengths, round(min(setting.micro_batch, batch) * mean))
    return {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": max(1, round(batch * mean / bin_tokens)),
        "packing": True,
        "packing_strategy": "bfd",
        "max_length": bin_tokens,
    }


def main() -> None:
    """Answer ``ready``, ``train``, ``score`` and ``use``."""
    channel = Channel()
    stitched = Stitched(channel.settings)
    channel.serve(ready=dict, train=stitched.train, score=stitched.score, use=stitched.use)


if __name__ == "__main__":
    main()
