"""Adapters that plain peft wrote: they score and answer as peft's own padded forward does; what is amiss is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from keeptune.core.errors import DataError, ModelError
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import row_nats
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load

Rows = Callable[..., list[Encoded]]
WEIGHTS = "adapter_model.safetensors"
QV = {"target_modules": ["q_proj", "v_proj"]}
KINDS: dict[str, peft.PeftConfig] = {
    "lora": peft.LoraConfig(r=4, **QV),
    "rslora": peft.LoraConfig(r=4, use_rslora=True, **QV),
    "dora": peft.LoraConfig(r=4, use_dora=True, **QV),
    "ranks": peft.LoraConfig(r=4, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}, **QV),
    "loha": peft.LoHaConfig(r=4, **QV),
    "lokr": peft.LoKrConfig(r=4, **QV),
    "oft": peft.OFTConfig(oft_block_size=8, **QV),
    "vera": peft.VeraConfig(r=16, **QV),
    "hra": peft.HRAConfig(r=4, **QV),
    "ia3": peft.IA3Config(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prompt-tuning": peft.PromptTuningConfig(num_virtual_tokens=5),
    "p-tuning": peft.PromptEncoderConfig(num_virtual_tokens=5),
    "prefix-tuning": peft.PrefixTuningConfig(num_virtual_tokens=5),
}


@pytest.fixture
def written(build: Any, tmp_path: Path) -> Callable[[peft.PeftConfig], Any]:
    """peft's model with an adapter that changes much, as read again from ``tmp_path / "adapter"``."""

    def write(config: peft.PeftConfig) -> Any:
        config.task_type = "CAUSAL_LM"
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(build("llama"), config)
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if parameter.requires_grad:
                    parameter.add_((1.0 if "prompt" in name else 0.1) * torch.randn(parameter.shape))
        wrapped.save_pretrained(tmp_path / "adapter")
        return peft.PeftModel.from_pretrained(build("llama"), tmp_path / "adapter").eval()

    return write


def peft_nats(model: Any, row: Encoded) -> float:
    ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
    with torch.no_grad():
        logprobs = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -ids.shape[1] :].log_softmax(-1)
    return -sum(float(logprobs[at - 1, ids[0, at]]) for at in range(max(len(row.prompt_ids), 1), ids.shape[1]))


