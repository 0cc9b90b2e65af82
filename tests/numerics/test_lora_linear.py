"""The LoRA fast path against peft's own forward."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.testing import assert_close

from keeptune.batching.trie import flat_batch
from keeptune.methods import lora_linear
from keeptune.methods.config import LoraConfig
from keeptune.methods.lora_linear import FastLinear, install, uninstall
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.train.objective import Objective


@torch.no_grad()
def assert_rounding(ours: Tensor, theirs: Tensor, limit: float = 1e-6) -> None:
    """Equal to rounding: as vectors, for a single element may be a difference of large numbers."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    error = float((ours - theirs).norm() / theirs.norm())
    assert error < limit, f"off by {error:.1e}"


class Net(nn.Module):
    """Two linear layers, the first with a bias: below it nothing trains."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(24, 40, bias=True), nn.Linear(40, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.high(torch.tanh(self.low(x)))
        return out


def adapted(dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """A peft model with a B that is not zero, as peft makes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        values = {"r": 4, "lora_alpha": 6, "target_modules": ["low", "high"], **settings}
        model = peft.get_peft_model(Net().to(dtype), peft.LoraConfig(**values), autocast_adapter_dtype=False)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter, std=0.3)
    return model


def fast_copy(model: Any) -> Any:
    ours = copy.deepcopy(model)
    install(ours)
    assert sum(isinstance(module, FastLinear) for module in ours.modules()) == 2
    return ours


def inputs(dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    return torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(seed)).to(dtype)


def run(model: Any, x: Tensor) -> list[Tensor]:
    """Output and every gradient, that of the input last where it has one."""
    x = x.detach().requires_grad_(x.requires_grad)
    model.zero_grad()
    torch.manual_seed(5)  # dropout
    out = model(x)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out.dtype)
    (out * weight).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert gradients and all(g is not None for g in gradients)
    return [out.detach(), *gradients, *([x.grad] if x.grad is not None else [])]


def count_fast_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls, apply = [0], lora_linear._LoraProduct.apply

    def counted(*args: Any) -> Any:
        calls[0] += 1
        return apply(*args)

    monkeypatch.setattr(lora_linear._LoraProduct, "apply", counted)
    return calls


def assert_equal(ours: Any, theirs: Any, x: Tensor) -> None:
    got, expected = run(ours, x), run(theirs, x)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert_rounding(a, b)


@pytest.mark.parametrize("grad_of_input", [False, True])
@pytest.mark.parametrize("scaling", [{}, {"use_rslora": True}, {"lora_dropout": 0.0}], ids=["plain", "rs", "p0"])
def test_output_and_gradients_equal_pefts(
    monkeypatch: pytest.MonkeyPatch, scaling: dict[str, Any], grad_of_input: bool
) -> None:
    calls = count_fast_calls(monkeypatch)
    theirs = adapted(**scaling)
    ours = fast_copy(theirs)
    assert_equal(ours, theirs, inputs().requires_grad_(grad_of_input))
    assert calls[0] == 2


def test_views_that_are_not_contiguous() -> None:
    theirs = adapted()
    assert_equal(fast_copy(theirs), theirs, inputs().transpose(0, 1).requires_grad_())


def test_bf16_is_as_close_to_float32_as_pefts() -> None:
    """Over all values together, several draws: single tensors differ by luck either way."""
    errors = {"ours": 0.0, "theirs": 0.0}
    for seed in range(8):
        low = adapted(torch.bfloat16)
        x = inputs(torch.bfloat16, seed)
        exact = run(copy.deepcopy(low).float(), x.float().requires_grad_())
        for name, model in (("ours", fast_copy(low)), ("theirs", low)):
            for true, got in zip(exact, run(model, x.clone().requires_grad_()), strict=True):
                assert got.dtype == torch.bfloat16
                errors[name] += float((got.float() - true).norm() / true.norm())
    assert 0 < errors["ours"] <= errors["theirs"]


@pytest.mark.parametrize("position", range(5))
def test_the_comparison_notices_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    backward = lora_linear._LoraProduct.backward

    def wrong(ctx: Any, grad: Tensor) -> Any:
        return tuple(g * 1.001 if i == position and g is not None else g for i, g in enumerate(backward(ctx, grad)))

    monkeypatch.setattr(lora_linear._LoraProduct, "backward", staticmethod(wrong))
    theirs = adapted()
    if position in (1, 2):  # W and bias have no gradient that could be wrong
        assert_equal(fast_copy(theirs), theirs, inputs().requires_grad_())
        return
    with pytest.raises(AssertionError, match="off by"):
        assert_equal(fast_copy(theirs), theirs, inputs().requires_grad_())


def test_gradients_only_where_they_are_needed() -> None:
    ours = fast_copy(adapted())
    out = ours(inputs())
    needed: Any = out.grad_fn.needs_input_grad
    assert needed == (True, False, False, True, True, False)
    low: Any = out.grad_fn.next_functions[0][0].next_functions[0][0]
    assert low.needs_input_grad == (False, False, False, True, True, False)
    for parameter in ours.parameters():
        parameter.requires_grad_(False)
    x = inputs().requires_grad_()
    ours(x).sum().backward()  # a frozen adapter passes gradients on
    assert x.grad is not None


def two_adapters(model: Any) -> None:
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["low", "high"]))
    model.base_model.set_adapter(["default", "other"])


