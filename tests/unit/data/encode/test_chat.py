"""What a chat template prints around an answer, and answers without it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from keeptune.core.errors import DataError, ModelError
from keeptune.data.encode.chat import AssistantTurn, assistant_turn, not_printed, printed_answer, render_chat
from keeptune.data.examples import Rendered

TURNS = "{% for m in messages %}<s>{{ m.role }}\n{% if m.role == 'assistant' %}"
REST = "{% else %}{{ m.content }}{% endif %}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
PLAIN = TURNS + "{{ m.content }}" + REST
TRIMS = TURNS + "{{ m.content | trim }}" + REST
EMPTY_THOUGHTS = (
    TURNS + "{% set parts = m.content.split('</think>') %}{% if parts | length > 1 %}"
    "<think>\n{{ parts[0].replace('<think>', '').strip() }}\n</think>\n\n{{ parts[-1].strip() }}"
    "{% else %}<think>\n\n</think>\n\n{{ m.content }}{% endif %}" + REST
)
DROPS_THOUGHTS = TURNS + "{{ m.content.split('</think>')[-1] }}" + REST
BRACKETS = TURNS + "[answer]{{ m.content }}[/answer]" + REST


@pytest.fixture
def with_template(tokenizer: Any) -> Any:
    def make(template: str) -> PreTrainedTokenizerBase:
        own = deepcopy(tokenizer)
        own.chat_template = template
        return own

    return make


def row(prompt: str = "2 + 2?", system: str | None = None) -> Rendered:
    return Rendered("a", "a", prompt, "4", ("4",), system=system, chat=True)


@pytest.mark.parametrize(
    ("template", "before", "after", "trims"),
    [
        (PLAIN, "", "", False),
        (TRIMS, "", "", True),
        (EMPTY_THOUGHTS, "<think>\n\n</think>\n\n", "", False),
        (
            EMPTY_THOUGHTS.replace("<s>assistant\n{% endif", "<s>assistant\n<think>\n{% endif"),
            "\n</think>\n\n",
            "",
            False,
        ),
        (BRACKETS, "[answer]", "[/answer]", False),
    ],
)
def test_what_stands_around_an_answer(with_template: Any, template: str, before: str, after: str, trims: bool) -> None:
    turn = assistant_turn(with_template(template))
    assert (turn.before, turn.after, turn.trims, turn.end, turn.tail) == (before, after, trims, "</s>", "\n")
    assert turn.wrap(" 4 ") == before + ("4" if trims else " 4 ") + after


def test_marks_are_the_markup_in_the_templates_code(with_template: Any) -> None:
    assert assistant_turn(with_template(EMPTY_THOUGHTS)).marks == ("</think>", "<think>")
    assert (
        assistant_turn(with_template(PLAIN)).marks == ()
    )  # 'assistant' is a word, and '<s>' is printed, not looked for
    generation = PLAIN.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}", 1)
    looks = generation.replace("{% generation %}", "{% if '<tool>' in m.content %}{% endif %}{% generation %}")
    assert assistant_turn(with_template(looks)).marks == ("<tool>",)


@pytest.mark.parametrize(
    ("template", "answer", "printed"),
    [
        (EMPTY_THOUGHTS, "4", "<think>\n\n</think>\n\n4"),
        (EMPTY_THOUGHTS, "<think>\nI add.\n</think>\n\n4", "<think>\nI add.\n</think>\n\n4"),  # one block, not two
        (EMPTY_THOUGHTS, "<think>I add.</think>4", "<think>\nI add.\n</think>\n\n4"),
        (PLAIN, "<think>\nI add.\n</think>\n\n4", "<think>\nI add.\n</think>\n\n4"),
        (BRACKETS, "4", "[answer]4[/answer]"),
    ],
)
def test_an_answer_as_the_template_prints_it(with_template: Any, template: str, answer: str, printed: str) -> None:
    found = with_template(template)
    assert printed_answer(found, assistant_turn(found), answer) == printed


def test_an_answer_whose_thoughts_the_template_drops_is_refused(with_template: Any) -> None:
    found = with_template(DROPS_THOUGHTS)
    turn = assistant_turn(found)
    assert printed_answer(found, turn, "4") == "4"
    with pytest.raises(DataError, match="does not print the thinking of an answer that is learned"):
        printed_answer(found, turn, "<think>\nI add.\n</think>\n\n4")


@pytest.mark.parametrize(
    ("before", "after", "text", "references", "answer"),
    [
        ("", "", "<think>hm</think> 4", ["4"], "<think>hm</think> 4"),  # the template prints no block
        ("<think>\n\n</think>\n\n", "", "<think>\n\n</think>\n\n4", ["4"], "4"),
        ("<think>\n\n</think>\n\n", "", "<think>\nI add.\n</think>\n\n4", ["4"], "4"),
        ("<think>\n\n</think>\n\n", "", "<think>\nI add.", ["4"], "<think>\nI add."),  # it never came to an answer
        ("<think>\n\n</think>\n\n", "", "4", ["4"], "4"),
        ("<think>\n\n</think>\n\n", "", "<think>hm</think>4", ["<think>hm</think>4"], "<think>hm</think>4"),
        ("\n</think>\n\n", "", "I add.\n</think>\n\n4", ["4"], "4"),  # the generation prompt opens the block
        ("\n</think>\n\n", "", "I add.</think>4", ["I add.</think>4"], "I add.</think>4"),
        ("\n</think>\n\n", "", "4", ["4"], "4"),
        ("[answer]", "[/answer]", "[answer]4[/answer]", ["4"], "4"),
        ("[answer]", "[/answer]", "4[/answer]", ["4"], "4"),
        ("", "[/answer]", "4[/answer]", ["4[/answer]"], "4[/answer]"),
    ],
)
def test_a_generated_answer_without_what_the_template_prints(
    before: str, after: str, text: str, references: list[str], answer: str
) -> None:
    assert AssistantTurn(before, after, False, 2).unwrap(text, references) == answer


def test_a_system_text_that_the_template_passes_over(with_template: Any) -> None:
    drops = with_template(PLAIN.replace("for m in messages", "for m in messages if m.role != 'system'"))
    assert render_chat(drops, row()) == "<s>user\n2 + 2?</s>\n<s>assistant\n"
    with pytest.raises(DataError, match="does not print the system text -> .* or set chat: false"):
        render_chat(drops, row(system="Be brief."))
    assert "Be brief." in render_chat(with_template(PLAIN), row(system="Be brief."), [row("1 + 1?")])
    last = with_template(PLAIN.replace("for m in messages", "for m in messages[-1:]"))
    with pytest.raises(DataError, match="does not print the user text"):
        render_chat(last, row(), [row("1 + 1?")])


def test_a_template_that_fails_is_one_line(with_template: Any) -> None:
    with pytest.raises(ModelError, match="the chat template refuses the conversation"):
        render_chat(with_template("{{ messages[0].content + 1 }}"), row())


def test_the_model_is_named(with_template: Any) -> None:
    found = with_template(PLAIN)
    found.name_or_path = "owner/model"
    assert str(not_printed(found, "tools")).startswith("the chat template of owner/model does not print the tools ->")
