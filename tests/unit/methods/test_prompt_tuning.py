"""Virtual tokens as plain ones: losses, gradients and answers are those of peft's own padded forward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from keeptune.core.errors import ConfigError, DataError, ModelError
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import row_nats
from keeptune.methods.p_tuning import ENCODER, PTuningConfig
from keeptune.methods.prompt_tuning import PromptTuning, PromptTuningConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.step import mean_nll

Rows = Callable[..., list[Encoded]]


@pytest.fixture
def tuned(tiny: LanguageModel, tmp_path: Path) -> tuple[LanguageModel, PromptTuning, Path]:
    """Adapted, moved away from its start, and saved."""
    method = PromptTuningConfig(tokens=6).build()
    torch.manual_seed(0)
    tiny.adapt(method)
    with torch.no_grad():
        for parameter in method.trainable(tiny.model).values():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    method.save(tiny.model, tmp_path / "adapter", tiny.tokenizer)
    return tiny, method, tmp_path / "adapter"


@pytest.fixture
def plain(tiny_folder: Path, tuned: tuple[LanguageModel, PromptTuning, Path]) -> Any:
    """peft's own prompt tuning with the same vectors: what it loads itself, it does not train."""
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=6)
    model: Any = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), settings)
    stored = load_file(tuned[2] / "adapter_model.safetensors")["prompt_embeddings"]
    model.prompt_encoder["default"].embedding.weight.data.copy_(stored)
    return model.eval()


def peft_nats(model: Any, row: Encoded) -> torch.Tensor:
    ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
    logprobs = model(input_ids=ids).logits[0, -ids.shape[1] :].log_softmax(-1)
    first = max(len(row.prompt_ids), 1)
    return -sum(logprobs[at - 1, ids[0, at]] for at in range(first, ids.shape[1]))  # type: ignore[return-value]


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_losses_and_gradients_are_peft_s(
    tuned: tuple[LanguageModel, PromptTuning, Path], plain: Any, random_rows: Rows, engine: str
) -> None:
    lm, method, _ = tuned
    assert lm.engine.name == "flat"
    rows = [*random_rows(8), Encoded("whole", (), (5, 9, 11, 40))]  # its first token has nothing in front of it
    with lm.using(engine):
        with torch.no_grad():
            expected = [float(peft_nats(plain, row)) for row in rows]
        assert row_nats(lm, rows) == pytest.approx(expected, rel=1e-4)
        loss = sum(lm.engine.nll(lm, batch) for batch in lm.engine.train_batches(lm, rows, 200))
        loss.backward()  # type: ignore[union-attr]
    sum(peft_nats(plain, row) for row in rows).backward()  # type: ignore[union-attr]
    (theirs,) = (p.grad for p in plain.parameters() if p.requires_grad)
    (ours,) = (p.grad for p in method.trainable(lm.model).values())
    assert ours is not None and torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # peft's own, of its own generation
@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_answers_are_peft_s(tuned: tuple[LanguageModel, PromptTuning, Path], plain: Any, engine: str) -> None:
    lm, _, _ = tuned
    prompts = [(5, 6, 7), (9, 10), (5, 6, 8, 30)]
    with lm.using(engine):
        found = generate(lm, prompts, 8)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        theirs = plain.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[
            0
        ]
        new = theirs[len(prompt) :].tolist() if len(theirs) > 8 else theirs.tolist()
        assert list(answer) == new[: len(answer)]


def test_padded_and_flat_training_end_at_the_same_vectors(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path
) -> None:
    rows, ends = random_rows(12), []
    for engine in ("flat", "padded"):
        method = PromptTuningConfig(tokens=5).build()
        settings = TrainConfig(epochs=2, global_batch=4, engine=engine)  # type: ignore[arg-type]
        fit(tiny, method, rows, [], settings, tmp_path / engine, lr=1e-2)
        ends.append(next(iter(method.trainable(tiny.model).values())).detach().clone())
        losses = mean_nll(tiny, rows, 200)
        tiny.restore(method)
        assert losses < mean_nll(tiny, rows, 200)
    assert torch.allclose(*ends, atol=1e-4)