def unfreeze(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, Linear):
            module.base_layer.weight.requires_grad_(True)


def hook_base(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, Linear):
            module.base_layer.register_forward_hook(lambda module, args, out: out * 2)


FALLBACKS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "dora": ({"use_dora": True}, lambda model: None),
    "dropout": ({"lora_dropout": 0.5}, lambda model: None),
    "two active adapters": ({}, two_adapters),
    "lora bias": ({"lora_bias": True, "target_modules": ["low"]}, lambda model: None),
    "trained base": ({}, unfreeze),
    "hooks": ({}, hook_base),
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_falls_back_to_peft(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    settings, change = FALLBACKS[case]
    theirs = adapted(**settings)
    change(theirs)
    theirs.train()
    ours = copy.deepcopy(theirs)
    install(ours)
    calls = count_fast_calls(monkeypatch)
    for a, b in zip(run(ours, inputs().requires_grad_()), run(theirs, inputs().requires_grad_()), strict=True):
        assert torch.equal(a, b)
    assert calls[0] == 0


def test_dropout_is_nothing_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = adapted(lora_dropout=0.5).eval()
    ours, calls = fast_copy(theirs), count_fast_calls(monkeypatch)
    assert_rounding(ours(inputs()), theirs(inputs()))
    assert calls[0] == 2


def test_disabled_merged_and_unmerged(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = adapted()
    ours, calls = fast_copy(theirs), count_fast_calls(monkeypatch)
    plain = ours(inputs())
    with ours.disable_adapter(), theirs.disable_adapter():
        assert torch.equal(ours(inputs()), theirs(inputs()))
    assert calls[0] == 2
    ours.merge_adapter()
    assert_rounding(ours(inputs()), plain)
    ours.unmerge_adapter()
    assert calls[0] == 2
    assert_rounding(ours(inputs()), plain)
    assert calls[0] == 4


def test_another_adapter_and_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = adapted()
    theirs.add_adapter("other", peft.LoraConfig(r=2, lora_alpha=1, target_modules=["low"], init_lora_weights=False))
    theirs.set_adapter("other")
    ours, calls = fast_copy(theirs), count_fast_calls(monkeypatch)
    assert_rounding(ours(inputs()), theirs(inputs()))
    assert calls[0] == 1  # "high" has no such adapter
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(inputs()), theirs(inputs()))
    assert calls[0] == 1


def test_pickles_copies_and_comes_out_as_pefts() -> None:
    theirs = adapted()
    ours = fast_copy(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(isinstance(m, Linear) for n, m in ours.named_modules() if n.endswith((".low", ".high")))
    again = pickle.loads(pickle.dumps(ours))
    assert torch.equal(again(inputs()), ours(inputs()))
    layers = [module for module in ours.modules() if isinstance(module, FastLinear)]
    uninstall(ours)
    assert all(type(layer) is Linear for layer in layers)
    assert torch.equal(ours(inputs()), theirs(inputs()))
    install(ours)
    merged = ours.merge_and_unload()
    assert_rounding(merged(inputs()), theirs(inputs()))
    assert not any(isinstance(module, Linear) for module in merged.modules())


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
def test_a_language_model_learns_the_same(
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[..., Any],
    tokenizer: Any,
    random_rows: Any,
    tmp_path: Path,
    architecture: str,
) -> None:
    """Loss and gradients of the whole model; no gradient below the first layer; plain peft reads what is saved."""
    off = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if architecture == "gpt2" else {}
    base = build(architecture, **off)
    lm = LanguageModel.wrap(copy.deepcopy(base), tokenizer)
    method = LoraConfig(rank=4).build()
    lm.adapt(method)
    trained = method.trainable(lm.model)
    with torch.no_grad():
        for parameter in trained.values():
            parameter += 0.1
    embedded: list[bool] = []
    lm.model.get_input_embeddings().register_forward_hook(lambda *call: embedded.append(call[2].requires_grad))
    calls = count_fast_calls(monkeypatch)
    results = []
    for _ in range(2):
        lm.model.zero_grad()
        loss, _ = Objective()(lm, flat_batch(random_rows(4)))
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in trained.values())])
        uninstall(lm.model)
    assert (calls[0] > 0) == (architecture != "gpt2")  # its layers are Conv1D
    assert embedded == [False, False]
    for a, b in zip(*results, strict=True):
        assert_rounding(a, b, 1e-5)  # through two layers
    method.save(lm.model, tmp_path, tokenizer)
    plain = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    ids = torch.arange(3, 40)[None]
    lm.model.eval()
    with torch.no_grad():
        assert_close(plain(input_ids=ids).logits, lm.model(input_ids=ids).logits, rtol=1e-5, atol=1e-5)
    again = lm.model
    lm.restore(method)
    assert not any(isinstance(module, Linear) for module in again.modules())


def test_an_adapter_that_is_loaded_takes_the_fast_path(
    tiny: LanguageModel, tiny_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    method = LoraConfig(rank=4).build()
    tiny.adapt(method)
    method.save(tiny.model, tmp_path, tokenizer)
    lm = load(str(tiny_folder), device="cpu", precision="fp32", adapter=tmp_path)
    fast = [type(module) for module in lm.model.modules() if isinstance(module, Linear)]
    assert fast == list(itertools.repeat(FastLinear, 14))
