"""Two models are asked in one chat template."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keeptune.compare.shared_template import shared_template
from keeptune.core.errors import ModelError
from keeptune.models.load import load

A = "{% for m in messages %}<s>{{ m.content }}{{ eos_token }}{% endfor %}"
B = A.replace("<s>", "<s>## ")
REFUSES = "{{ raise_exception('never') }}"

Make = Callable[..., str]


@pytest.fixture
def make(tiny_folder: Path, tmp_path: Path) -> Make:
    """``make(name, template)``: a copy of the tiny model with a template, or with none."""

    def copy(name: str, template: Any = None) -> str:
        folder = shutil.copytree(tiny_folder, tmp_path / name)
        if template is not None:
            path = folder / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
        return str(folder)

    return copy


def named(**templates: str) -> list[dict[str, str]]:
    return [{"name": name, "template": template} for name, template in templates.items()]


@pytest.mark.parametrize(
    ("base", "tuned", "asked", "said"),
    [
        (None, None, None, ""),
        (A, A, None, ""),
        (None, A, A, "the chat template of .*tuned; .*base has none"),
        (A, None, A, "the chat template of .*base; .*tuned has none"),
        (A, B, B, "the chat template of .*tuned; .*base has another"),
        (named(default=A, rag=B), A, None, ""),
        (named(default=A, rag=B), B, B, "the chat template of .*tuned; .*base has another"),
        (B, named(default=A, tool_use=B), A, "the chat template of .*tuned; .*base has another"),
    ],
)
def test_both_are_asked_in_the_template_of_the_tuned_side(
    make: Make, base: Any, tuned: Any, asked: str | None, said: str
) -> None:
    shared = shared_template(make("base", base), make("tuned", tuned))
    assert shared.template == asked
    assert len(shared.notes) == (1 if said else 0)
    assert re.search(said, " ".join(shared.notes))


def test_a_layout_is_put_on_a_model_that_had_none(make: Make) -> None:
    base, tuned = make("base"), make("tuned", A)
    shared = shared_template(base, tuned)
    lm = load(base, device="cpu", precision="fp32")
    before = lm.hash
    shared.put_on(lm)
    assert lm.tokenizer.chat_template == A
    assert lm.chat
    assert lm.hash not in (before, None)  # answers in another chat template are other answers


def test_a_layout_that_a_model_cannot_be_asked_in_is_refused(make: Make) -> None:
    base = make("base")
    shared = shared_template(base, make("tuned", REFUSES))
    with pytest.raises(ModelError, match="cannot be asked in the chat template of the other.*give both the same"):
        shared.put_on(load(base, device="cpu", precision="fp32"))


def test_an_adapter_that_cannot_be_read_is_refused_before_its_base_is_asked(make: Make, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"cut: adapter_config\.json cannot be read"):
        shared_template(make("base"), str(tmp_path / "cut"))


def test_tokenizers_that_read_a_text_differently_are_mentioned(make: Make) -> None:
    from transformers import AutoTokenizer

    base, tuned = make("base", A), make("tuned", A)
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    tokenizer.add_special_tokens({"additional_special_tokens": ["What"]})
    tokenizer.save_pretrained(tuned)
    (note,) = shared_template(base, tuned).notes
    assert re.search(r"make other tokens of the same text: .*base \d+ .*tuned \d+ \(first 'What'\)", note)
