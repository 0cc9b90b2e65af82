"""A training on paper takes what the same training takes in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from keeptune.data.examples import Encoded
from keeptune.methods.base import METHODS
from keeptune.models.language_model import LanguageModel
from keeptune.models.sketch import empty_model
from keeptune.planning.memory import Layout, Sizes, account
from keeptune.planning.trace import Trace, _Watch, trace
from keeptune.train.microbatch_autotune import running
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW, optimizer_bytes
from keeptune.train.step import batches_for
from tiny_models import make

WIDTH, LAYERS, HEADS, KEYS, INNER, VOCABULARY = 64, 2, 4, 2, 128, 211


class Tokens:
    """As much of a tokenizer as a model has to know."""

    eos_token_id = 1
    model_max_length = 128
    chat_template = None
    name_or_path = "numbers"

    def __len__(self) -> int:
        return VOCABULARY

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(VOCABULARY)}

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def model(architecture: str, dtype: torch.dtype, device: str = "cpu") -> LanguageModel:
    settings = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    made = make(architecture, vocab_size=VOCABULARY, **settings).to(dtype).requires_grad_(False)
    if device == "meta":
        made = empty_model(made.config, dtype)
    lm = LanguageModel.sketch(made, Tokens(), name=architecture)
    if device != "meta":
        lm.base_engine = model(architecture, dtype, "meta").base_engine
    return lm


def rows(count: int, prompt: int = 20, completion: int = 6) -> list[Encoded]:
    draw = torch.Generator().manual_seed(count)
    ids = torch.randint(2, VOCABULARY, (count, prompt + completion), generator=draw).tolist()
    return [Encoded(str(i), tuple(each[:prompt]), tuple(each[prompt:])) for i, each in enumerate(ids)]


def really(lm: LanguageModel, method: Any, batch: Any) -> _Watch:
    """The same, with data, and the watch that saw it."""
    watch = _Watch(lm.model, "cpu")
    with running(lm, "flat"), watch:
        loss, _ = Objective()(lm, batch)
        loss.backward()  # type: ignore[no-untyped-call]
    return watch


@pytest.fixture(params=["llama", "qwen3", "gpt2"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["full", "lora", "ia3"])
def test_activations_are_those_of_the_training_itself(name: str, dtype: torch.dtype) -> None:
    paper, real = model("llama", dtype, "meta"), model("llama", dtype)
    methods = METHODS[name]().build(), METHODS[name]().build()
    for lm, method in zip((paper, real), methods, strict=True):
        lm.model = method.prepare(lm.model)
    batch = batches_for(real, rows(8), 256)[0]
    found, seen = trace(paper, methods[0], batch), really(real, methods[1], batch)
    assert found.peak_bytes == pytest.approx(seen.peak, rel=0.05)
    assert found.tokens == batch.computed
    assert found.flops == seen.flops > 0
    gradients = sum(p.grad.nbytes for p in methods[1].trainable(real.model).values() if p.grad is not None)
    sizes = {block: size for block, size in found.events if size}
    assert sum(sizes[block] for blocks in found.gradients for block in blocks) == gradients


def statics(lm: LanguageModel, name: str) -> tuple[dict[str, int], int]:
    """Bytes of masters, moments and sums that the real optimiser holds after a step, and of all weights."""
    method = METHODS[name]().build()
    lm.model = method.prepare(lm.model)
    optimizer = MasterAdamW(method.trainable(lm.model).values())
    for batch in batches_for(lm, rows(4), 256):
        loss, _ = Objective()(lm, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.accumulate()
    sums = sum(master.grad.nbytes for master in optimizer.masters if master.grad is not None)
    optimizer.step(1e-3, 1.0)
    inner: Optimizer = optimizer._adamw
    moments = sum(s[key].nbytes for s in inner.state.values() for key in ("exp_avg", "exp_avg_sq"))
    low = [m.nbytes for m, p in zip(optimizer.masters, optimizer.parameters, strict=True) if m is not p]
    weights = sum(p.nbytes for p in lm.model.parameters())
    return {"masters": sum(low), "moments": moments, "summed_gradients": sums}, weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["full", "lora", "prompt-tuning"])
def test_what_the_optimiser_holds_is_exact_to_the_byte(name: str, dtype: torch.dtype) -> None:
    held, weights = statics(model("llama", dtype), name)
    lm, method = model("llama", dtype, "meta"), METHODS[name]().build()
    lm.adapt(method)
    sizes = Sizes.of(lm, method)
    traced = trace(lm, method, batches_for(lm, rows(4), 256)[0])
    found = account(sizes, traced, traced, Layout(), tokens=traced.tokens, overhead=0)
    assert {key: getattr(found, key) for key in held} == held
    assert found.weights == weights
    own = 0 if sizes.low_precision else held["summed_gradients"]  # the gradient of a float32 weight is its own sum
    assert optimizer_bytes(method.trainable(lm.model).values()) == sum(held.values()) - own


def llama_activations(tokens: int, rows: int, targets: int, dtype: int = 2) -> int:
    """The slow reference, for one architecture: bytes that backward needs of each layer, added up by hand.

    As arXiv 2205.05198 counts for GPT, here for a Llama without dropout. Per token: the residual stream before either
    norm and each norm's float32 copy of it, its normalised value and its input to the products (shared by query, key
    and value, and by gate and up); query and key before and after rotation; value; what attention returns; gate, up,
    its SiLU and their product. And the probabilities that are kept: for every row and head a triangle of blocks.
    """
    length = tokens // rows
    norms = 2 * (4 * WIDTH + 4 + dtype * WIDTH + dtype * WIDTH)
    attention = dtype * (2 * WIDTH + 2 * KEYS * (WIDTH // HEADS) * 2)
    inner = dtype * 4 * INNER
    scores = rows * HEADS * length * length * dtype
    layer = tokens * (norms + attention + inner + dtype * WIDTH) + scores
    return LAYERS * layer + targets * WIDTH * dtype


def test_the_formula_of_a_llama_is_what_the_trace_finds() -> None:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["full"]().build()
    lm.adapt(method)
    found = trace(lm, method, batches_for(lm, rows(8), 512)[0])
    targets = 8 * 6
    assert found.kept_bytes == pytest.approx(llama_activations(found.tokens, 8, targets), rel=0.3)


def test_checkpointing_keeps_less_and_computes_more(architecture: str) -> None:
    lm, method = model(architecture, torch.bfloat16, "meta"), METHODS["lora"](rank=2).build()
    lm.adapt(method)
    batch = batches_for(lm, rows(8), 512)[0]
    plain, again = (trace(lm, method, batch, checkpointing=value) for value in (False, True))
    assert again.kept_bytes < plain.kept_bytes
    assert again.flops > plain.flops


def test_memory_is_a_straight_line_in_tokens() -> None:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["lora"](rank=2).build()
    lm.adapt(method)
    few, some, many = (trace(lm, method, batches_for(lm, rows(n), 4096)[0]) for n in (4, 8, 16))
    sizes = Sizes.of(lm, method)
    between = account(sizes, few, many, Layout(), tokens=some.tokens, overhead=0)
    assert between.activations == pytest.approx(some.kept_bytes, rel=0.05)


def test_a_gpu_keeps_no_scores() -> None:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["full"]().build()
    lm.adapt(method)
    batch = batches_for(lm, rows(2, prompt=100, completion=20), 512)[0]
    cpu, cuda = (trace(lm, method, batch, device=device) for device in ("cpu", "cuda"))
    assert cuda.kept_bytes < cpu.kept_bytes


def sharded(n: int, **more: bool) -> tuple[Sizes, Any]:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["full"]().build()
    lm.adapt(method)
    traced: Trace = trace(lm, method, batches_for(lm, rows(4), 256)[0])
    sizes = Sizes.of(lm, method, copies_base=True)
    layout = Layout(n, sharded=True, **more)
    return sizes, account(sizes, traced, traced, layout, tokens=traced.tokens, overhead=7, device="cuda")


def test_shards_divide_what_is_held() -> None:
    sizes, alone = sharded(1)
    _, four = sharded(4)
    for name in ("weights", "masters", "moments", "summed_gradients"):
        assert getattr(four, name) == getattr(alone, name) // 4
    assert alone.moments == 8 * sizes.trained and alone.overhead == 7
    assert four.host == sizes.copied


def test_all_weights_are_put_together_in_every_process_between_steps() -> None:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["full"]().build()
    lm.adapt(method)
    traced = trace(lm, method, batches_for(lm, rows(2, prompt=10, completion=5), 512)[0])
    large = replace(Sizes.of(lm, method), dense=10**9)
    whole, shards = (account(large, traced, traced, Layout(4, sharded=s), tokens=30, overhead=0) for s in (False, True))
    assert whole.activations + whole.temporaries < 10**9 == shards.activations + shards.temporaries


def test_a_cpu_maps_the_file_of_weights_that_are_read_back() -> None:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["full"]().build()
    lm.adapt(method)
    traced = trace(lm, method, batches_for(lm, rows(2, prompt=10, completion=5), 512)[0])
    own, adapter = (Sizes.of(lm, method, copies_base=copies) for copies in (True, False))
    found = [account(s, traced, traced, Layout(), tokens=30, overhead=0).reading for s in (own, adapter)]
    assert found == [own.dense, 0] and sharded(2)[1].reading == 0  # which is of a GPU


def test_what_is_offloaded_lies_in_the_hosts_memory() -> None:
    sizes, account = sharded(2, offload=True)
    assert (account.weights, account.masters, account.moments, account.summed_gradients) == (0, 0, 0, 0)
    assert account.host == sizes.copied + (2 + 4 + 8 + 4) * sizes.trained // 2
    assert account.temporaries > sizes.beside_blocks


def test_few_bits_are_counted_as_few() -> None:
    lm, method = model("llama", torch.bfloat16, "meta"), METHODS["lora"]().build()
    lm.adapt(method)
    plain, nf4, int8 = (Sizes.of(lm, method, quantise=way) for way in ("none", "nf4", "int8"))
    linear = sum(
        m.weight.numel()
        for name, m in lm.model.named_modules()
        if isinstance(m, nn.Linear) and "lora" not in name and "lm_head" not in name
    )
    assert plain.weights - int8.weights == linear
    assert nf4.weights < int8.weights < plain.weights
    assert nf4.widest == 2 * WIDTH * INNER
