"""Gradients of a step as the package takes them, and by hand: float64, one sequence at a time, no batching."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.language_model import LanguageModel
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.remedies.base import Remedy
from keeptune.train.step import batches_for, train_step

RANK, ALPHA = 3, 5.0
CONFIGS: dict[str, Any] = {"full": FullConfig(), "lora": LoraConfig(rank=RANK, alpha=ALPHA)}


class Recorder(MasterAdamW):
    """Keeps the summed gradients of the step instead of stepping."""

    def step(self, lr: float, clip: float) -> Tensor:
        self.gradients = [torch.zeros_like(m) if m.grad is None else m.grad.clone() for m in self.masters]
        return torch.zeros(())


@dataclass
class Case:
    """A model that some training has moved, its remedy's terms made while it still was the base."""

    lm: LanguageModel
    method: Method
    terms: Sequence[Any]
    reference: Any  # the base in float64

    def gradients(self, rows: Sequence[Encoded], budget: int = 4096) -> dict[str, Tensor]:
        """By `train_step`, in micro-batches of ``budget`` tokens."""
        parameters = self.method.trainable(self.lm.model)
        optimizer = Recorder(parameters.values())
        batches = batches_for(self.lm, rows, budget)
        assert (len(batches) > 1) == (budget < 4096)
        train_step(self.lm, batches, Objective(self.terms), optimizer, 0.0, 1.0)
        return dict(zip(parameters, optimizer.gradients, strict=True))

    def by_hand(self, loss: Callable[[Hand], Tensor]) -> dict[str, Tensor]:
        """The gradient of ``loss`` for the parameters that train, all in float64."""
        leaves = {
            name: p.detach().double().requires_grad_() for name, p in self.method.trainable(self.lm.model).items()
        }
        weights = {name: p.detach() for name, p in self.reference.named_parameters()}
        base = dict(weights)
        if self.method.artifact == "model":
            weights |= leaves
        for name, a in leaves.items():
            if ".lora_A." in name:
                b = leaves[name.replace("lora_A", "lora_B")]
                added = ALPHA / RANK * b @ a
                own = name.removeprefix("base_model.model.").split(".lora_A.")[0] + ".weight"
                weights[own] = weights[own] + (added.T if self.reference.config.model_type == "gpt2" else added)
        value = loss(Hand(self.reference, base, weights))
        return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


@dataclass
class Hand:
    """The base's and the tuned weights in float64, and what a model with them predicts."""

    model: Any
    base: dict[str, Tensor]
    tuned: dict[str, Tensor]

    def logprobs(self, weights: dict[str, Tensor], row: Encoded) -> tuple[Tensor, Tensor]:
        """[k, V] log-probabilities at the supervised positions of ``row``, and the [k] tokens there."""
        ids = torch.tensor([*row.prompt_ids, *row.completion_ids])
        first = max(len(row.prompt_ids), 1)
        logits = functional_call(self.model, weights, kwargs={"input_ids": ids[None, :-1]}).logits[0]
        return logits[first - 1 :].log_softmax(-1), ids[first:]

    def nll(self, row: Encoded, weights: dict[str, Tensor] | None = None) -> Tensor:
        """[k] nats of every supervised token, by the tuned weights unless others are given."""
        logprobs, labels = self.logprobs(self.tuned if weights is None else weights, row)
        return -logprobs.gather(1, labels[:, None])[:, 0]

    def mean(self, rows: Sequence[Encoded], each: Callable[[Encoded], Tensor]) -> Tensor:
        """The mean of ``each``, which gives a value for every supervised position, over those of all rows."""
        return torch.cat([each(row) for row in rows]).mean()


def move(parameters: Any, size: float = 0.05) -> None:
    """Add noise, as training would."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter += size * torch.randn(parameter.shape, generator=draw).to(parameter.dtype)


@pytest.fixture
def make_case(build: Callable[..., Any], tokenizer: Any) -> Callable[..., Case]:
    """``make_case("lora", remedy, architecture="llama", padded=False)``."""

    def make(method: str, remedy: Remedy | None, architecture: str = "llama", padded: bool = False) -> Case:
        still = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if architecture == "gpt2" else {}
        model = build(architecture, **still)
        lm = LanguageModel.wrap(model, tokenizer)
        reference = copy.deepcopy(model).double()
        assert lm.engine.name == "flat"
        lm = replace(lm, base_engine=PaddedEngine()) if padded else lm
        torch.manual_seed(0)
        arm = CONFIGS[method].build()
        lm.adapt(arm)
        terms = remedy.terms(lm, arm) if remedy else []
        move(arm.trainable(lm.model).values())
        return Case(lm, arm, terms, reference)

    return make


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Float32 against float64: relative to the largest gradient of every parameter."""
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (got[name].double() - gradient).abs().max() / gradient.abs().max().clamp(min=1e-6)
        assert error < 2e-4, (name, float(error))


@pytest.fixture
def same() -> Callable[[dict[str, Tensor], dict[str, Tensor]], None]:
    return assert_same


@pytest.fixture
def rows(branching_rows: Callable[..., list[Encoded]]) -> list[Encoded]:
    """Rows that share prefixes, of which two are equal: targets with weight 2, and several on one state."""
    made = branching_rows(10, seed=4, longest=30)
    return [*made, made[3], Encoded("other", made[3].prompt_ids, (*made[3].completion_ids[:-1], 7))]


WAYS = [
    pytest.param({"method": method, "architecture": architecture, "padded": padded}, budget, id=name)
    for name, method, architecture, padded, budget in [
        ("full", "full", "llama", False, 4096),
        ("full-micro", "full", "llama", False, 60),
        ("full-padded", "full", "llama", True, 4096),
        ("lora", "lora", "llama", False, 4096),
        ("lora-micro", "lora", "llama", False, 60),
        ("lora-padded", "lora", "llama", True, 60),
        ("lora-gpt2", "lora", "gpt2", False, 60),
        ("full-gpt2", "full", "gpt2", False, 60),
    ]
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" in metafunc.fixturenames:
        metafunc.parametrize(("way", "budget"), WAYS)
