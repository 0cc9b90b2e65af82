from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from keeptune.core.errors import ModelError
from keeptune.methods.lora import LoraConfig
from keeptune.models.export import export
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load


def some_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return logits


@pytest.mark.parametrize(("dtype", "precision"), [(None, "fp32"), (torch.bfloat16, "bf16")])
def test_what_is_exported_loads_equal(
    tiny: LanguageModel, tmp_path: Path, dtype: torch.dtype | None, precision: str
) -> None:
    lm = load(str(export(tiny, tmp_path / "out", dtype)), precision=precision, device="cpu")
    wanted = LanguageModel.wrap(tiny.model.to(lm.dtype), tiny.tokenizer)
    assert torch.equal(some_logits(lm.model), some_logits(wanted.model))


def test_an_adapter_is_merged_in_a_copy(tiny: LanguageModel, tmp_path: Path) -> None:
    method = LoraConfig(rank=2).build()
    tiny.adapt(method)
    with torch.no_grad():
        for parameter in method.trainable(tiny.model).values():
            parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    lm = load(str(export(tiny, tmp_path / "out")), precision="fp32", device="cpu")
    assert_close(some_logits(lm.model), some_logits(tiny.model), rtol=1e-4, atol=1e-4)
    assert hasattr(tiny.model, "merge_and_unload")


def test_a_full_folder_is_left_alone(tiny: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="the folder is not empty -> name a new one"):
        export(tiny, tmp_path)
