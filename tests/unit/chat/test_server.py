"""The requests, their answers and refusals, with made-up models."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keeptune.chat.access import Access
from keeptune.chat.kept import KeptRows
from keeptune.chat.server import MOST, ChatServer, Served
from keeptune.chat.view import ColumnView, PageView
from keeptune.core.errors import DataError, ResourceError
from keeptune.core.tokens import Token

VIEW = PageView(
    title="runs/a",
    columns=(ColumnView(number=0, label="base model", about="builtin", recommended=False, score=""),),
    suggestions=(),
    notes=(),
    max_new_tokens=8,
    kept="kept.jsonl",
)


class Asked:
    """Says what it was given, then nothing until somebody stops it."""

    id = "abc"

    def __init__(self, said: Sequence[dict[str, Any]]) -> None:
        self.said, self.stopped = said, threading.Event()

    def stop(self) -> None:
        self.stopped.set()

    def heard(self) -> Iterator[dict[str, Any] | None]:
        yield from self.said
        while not self.stopped.wait(0.01):
            yield None


class Talk:
    """A conversation without models."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, ...], Asked]] = []

    def ask(self, prompt: str, numbers: tuple[int, ...]) -> Asked:
        self.column(max(numbers))
        self.asked.append((prompt, numbers, Asked([{"kind": "said", "column": 0, "text": " Grüße\n\n👩\u200d👧"}])))
        return self.asked[-1][2]

    def stop(self, id: str) -> None:
        assert id == Asked.id
        self.asked[-1][2].stop()

    def tokens(self, prompt: str, number: int, ids: Sequence[int]) -> list[Token]:
        return [Token(1, f"<b>{prompt}", "prompt"), *(Token(id, " said", "written") for id in ids)]

    def column(self, number: int) -> Any:
        if number > 0:
            raise DataError(f"there is no column {number}", remedy="load the page again")
        return SimpleNamespace(label="base model")


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def serve(talk: Talk, tmp_path: Path) -> Iterator[Callable[[Access], ChatServer]]:
    running = []

    def start(access: Access) -> ChatServer:
        server = ChatServer("127.0.0.1", 0, Served(VIEW, talk, KeptRows(tmp_path / "kept.jsonl"), access))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def request(
    server: ChatServer, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, None if body is None else json.dumps(body), headers or {})
    return connection.getresponse()


def told(response: http.client.HTTPResponse) -> tuple[int, str]:
    return response.status, response.read().decode()


def test_the_page_fetches_nothing_from_elsewhere(serve: Callable[[Access], ChatServer]) -> None:
    server = serve(Access.of("127.0.0.1"))
    for path, kind in {"/": "html", "/chat.css": "css", "/report.css": "css", "/chat.js": "javascript"}.items():
        response = request(server, "GET", path)
        status, text = told(response)
        assert status == 200 and kind in response.headers["Content-Type"]
        assert (
            "//" not in text.replace("// ", "") and "default-src 'none'" in response.headers["Content-Security-Policy"]
        )
    assert PageView.model_validate_json(told(request(server, "GET", "/columns"))[1]) == VIEW
    assert told(request(server, "GET", "/../server.py"))[0] == 404


def test_events_come_as_they_happen_until_it_is_stopped(serve: Callable[[Access], ChatServer], talk: Talk) -> None:
    server = serve(Access.of("127.0.0.1"))
    response = request(server, "POST", "/ask", {"prompt": "Say it", "columns": [0]})
    lines = [response.readline().decode() for _ in range(4)]
    assert [json.loads(line.removeprefix("data: ")) for line in lines[::2]] == [
        {"kind": "asked", "id": "abc"},
        {"kind": "said", "column": 0, "text": " Grüße\n\n👩\u200d👧"},
    ]
    assert talk.asked[0][:2] == ("Say it", (0,)) and not talk.asked[0][2].stopped.is_set()
    assert told(request(server, "POST", "/stop", {"id": "abc"})) == (200, "{}")
    assert set(response.read().decode().split("\n\n")) <= {": waiting", ""}  # and the response ends


