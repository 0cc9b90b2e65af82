"""Templates: the ||| form, glue, references, choices, and everything a bad template can do."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.examples import Example
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.prompts import sandbox
from keeptune.data.prompts.templates import Template, TemplateSet, default_templates


def example(**fields: Any) -> Example:
    return Example.make(fields, path="data.jsonl", line=3)


def render(source: str, choices: Any = None, *, chat: bool = False, **fields: Any) -> tuple[str, str]:
    rendered = Template.parse(source, "T", choices).render(example(**fields), chat=chat)
    return rendered.prompt, rendered.completion


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Say {{ x }}: ||| {{ y }}", ("Say a:", " b")),
        ("Say {{ x }}:|||{{ y }}", ("Say a:", " b")),
        ("Say {{ x }}:   |||\n\n{{ y }}\n", ("Say a:", " b")),
        ("Say {{ x }}\n|||{{ y }}", ("Say a\n", "b")),
        ("Say {{ x }}\n\t |||{{ y }}", ("Say a\n", "b")),
        ("{% if x %}Say {{ x }} |||\n{{ y }}{% endif %}", ("Say a", " b")),
        ("||| {{ y }}", ("", "b")),
    ],
)
def test_glue(source: str, expected: tuple[str, str]) -> None:
    assert render(source, x="a", y="b") == expected


def test_spaces_of_the_data_at_the_end_of_the_prompt() -> None:
    assert render("{{ x }}|||{{ y }}", x="a  ", y="  b ") == ("a", " b")


def test_chat_turns_are_not_glued() -> None:
    assert render("Say {{ x }}: ||| {{ y }}", chat=True, x="a", y="b") == ("Say a:", "b")


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [("Q: a?", " b", ("Q: a?", " b")), ("Q: a? ", "b\n", ("Q: a?", " b\n")), ("Q", "b", ("Q", "b"))],
)
def test_raw_rows_stay_as_they_are_but_for_the_moved_space(
    prompt: str, completion: str, expected: tuple[str, str]
) -> None:
    rendered = Template.raw().render(example(prompt=prompt, completion=completion))
    assert (rendered.prompt, rendered.completion) == expected
    assert rendered.prompt + rendered.completion == prompt + completion


def test_bars_in_the_data_separate_nothing() -> None:
    assert render("{{ x }} ||| {{ y }}", x="a ||| b", y="c|||d") == ("a ||| b", " c|||d")


def test_a_list_is_several_references_glued_alike() -> None:
    rendered = Template.parse("{{ x }} ||| {{ y }}").render(example(x="a", y=["b", "c", "d"]))
    assert rendered.completion == " b" and rendered.references == (" b", " c", " d")


def test_nested_fields_and_numbers() -> None:
    assert render("{{ a.b[0] }}{{ n }} ||| {{ m }}", a={"b": [7]}, n=0, m=0.5) == ("70", " 0.5")
    assert render("{{ a | tojson }}|||{{ b | join(', ') }}", a={"é": "it's <b>"}, b=["x", "y"]) == (
        '{"é": "it\'s <b>"}',
        " x, y",
    )


@pytest.mark.parametrize("choices", ["no ||| yes", ["no", "yes"], "{{ a }} ||| {{ b }}", ["{{ a }}", "{{ b }}"]])
def test_answer_choices(choices: str | list[str]) -> None:
    template = Template.parse("{{ x }}? ||| {{ answer_choices[label] }}", answer_choices=choices)
    rendered = template.render(example(x="q", label=1, a="no", b="yes"))
    assert (rendered.choices, rendered.answer, rendered.completion) == ((" no", " yes"), 1, " yes")


def test_choices_of_the_row_joined_with_bars() -> None:
    template = Template.parse("{{ q }} ||| {{ a }}", answer_choices="{{ options | join('|||') }}")
    rendered = template.render(example(q="?", a="two", options=["one", "two", "three"]))
    assert rendered.choices == (" one", " two", " three") and rendered.answer == 1


def test_choices_of_the_set_are_for_templates_without_their_own() -> None:
    own = Template.parse("{{ x }} ||| b", answer_choices="a ||| b")
    bare = Template.parse("{{ x }} ||| c")
    wordings = TemplateSet((own, bare), ("c", "d"))
    assert [row.choices for row in wordings.each(example(x="q"))] == [(" a", " b"), (" c", " d")]


def test_a_wording_is_drawn_by_seed_and_id_whatever_the_order() -> None:
    wordings = TemplateSet(tuple(Template.parse(f"{i} {{{{ x }}}} ||| y", str(i)) for i in range(4)))
    rows = [example(x=i) for i in range(400)]
    drawn = {row.id: wordings.for_training(row, seed=1).prompt for row in rows}
    assert drawn == {row.id: wordings.for_training(row, seed=1).prompt for row in reversed(rows)}
    assert drawn != {row.id: wordings.for_training(row, seed=2).prompt for row in rows}
    counts = Counter(prompt[0] for prompt in drawn.values())
    assert len(counts) == 4 and min(counts.values()) > 60
    assert wordings.fixed(rows[5], 2).prompt == "2 5"
    assert [row.prompt for row in wordings.each(rows[5])] == ["0 5", "1 5", "2 5", "3 5"]


def test_system_text_is_rendered_and_the_place_is_kept() -> None:
    wordings = TemplateSet((Template.parse("{{ x }} ||| y"),), system="You speak {{ lang }}.").for_chat()
    rendered = wordings.fixed(example(x="a", lang="Czech"))
    assert (rendered.system, rendered.chat, rendered.path, rendered.line) == ("You speak Czech.", True, "data.jsonl", 3)


def test_a_missing_field_is_named_with_the_fields_present() -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:3: field 'dialogue'.*fields present: text, summary") as error:
        render("{{ dialogue }} ||| {{ summary }}", text="a", summary="b")
    assert error.value.field == "dialogue" and error.value.exit_code == 3


def test_a_missing_part_of_a_field_is_named() -> None:
    with pytest.raises(DataError, match="field 'inner'.*fields present: outer"):
        render("{{ outer.inner }} ||| y", outer={"other": 1})


@pytest.mark.parametrize(
    ("source", "choices", "message"),
    [
        ("{{ x }}", None, r"no '\|\|\|'.*prompt \|\|\| \{\{ completion \}\}"),
        ("{% if n %}{{ x }} ||| y{% endif %}", None, "prints nothing for this row"),
        ("{{ x }}{% if n %} ||| y{% endif %}", None, r"nothing after its '\|\|\|'"),
        ("a ||| b ||| c", None, r"2 times '\|\|\|'"),
        ("{{ x }} ||| {{ empty }}", None, "empty completion.*remove the row"),
        ("{{ null }} ||| y", None, "a printed value is null -> null fields: null"),
        ("{{ items }} ||| y", None, "prints a list in its prompt"),
        ("{{ items }} ||| {{ pair }}", None, "lists of different lengths"),
        ("{{ table }} ||| y", None, "use the filter 'join' or 'tojson'"),
        ("{{ n / 0 }} ||| y", None, "division by zero"),
        ("{{ x.index('q') }} ||| y", None, "substring not found"),
        ("{{ x + n }} ||| y", None, "cannot be rendered"),
        ("{{ x ||| y", None, "cannot be used in line 1"),
        ("{{ x | no_such }} ||| y", None, "No filter named 'no_such'"),
        ("{{ x }} ||| maybe", "yes ||| no", "'maybe', which is not among the choices 'yes', 'no'.*answer_choices"),
        ("{{ x }} ||| yes", "yes", "unusable answer_choices"),
        ("{{ x }} ||| yes", "yes ||| yes", "unusable answer_choices"),
        ("{{ x }} ||| yes", "yes ||| {{ empty }}", "unusable answer_choices"),
        ("{{ x }} ||| {{ answer_choices[5] }}", "yes ||| no", "no element 5"),
    ],
)
def test_a_template_that_does_not_work(source: str, choices: str | None, message: str) -> None:
    fields = {"x": "a", "n": 0, "empty": " ", "null": None, "items": ["a", "b", "c"], "pair": ["a", "b"]}
    with pytest.raises(DataError, match=message):
        render(source, choices, **fields, table={"a": 1})


@pytest.mark.parametrize(
    "source",
    [
        "{{ x.__class__.__mro__[1].__subclasses__() }} ||| y",
        "{{ ''['__class__'] }} ||| y",
        "{{ x | attr('__class__') }} ||| y",
        "{{ '{0.__class__}'.format(x) }} ||| y",
        "{{ cycler.__init__.__globals__ }} ||| y",
        "{{ self.__init__ }} ||| y",
        "{% set a = items.append('z') %} ||| y",
        "{{ x | attr('format') }} ||| y",
        "{{ '{:>1000000000}'.format(x) }} ||| y",
        "{{ (1).to_bytes(100000000000, 'big') }} ||| y",
        "{{ x.upper }} ||| y",
        "{{ self }} ||| y",
        "{% include 'secret' %} ||| y",
        "{% import 'secret' as s %} ||| y",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    with pytest.raises(DataError):
        render(source, x="a", items=["b"])


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(100000000) %}a{% endfor %} ||| y",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %} ||| y",
        "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %} ||| y",
        "{% set n = namespace(s='ab') %}{% for i in range(90) %}{% set n.s = n.s ~ n.s %}{% endfor %} ||| y",
        "{% set n = namespace(s='ab') %}{% for i in range(90) %}{% set n.s = n.s + n.s %}{% endfor %} ||| y",
        "{% set n = namespace(s=[1]) %}{% for i in range(90) %}{% set n.s = [n.s, n.s] %}{% endfor %} ||| y",
        "{% set n = namespace(s='ab') %}{% for i in range(90) %}{% set n.s = n.s.replace('a', n.s) %}{% endfor %}|||y",
        "{% set n = namespace(s=[1]) %}{% for i in range(40) %}{% set n.s = zip(n.s, n.s)|list %}{% endfor %}"
        "{{ n.s|join }} ||| y",
        "{% set n = namespace(s='a') %}{% for i in range(40) %}{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}"
        "{% endfor %} ||| y",
        "{% for i in range(9999) %}{{ x }}{% endfor %} ||| y",
        "{{ 'a' * 1000000000 }} ||| y",
        "{{ [0] * 1000000000 }} ||| y",
        "{{ 9 ** 9 ** 9 }} ||| y",
        "{{ '%1000000000d' % 1 }} ||| y",
        "{{ 'a'.ljust(1000000000) }} ||| y",
        "{{ 'a' | center(1000000000) }} ||| y",
        "{{ [x] | batch(1000000000, 'a') | list }} ||| y",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }} ||| y",
        "{% for i in [[1]] recursive %}{{ loop(i) }}{% endfor %} ||| y",
        "{{ range(99999) | join(x) }} ||| y",
        "{% set n = namespace(s=[1]) %}{% for i in range(2000) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s|tojson }}|||y",
        "{{ range(99999) | map('replace', '1', x) | list | length }} ||| y",
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }} ||| y",
        "{% for a in x %}" * 30 + "{% endfor %}" * 30 + " ||| y",
        "{{ " + "9" * 5_000 + " }} ||| y",
        "{{ 1e999 }} ||| y",
    ],
)
def test_nothing_runs_or_grows_without_end(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(DataError):
        render(source, x="abcd" * 100)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{{ range(99999) | list | length }}{% endfor %} ||| y",
        "{{ range(99999) | select('in', range(99999) | list) | list | length }} ||| y",
        "{% set n = namespace(s=[1]) %}{% for i in range(99999) %}{% set n.s = [n.s] %}{% endfor %} ||| y",
    ],
)
def test_steps_that_are_few_but_long_end_too(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.2)
    with pytest.raises(DataError, match="computes for more than"):
        render(source, x="a")


def test_a_template_cannot_lift_its_own_limits() -> None:
    own = "{% set keeptune_state = namespace(steps=-999999999, started=1e18) %}"
    with pytest.raises(DataError, match="steps"):
        render(own + "{% for i in range(99999) %}{% for j in range(9) %}{% endfor %}{% endfor %} ||| y")


@pytest.mark.parametrize(
    ("layout", "fields", "expected"),
    [
        (
            ColumnSchema("instruction", {"instruction": "instruction", "input": "input", "completion": "output"}),
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            ("Add.\n\n1 2\n\n", "3"),
        ),
        (
            ColumnSchema("instruction", {"instruction": "instruction", "input": "input", "completion": "output"}),
            {"instruction": "Say hi.", "output": "hi"},
            ("Say hi.\n\n", "hi"),
        ),
        (
            ColumnSchema("question", {"question": "q", "context": "it's", "completion": "a"}),
            {"q": "Who?", "it's": "Ada did.", "a": "Ada"},
            ("Question: Who?\n\nAda did.\n\nAnswer:", " Ada"),
        ),
        (
            ColumnSchema("classification", {"text": "text", "completion": "label"}),
            {"text": "good", "label": "1"},
            ("good\n\nLabel:", " 1"),
        ),
        (
            ColumnSchema("prompt-completion", {"prompt": "prompt", "completion": "completion"}),
            {"prompt": "a", "completion": "b"},
            ("a", "b"),
        ),
    ],
)
def test_default_wording_of_a_layout(layout: ColumnSchema, fields: dict[str, str], expected: tuple[str, str]) -> None:
    (template,) = default_templates(layout)
    rendered = template.render(Example.make(fields))
    assert (rendered.prompt, rendered.completion) == expected


def test_a_set_needs_a_template() -> None:
    with pytest.raises(ConfigError, match="at least one template"):
        TemplateSet(())


def test_choices_of_raw_columns_carry_the_white_space_of_the_completion() -> None:
    """What is scored is what was trained on: ' odd' is another token than 'odd'."""
    example = Example.make({"prompt": "Is 3 even or odd?", "completion": " odd"})
    rendered = Template.raw().render(example, ("even", "odd"))
    assert rendered.choices == (" even", " odd")
    assert rendered.answer is not None
    assert rendered.choices[rendered.answer] == rendered.completion
