"""Bases in few bits: they compute what their stored weights say, LoRA trains on them and leaves them as they are."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from keeptune.core.errors import ConfigError, MissingExtra, ModelError
from keeptune.methods.base import METHODS
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.methods.peft import AnyPeftConfig
from keeptune.methods.quantised import plain_weight, quantised_layers, stored_as
from keeptune.models import quantise
from keeptune.models.causal import distance
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.models.outputs import target_nll

Rows = Callable[..., Any]


@pytest.fixture(params=["nf4", "int8"])
def stored(request: pytest.FixtureRequest) -> str:
    """Ways to store a base, as far as their packages are here."""
    pytest.importorskip(quantise.PACKAGES[request.param], exc_type=ImportError)
    return str(request.param)


def load_cpu(folder: Path | str, stored: str = "none", precision: str = "fp32", **more: Any) -> LanguageModel:
    return load(str(folder), device="cpu", precision=precision, quantise=stored, **more)


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything that the quantised layers store, byte by byte, read without touching it."""
    found = {}
    for name, layer in model.named_modules():
        if layer not in quantised_layers(model):
            continue
        weight = layer.weight
        state = getattr(weight, "quant_state", None)
        parts = (
            {"qdata": weight.qdata, "scale": weight.scale}
            if state is None
            else {"data": weight.data, "absmax": state.absmax, "nested": state.state2.absmax, "offset": state.offset}
        )
        place = name.removeprefix("base_model.model.").replace(".base_layer", "")
        found |= {f"{place}.{part}": tensor.clone() for part, tensor in parts.items()}
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def some_logits(lm: LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = lm.model(input_ids=torch.arange(3, 40)[None]).logits
    return logits


def change(parameters: Any) -> None:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter += (0.1 * torch.randn(parameter.shape, generator=draw)).to(parameter.dtype)


def train_a_little(lm: LanguageModel, method: Any, rows: list[Any]) -> float:
    """A few steps of SGD in training mode; the gradient's length at the first."""
    lm.model.train()
    trained, length = list(method.trainable(lm.model).values()), 0.0
    for _ in range(3):
        for batch in lm.engine.train_batches(lm, rows, 1000):
            target_nll(lm, batch).backward()
        gradients = [p.grad for p in trained if p.grad is not None]
        length = length or float(sum(g.float().square().sum() for g in gradients)) ** 0.5
        with torch.no_grad():
            for p in trained:
                if p.grad is not None:
                    p -= 0.01 * p.grad
                p.grad = None
    lm.model.eval()
    return length


def made_plain(lm: LanguageModel, folder: Path) -> LanguageModel:
    """The dense model of the same folder with the weights that ``lm`` stores."""
    plain = load_cpu(folder, precision="fp32" if lm.dtype == torch.float32 else "bf16")
    for name, layer in lm.model.named_modules():
        if layer in quantised_layers(lm.model):
            plain.model.get_submodule(name).weight.data.copy_(plain_weight(layer))
    return plain


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_computes_what_its_stored_weights_say(tiny_folder: Path, stored: str, precision: str) -> None:
    lm = load_cpu(tiny_folder, stored, precision)
    assert lm.engine.name == "flat" and lm.engine.plain_head  # type: ignore[attr-defined]
    assert type(lm.model.get_output_embeddings()) is nn.Linear  # type: ignore[operator]
    assert len(quantised_layers(lm.model)) == 14  # seven in each of two layers: all but the head
    plain, expected = made_plain(lm, tiny_folder), some_logits(load_cpu(tiny_folder, precision=precision))
    assert distance(some_logits(lm), some_logits(plain)) < (1e-6 if precision == "fp32" else 2e-2)
    if precision == "fp32":
        assert distance(some_logits(lm), expected) > 5e-3  # it is no dense model in disguise


def test_plain_weights_are_those_of_bitsandbytes(tiny_folder: Path) -> None:
    functional = pytest.importorskip("bitsandbytes.functional", exc_type=ImportError)
    lm, plain = load_cpu(tiny_folder, "nf4"), load_cpu(tiny_folder)
    layer = lm.model.get_submodule("model.layers.0.mlp.up_proj")
    packed, state = functional.quantize_4bit(
        plain.model.get_submodule("model.layers.0.mlp.up_proj").weight.data,
        blocksize=64,
        compress_statistics=True,
        quant_type="nf4",
    )
    assert torch.equal(plain_weight(layer), functional.dequantize_4bit(packed, state))


def test_counts_weights_and_not_bytes(tiny_folder: Path, stored: str) -> None:
    assert load_cpu(tiny_folder, stored).parameters == load_cpu(tiny_folder).parameters


def test_scores_of_a_quantised_base_are_not_those_of_the_dense_one(tiny_folder: Path, tmp_path: Path) -> None:
    hashes = [quantise.stored_hash("files", stored) for stored in ("none", "nf4", "int8")]
    assert hashes[0] == "files" and len(set(hashes)) == 3


def test_hash_says_how_the_base_is_stored(tiny_folder: Path, stored: str) -> None:
    assert load_cpu(tiny_folder, stored).hash != load_cpu(tiny_folder).hash
    assert load_cpu(tiny_folder, stored).hash == load_cpu(tiny_folder, stored).hash


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_leaves_the_stored_weights_as_they_were(
    tiny_folder: Path, random_rows: Rows, stored: str, precision: str
) -> None:
    lm, method = load_cpu(tiny_folder, stored, precision), LoraConfig(rank=4).build()
    before, base, rows = bits(lm.model), some_logits(lm), random_rows(4)
    lm.adapt(method)
    assert {p.dtype for p in method.trainable(lm.model).values()} == {lm.dtype}
    change(p for name, p in method.trainable(lm.model).items() if "lora_B" in name)
    train_a_little(lm, method, rows)
    some_logits(lm)  # the fused kernel, were it let in, would put the weights into another order here
    assert same(bits(lm.model), before)
    train_a_little(lm, method, rows)
    assert not torch.equal(some_logits(lm), base)
    lm.restore(method)
    assert same(bits(lm.model), before)
    assert torch.equal(some_logits(lm), base)
    assert lm.hash == lm.base_hash and stored_as(lm.model) == stored


def test_gradients_are_the_dense_model_s_also_after_inference(
    tiny_folder: Path, random_rows: Rows, stored: str
) -> None:
    lm = load_cpu(tiny_folder, stored)
    plain, lengths = made_plain(lm, tiny_folder), []
    some_logits(lm)
    for each in (lm, plain):
        method = LoraConfig(rank=4).build()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            each.adapt(method)
        change(p for name, p in method.trainable(each.model).items() if "lora_B" in name)
        lengths.append(train_a_little(each, method, random_rows(4)))
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3) and lengths[0] > 0


