"""The page of a preview: a box per token, told apart without colour, alone and safe."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import fixture_summary as fixture

from keeptune.core.tokens import Token, TokenPage, TokenRow, TokenView
from keeptune.report.html import write_report
from keeptune.report.preview import render_preview, write_preview

TOKENS = (
    Token(1, "<s>", "prompt", special=True),
    Token(7, "gone", "prompt", cut=True),
    Token(-1, "1,234 tokens", "prompt", omitted=1_234),
    Token(8, " a\n", "prompt"),
    Token(9, "", "trained"),
    Token(10, "ü", "trained"),
    Token(2, "</s>", "trained", special=True),
)


def page(*views: TokenView, **changes: object) -> TokenPage:
    row = TokenRow("rows.jsonl:3", "train", views or (TokenView("wording 1", 3, 3, TOKENS, drawn=True),))
    given = {
        "source": "rows.jsonl",
        "model": "tiny",
        "layout": "instruction",
        "window": 128,
        "policy": "drop",
        "seed": 0,
        "rows": (row,),
        "long": (),
        "long_count": 0,
        "looked_at": 80,
        "total": 80,
    }
    return TokenPage(**{**given, **changes})  # type: ignore[arg-type]


class Boxes(HTMLParser):
    """(class, title, text) of every box in a token view, and all words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in {"meta", "link", "br"}:
            self.inside.append("tokens" if given.get("class") == "tokens" else tag)
        if tag == "span" and given.get("class", "").startswith("tok ") and "tokens" in self.inside:
            self.found.append((given["class"], given.get("title", ""), ""))
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() in (tag, "tokens")

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] not in {"style", "script"}:
            self.words.append(data)
        if "tokens" in self.inside and self.found and data.strip():
            self.found[-1] = (*self.found[-1][:2], self.found[-1][2] + data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_every_token_has_a_box_with_its_id() -> None:
    assert Boxes(render_preview(page())).found == [
        ("tok prompt special", "id 1", "<s>"),
        ("tok prompt cut", "id 7", "gone"),
        ("tok omitted", "", "… 1,234 tokens …"),
        ("tok prompt", "id 8", "␣a↵"),
        ("tok trained", "id 9", "⋯"),
        ("tok trained", "id 10", "ü"),
        ("tok trained special", "id 2", "</s>"),
    ]


def test_kinds_differ_by_more_than_colour() -> None:
    style = re.findall(r"<style>(.*?)</style>", render_preview(page()), re.S)[0]
    rules = dict(re.findall(r"^(\.tok\S*(?:, \.tok\S*)*) \{(.*?)\}", style, re.M | re.S))
    assert "border: 1px solid" in rules[".tok"]
    assert "border-bottom: 3px solid" in rules[".tok.trained, .tok.expected, .tok.written"]
    assert "border-bottom-style: dotted" in rules[".tok.expected"]
    assert "dashed" in rules[".tok.special"]
    assert "line-through" in rules[".tok.cut"]


def test_the_legend_explains_what_is_there() -> None:
    text = Boxes(render_preview(page())).text
    for meaning in ("read, not learned from", "underlined", "dashed box", "struck through", "part of a character"):
        assert meaning in text
    text = Boxes(render_preview(page(TokenView("wording 1", 1, 0, TOKENS[3:4])))).text
    assert "struck through" not in text
    assert "part of a character" not in text


def test_wordings_shots_and_problems_are_named() -> None:
    first = TokenView("wording 1", 3, 3, TOKENS)
    second = TokenView("wording 2", 1_003, 3, TOKENS, drawn=True, problem="1,006 tokens do not fit")
    shot = TokenView("wording 2", 30, 2, TOKENS, shots=2)
    text = Boxes(render_preview(page(first, second, shot))).text
    assert "Wording 1 3 prompt + 3 trained tokens" in text
    assert "Wording 2 drawn for training 1,003 prompt + 3 trained tokens" in text
    assert "1,006 tokens do not fit" in text
    assert "Few-shot prompt, wording 2 30 prompt + 2 expected tokens , 2 worked examples" in text.replace(
        "tokens, ", "tokens , "
    )


def test_items_of_evaluation_are_named_as_such() -> None:
    view = TokenView("wording 1", 30, 2, TOKENS, shots=1, dropped=1, problem="1 of 2 worked examples find no room")
    none = TokenView("wording 1", 30, 2, TOKENS, shots=0, dropped=2)
    text = Boxes(render_preview(page(view, none, shots=2, seed=3, long_count=1, total=900))).text
    assert "draw 3 of 2 worked examples" in text
    assert "Items as evaluation asks them" in text
    assert "1 of 2 worked examples find no room" in text
    assert "Few-shot prompt, wording 1 30 prompt + 2 expected tokens" in text
    assert ", 0 worked examples in front" in text
    assert "1 of the first 80 of 900 items does not fit 128 tokens with all worked examples" in text
    assert "one that is too long without any is not asked" in text
    assert "training" not in text.replace("training and evaluation use", "")


def test_long_rows_are_counted() -> None:
    assert "0 of 80 training rows do not fit 128 tokens" in Boxes(render_preview(page())).text
    row = TokenRow("rows.jsonl:9", "", (TokenView("w", 900, 3, TOKENS, problem="left out"),))
    shown = page(long=(row,), long_count=12, looked_at=50, policy="truncate_prompt")
    text = Boxes(render_preview(shown)).text
    assert "12 of the first 50 of 80 training rows do not fit" in text
    assert "prompts lose tokens at the left end" in text
    assert "The first 1 follow" in text
    assert "rows.jsonl:9" in text


def test_the_page_stands_alone_and_hostile_text_stays_text(tmp_path: Path) -> None:
    attack = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}"
    view = TokenView(attack, 1, 1, (Token(1, attack, "prompt"),), problem=attack)
    path = tmp_path / "new" / "page.html"
    write_preview(page(view, source=attack, model=attack, layout=attack, notes=(attack,)), path)
    html = path.read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "<img" not in html
    assert not re.search(r"https?://|@import|url\(", html)
    assert "{{ 7*7 }}" in Boxes(html).text
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', html)[0].replace("&#39;", "'")
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert f"sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}" in policy


def test_the_data_card_has_the_tokens_of_its_example(tmp_path: Path) -> None:
    tokens = (("120 tokens", "omitted"), ("Anna", "prompt"), (" <says>", "trained"), ("</s>", "trained special"))
    card = fixture.card().model_copy(update={"example_tokens": tokens})
    html = write_report(fixture.write_run(tmp_path, fixture.study(cards=(card,)))).read_text(encoding="utf-8")
    boxes = Boxes(html)
    assert boxes.found == [
        ("tok omitted", "", "… 120 tokens …"),
        ("tok prompt", "", "Anna"),
        ("tok trained", "", "␣<says>"),
        ("tok trained special", "", "</s>"),
    ]
    assert "3 tokens, each in a box" in boxes.text
    bare = write_report(fixture.write_run(tmp_path, fixture.study())).read_text(encoding="utf-8")
    assert "each in a box" not in bare