def test_who_goes_away_stops_what_was_asked(serve: Callable[[Access], ChatServer], talk: Talk) -> None:
    server = serve(Access.of("127.0.0.1"))
    response = request(server, "POST", "/ask", {"prompt": "Say it", "columns": [0]})
    response.readline()
    response.close()
    assert talk.asked[0][2].stopped.wait(60)


def test_tokens_are_escaped_and_answers_are_kept(serve: Callable[[Access], ChatServer], tmp_path: Path) -> None:
    server = serve(Access.of("127.0.0.1"))
    _, boxes = told(request(server, "POST", "/tokens", {"prompt": "<i>", "column": 0, "ids": [7]}))
    assert "&lt;b&gt;&lt;i&gt;" in boxes and "<i>" not in boxes and 'title="id 7"' in boxes
    row = {"prompt": "a", "completion": " b", "column": 0}
    assert told(request(server, "POST", "/keep", row)) == (200, '{"rows": 1}')
    status, text = told(request(server, "POST", "/keep", row))
    assert status == 422 and "kept already" in json.loads(text)["error"]
    kept = json.loads((tmp_path / "kept.jsonl").read_text())
    assert kept == {"prompt": "a", "completion": " b", "answered_by": "base model"}


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/ask", {"prompt": "a"}, 400, "columns: Field required"),
        ("/ask", {"prompt": "a", "columns": [0], "more": 1}, 400, "more: Extra inputs"),
        ("/ask", {"prompt": "a", "columns": [1]}, 422, "there is no column 1 -> load the page again"),
        ("/keep", "no object", 400, "request: Input should be an object"),
        ("/keep", {"prompt": "x" * MOST, "completion": "", "column": 0}, 413, "at most 1,048,576 bytes"),
        ("/other", {}, 404, "nothing at /other"),
    ],
)
def test_what_cannot_be_answered_is_said(
    serve: Callable[[Access], ChatServer], path: str, body: Any, status: int, why: str
) -> None:
    found, text = told(request(serve(Access.of("127.0.0.1")), "POST", path, body))
    assert found == status and why in json.loads(text)["error"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/columns"), ("POST", "/ask"), ("POST", "/keep")])
def test_other_sites_get_nothing(
    serve: Callable[[Access], ChatServer], talk: Talk, tmp_path: Path, headers: dict[str, str], method: str, path: str
) -> None:
    body = {"prompt": "a", "columns": [0]} if path == "/ask" else {"prompt": "a", "completion": " b", "column": 0}
    status, text = told(request(serve(Access.of("127.0.0.1")), method, path, body, headers))
    assert status == 403 and "keeptune chat printed" in json.loads(text)["error"]
    assert not talk.asked and not (tmp_path / "kept.jsonl").exists()


def test_beyond_this_machine_the_token_opens_the_page(serve: Callable[[Access], ChatServer]) -> None:
    access = Access.of("0.0.0.0")
    server = serve(access)
    assert server.url.endswith(f"/?token={access.token}")
    for path in ("/", "/columns", "/chat.js", "/?token=wrong"):
        status, text = told(request(server, "GET", path))
        assert status == 401 and "the token is missing or wrong -> open the address" in json.loads(text)["error"]
    opened = request(server, "GET", f"/?token={access.token}")
    cookie = opened.headers["Set-Cookie"]
    assert (opened.status, opened.headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and str(server.server_port) in cookie
    shown = {"Cookie": cookie.partition(";")[0]}
    assert told(request(server, "GET", "/columns", headers=shown))[0] == 200
    assert told(request(server, "GET", "/columns", headers={**shown, "Host": "evil.example"}))[0] == 403
    assert told(request(server, "POST", "/stop", {"id": "abc"}))[0] == 401


def test_a_port_that_is_taken_is_said(serve: Callable[[Access], ChatServer]) -> None:
    server = serve(Access.of("127.0.0.1"))
    with pytest.raises(
        ResourceError, match=rf"127\.0\.0\.1:{server.server_port}: cannot listen there: .* another --port"
    ):
        ChatServer("127.0.0.1", server.server_port, server.served)