def test_a_window_without_room_and_other_vectors_are_refused(
    tuned: tuple[LanguageModel, PromptTuning, Path], random_rows: Rows, tmp_path: Path
) -> None:
    lm, method, folder = tuned
    long = Encoded("long", tuple(range(5, 55)), tuple(range(60, 60 + lm.context - 50)))
    with pytest.raises(DataError, match=r"no room for 6 virtual ones in a window of 128"):
        row_nats(lm, [long])
    lm.restore(method)
    other = PromptTuningConfig(tokens=7).build()
    lm.adapt(other)
    with pytest.raises(ModelError, match="6 virtual tokens of width 32 are stored, and 7"):
        other.load(lm.model, folder)


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_p_tuning_learns_as_peft_s(tiny: LanguageModel, tiny_folder: Path, random_rows: Rows, engine: str) -> None:
    settings = peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    plain: Any = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), settings)
    method, rows = PTuningConfig(tokens=4).build(), random_rows(6)
    tiny.adapt(method)
    encoder: Any = tiny.model.get_input_embeddings().prompt  # type: ignore[operator]
    encoder.encoder.load_state_dict(plain.prompt_encoder["default"].state_dict())
    with tiny.using(engine):
        loss = sum(tiny.engine.nll(tiny, batch) for batch in tiny.engine.train_batches(tiny, rows, 200))
    loss.backward()  # type: ignore[union-attr]
    theirs: Any = sum(peft_nats(plain, row) for row in rows)
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-4)  # type: ignore[union-attr]
    ours = {name.rpartition("encoder.")[2]: p.grad for name, p in method.trainable(tiny.model).items()}
    expected = {name: p.grad for name, p in plain.prompt_encoder["default"].named_parameters()}
    assert ours.keys() == expected.keys() and len(ours) == 7  # embeddings, and three layers with biases
    for name, grad in expected.items():
        assert torch.allclose(ours[name], grad, atol=1e-4 * float(grad.abs().max())), name


def test_p_tuning_without_its_encoder_is_not_loaded(tiny: LanguageModel, tmp_path: Path) -> None:
    method = PTuningConfig(tokens=4).build()
    tiny.adapt(method)
    method.save(tiny.model, tmp_path, tiny.tokenizer)
    tiny.restore(method)
    other = PTuningConfig(tokens=5).build()
    tiny.adapt(other)
    with pytest.raises(ModelError, match="the encoder is not one of 5 tokens"):
        other.load(tiny.model, tmp_path)
    (tmp_path / ENCODER).unlink()
    with pytest.raises(ModelError, match="the encoder is missing"):
        other.load(tiny.model, tmp_path)


@pytest.mark.parametrize("tokens", [3, 20])  # the text is cut, and repeated
def test_vectors_start_at_a_text_as_in_peft(tiny_folder: Path, tokens: int) -> None:
    text = "Say which colour it is."
    settings = peft.PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=tokens,
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text=text,
        tokenizer_name_or_path=str(tiny_folder),
    )
    plain: Any = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), settings)
    method = PromptTuningConfig(tokens=tokens, start="text", text=text).build()
    lm = load(str(tiny_folder), device="cpu", precision="fp32")
    lm.adapt(method)
    (ours,) = method.trainable(lm.model).values()
    assert torch.equal(ours, plain.prompt_encoder["default"].embedding.weight)


def test_a_text_needs_a_tokenizer_and_a_start(tiny: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="no folder with a tokenizer"):
        tiny.adapt(PromptTuningConfig(start="text", text="Say it.").build())
    for settings in ({"start": "text"}, {"text": "Say it."}):
        with pytest.raises(ValueError, match="belong together"):
            PromptTuningConfig(**settings)  # type: ignore[arg-type]


def test_virtual_tokens_are_not_put_before_virtual_tokens(tuned: tuple[LanguageModel, PromptTuning, Path]) -> None:
    with pytest.raises(ModelError, match="virtual tokens already"):
        tuned[0].adapt(PTuningConfig().build())
