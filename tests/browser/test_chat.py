"""The page of `keeptune chat` in a browser, with a real run behind it: type, stream, compare, keep."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keeptune.chat.columns import Sources, read_sources
from keeptune.chat.kept import KeptRows
from keeptune.chat.serve import chat_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from keeptune.chat.server import ChatServer

pytestmark = pytest.mark.slow
PATIENCE = 600_000  # milliseconds: a busy machine fails no test


@pytest.fixture(scope="module")
def sources(small_run: Path) -> Sources:
    return read_sources([str(small_run)])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptRows:
    return KeptRows(tmp_path_factory.mktemp("chat") / "kept.jsonl")


@pytest.fixture(scope="module")
def server(sources: Sources, kept: KeptRows) -> Iterator[ChatServer]:
    with chat_server(sources, kept, max_new_tokens=32, device="cpu") as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide light", "phone dark"])
def page(request: pytest.FixtureRequest, page_at: Callable[..., Page], server: ChatServer) -> Page:
    opened = page_at(*request.param)
    opened.set_default_timeout(PATIENCE)
    opened.goto(server.url)
    opened.wait_for_selector("body[data-ready]")
    return opened


def column(page: Page, number: int) -> Any:
    return page.locator(".column").nth(number)


def ask(page: Page) -> None:
    page.click("#send")
    page.wait_for_selector("#stop", state="hidden")


def test_type_stream_compare_keep(page: Page, sources: Sources, kept: KeptRows) -> None:
    assert page.locator(".column .name").all_text_contents() == [each.label for each in sources.columns]
    page.evaluate(
        "window.seen = new Set(); new MutationObserver(() => seen.add(document.querySelector('.answer')"
        ".textContent)).observe(document.querySelector('.answer'), {childList: true, characterData: true,"
        " subtree: true})"
    )
    prompt = f"The dog and the {page.viewport_size['width']} birds"  # type: ignore[index]
    page.fill("#prompt", prompt)
    ask(page)
    texts = page.locator(".answer").all_text_contents()
    assert len(texts) == 4 and texts[0]
    seen = page.evaluate("[...seen]")
    assert len(seen) > 3 and all(texts[0].startswith(each) for each in seen)  # piece by piece

    column(page, 3).locator(".seen summary").click()
    column(page, 3).locator(".tok.written").nth(1).wait_for()
    assert prompt.replace(" ", "\u2423") in "".join(column(page, 3).locator(".tok.prompt").all_text_contents())

    column(page, 0).locator(".answer").fill("went for a walk.")
    column(page, 0).locator(".keep").click()
    column(page, 0).locator(".kept", has_text="kept:").wait_for()
    rows = [json.loads(line) for line in kept.path.read_text().splitlines()]
    found = next(row for row in rows if row["prompt"] == prompt)
    assert (found["completion"].strip(), found["answered_by"]) == ("went for a walk.", "base model")
    column(page, 0).locator(".keep").click()
    column(page, 0).locator(".kept.wrong", has_text="kept already").wait_for()


def test_a_prompt_of_the_run_comes_with_its_reference(page: Page, sources: Sources) -> None:
    page.select_option("#suggestions", index=1)
    assert page.input_value("#prompt") == sources.suggestions[0].prompt
    assert page.inner_text("#reference") == f"Reference: {' | '.join(sources.suggestions[0].references)}"
    for number in (0, 1, 3):
        column(page, number).locator("input").uncheck()
    ask(page)
    assert [bool(text) for text in page.locator(".answer").all_text_contents()] == [False, False, True, False]
    page.fill("#prompt", "another")
    assert page.is_hidden("#reference")


def test_verdicts_open_over_the_answers(page: Page, sources: Sources) -> None:
    arm = sources.columns[2].arm
    assert arm is not None
    before = column(page, 2).locator(".answer").evaluate("answer => answer.offsetTop")
    column(page, 2).locator(".verdicts summary").click()
    assert column(page, 2).locator(".verdicts li p").inner_text() == arm.suites[0].sentence
    assert column(page, 2).locator(".answer").evaluate("answer => answer.offsetTop") == before
    page.click("h1")
    assert column(page, 2).locator(".verdicts li").is_hidden()


def test_a_prompt_that_is_too_long_says_the_limit(page: Page) -> None:
    page.fill("#prompt", "1 " * 1_500)
    ask(page)
    for text in page.locator(".answer.refused").all_text_contents():
        assert "and there is room for 992 beside an answer of 32" in text
    assert page.locator(".answer.refused").count() == 4


def test_nothing_is_wider_than_the_page(page: Page) -> None:
    page.fill("#prompt", "x" * 200)
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
