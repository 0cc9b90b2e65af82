"""Which tokenizer and which chat template a folder gives."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import ModelError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.tokenizer import read_tokenizer, unembedded_tokens
from keeptune.data.examples import Encoded, Rendered
from keeptune.inspect.preview import load_tokenizer
from keeptune.models.load import load

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
OTHER = TEMPLATE.replace("<s>", "<s>: ")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def template_of(folder: Path) -> Any:
    return read_tokenizer(str(folder), "copy").chat_template


def settings(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rendered(prompt: str, completion: str) -> Rendered:
    return Rendered("row", "row", prompt, completion, (completion,), path="rows.jsonl", line=7)


@pytest.mark.parametrize("file", ["chat_template.json", "processor_config.json"])
@pytest.mark.parametrize("named", [False, True])
def test_a_template_that_only_processors_read_is_used(
    folder: Path, file: str, named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stated = [{"name": "default", "template": TEMPLATE}, {"name": "rag", "template": OTHER}] if named else TEMPLATE
    (folder / file).write_text(json.dumps({"chat_template": stated}))
    with caplog.at_level(logging.WARNING):
        tokenizer = read_tokenizer(str(folder), "copy")
    hello = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(hello, tokenize=False) == "<s>user\nhello</s>"
    assert f"copy: the chat template is taken from {file}" in caplog.text
    assert load(str(folder), device="cpu").chat
    assert load_tokenizer(str(folder))[0].chat_template == tokenizer.chat_template


def test_the_tokenizers_own_template_goes_first_and_another_is_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    with caplog.at_level(logging.WARNING):
        assert template_of(folder) == TEMPLATE
        assert not caplog.records
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": OTHER}))
        assert template_of(folder) == TEMPLATE
    assert "chat_template.json holds another chat template than the tokenizer" in caplog.text


def test_a_processors_file_that_is_no_json(folder: Path) -> None:
    (folder / "chat_template.json").write_text('{"chat_template": ')
    with pytest.raises(ModelError, match="copy: chat_template.json is not JSON"):
        template_of(folder)


def test_a_processors_file_without_a_template_changes_nothing(folder: Path) -> None:
    (folder / "processor_config.json").write_text('{"image_size": 224}')
    assert not template_of(folder)


def test_named_templates_need_a_default(folder: Path) -> None:
    templates = [{"name": "rag", "template": OTHER}, {"name": "chat", "template": TEMPLATE}]
    settings(folder, chat_template=templates)
    with pytest.raises(ModelError, match="its chat templates are named chat, rag, and none is the default"):
        load(str(folder), device="cpu")
    with pytest.raises(ModelError, match="its chat templates are named chat, rag, and none is the default"):
        load_tokenizer(str(folder))
    settings(folder, chat_template=[*templates, {"name": "default", "template": TEMPLATE}])
    assert load(str(folder), device="cpu").chat


def test_templates_in_a_folder_need_a_default_too(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text(OTHER)
    with pytest.raises(ModelError, match="its chat templates are named rag, and none is the default"):
        template_of(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert template_of(folder) == {"default": TEMPLATE, "rag": OTHER}


@pytest.mark.parametrize("left", [[], ["tokenizer_config.json"]])
def test_a_folder_without_a_tokenizer(folder: Path, left: list[str]) -> None:
    for file in folder.glob("tokenizer*"):
        if file.name not in left:
            file.unlink()
    for read in (lambda: load(str(folder), device="cpu"), lambda: load_tokenizer(str(folder))):
        with pytest.raises(ModelError, match=r"the folder holds no tokenizer .* -> copy tokenizer.json and tok"):
            read()


def larger(tokenizer: Any) -> Any:
    more = copy.deepcopy(tokenizer)
    more.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return more


def test_added_tokens_beyond_the_model_are_known_of(tokenizer: Any) -> None:
    more = larger(tokenizer)
    assert unembedded_tokens(more, len(more), "m") == frozenset()
    assert unembedded_tokens(more, len(tokenizer), "m") == {len(tokenizer)}
    with pytest.raises(ModelError, match="has 321 tokens, the model embeds 319"):
        unembedded_tokens(more, len(tokenizer) - 1, "m")
    more.eos_token = "<image>"
    with pytest.raises(ModelError, match="the end token '<image>' has number 320, the model embeds 320"):
        unembedded_tokens(more, len(tokenizer), "m")


def test_only_rows_that_need_such_a_token_are_set_aside(tokenizer: Any) -> None:
    more = larger(tokenizer)
    lacking = unembedded_tokens(more, len(tokenizer), "m")
    encoder = Encoder(more, context=128, unembedded=lacking)
    rows = [rendered("a dog", " was"), rendered("a dog <image>", " was"), rendered("a dog", " was <image>")]
    made = encoder.encode_batch(rows)
    assert len(made.rows) == 1
    assert isinstance(encoder.encode(rows[0]), Encoded)
    assert made.reasons() == {"it needs the token '<image>', which the model does not embed": 2}
    assert [row.line for row in made.dropped] == [7, 7]


def test_a_template_that_needs_such_a_token_is_refused(tokenizer: Any) -> None:
    more = larger(tokenizer)
    more.chat_template = TEMPLATE.replace("<s>", "<image>")
    with pytest.raises(ModelError, match="no text can be encoded: it needs the token '<image>'"):
        Encoder(more, context=128, chat=True, unembedded=frozenset({len(tokenizer)}))
