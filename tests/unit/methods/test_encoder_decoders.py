"""Every method on encoder-decoders: trained, saved, read by plain transformers or peft, taken out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.batching.trie import ScoringRequest
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import choice_logprobs, row_nats
from keeptune.methods.base import METHODS, WeightDelta
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.load import load
from keeptune.train.loop import TrainConfig, fit

WHOLE_WAY = ("full", "last-layers", "lora", "prompt-tuning")  # what differs between architectures
ARMS = [
    ("full", {}),
    ("norms", {}),
    ("last-layers", {"count": 1}),
    ("lora", {"rank": 4}),
    ("rslora", {"rank": 4}),
    ("loraplus", {"rank": 4}),
    ("dora", {"rank": 4}),
    ("pissa", {"rank": 4}),
    ("osf", {}),
    ("ia3", {}),
    ("prompt-tuning", {"tokens": 3}),
    ("p-tuning", {"tokens": 3}),
    ("bottleneck", {"size": 4}),
    ("peft", {"type": "loha"}),
    ("peft", {"type": "vera"}),
]
CASES = [
    *(pytest.param("t5", name, settings, id=f"t5-{settings.get('type', name)}") for name, settings in ARMS),
    *(pytest.param("bart", name, settings, id=f"bart-{name}") for name, settings in ARMS if name in WHOLE_WAY),
]
ROWS = [Encoded(str(number), (5, 6, 7 + number % 3), (40 + number % 3, 50 + number % 3, 2)) for number in range(12)]
ASKED = [ScoringRequest((5, 6, 7), [(40, 50), (41, 51)]), ScoringRequest((5, 9, 30, 31), [(8, 2), (9,)])]


@pytest.fixture
def folder(request: pytest.FixtureRequest, build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Path:
    """A model of the wanted architecture on disk."""
    place = tmp_path / "base"
    build(request.param).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def said(lm: LanguageModel) -> list[float]:
    return [value for sums in choice_logprobs(lm, ASKED) for value in sums]


def plain(model: Any, virtual: int = 0) -> list[float]:
    """What transformers or peft say by themselves."""
    found = []
    for request in ASKED:
        for choice in request.choices:
            ids = torch.tensor([list(request.prompt_ids)])
            fed = torch.tensor([[model.config.decoder_start_token_id, *choice[:-1]]])
            with torch.no_grad():
                scores = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=fed).logits
            found.append(float(scores[0].log_softmax(-1)[torch.arange(len(choice)), torch.tensor(choice)].sum()))
    return found


@pytest.mark.parametrize(("folder", "name", "settings"), CASES, indirect=["folder"])
def test_trained_saved_read_elsewhere_and_taken_out(
    folder: Path, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    lm = load(str(folder), device="cpu", precision="fp32")
    assert lm.engine.name == "encoder-decoder"
    before, weights = said(lm), hash_parameters(lm.model)
    method = METHODS[name](**settings).build()
    result = fit(lm, method, ROWS, ROWS, TrainConfig(epochs=3, global_batch=4), tmp_path / "run", lr=1e-2)
    assert result.best_step > 0 and result.best_loss is not None
    tuned = said(lm)
    assert tuned != pytest.approx(before, abs=1e-4)
    with lm.using("padded"):
        assert said(lm) == pytest.approx(tuned, rel=1e-4)
    nats = row_nats(lm, ROWS)
    assert sum(nats) / sum(row.trained for row in ROWS) == pytest.approx(result.best_loss, rel=1e-4)
    assert len(generate(lm, [request.prompt_ids for request in ASKED], 4)) == 2

    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    saved = tmp_path / "run" / method.artifact
    if method.artifact == "model":
        assert plain(AutoModelForSeq2SeqLM.from_pretrained(saved)) == pytest.approx(tuned, rel=1e-4)
    elif name != "bottleneck":  # which keeptune alone reads
        base = AutoModelForSeq2SeqLM.from_pretrained(folder)
        assert plain(PeftModel.from_pretrained(base, saved)) == pytest.approx(tuned, rel=1e-4)

    if method.artifact == "adapter":
        judged = load(str(folder), device="cpu", precision="fp32", adapter=saved)
        assert said(judged) == pytest.approx(tuned, rel=1e-4)
        assert judged.engine.name == "encoder-decoder"
    lm.restore(method)
    assert (said(lm), hash_parameters(lm.model)) == (before, weights)
    if isinstance(method, WeightDelta):
        again = METHODS[name](**settings).build()
        lm.adapt(again)
        assert isinstance(again, WeightDelta)
        again.load(lm.model, saved)
        lm.accept(again)
        assert said(lm) == pytest.approx(tuned, rel=1e-3)
