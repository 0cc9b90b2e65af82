"""Every architecture of docs/architectures.md beside plain transformers and peft: run, trained, stored, asked.

What keeptune gives is compared with what these libraries give by themselves, one row at a time. How they lay out prompt
and completion stands in `Plain` alone: an architecture that does it otherwise needs another one, and a row of the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.testing import assert_close

import make_architectures as page
from keeptune.batching.trie import ScoringRequest
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded, Example
from keeptune.data.prompts.templates import Template, TemplateSet
from keeptune.evaluate.shots import fit_prompt
from keeptune.inference.generate import generate
from keeptune.inference.score import choice_logprobs
from keeptune.methods.base import Method
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.methods.lora_layers.quiet import without_false_alarms
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.load import load
from keeptune.models.outputs import logits
from keeptune.train.loop import TrainConfig, fit

Rows = Callable[..., list[Encoded]]
BUDGET = 256  # tokens: several micro-batches per step
NEW_TOKENS = 12
STEPS = TrainConfig(epochs=3, global_batch=4, token_budget=BUDGET)


@dataclass(frozen=True)
class Plain:
    """A model as plain transformers runs it."""

    model: Any

    @classmethod
    def read(cls, folder: Path) -> Plain:
        """From a folder, in float32."""
        if transformers.AutoConfig.from_pretrained(folder).is_encoder_decoder:
            return PlainPair(transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval())
        return Plain(transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())

    def with_adapter(self, folder: Path) -> Plain:
        """The same under an adapter that plain peft reads."""
        from peft import PeftModel

        with without_false_alarms():
            return type(self)(PeftModel.from_pretrained(self.model, folder).eval())

    def logits(self, row: Encoded) -> Tensor:
        """[completion, V] what predicts every token of the completion."""
        ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
        found: Tensor = self.model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1]
        return found

    def answer(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """New tokens of greedy decoding, without the end token."""
        ids = torch.tensor([prompt])
        output = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
        )
        return self._until_end(output[0, len(prompt) :].tolist())

    def _until_end(self, new: list[int]) -> tuple[int, ...]:
        end = self.model.config.eos_token_id
        return tuple(new[: new.index(end)] if end in new else new)

    def logprobs(self, row: Encoded) -> Tensor:
        """[completion] of every token of the completion."""
        return self.logits(row).log_softmax(-1)[range(len(row.completion_ids)), list(row.completion_ids)]


@dataclass(frozen=True)
class PlainPair(Plain):
    """An encoder-decoder: the decoder is given its start token, and the answer one place to the right."""

    def logits(self, row: Encoded) -> Tensor:
        """[completion, V] what predicts every token of the completion."""
        fed = torch.tensor([[self.model.config.decoder_start_token_id, *row.completion_ids[:-1]]])
        found: Tensor = self.model(input_ids=torch.tensor([row.prompt_ids]), decoder_input_ids=fed).logits[0]
        return found

    def answer(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """New tokens of greedy decoding, without the end token."""
        output = self.model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False)
        return self._until_end(output[0, 1:].tolist())


@dataclass(frozen=True)
class Case:
    """A row of the page, the folder of its model, and the model as keeptune loads it and as transformers does."""

    row: page.Row
    folder: Path
    lm: LanguageModel
    plain: Plain

    def read(self, adapter: Path | None = None) -> LanguageModel:
        """The model, loaded once more."""
        return load(str(self.folder), device="cpu", precision="fp32", adapter=adapter)


@pytest.fixture(scope="module", params=page.ROWS, ids=lambda row: row.model_type)
def case(request: pytest.FixtureRequest, build: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    row: page.Row = request.param
    if row.model_type not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {row.model_type}")
    folder = tmp_path_factory.mktemp("models") / row.model_type
    build(row.model_type).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Case(row, folder, load(str(folder), device="cpu", precision="fp32"), Plain.read(folder))


def same(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the spread of what is expected."""
    assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.std()))


def logits_of(lm: LanguageModel, rows: list[Encoded]) -> list[Tensor]:
    """[completion, V] for each row, by the engine of ``lm``."""
    found: list[list[Tensor]] = [[] for _ in rows]
    with evaluating(lm):
        for batch in lm.engine.score_batches(rows, BUDGET):
            states = logits(lm, batch)[batch.sources]
            for number in batch.examples.unique().tolist():
                mine = batch.examples == number
                assert tuple(batch.labels[mine].tolist()) == rows[number].completion_ids
                found[number].append(states[mine])
    return [torch.cat(parts) for parts in found]


def same_logits(lm: LanguageModel, plain: Plain, rows: list[Encoded]) -> None:
    with torch.no_grad():
        for found, row in zip(logits_of(lm, rows), rows, strict=True):
            same(found, plain.logits(row))


def gradients(model: Any, loss: Tensor) -> tuple[float, dict[str, Tensor]]:
    """The loss, and its gradient by name of the parameter."""
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.item(), found