def test_the_base_is_at_hand_below_an_adapter(tiny_folder: Path, stored: str) -> None:
    lm, method = load_cpu(tiny_folder, stored), LoraConfig(rank=4).build()
    base = some_logits(lm)
    lm.adapt(method)
    change(method.trainable(lm.model).values())
    with method.base(lm.model) as model, torch.no_grad():
        assert torch.equal(model(input_ids=torch.arange(3, 40)[None]).logits, base)
    method.blend(lm.model, 0.0)
    torch.testing.assert_close(some_logits(lm), base)


def test_saved_adapter_is_plain_peft_s(tiny_folder: Path, tmp_path: Path, stored: str) -> None:
    from peft import PeftModel

    lm, method = load_cpu(tiny_folder, stored), LoraConfig(rank=4).build()
    lm.adapt(method)
    change(method.trainable(lm.model).values())
    tuned = some_logits(lm)
    method.save(lm.model, tmp_path / "adapter", lm.tokenizer)
    theirs = PeftModel.from_pretrained(load_cpu(tiny_folder, stored).model, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=torch.arange(3, 40)[None]).logits, tuned)
    ours = load_cpu(tiny_folder, stored, adapter=tmp_path / "adapter")
    torch.testing.assert_close(some_logits(ours), tuned)
    lm.restore(method)
    lm.adapt(again := LoraConfig(rank=4).build())
    again.load(lm.model, tmp_path / "adapter")
    assert torch.equal(some_logits(lm), tuned)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "lm_head")])
def test_merged_model_is_a_plain_one_of_transformers(
    build: Callable[..., Any],
    tokenizer: Any,
    tmp_path: Path,
    stored: str,
    targets: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from transformers import AutoModelForCausalLM

    build("llama", tie_word_embeddings=False).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    lm, method = load_cpu(tmp_path / "base", stored), LoraConfig(rank=4, target_modules=targets).build()
    lm.adapt(method)
    change(method.trainable(lm.model).values())
    tuned = some_logits(lm)
    with caplog.at_level(logging.INFO, "keeptune"):
        lm.accept(method)
    assert "merged into plain weights, which moves its logits by" in caplog.text
    assert stored_as(lm.model) is None and not quantised_layers(lm.model)
    torch.testing.assert_close(some_logits(lm), tuned, atol=1e-4, rtol=1e-3)
    lm.model.save_pretrained(tmp_path / "merged")  # type: ignore[operator]
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=torch.arange(3, 40)[None]).logits, some_logits(lm))


