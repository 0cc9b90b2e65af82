"""Encoding, token by token, on tokenizers of three families trained on the spot."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from keeptune.core.errors import DataError, ModelError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.window import Overlong
from keeptune.data.examples import Encoded, Example, Rendered, Segments
from keeptune.data.prompts.templates import Template, TemplateSet

CORPUS = [
    "Summarise the dialogue.\n\nPerson 1: Hello, how are you today?\nPerson 2: Fine, thank you.\n\nSummary:",
    "Is it good or bad? Answer: good\nAnswer: bad\n\nyes no maybe world sports business 0 1 2 3 4 5 6 7 8 9",
    "Ein Mann in einem Hemd steht auf einer Leiter.  Two  spaces; (brackets) [more] {x} \"quoted\" 'it's'",
    "    indented code\n\treturn value # comment\n\n\nthree line breaks\n",
] * 4
CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2_CHAT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system turns here') }}"
    "{% elif m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] | trim }} [/INST]"
    "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
COMPLETIONS = [" good", "good", "\ngood", "  two spaces", "\n\n\nthree", "\tvalue", "é☃ 漢", '"it\'s" (x)', " 7", "7 "]
PROMPTS = ["Is it good or bad? Answer:", "Person 1: Hello\n", "Summary (short", " leading space", "three\n\n", "漢"]


@cache
def byte_level(chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Byte-level BPE that adds <s>; its ChatML template prints <s> too; padding is EOS."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_bpe(["<s>", "</s>", "<|im_start|>", "<|im_end|>"], bos="<s>"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=chat_template,
    )


@cache
def gpt2_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE whose only special token is <|endoftext|>; nothing is added to a text."""
    bpe = _byte_level_bpe(["<|endoftext|>"])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@cache
def metaspace(scheme: str = "always", chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Sentencepiece-like: blanks belong to the pieces, one is put before every text, <s> is added, byte fallback."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if scheme == "normalizer":  # as Llama 2 was converted
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        bpe.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # for the training only
    else:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=460, special_tokens=pieces, show_progress=False)
    bpe.train_from_iterator([text.replace("\n", " ") for text in CORPUS], trainer)
    if scheme == "normalizer":
        bpe.pre_tokenizer = None
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    content = json.loads(bpe.to_str())
    content["added_tokens"] = content["added_tokens"][:3]  # the byte pieces are ordinary pieces
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=chat_template,
    )


