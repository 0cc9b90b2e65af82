from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import row_nats
from keeptune.methods.lora import LoraConfig
from keeptune.models.adapters import check_adapter, is_adapter
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import hash_files, load
from keeptune.train.loop import TrainConfig, fit

Rows = Callable[..., list[Encoded]]


def load_cpu(folder: Path | str, **settings: Any) -> LanguageModel:
    return load(str(folder), device="cpu", **{"precision": "fp32", **settings})


@pytest.fixture
def copy_of_tiny(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.fixture
def adapter(tiny_folder: Path, random_rows: Rows, tmp_path: Path) -> Path:
    lm = load_cpu(tiny_folder)
    fit(
        lm, LoraConfig(rank=4).build(), random_rows(8), random_rows(8), TrainConfig(epochs=3), tmp_path / "arm", lr=1e-2
    )
    return tmp_path / "arm" / "adapter"


def some_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return logits


def test_loads_a_folder(tiny_folder: Path, tiny: LanguageModel) -> None:
    lm = load_cpu(tiny_folder)
    assert torch.equal(some_logits(lm.model), some_logits(tiny.model))
    assert lm.name == str(tiny_folder)
    assert lm.engine.name == "flat"
    assert not any(p.requires_grad for p in lm.model.parameters())


def test_precision_is_asked_for(tiny_folder: Path) -> None:
    assert load_cpu(tiny_folder, precision="bf16").dtype == torch.bfloat16


def test_tied_embeddings_stay_tied(tiny_folder: Path) -> None:
    model: Any = load_cpu(tiny_folder).model
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_hash_follows_content_not_place(tiny_folder: Path, copy_of_tiny: Path, build: Callable[..., Any]) -> None:
    assert load_cpu(tiny_folder).hash == load_cpu(copy_of_tiny).hash
    build("llama", seed=1).save_pretrained(copy_of_tiny)
    assert load_cpu(tiny_folder).hash != load_cpu(copy_of_tiny).hash


@pytest.mark.parametrize(
    "file",
    [
        "chat_template.jinja",
        "chat_template.json",
        "processor_config.json",
        "additional_chat_templates/rag.jinja",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "merges.txt",
    ],
)
def test_hash_follows_every_file_that_prompts_are_made_from(copy_of_tiny: Path, file: str) -> None:
    before = hash_files(copy_of_tiny)
    (copy_of_tiny / file).parent.mkdir(exist_ok=True)
    (copy_of_tiny / file).write_text("edited")
    edited = hash_files(copy_of_tiny)
    assert edited != before
    (copy_of_tiny / "README.md").write_text("a page about the model")
    assert hash_files(copy_of_tiny) == edited


def test_hash_of_a_model_in_memory_follows_the_tokenizer(build: Callable[..., Any], tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{{ messages[0]['content'] }}"
    first, again = (LanguageModel.wrap(build("llama"), tokenizer).hash for _ in range(2))
    assert first == again
    assert first != LanguageModel.wrap(build("llama"), other).hash


def test_saved_adapter_loads_here_and_in_plain_peft_with_equal_logits(
    tiny_folder: Path, adapter: Path, build: Callable[..., Any]
) -> None:
    from peft import PeftModel

    lm = load_cpu(tiny_folder, adapter=adapter)
    plain = PeftModel.from_pretrained(build("llama"), adapter)
    assert torch.equal(some_logits(lm.model), some_logits(plain))
    assert not torch.allclose(some_logits(lm.model), some_logits(build("llama")))
    assert lm.engine.name == "flat"
    assert lm.hash != load_cpu(tiny_folder).hash
    assert_close(some_logits(plain.merge_and_unload()), some_logits(lm.model), rtol=1e-4, atol=1e-4)


def test_missing_folder() -> None:
    with pytest.raises(ModelError, match="no such model folder -> check the path"):
        load("./nowhere/model")


def test_pickled_weights_are_refused(copy_of_tiny: Path) -> None:
    (copy_of_tiny / "model.safetensors").rename(copy_of_tiny / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled, which can run code -> convert them"):
        load_cpu(copy_of_tiny)


def test_folder_without_weights(copy_of_tiny: Path) -> None:
    (copy_of_tiny / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_cpu(copy_of_tiny)


def test_folder_without_config(copy_of_tiny: Path) -> None:
    (copy_of_tiny / "config.json").unlink()
    with pytest.raises(ModelError, match="config.json is missing"):
        load_cpu(copy_of_tiny)


def test_cut_weights(copy_of_tiny: Path) -> None:
    file = copy_of_tiny / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ModelError, match="weights cannot be read"):
        load_cpu(copy_of_tiny)


def test_weights_of_another_architecture(copy_of_tiny: Path) -> None:
    config = json.loads((copy_of_tiny / "config.json").read_text())
    (copy_of_tiny / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"weights are missing, among them model\.layers\.2"):
        load_cpu(copy_of_tiny)


@pytest.mark.parametrize(
    ("model_type", "message"),
    [("vit", "'vit' is no language model"), ("nonsense", "config.json cannot be used")],
)
def test_other_kinds_of_model(copy_of_tiny: Path, model_type: str, message: str) -> None:
    (copy_of_tiny / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ModelError, match=message):
        load_cpu(copy_of_tiny)


def test_missing_tokenizer(copy_of_tiny: Path) -> None:
    for file in copy_of_tiny.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_cpu(copy_of_tiny)


def test_missing_end_of_sequence(copy_of_tiny: Path) -> None:
    path = copy_of_tiny / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load_cpu(copy_of_tiny)


def test_adapter_of_another_base(
    adapter: Path, build: Callable[..., Any], tokenizer: Any, tmp_path: Path, tiny_folder: Path
) -> None:
    for number, other in enumerate(
        (build("llama", hidden_size=64), build("gpt2"), build("llama", num_hidden_layers=1))
    ):
        folder = tmp_path / str(number)
        other.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        with pytest.raises(ModelError, match=f"does not fit .*it was trained on {tiny_folder}"):
            load_cpu(folder, adapter=adapter)


def test_incomplete_adapters(tiny_folder: Path, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="the adapter's weights are missing"):
        load_cpu(tiny_folder, adapter=adapter)
    with pytest.raises(ModelError, match="not an adapter folder"):
        load_cpu(tiny_folder, adapter=adapter.parent)
    with pytest.raises(ModelError, match="this is an adapter, not a model -> name its base"):
        load_cpu(adapter)


def test_a_folder_with_a_whole_model_and_an_adapter_is_ambiguous(copy_of_tiny: Path, adapter: Path) -> None:
    for file in adapter.iterdir():
        shutil.copy(file, copy_of_tiny)
    with pytest.raises(ModelError, match="holds a whole model and an adapter"):
        load_cpu(copy_of_tiny)
    with pytest.raises(ModelError, match="holds a whole model and an adapter"):
        is_adapter(copy_of_tiny)


@pytest.mark.parametrize("content", ["{cut", "[]", "{}"])
def test_an_adapters_config_that_was_cut_is_one_line(tiny_folder: Path, adapter: Path, content: str) -> None:
    (adapter / "adapter_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"adapter_config\.json (cannot be read|names no peft_type)"):
        load_cpu(tiny_folder, adapter=adapter)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer of Git LFS"),
        (b"\x09\0\0", "cut short"),
    ],
)
def test_an_adapters_weights_that_are_none_are_one_line(
    tiny_folder: Path, adapter: Path, content: bytes, message: str
) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_cpu(tiny_folder, adapter=adapter)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    "settings",
    [
        {"trainable_token_indices": [5, 6]},
        {"modules_to_save": ["norm"]},
        {"modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {},
    ],
)
def test_adapters_that_trained_tokens_or_kept_embeddings_give_pefts_logits(
    tiny_folder: Path, tmp_path: Path, build: Any, settings: dict[str, Any]
) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    settings = {"target_modules": ["q_proj"]} | settings
    config = LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False, **settings)
    wrapped = get_peft_model(build("llama"), config)
    wrapped.save_pretrained(tmp_path, save_embedding_layers=True)
    ids = torch.arange(3, 23)[None]
    expected = wrapped.eval()(input_ids=ids).logits
    got = load_cpu(tiny_folder, adapter=tmp_path).model(input_ids=ids).logits
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_is_asked_in_the_chat_template_that_it_brings(
    tiny_folder: Path, adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not load_cpu(tiny_folder, adapter=adapter).chat
    (adapter / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    (adapter / "tokenizer_config.json").write_text("{}")
    lm = load_cpu(tiny_folder, adapter=adapter)
    assert lm.chat
    assert "is asked in the chat template that it brings" in caplog.text


def test_copies_of_one_base_are_one_base(
    adapter: Path, copy_of_tiny: Path, build: Any, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_cpu(copy_of_tiny, adapter=adapter)
    assert "was trained on" not in caplog.text
    for name, model in (("narrow", build("llama").to(torch.bfloat16)), ("tuned", build("llama", seed=1))):
        other = tmp_path / name
        model.save_pretrained(other)
        tokenizer.save_pretrained(other)
        load_cpu(other, adapter=adapter)
        assert f"not on {other}" in caplog.text


@pytest.mark.parametrize(
    ("stated", "is_said"),
    [
        ("copy", False),
        ("org/copy", False),
        ("/elsewhere/copy/", False),
        ("/cache/models--org--copy/snapshots/0123", False),
        ("org/another", True),
        ("/elsewhere/another", True),
    ],
)
def test_a_base_is_known_by_its_name_where_its_folder_was_moved(
    adapter: Path, copy_of_tiny: Path, stated: str, is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": stated}))
    load_cpu(copy_of_tiny, adapter=adapter)
    assert ("was trained on" in caplog.text) == is_said


def test_vectors_that_depend_on_more_than_their_place_are_refused_before_the_base_is_read(
    tmp_path: Path, build: Any
) -> None:
    import peft

    config = peft.CPTConfig(
        cpt_token_ids=[5, 6, 7], cpt_mask=[1, 1, 1], cpt_tokens_type_mask=[1, 1, 1], task_type="CAUSAL_LM"
    )
    peft.get_peft_model(build("llama"), config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=f"{tmp_path}: a CPT adapter puts virtual tokens before the input"):
        check_adapter(tmp_path)


def test_a_model_that_lengthens_its_input_is_refused_however_it_was_made(build: Any, tokenizer: Any) -> None:
    from peft import PromptTuningConfig, get_peft_model

    model = get_peft_model(build("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ModelError, match="3 virtual tokens"):
        LanguageModel.wrap(model, tokenizer)


def test_prefix_tuning_scores_and_answers_as_peft_does(tiny_folder: Path, tmp_path: Path, build: Any) -> None:
    from peft import PrefixTuningConfig, get_peft_model

    torch.manual_seed(1)
    wrapped = get_peft_model(build("llama"), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)).eval()
    for parameter in wrapped.prompt_encoder.parameters():
        torch.nn.init.normal_(parameter)
    wrapped.save_pretrained(tmp_path)
    lm = load_cpu(tiny_folder, adapter=tmp_path)
    prompts = [list(range(3, 14)), list(range(40, 62))]
    expected = [
        wrapped.generate(input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[0, len(prompt) :].tolist()
        for prompt in prompts
    ]
    assert [list(answer) for answer in generate(lm, prompts, max_new_tokens=6)] == expected
    row = Encoded("a", tuple(prompts[0]), tuple(prompts[1]))
    ids = torch.tensor([[*prompts[0], *prompts[1]]])
    logprobs = wrapped(input_ids=ids).logits.detach()[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
    assert sum(row_nats(lm, [row])) == pytest.approx(-logprobs[len(prompts[0]) - 1 :].sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "NONSENSE"}, "nothing that peft understands"),
        ({"task_type": "SEQ_CLS"}, "an adapter for SEQ_CLS, not for a language model"),
    ],
)
def test_adapters_of_another_kind(tiny_folder: Path, adapter: Path, change: dict[str, Any], message: str) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        load_cpu(tiny_folder, adapter=adapter)


def test_an_adapter_without_the_name_of_its_base_is_read(tiny_folder: Path, adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    expected = some_logits(load_cpu(tiny_folder, adapter=adapter).model)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": None}))
    assert torch.equal(some_logits(load_cpu(tiny_folder, adapter=adapter).model), expected)


def test_what_trainers_leave_beside_an_adapter_is_no_model(adapter: Path) -> None:
    for name in ("value_head.safetensors", "training_args.bin", "optimizer.pt"):
        (adapter / name).write_bytes(b"")
    assert is_adapter(adapter)
    (adapter / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="holds a whole model and an adapter"):
        is_adapter(adapter)


@pytest.mark.parametrize("file", ["chat_template.json", "tokenizer_config.json"])
def test_an_adapters_template_is_found_in_every_file(tiny_folder: Path, adapter: Path, file: str) -> None:
    template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    (adapter / file).write_text(json.dumps({"chat_template": template}))
    assert load_cpu(tiny_folder, adapter=adapter).tokenizer.chat_template == template


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    "settings",
    [{}, {"target_modules": ["q_proj", "embed_tokens"]}, {"modules_to_save": ["embed_tokens", "lm_head"]}],
)
def test_an_adapter_with_tokens_of_its_own_is_asked_with_its_tokenizer(
    tiny_folder: Path, tmp_path: Path, build: Any, tokenizer: Any, settings: dict[str, Any]
) -> None:
    from peft import LoraConfig, get_peft_model

    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    torch.manual_seed(0)
    base = build("llama")
    base.resize_token_embeddings(len(own) + 5, mean_resizing=False)
    settings = {"target_modules": ["q_proj"]} | settings
    wrapped = get_peft_model(base, LoraConfig(r=2, task_type="CAUSAL_LM", **settings)).eval()
    wrapped.save_pretrained(tmp_path, save_embedding_layers=True)
    own.save_pretrained(tmp_path)
    lm = load_cpu(tiny_folder, adapter=tmp_path)
    assert lm.eos_ids[0] == own.convert_tokens_to_ids("<|im_end|>")
    assert lm.tokenizer("<|im_start|>", add_special_tokens=False).input_ids == [
        own.convert_tokens_to_ids("<|im_start|>")
    ]
    assert_close(some_logits(lm.model), some_logits(wrapped), rtol=1e-4, atol=1e-5)
