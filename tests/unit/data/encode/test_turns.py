"""Conversations to token ids: which tokens are learned from, where the borders lie, and templates that are refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.window import Overlong
from keeptune.data.examples import Encoded, Example, Rendered
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import TemplateSet, default_templates

TOOLS = (
    "{% if tools %}{% for t in tools %}<|im_start|>tools\n{{ t.function | tojson }}<|im_end|>\n{% endfor %}{% endif %}"
)
CALLS = "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
THINK = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = (
    "{{ bos_token }}" + TOOLS + "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}" + CALLS + "<|im_end|>\n{% endfor %}" + ASK
)
HEAD = "{{ bos_token }}" + TOOLS + "{% for m in messages %}{% if m.role == 'assistant' %}"
ELSE = "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}" + ASK
MARKED = (
    HEAD
    + "<|im_start|>assistant\n{% generation %}"
    + THINK
    + "{{ m.content }}"
    + CALLS
    + "<|im_end|>{% endgeneration %}{{ '\\n' }}"  # a line end behind a tag would belong to the tag
    + ELSE
)
MARKED_TAIL = MARKED.replace("{% endgeneration %}{{ '\\n' }}", "{{ '\\n' }}{% endgeneration %}")
ENDLESS = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>")
WIDE = MARKED.replace("<|im_start|>assistant\n{% generation %}", "{% generation %}<|im_start|>assistant\n")
TWICE = MARKED.replace("{{ m.content }}", "{{ m.content }}{% endgeneration %}{% generation %}", 1)
FORGETS = HEAD + "<|im_start|>assistant\n{% if loop.last %}" + THINK + "{% endif %}{{ m.content }}<|im_end|>\n" + ELSE
THINKS = HEAD + "<|im_start|>assistant\n" + THINK + "{{ m.content }}<|im_end|>\n" + ELSE
SHOUTS = HEAD + "<|im_start|>assistant\n{{ m.content | replace('4', 'four') }}<|im_end|>\n" + ELSE
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns here') }}"
    "{% elif m.role == 'user' %}{{ bos_token }}[INST] {{ m.content | trim }} [/INST]"
    "{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
UNENDED = (
    "{% for m in messages %}\n{{ m.role }}: {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}\nassistant: {% endif %}"
)
CORPUS = ["What is 2 + 2? user: assistant: system\n\nIt is four. tool arguments name 0123456789 {} [] \" '"] * 4

SYSTEM = ("system", "Be brief.")
TALK = [("user", "What is 2 + 2?"), ("assistant", "4"), ("user", " And 3 + 3?\n"), ("assistant", "It is 6.")]
CALL = {"name": "add", "arguments": {"a": 3}}
TOOL_TALK = [
    {"role": "user", "content": "3 + 3?"},
    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
    {"role": "tool", "content": "6"},
    {"role": "assistant", "content": "It is 6."},
]


@cache
def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a BOS; padding is EOS."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=special[2:],
        chat_template=template,
    )


def messages(*turns: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def rendered(tmp_path: Path, row: dict[str, Any], chat: bool, **options: Any) -> Rendered:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row], ensure_ascii=False), encoding="utf-8")
    loaded = load_examples(str(path), **options)
    assert loaded.layout is not None
    system = "{{ system }}" if "system" in loaded.layout.roles else None
    return TemplateSet(default_templates(loaded.layout), system=system, chat=chat).fixed(loaded.examples[0])


def text(ids: Any) -> str:
    return str(tokenizer().decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def encoded(tmp_path: Path, template: str | None, row: dict[str, Any], **options: Any) -> Encoded:
    encoder = Encoder(tokenizer(template), context=400, chat=template is not None)
    result = encoder.encode(rendered(tmp_path, row, encoder.chat, **options))
    assert isinstance(result, Encoded)
    return result


def supervised(row: Encoded) -> list[str]:
    return [text(row.completion_ids[start:stop]) for start, stop in row.spans]


@pytest.mark.parametrize("template", [CHATML, MARKED, MARKED_TAIL])
@pytest.mark.parametrize(
    ("supervise", "spans"),
    [(None, ["4<|im_end|>", "It is 6.<|im_end|>"]), ("last", ["It is 6.<|im_end|>"])],
)
def test_the_answers_and_their_end_tokens_are_supervised(
    tmp_path: Path, template: str, supervise: Any, spans: list[str]
) -> None:
    row = encoded(tmp_path, template, {"messages": messages(SYSTEM, *TALK)}, supervise=supervise)
    assert supervised(row) == spans
    assert row.trained == sum(stop - start for start, stop in row.spans)
    whole = tokenizer(template).apply_chat_template(messages(SYSTEM, *TALK), tokenize=False)
    assert text((*row.prompt_ids, *row.completion_ids)) == whole.removesuffix("\n")
    joint = tokenizer(template)(whole, add_special_tokens=False)["input_ids"]
    assert (*row.prompt_ids, *row.completion_ids) == tuple(joint[: len(row)])


def test_markers_and_prefixes_give_the_same_row(tmp_path: Path) -> None:
    row = {"messages": messages(*TALK)}
    assert encoded(tmp_path, CHATML, row) == encoded(tmp_path, MARKED, row)


def test_weights_make_a_gap(tmp_path: Path) -> None:
    turns = messages(*TALK, *TALK)
    turns[3]["weight"] = 0
    row = encoded(tmp_path, CHATML, {"messages": turns})
    assert supervised(row) == ["4<|im_end|>", "4<|im_end|>", "It is 6.<|im_end|>"]
    assert len(row.gaps) == 2
    start, stop = row.gaps[0]
    assert "It is 6.<|im_end|>" in text(row.completion_ids[start:stop])


def test_a_template_that_trims_is_followed(tmp_path: Path) -> None:
    row = encoded(tmp_path, LLAMA2, {"messages": messages(*TALK[:3], ("assistant", " It is 6. "))})
    assert supervised(row) == [" 4 </s>", " It is 6. </s>"]
    with pytest.raises(DataError, match="refuses the conversation: no system turns here") as error:
        encoded(tmp_path, LLAMA2, {"messages": messages(SYSTEM, *TALK)})
    assert error.value.line == 1


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_calls_are_supervised_as_the_template_prints_them(tmp_path: Path, template: str) -> None:
    tools = [{"name": "add", "parameters": {}}]
    row = encoded(tmp_path, template, {"messages": TOOL_TALK, "tools": tools})
    call, answer = supervised(row)
    assert call == '<tool_call>{"name": "add", "arguments": {"a": 3}}</tool_call><|im_end|>'
    assert answer == "It is 6.<|im_end|>"
    assert text(row.prompt_ids).startswith('<s><|im_start|>tools\n{"name": "add"')


@pytest.mark.parametrize(
    ("template", "row", "message"),
    [
        (ENDLESS, messages(*TALK), "the end of an answer is not supervised"),
        (WIDE, messages(*TALK), r"prints turn 2 as '<\|im_start\|>assistant\\n4', the row has '4'"),
        (TWICE, messages(*TALK), "marks 4 stretches as generated, the conversation has 2"),
        (SHOUTS, messages(*TALK), "prints turn 2 as 'four', the row has '4'"),
        (UNENDED, messages(*TALK), "prints no end token behind it"),
        (LLAMA2, TOOL_TALK, "does not print the tool calls"),
        (CHATML, [TALK[0], {"role": "assistant", "content": "4", "thinking": "2 + 2"}], "does not print the reasoning"),
        (CHATML, messages(("user", "a"), ("assistant", "b<|im_end|>c")), "contains the end token"),
    ],
)
def test_a_template_that_cannot_be_trusted_is_refused(
    tmp_path: Path, template: str, row: list[Any], message: str
) -> None:
    row = [turn if isinstance(turn, dict) else messages(turn)[0] for turn in row]
    with pytest.raises(DataError, match=message) as error:
        encoded(tmp_path, template, {"messages": row})
    assert error.value.line == 1


def test_tools_that_the_template_ignores_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not print the tools"):
        encoded(tmp_path, THINKS.replace(TOOLS, ""), {"messages": messages(*TALK), "tools": [{"name": "add"}]})


def test_a_template_that_forgets_is_no_basis_for_all_turns(tmp_path: Path) -> None:
    turns = messages(*TALK)
    turns[1]["reasoning_content"] = "two and two"
    with pytest.raises(DataError, match=r"not prefix-preserving: it prints turn 2") as error:
        encoded(tmp_path, FORGETS, {"messages": turns})
    assert "supervise: last" in str(error.value.remedy)
    assert supervised(encoded(tmp_path, FORGETS, {"messages": turns}, supervise="last")) == ["It is 6.<|im_end|>"]
    kept = supervised(encoded(tmp_path, THINKS, {"messages": turns}))
    assert kept == ["<think>two and two</think>4<|im_end|>", "It is 6.<|im_end|>"]


@pytest.mark.parametrize("template", [CHATML, MARKED, LLAMA2, None])
def test_evaluation_asks_for_the_last_answer_after_what_training_showed(tmp_path: Path, template: str | None) -> None:
    encoder = Encoder(tokenizer(template), context=400, chat=template is not None)
    row = rendered(tmp_path, {"messages": messages(*TALK)}, encoder.chat)
    result = encoder.encode(row)
    assert isinstance(result, Encoded)
    start, _ = result.spans[-1]
    assert encoder.prompt(row) == (*result.prompt_ids, *result.completion_ids[:start])
    assert row.completion.strip() == "It is 6."
    assert encoder.completion(row.completion) == result.completion_ids[start:]
    assert encoder.prompt_text(row) == text(encoder.prompt(row))


def test_a_call_at_the_end_is_learned_and_the_text_before_it_is_asked(tmp_path: Path) -> None:
    encoder = Encoder(tokenizer(CHATML), context=400, chat=True)
    row = rendered(tmp_path, {"messages": [*messages(*TALK), *TOOL_TALK[:2]]}, True)
    assert row.completion == "It is 6."
    assert text(encoder.prompt(row)).endswith("<|im_start|>user\n And 3 + 3?\n<|im_end|>\n<|im_start|>assistant\n")
    result = encoder.encode(row)
    assert isinstance(result, Encoded)
    assert len(result.spans) == 3


@pytest.mark.parametrize("template", [CHATML, MARKED, None])
def test_worked_examples_are_earlier_turns(tmp_path: Path, template: str | None) -> None:
    encoder = Encoder(tokenizer(template), context=400, chat=template is not None)
    row = rendered(tmp_path, {"messages": messages(SYSTEM, *TALK)}, encoder.chat)
    shot = rendered(tmp_path, {"messages": messages(("system", "No."), *TALK[:2])}, encoder.chat)
    shown = text(encoder.prompt(row, [shot]))
    same = rendered(tmp_path, {"messages": messages(SYSTEM, *TALK[:2], *TALK)}, encoder.chat)
    assert shown == text(encoder.prompt(same))
    assert "No." not in shown


def test_the_plain_layout(tmp_path: Path) -> None:
    tools = [{"name": "add", "parameters": {}}]
    row = encoded(tmp_path, None, {"messages": [*messages(SYSTEM), *TOOL_TALK], "tools": tools})
    assert text((*row.prompt_ids, *row.completion_ids)) == (
        '<s>Be brief.\n\nTools:\n{"name": "add", "parameters": {}}\n\nUser: 3 + 3?\n\nAssistant: '
        '{"name": "add", "arguments": {"a": 3}}</s>\n\nTool: 6\n\nAssistant: It is 6.</s>'
    )
    assert supervised(row) == [' {"name": "add", "arguments": {"a": 3}}</s>', " It is 6.</s>"]


@pytest.mark.parametrize("template", [CHATML, None])
def test_segments_are_taken_as_they_are(tmp_path: Path, template: str | None) -> None:
    pieces = [("Q: 2 + 2\nA:", False), (" 4</s>", True), ("\nQ: 3 + 3\nA:", False), (" 6", True)]
    row = encoded(tmp_path, template, {"segments": [{"text": t, "label": label} for t, label in pieces]})
    assert text((*row.prompt_ids, *row.completion_ids)) == "<s>Q: 2 + 2\nA: 4</s>\nQ: 3 + 3\nA: 6</s>"
    assert supervised(row) == [" 4</s>", " 6</s>"]
    spelled = [{"text": "<s>Q", "label": False}, {"text": "A</s>", "label": True}]
    row = encoded(tmp_path, template, {"segments": spelled})
    assert text((*row.prompt_ids, *row.completion_ids)) == "<s>QA</s>"


def test_a_whole_text_is_learned_from_its_first_token(tmp_path: Path) -> None:
    row = encoded(tmp_path, None, {"text": "What is it?"})
    assert (text(row.prompt_ids), supervised(row)) == ("<s>", ["What is it?</s>"])


def test_tokens_are_taken_as_they_are(tmp_path: Path) -> None:
    ids = tokenizer()("What is 2 + 2? 4")["input_ids"]
    labels = [-100] * (len(ids) - 1) + ids[-1:] + [1]
    row = encoded(tmp_path, None, {"input_ids": [*ids, 1], "labels": labels})
    assert (row.prompt_ids, row.completion_ids, row.gaps) == (tuple(ids[:-1]), (ids[-1], 1), ())


def test_a_conversation_longer_than_the_window(tmp_path: Path) -> None:
    row = rendered(tmp_path, {"messages": messages(("user", "What is it? " * 20), *TALK[1:])}, True)
    whole = Encoder(tokenizer(CHATML), context=400, chat=True).encode(row)
    assert isinstance(whole, Encoded)
    limit = len(whole.completion_ids) + 10
    assert isinstance(Encoder(tokenizer(CHATML), context=limit, chat=True).encode(row), Overlong)
    cut = Encoder(tokenizer(CHATML), context=limit, chat=True, overlong="truncate_prompt").encode_all([row])
    assert cut.truncated == 1
    assert (cut.rows[0].completion_ids, cut.rows[0].gaps) == (whole.completion_ids, whole.gaps)
    with pytest.raises(DataError, match="window") as error:
        Encoder(tokenizer(CHATML), context=limit, chat=True, overlong="error").encode(row)
    assert error.value.line == 1


def test_masked_rows() -> None:
    row = Encoded.masked("a", [1, 2, 3, 4, 5, 6, 7, 8], [False, True, False, False, True, True, False, False])
    assert row == Encoded("a", (1,), (2, 3, 4, 5, 6), ((1, 3),))
    assert row.spans == ((0, 1), (3, 5))
    assert (row.trained, len(row)) == (3, 6)
    assert Encoded("b", (1,), (2, 3)).spans == ((0, 2),)
    with pytest.raises(ValueError, match="supervised"):
        Encoded.masked("c", [1, 2], [False, False])


def test_columns_named_messages_by_hand_are_no_conversation() -> None:
    example = Example.make({"prompt": "a", "completion": "b", "messages": "c"})
    row = TemplateSet((default_templates(_mapped())[0],)).fixed(example)
    assert row.whole is None


def _mapped() -> Any:
    from keeptune.data.formats.recognise import recognise

    return recognise(["prompt", "completion", "messages"], fields={"prompt": "prompt", "completion": "completion"})


PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}<|User|>{{ m.content }}"
    "{% else %}<|Assistant|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>{% endif %}"
)


@pytest.mark.parametrize(("template", "end"), [(PHI, "<|im_end|>"), (R1, "</s>")])
def test_several_answers_behind_which_the_template_goes_on_otherwise(tmp_path: Path, template: str, end: str) -> None:
    turns = messages(SYSTEM, *TALK)
    row = encoded(tmp_path, template, {"messages": turns})
    assert supervised(row) == [f"4{end}", f"It is 6.{end}"]
    whole = tokenizer(template).apply_chat_template(turns, tokenize=False)
    assert whole.startswith(text((*row.prompt_ids, *row.completion_ids)))
    encoder = Encoder(tokenizer(template), context=400, chat=True)
    asked = encoder.prompt(rendered(tmp_path, {"messages": turns}, True))
    assert text(asked) == tokenizer(template).apply_chat_template(
        turns[:-1], tokenize=False, add_generation_prompt=True
    )


def test_thoughts_of_earlier_answers_may_go_but_not_what_is_learned(tmp_path: Path) -> None:
    thought = "<think>\ntwo and two\n</think>\n\n"
    turns = messages(("user", "2 + 2?"), ("assistant", f"{thought}4"), ("user", "3 + 3?"), ("assistant", "6"))
    assert supervised(encoded(tmp_path, R1, {"messages": turns}, supervise="last")) == ["6</s>"]
    for row in ({"messages": turns}, {"instruction": "2 + 2?", "output": f"{thought}4"}):
        with pytest.raises(DataError, match="does not print the thinking of an answer that is learned") as error:
            encoded(tmp_path, R1, row)
        assert error.value.line == 1


NO_SYSTEM = CHATML.replace("for m in messages", "for m in messages if m.role != 'system'")
NO_RESULT = CHATML.replace("for m in messages", "for m in messages if m.role != 'tool'")
NO_PARAMETERS = CHATML.replace("{{ t.function | tojson }}", "{{ t.function.name }}")


@pytest.mark.parametrize(
    ("template", "row", "what"),
    [
        (NO_SYSTEM, {"messages": messages(SYSTEM, *TALK)}, "system text"),
        (
            MARKED.replace("else %}<|im", "elif m.role != 'system' %}<|im"),
            {"messages": messages(SYSTEM, *TALK)},
            "system",
        ),
        (NO_SYSTEM, {"instruction": "3 + 3?", "output": "6", "system": "Be brief."}, "system text"),
        (NO_RESULT, {"messages": TOOL_TALK}, "tool text"),
        (
            NO_PARAMETERS,
            {"messages": TOOL_TALK, "tools": [{"name": "add", "parameters": {"properties": {"a": {}}}}]},
            "tools",
        ),
    ],
)
def test_a_text_that_the_template_passes_over_is_refused(tmp_path: Path, template: str, row: Any, what: str) -> None:
    with pytest.raises(DataError, match=rf"chat template of \w+ does not print the {what}") as error:
        encoded(tmp_path, template, row)
    assert error.value.line == 1
    if what.startswith("system"):
        row["messages" if "messages" in row else "system"] = row.get("messages", [""])[1:] or ""
        assert encoded(tmp_path, template, row).trained
