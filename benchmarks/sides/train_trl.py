"""TRL's side of `train.py`: its own `train()`, stopped after every optimiser step until the next command.

Rows come as ``input_ids`` and ``labels`` (TRL takes both as they are). A step's time runs from the command to the log
of its loss, so it holds TRL's data loading and collation, too.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from common.memory import peak_bytes, release, reset_peak
from common.models import ModelSpec
from common.rows import Example, load_tokenizer, read_examples
from common.trl_setting import TrlSetting
from common.workers import Channel

IGNORED = -100


class CountingTrainer(SFTTrainer):  # type: ignore[misc]
    """Counts what the micro-batches of a step hold."""

    counts: dict[str, int]

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        """As it is, with the counts beside."""
        labels = inputs["labels"]
        flat = "attention_mask" not in inputs
        self.counts["examples"] += int((inputs["position_ids"] == 0).sum()) if flat else len(labels)
        self.counts["tokens"] += labels.numel() if flat else int(inputs["attention_mask"].sum())
        self.counts["supervised"] += int((labels != IGNORED).sum())
        return super().training_step(model, inputs, *rest, **more)

    def reset_counts(self) -> None:
        """Start a new step."""
        self.counts = {"examples": 0, "tokens": 0, "supervised": 0}


class StepByStep(TrainerCallback):  # type: ignore[misc]
    """Answers with a step's figures once its loss is logged, then waits for the next command."""

    def __init__(self, channel: Channel, device: str) -> None:
        self.channel = channel
        self.device = device
        self.trainer: CountingTrainer | None = None
        self.running = True

    def wait(self) -> bool:
        """Whether another step is wanted; its time starts here."""
        command = self.channel.receive()
        self.running = command is not None and command["do"] == "step"
        assert self.trainer is not None
        self.trainer.reset_counts()
        self.started = time.perf_counter()
        return self.running

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> Any:
        """Called with the loss of every step, and once more at the end, without a loss."""
        if logs is None or "loss" not in logs or not self.running:
            return control
        assert self.trainer is not None
        seconds = time.perf_counter() - self.started
        memory = peak_bytes(self.device)
        self.channel.send(seconds=seconds, loss=float(logs["loss"]), peak_memory_bytes=memory, **self.trainer.counts)
        if not self.wait():
            control.should_training_stop = True
        return control


def arguments(
    settings: dict[str, Any], setting: TrlSetting, examples: list[Example], steps: int, lr: float
) -> SFTConfig:
    """The settings that are compared; everything else is TRL's default."""
    micro, options = setting.micro_batch, {}
    accumulation = max(1, settings["batch"] // micro)
    if setting.layout == "bfd":
        length = settings["max_length"]
        bins_per_example = sum(len(p) + len(c) for p, c in examples) / len(examples) / length
        micro = max(1, round(micro * bins_per_example))
        accumulation = max(1, round(settings["batch"] * bins_per_example / micro))
        options = {"packing": True, "packing_strategy": "bfd", "max_length": length}
    else:
        options = {"padding_free": setting.layout == "padding_free", "max_length": None}
    if setting.layout != "bfd":
        options["train_sampling_strategy"] = "group_by_length" if setting.layout == "grouped" else "sequential"
    return SFTConfig(
        output_dir=tempfile.mkdtemp(prefix="trl-"),
        use_cpu=settings["device"] == "cpu",
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=setting.checkpointed,
        bf16=setting.precision == "bf16",
        use_liger_kernel=setting.liger,
        learning_rate=lr,
        lr_scheduler_type="constant",
        max_steps=steps + 1,  # the benchmark stops it, so that the last step is a step like the others
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
        **options,
    )


def build(channel: Channel, path: str, steps: int, method: str, lr: float) -> tuple[CountingTrainer, StepByStep]:
    """A trainer on a freshly built model."""
    settings = channel.settings
    setting = TrlSetting.parse(settings["setting"])
    examples = read_examples(path)
    config = arguments(settings, setting, examples, steps, lr)
    shown = examples[: (steps + 1) * settings["batch"]] if setting.keeps_order else examples
    rows = {
        "input_ids": [prompt + completion for prompt, completion in shown],
        "labels": [(IGNORED,) * len(prompt) + completion for prompt, completion in shown],
    }
    dtype = torch.bfloat16 if setting.precision == "pure" else torch.float32
    extra = {"attn_implementation": setting.attention} if setting.attention else {}
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    callback = StepByStep(channel, settings["device"])
    callback.trainer = CountingTrainer(
        model=ModelSpec(**settings["model"]).build(dtype, settings["device"], **extra),
        args=config,
        train_dataset=Dataset.from_dict(rows),
        processing_class=load_tokenizer(settings["tokenizer"]),
        peft_config=lora if method == "lora" else None,
        callbacks=[callback],
    )
    return callback.trainer, callback


def main() -> None:
    """Answer ``load``; then ``step`` from within the training, until ``stop``."""
    channel = Channel()
    while (command := channel.receive()) is not None:
        release()
        trainer, callback = build(channel, *(command[key] for key in ("examples", "steps", "method", "lr")))
        reset_peak(channel.settings["device"])
        channel.send(micro=trainer.args.per_device_train_batch_size, steps=trainer.args.gradient_accumulation_steps)
        if callback.wait():
            trainer.train()
        channel.send()  # the answer to ``stop``
        callback.trainer = None
        del trainer, callback


if __name__ == "__main__":
    main()