def by_engine(lm: LanguageModel, rows: list[Encoded]) -> tuple[float, dict[str, Tensor]]:
    batches = lm.engine.train_batches(lm, rows, BUDGET)
    return gradients(lm.model, torch.stack([lm.engine.nll(lm, batch) for batch in batches]).sum())


def train(lm: LanguageModel, method: Method, rows: list[Encoded], folder: Path, lr: float) -> None:
    """A few steps, which change what ``lm`` says of ``rows``."""
    before = logits_of(lm, rows)
    result = fit(lm, method, rows, rows, STEPS, folder, lr=lr)
    assert result.best_step > 0 and not result.diverged
    assert all((now - then).abs().max() > 0.01 for now, then in zip(logits_of(lm, rows), before, strict=True))


def test_the_engine_is_the_one_of_the_page(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    lm = case.read()
    assert type(lm.model).__name__ == case.row.architecture
    assert lm.engine.name == case.row.engine
    assert ("runs padded, which is slower" in caplog.text) == (case.row.engine == "padded")


def test_logits_are_those_of_transformers(case: Case, random_rows: Rows) -> None:
    same_logits(case.lm, case.plain, random_rows(6, longest=40))


def test_loss_and_gradient_are_those_of_the_padded_engine_and_of_transformers(case: Case, branching_rows: Rows) -> None:
    rows = [row for row in branching_rows(14, longest=40) if row.prompt_ids]
    lm = case.read()
    lm.model.requires_grad_(True)
    loss, gradient = by_engine(lm, rows)
    with lm.using("padded"):
        padded = by_engine(lm, rows)
    plain = gradients(case.plain.model, -torch.cat([case.plain.logprobs(row) for row in rows]).sum())
    for expected_loss, expected in (padded, plain):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert gradient.keys() == expected.keys()
        largest = max(float(each.abs().max()) for each in expected.values())
        for (
            name,
            each,
        ) in expected.items():  # that of a bias of keys is nothing but rounding, which processors differ in
            rounding = (5e-7 if name.endswith("k_proj.bias") else 1e-7) * largest
            tolerance = 1e-5 * float(each.abs().max()) + rounding
            assert_close(gradient[name], each, rtol=0, atol=tolerance, msg=name)


def test_a_fully_trained_model_is_read_by_transformers(case: Case, random_rows: Rows, tmp_path: Path) -> None:
    rows, method, lm = random_rows(8, seed=1), FullConfig().build(), case.read()
    train(lm, method, rows, tmp_path, 1e-3)
    same_logits(lm, Plain.read(tmp_path / "model"), rows)
    lm.restore(method)
    same_logits(lm, case.plain, rows)


def test_an_adapter_is_read_by_peft_and_merges(case: Case, random_rows: Rows, tmp_path: Path) -> None:
    rows, method, lm = random_rows(8, seed=1), LoraConfig(rank=4).build(), case.read()
    train(lm, method, rows, tmp_path, 1e-2)
    adapted = Plain.read(case.folder).with_adapter(tmp_path / "adapter")
    same_logits(lm, adapted, rows)
    same_logits(case.read(tmp_path / "adapter"), adapted, rows)
    lm.accept(method)
    same_logits(lm, adapted, rows)
    assert type(lm.model).__name__ == case.row.architecture


def test_greedy_answers_are_those_of_transformers(case: Case, random_rows: Rows) -> None:
    prompts = [row.prompt_ids for row in random_rows(5, seed=2, longest=40)]
    found = generate(case.lm, prompts, NEW_TOKENS)
    assert found == [case.plain.answer(prompt) for prompt in prompts]
    assert len(set(found)) > 1


def test_choices_behind_shots_have_the_log_probabilities_of_transformers(case: Case, tokenizer: Any) -> None:
    words = ("one", "two", "red", "green")
    wordings = TemplateSet((Template.parse("Q: {{ q }}\nA: ||| {{ a }}"),))
    *shots, first, second = (wordings.fixed(Example.make({"q": f"say {word}", "a": word})) for word in words)
    encoder = Encoder(tokenizer, context=case.lm.context, encoder_decoder=case.lm.encoder_decoder)
    prompts = [fit_prompt(encoder, item, shots, room=10) for item in (first, second)]
    choices = [encoder.choice(f" {word}") for word in words]
    requests = [ScoringRequest(prompt.ids, choices) for prompt in prompts if prompt and prompt.shots == 2]
    found = choice_logprobs(case.lm, requests)
    assert len(found) == 2
    for request, sums in zip(requests, found, strict=True):
        with torch.no_grad():
            rows = [Encoded("", tuple(request.prompt_ids), choice) for choice in choices]
            assert sums == pytest.approx([float(case.plain.logprobs(row).sum()) for row in rows], abs=2e-5)


def test_the_page_is_written_from_these_rows() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), f"to write the page: {page.COMMAND}"