def peft_answer(model: Any, prompt: tuple[int, ...], new: int) -> list[int]:
    """Greedy, by one forward per token; what peft's ``generate`` returns differs between its kinds."""
    ids = list(prompt)
    for _ in range(new):
        row = torch.tensor([ids])
        with torch.no_grad():
            ids.append(int(model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def load_cpu(folder: Path, adapter: Path) -> LanguageModel:
    return load(str(folder), device="cpu", precision="fp32", adapter=adapter)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_peft_scores_and_answers_as_peft_does(
    tiny_folder: Path, tiny: LanguageModel, tmp_path: Path, written: Any, random_rows: Rows, kind: str
) -> None:
    plain = written(KINDS[kind])
    lm, rows = load_cpu(tiny_folder, tmp_path / "adapter"), random_rows(6)
    expected = [peft_nats(plain, row) for row in rows]
    assert row_nats(lm, rows) == pytest.approx(expected, rel=1e-4)
    assert row_nats(tiny, rows) != pytest.approx(expected, rel=5e-4)  # the adapter does something
    prompts = [(5, 6, 7), (9, 10), (5, 6, 8, 30)]
    for prompt, answer in zip(prompts, generate(lm, prompts, 6), strict=True):
        assert list(answer) == peft_answer(plain, prompt, 6)[: len(answer)]
    assert lm.engine.name == ("padded" if kind == "prefix-tuning" else "flat")
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    stored = load_file(folder / WEIGHTS)
    change(stored)
    save_file(stored, folder / WEIGHTS)
    return folder


def test_weights_that_are_missing_or_too_many_are_counted(tiny_folder: Path, tmp_path: Path, written: Any) -> None:
    written(KINDS["lora"])
    cut = edited(tmp_path / "adapter", lambda stored: [stored.pop(key) for key in sorted(stored)[:2]])
    with pytest.raises(ModelError, match=r"2 of its weights are missing, among them base_model.*lora_A"):
        load_cpu(tiny_folder, cut)
    written(KINDS["lora"])
    more = edited(tmp_path / "adapter", lambda stored: stored.update({"base_model.model.other": torch.ones(1)}))
    with pytest.raises(ModelError, match=r"1 of its weights have no place in the model, among them base_model.model"):
        load_cpu(tiny_folder, more)


def test_virtual_tokens_of_another_number_or_width_are_refused(
    tiny_folder: Path, tmp_path: Path, written: Any, build: Any
) -> None:
    written(KINDS["prompt-tuning"])
    wide = edited(tmp_path / "adapter", lambda stored: stored.update(prompt_embeddings=torch.ones(5, 48)))
    with pytest.raises(ModelError, match="does not fit .*width 48 for embeddings of width 32"):
        load_cpu(tiny_folder, wide)
    fewer = edited(tmp_path / "adapter", lambda stored: stored.update(prompt_embeddings=torch.ones(4, 32)))
    with pytest.raises(ModelError, match="says 5 virtual tokens, and 4 are stored"):
        load_cpu(tiny_folder, fewer)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("places", ["q_proj", "embed_tokens"])
def test_adapters_of_another_rank_or_vocabulary_are_refused_with_both_shapes(
    tiny_folder: Path, tmp_path: Path, build: Any, places: str
) -> None:
    longer = build("llama")
    longer.resize_token_embeddings(400, mean_resizing=False)
    config = peft.LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=[places])
    peft.get_peft_model(longer, config).save_pretrained(tmp_path, save_embedding_layers=False)
    if places == "q_proj":
        stated = json.loads((tmp_path / "adapter_config.json").read_text())
        (tmp_path / "adapter_config.json").write_text(json.dumps(stated | {"r": 8}))
    shapes = r"\[4, 32\].*\[8, 32\]" if places == "q_proj" else r"\[4, 400\].*\[4, 320\]"
    with pytest.raises(ModelError, match=rf"does not fit .*size mismatch for \S*{places}\S*lora\S* .*{shapes}"):
        load_cpu(tiny_folder, tmp_path)


def test_virtual_tokens_that_leave_no_room_are_said(tiny_folder: Path, tmp_path: Path, build: Any) -> None:
    config = peft.PromptTuningConfig(num_virtual_tokens=125, task_type="CAUSAL_LM")
    peft.get_peft_model(build("llama"), config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"no room for 125 virtual ones in a window of 128 -> learn fewer"):
        row_nats(load_cpu(tiny_folder, tmp_path), [Encoded("a", (3, 4), (5, 6, 7))])


def test_virtual_tokens_stay_in_front_where_a_method_trains_behind_them(
    tiny_folder: Path, tmp_path: Path, written: Any, random_rows: Rows
) -> None:
    written(KINDS["prompt-tuning"])
    lm, method, rows = load_cpu(tiny_folder, tmp_path / "adapter"), LoraConfig(rank=2).build(), random_rows(4)
    before = row_nats(lm, rows)
    lm.adapt(method)
    assert row_nats(lm, rows) == pytest.approx(before, rel=1e-5)  # LoRA starts at zero
    lm.restore(method)
    assert row_nats(lm, rows) == before


def test_an_adapter_of_trl_is_read(tiny_folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM

    rows = [{"prompt": f"say {number}", "completion": f" {number}"} for number in range(20)]
    settings = {"per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True, "bf16": False}
    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_folder),
        args=trl.SFTConfig(output_dir=str(tmp_path), max_steps=4, learning_rate=1e-2, **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    row = Encoded("", (5, 6, 7), (8, 9, 2))
    lm = load(str(tiny_folder), device="cpu", precision="fp32", adapter=tmp_path / "adapter")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path / "adapter").eval()
    with torch.no_grad():
        found = plain(torch.tensor([[*row.prompt_ids, *row.completion_ids]])).logits[0, 2:-1].log_softmax(-1)
    expected = -float(found[range(3), list(row.completion_ids)].sum())
    assert row_nats(lm, [row])[0] == pytest.approx(expected, rel=1e-5)
    base = load(str(tiny_folder), device="cpu", precision="fp32")
    assert row_nats(base, [row])[0] != pytest.approx(expected, rel=1e-3)