def _byte_level_bpe(special: list[str], bos: str | None = None) -> Tokenizer:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(CORPUS, trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return bpe


PLAIN = {
    "byte-level": byte_level,
    "gpt2-like": gpt2_like,
    "metaspace always": metaspace,
    "metaspace first": lambda: metaspace("first"),
    "metaspace never": lambda: metaspace("never"),
    "llama2-like": lambda: metaspace("normalizer"),
}
CHAT = {
    "chatml": byte_level,
    "llama2 turns": lambda: byte_level(LLAMA2_CHAT),
    "llama2 turns, metaspace": lambda: metaspace("always", LLAMA2_CHAT),
}


def row(prompt: str, completion: str, chat: bool = False, system: str | None = None) -> Rendered:
    return Rendered("id", "id", prompt, completion, (completion,), chat=chat, system=system, path="d.jsonl", line=4)


def decode(tokenizer: Any, ids: Any) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def encoded(encoder: Encoder, rendered: Rendered) -> Encoded:
    result = encoder.encode(rendered)
    assert isinstance(result, Encoded)
    return result


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("completion", COMPLETIONS)
@pytest.mark.parametrize("family", sorted(PLAIN))
def test_exactly_the_completion_and_its_end_token_are_supervised(family: str, prompt: str, completion: str) -> None:
    tokenizer = PLAIN[family]()
    encoder = Encoder(tokenizer, context=200)
    result = encoded(encoder, row(prompt, completion))
    bos = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    assert result.prompt_ids == (*bos, *tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert result.completion_ids[-1] == tokenizer.eos_token_id
    supervised = result.completion_ids[:-1]
    assert tokenizer.eos_token_id not in supervised
    whole = decode(tokenizer, (*result.prompt_ids[len(bos) :], *supervised))
    first = decode(tokenizer, tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert first in (prompt, prompt[1:])  # some of these tokenizers forget a blank at the very start of a text
    assert whole == first + completion  # none is lost and none added at the boundary
    assert encoder.text(result.completion_ids) == completion


@pytest.mark.parametrize("family", sorted(PLAIN))
def test_the_prompt_of_training_is_byte_identical_to_that_of_evaluation(family: str) -> None:
    encoder = Encoder(PLAIN[family](), context=200)
    wordings = TemplateSet(
        tuple(Template.parse(f"{word} {{{{ x }}}}: ||| {{{{ y }}}}") for word in ("Say", "Do", "Is"))
    )
    for number in range(20):
        example = Example.make({"x": f"row {number} ", "y": "good"})
        training = wordings.for_training(example, seed=3)
        (same,) = [other for other in wordings.each(example) if other.prompt == training.prompt]
        assert encoder.prompt_text(training).encode() == encoder.prompt_text(same).encode()
        assert encoded(encoder, training).prompt_ids == encoder.prompt(same)
        assert encoded(encoder, training).completion_ids[:-1] == encoder.choice(same.completion)


@pytest.mark.parametrize("family", sorted(CHAT))
def test_chat_prompt_completion_and_end_are_the_templates_own(family: str) -> None:
    tokenizer = CHAT[family]()
    encoder = Encoder(tokenizer, context=300, chat=True)
    result = encoded(encoder, row("Is it good?", "good", chat=True))
    turns = [{"role": "user", "content": "Is it good?"}, {"role": "assistant", "content": "good"}]
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    full = tokenizer.apply_chat_template(turns, tokenize=False)
    assert encoder.prompt_text(row("Is it good?", "good", chat=True)).encode() == prompt.encode()
    assert result.prompt_ids == tuple(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    joined = decode(tokenizer, (*result.prompt_ids, *result.completion_ids))
    reference = decode(tokenizer, tokenizer(full.rstrip("\n"), add_special_tokens=False)["input_ids"])
    assert joined == reference
    end = "<|im_end|>" if family == "chatml" else "</s>"
    assert result.completion_ids[-1] == encoder.end_id == tokenizer.convert_tokens_to_ids(end)
    assert encoder.text(result.completion_ids).strip() == "good"
    assert result.prompt_ids.count(tokenizer.bos_token_id) == 1 and result.prompt_ids[0] == tokenizer.bos_token_id


def test_chat_shots_are_earlier_turns_and_the_system_text_comes_first() -> None:
    encoder = Encoder(byte_level(), context=300, chat=True)
    text = encoder.prompt_text(row("three", "x", chat=True, system="be brief"), [row("one", "two", chat=True)])
    assert text == (
        "<s><|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo"
        "<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n"
    )


def test_plain_shots_stand_before_the_prompt_with_one_bos() -> None:
    encoder = Encoder(metaspace(), context=300)
    target = row("c", " d", system="be brief")
    ids = encoder.prompt(target, [row("a", " b")])
    assert encoder.prompt_text(target, [row("a", " b")]) == "be brief\n\na b\n\nc"
    assert ids.count(1) == 1 and decode(metaspace(), ids[1:]) == "be brief\n\na b\n\nc"


def test_an_end_token_that_is_also_the_padding_is_supervised() -> None:
    tokenizer = byte_level()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert encoded(Encoder(tokenizer, context=50), row("a", " b")).completion_ids[-1] == tokenizer.pad_token_id


def test_an_empty_prompt_begins_with_bos_or_the_end_of_the_text_before() -> None:
    assert Encoder(metaspace(), context=50).prompt(row("", "a")) == (1,)
    assert Encoder(gpt2_like(), context=50).prompt(row("", "a")) == (gpt2_like().eos_token_id,)


def test_a_second_bos_is_an_error() -> None:
    with pytest.raises(DataError, match=r"d\.jsonl:4.*two BOS tokens.*remove '<s>' from the template"):
        Encoder(byte_level(), context=50).encode(row("<s>Hello", " b"))
    doubled = byte_level("{{ bos_token }}" + CHATML)
    with pytest.raises(DataError, match="two BOS tokens"):
        Encoder(doubled, context=50, chat=True).encode(row("Hello", "b", chat=True))


def test_a_tokenizer_that_adds_two_bos() -> None:
    bpe = _byte_level_bpe(["<s>", "</s>"], bos="<s>")
    bpe.post_processor = processors.TemplateProcessing(single="<s> <s> $A", special_tokens=[("<s>", 0)])
    with pytest.raises(ModelError, match="two BOS tokens before a text"):
        Encoder(PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>"), context=50)


def test_a_missing_end_token() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_byte_level_bpe(["<s>"]), bos_token="<s>")
    with pytest.raises(ModelError, match="no end-of-sequence token.*set eos_token") as error:
        Encoder(tokenizer, context=50)
    assert error.value.exit_code == 4


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_completion(text: str) -> None:
    with pytest.raises(DataError, match=r"d\.jsonl:4: an empty completion.*remove the row"):
        Encoder(gpt2_like(), context=50).encode(row("a", text))


def test_the_end_token_spelled_in_a_completion() -> None:
    with pytest.raises(DataError, match=r"d\.jsonl:4.*contains the end token '<\|endoftext\|>'"):
        Encoder(gpt2_like(), context=50).encode(row("a", " b<|endoftext|> c"))


def test_eos_spelled_in_an_answer_that_ends_in_another_token() -> None:
    with pytest.raises(DataError, match=r"d\.jsonl:4.*contains the end token '</s>'"):
        Encoder(byte_level(), context=50, chat=True).encode(row("a", "b</s> c", chat=True))


def test_rendered_for_chat_and_encoded_as_plain_text() -> None:
    with pytest.raises(ValueError, match="rendered with chat=True"):
        Encoder(byte_level(), context=50).encode(row("a", "b", chat=True))


LONG = "one two three four five six seven eight nine ten"


def test_long_rows_are_dropped_with_counts_and_reasons() -> None:
    encoder = Encoder(metaspace(), context=24)
    rows = [row("a", " b"), row(LONG, " b"), row("a", " " + LONG), row("c", " d")]
    result = encoder.encode_all(rows)
    assert [decode(metaspace(), kept.prompt_ids[1:]) for kept in result.rows] == ["a", "c"]
    assert result.reasons() == {
        "prompt and completion exceed the window": 1,
        "the completion alone exceeds the window": 1,
    }
    assert [(one.path, one.line) for one in result.dropped] == [("d.jsonl", 4)] * 2
    assert all(one.prompt_tokens + one.completion_tokens > 24 for one in result.dropped)


@pytest.mark.parametrize("tokenizer", [metaspace(), gpt2_like()], ids=["bos", "no bos"])
def test_a_long_prompt_loses_its_left_end_after_bos(tokenizer: Any) -> None:
    whole = encoded(Encoder(tokenizer, context=500), row(LONG, " good"))
    encoder = Encoder(tokenizer, context=20, overlong="truncate_prompt")
    result = encoder.encode_all([row(LONG, " good"), row("a", " b")])
    cut = result.rows[0]
    assert len(cut) == 20 and cut.completion_ids == whole.completion_ids
    start = encoder.start_ids
    assert cut.prompt_ids[: len(start)] == start
    kept = 20 - len(whole.completion_ids) - len(start)
    assert cut.prompt_ids[len(start) :] == whole.prompt_ids[-kept:]
    assert result.truncated == 1


def test_a_completion_is_never_cut() -> None:
    result = Encoder(gpt2_like(), context=20, overlong="truncate_prompt").encode(row("a", " " + LONG))
    assert isinstance(result, Overlong) and result.reason == "the completion alone exceeds the window"


def test_long_rows_can_be_errors() -> None:
    with pytest.raises(DataError, match=r"d\.jsonl:4.*exceed the window.*window 20.*'drop' or 'truncate_prompt'"):
        Encoder(gpt2_like(), context=20, overlong="error").encode(row(LONG, " b"))


def test_a_row_that_fits_to_the_token_stays() -> None:
    whole = encoded(Encoder(gpt2_like(), context=500), row(LONG, " b"))
    assert encoded(Encoder(gpt2_like(), context=len(whole)), row(LONG, " b")) == whole
    assert isinstance(Encoder(gpt2_like(), context=len(whole) - 1).encode(row(LONG, " b")), Overlong)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        (CHATML.replace("assistant\n{%", "assistant thinks\n{%"), "another beginning with an answer"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "does not print the assistant's"),
        ("{% for m in messages %}{{ m.content }}\n### next{% endfor %}", "ends an answer with '### next'"),
        ("{{ raise_exception('nothing goes') }}", "refuses the conversation: nothing goes"),
    ],
)
def test_chat_templates_that_cannot_be_used(template: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Encoder(byte_level(template), context=50, chat=True)


def test_a_chat_template_that_refuses_a_system_turn() -> None:
    with pytest.raises(ModelError, match="refuses the conversation: no system turns here"):
        Encoder(byte_level(LLAMA2_CHAT), context=50, chat=True).prompt(row("a", "b", chat=True, system="be kind"))


def characters(unk: str) -> PreTrainedTokenizerFast:
    """BPE on the corpus's characters alone; the token ``unk`` stands for all others."""
    bpe = Tokenizer(models.BPE(unk_token=unk))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Metaspace()
    special = list(dict.fromkeys(["</s>", unk]))
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", unk_token=unk)


@pytest.mark.parametrize("unk", ["<unk>", "</s>"])
def test_an_answer_that_the_tokenizer_cannot_write(unk: str) -> None:
    encoder = Encoder(characters(unk), context=50)
    assert encoded(encoder, row("Is it 好?", " good"))  # a prompt may have such characters
    for talk in (None, Segments((("Is it?", False), ("好", True)))):
        with pytest.raises(DataError, match=r"d\.jsonl:4: a completion has characters that .* does not know"):
            encoder.encode(replace(row("Is it?", " good 好"), whole=talk))
    assert Encoder(byte_level(), context=50).encode(row("Is it?", " good 好"))


def test_what_a_model_cannot_be_judged_by() -> None:
    encoder = Encoder(characters("<unk>"), context=50)
    asked = row("Is it?", " good")
    assert not encoder.unwritable(asked)
    assert not encoder.unwritable(replace(asked, references=(" good", " 好")))  # one of them can be written
    assert encoder.unwritable(replace(asked, references=(" 好", "good</s>")))
    assert encoder.unwritable(replace(asked, choices=(" good", " 好")))
