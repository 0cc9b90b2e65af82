"""What a model folder may not be: quantised, a classifier, an encoder, half of an encoder-decoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from keeptune.core.errors import ModelError
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def state(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def load_cpu(folder: Path) -> LanguageModel:
    return load(str(folder), device="cpu", precision="fp32")


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"load_in_8bit": True, "load_in_4bit": False},
        {"quant_method": "bitsandbytes", "_load_in_8bit": True},
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "fp8", "activation_scheme": "dynamic"},
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        {"quant_method": "a method of next year"},
        {"bits": 4},
    ],
)
def test_quantised_bases_are_refused(folder: Path, settings: dict[str, Any]) -> None:
    state(folder, quantization_config=settings)
    with pytest.raises(ModelError, match=r"config.json, quantization_config: its weights are quantised \(") as caught:
        load_cpu(folder)
    assert "\n" not in str(caught.value)
    assert "quantise: nf4 or int8 then stores it in few bits" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"text_config": {"quantization_config": {"quant_method": "gptq"}}},
        {"compression_config": {"quant_method": "compressed-tensors"}},
    ],
)
def test_quantisation_is_found_wherever_it_is_stated(folder: Path, fields: dict[str, Any]) -> None:
    state(folder, **fields)
    with pytest.raises(ModelError, match="its weights are quantised"):
        load_cpu(folder)


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {},
        {"quant_method": None},
        {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": False},
        {"quant_method": "fp8", "dequantize": True},
    ],
)
def test_fields_that_quantise_nothing_are_no_obstacle(folder: Path, settings: Any) -> None:
    state(folder, quantization_config=settings)
    assert load_cpu(folder).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_quantised_weights_without_a_word_in_the_configuration_are_refused(folder: Path, dtype: torch.dtype) -> None:
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if key.endswith("q_proj.weight"))
    save_file(weights | {key: weights[key].to(dtype)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"its weights are quantised: model.safetensors holds {key}"):
        load_cpu(folder)


@pytest.mark.parametrize(
    "architecture",
    [
        "LlamaForSequenceClassification",
        "LlamaForTokenClassification",
        "LlamaForQuestionAnswering",
        "LlamaForRewardModel",
        "LlamaModel",
        "LlamaBidirectionalModel",
    ],
)
def test_other_heads_are_refused(folder: Path, architecture: str) -> None:
    state(folder, architectures=[architecture])
    with pytest.raises(ModelError, match=f"not a language model: config.json says that it is a {architecture}"):
        load_cpu(folder)


@pytest.mark.parametrize("architectures", [None, [], ["LlamaForCausalLM"], ["LLaMAForCausalLM"]])
def test_language_models_by_any_name_load(folder: Path, architectures: Any) -> None:
    state(folder, architectures=architectures)
    assert load_cpu(folder).engine.name == "flat"


def test_a_classifier_without_a_stated_architecture_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"score.weight": torch.zeros(1, 32)}, folder / "model.safetensors", {"format": "pt"})
    state(folder, architectures=None)
    with pytest.raises(ModelError, match="holds score.weight, the head of a classifier"):
        load_cpu(folder)


def test_an_encoder_decoder_with_another_head_is_refused(build: Callable[..., Any], folder: Path) -> None:
    build("bart").save_pretrained(folder)
    assert load_cpu(folder).encoder_decoder
    state(folder, architectures=["BartModel"])  # saved without its head, which is the embedding
    assert load_cpu(folder).encoder_decoder
    state(folder, architectures=["BartForSequenceClassification"])
    with pytest.raises(ModelError, match="says that it is a BartForSequenceClassification"):
        load_cpu(folder)


@pytest.mark.parametrize("architecture", [["BertForMaskedLM"], None])
def test_masked_language_models_are_refused(folder: Path, architecture: Any) -> None:
    from transformers import BertConfig, BertForMaskedLM

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=320, **small)).save_pretrained(folder)
    state(folder, architectures=architecture)
    with pytest.raises(ModelError, match="no.* language model"):
        load_cpu(folder)


def test_a_model_that_looks_ahead_is_refused(build: Callable[..., Any], tokenizer: Any) -> None:
    model = build("llama")
    embed = model.get_input_embeddings()
    embed.register_forward_hook(lambda module, inputs, states: states + 0.1 * states.flip(1))
    with pytest.raises(ModelError, match="depends on later tokens"):
        LanguageModel.wrap(model, tokenizer)


def test_a_model_whose_rows_change_each_other_is_refused(build: Callable[..., Any], tokenizer: Any) -> None:
    model = build("llama")
    embed = model.get_input_embeddings()
    embed.register_forward_hook(lambda module, inputs, states: states + 0.1 * states[:, :1].mean(0) * (len(states) > 1))
    with pytest.raises(ModelError, match="depends on the rows beside"):
        LanguageModel.wrap(model, tokenizer)