def test_gpt2_s_transposed_layers_come_back_transposed(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", exc_type=ImportError)
    from transformers import AutoModelForCausalLM

    build("gpt2").save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    lm, method = load_cpu(tmp_path / "base", "nf4"), LoraConfig(rank=4).build()
    lm.adapt(method)
    change(method.trainable(lm.model).values())
    tuned = some_logits(lm)
    lm.accept(method)
    lm.model.save_pretrained(tmp_path / "merged")  # type: ignore[operator]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        torch.testing.assert_close(merged(input_ids=torch.arange(3, 40)[None]).logits, tuned, atol=1e-4, rtol=1e-3)


def fitting(stored: str) -> list[str]:
    return [name for name in METHODS if not METHODS[name]().needs_plain(stored)]


def test_methods_that_fit_are_known() -> None:
    assert set(fitting("int8")) - set(fitting("nf4")) == {"ia3"}
    virtual = ["p-tuning", "prefix-tuning", "prompt-tuning"]
    assert fitting("nf4") == sorted(["bottleneck", "dora", "lora", "loraplus", "peft", "rslora", *virtual])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_method_that_fits_trains_and_gives_the_base_back(
    tiny_folder: Path, random_rows: Rows, stored: str, precision: str
) -> None:
    lm = load_cpu(tiny_folder, stored, precision)
    before, base = bits(lm.model), some_logits(lm)
    for name in fitting(stored):
        method = METHODS[name]().build()
        lm.adapt(method)
        assert {p.dtype for p in method.trainable(lm.model).values()} == {lm.dtype}, name
        assert train_a_little(lm, method, random_rows(3)) > 0, name
        lm.restore(method)
        assert same(bits(lm.model), before), name
        assert torch.equal(some_logits(lm), base), name


@pytest.mark.parametrize("name", ["full", "norms", "last-layers", "pissa", "osf"])
def test_methods_that_need_plain_weights_refuse_the_model(tiny_folder: Path, stored: str, name: str) -> None:
    lm = load_cpu(tiny_folder, stored)
    before = bits(lm.model)
    with pytest.raises(ModelError, match="cannot work on a quantised base: it (trains|takes) the base's"):
        lm.adapt(METHODS[name]().build())
    assert same(bits(lm.model), before)


@pytest.mark.parametrize("tuner", ["hira", "pvera"])
def test_tuners_of_peft_with_layers_for_it_train_and_go(tiny_folder: Path, random_rows: Rows, tuner: str) -> None:
    pytest.importorskip("bitsandbytes", exc_type=ImportError)
    lm = load_cpu(tiny_folder, "nf4", "bf16")
    before = bits(lm.model)
    lm.adapt(method := AnyPeftConfig(type=tuner, settings={"target_modules": "all-linear"}).build())
    assert train_a_little(lm, method, random_rows(3)) > 0
    lm.restore(method)
    assert same(bits(lm.model), before) and stored_as(lm.model) == "nf4"


def test_tuners_of_peft_without_layers_for_it_are_refused(tiny_folder: Path, stored: str) -> None:
    with pytest.raises(ModelError, match=f"peft has no oft layers for weights in {stored}"):
        load_cpu(tiny_folder, stored).adapt(AnyPeftConfig(type="oft").build())


def test_full_goes_on_as_before_on_plain_weights(tiny_folder: Path) -> None:
    lm = load_cpu(tiny_folder)
    lm.adapt(method := FullConfig().build())
    lm.restore(method)


def test_what_cannot_be_asked_for(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no way to store a base 'int4'"):
        load_cpu(tiny_folder, "int4")
    monkeypatch.setitem(quantise.PACKAGES, "nf4", "no_such_package")
    with pytest.raises(MissingExtra, match=r"no_such_package is not installed.*keeptune\[quantise\]"):
        load_cpu(tiny_folder, "nf4")


def test_no_code_from_a_hub_comes_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "asks_a_hub.py").write_text(
        "try:\n    from kernels import get_kernel\nexcept ImportError:\n    get_kernel = None\n"
    )
    (tmp_path / "kernels.py").write_text("def get_kernel(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "kernels", raising=False)
    quantise._import("asks_a_hub")
    import asks_a_hub  # type: ignore[import-not-found]

    assert asks_a_hub.get_kernel is None
    import kernels  # afterwards it can be had again

    assert kernels.get_kernel is not None


def test_a_model_without_linear_layers_is_refused(build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    pytest.importorskip("torchao", exc_type=ImportError)
    build("gpt2").save_pretrained(tmp_path)  # its layers are none of torch's
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no linear layer that can be stored as int8"):
        load_cpu(tmp_path, "int8")
