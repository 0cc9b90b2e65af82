"""The page and its requests over HTTP, by the standard library alone.

| request | answer |
|---|---|
| GET / | the page; with ?token= a cookie and the way to the page |
| GET /columns | `PageView` |
| POST /ask {prompt, columns} | events (text/event-stream): asked, loading, began, said, done, refused |
| POST /stop {id} | what was asked ends |
| POST /tokens {prompt, column, ids} | boxes of tokens, as a piece of HTML |
| POST /keep {prompt, completion, column} | the number of rows that are kept |
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from keeptune.chat.access import Access
from keeptune.chat.kept import KeptRows
from keeptune.chat.view import PageView
from keeptune.core.errors import KeeptuneError, ResourceError
from keeptune.core.records import Record
from keeptune.report.page import fragment, style

if TYPE_CHECKING:  # a page can be served without torch
    from keeptune.chat.conversation import Conversation, Happened

MOST = 2**20  # bytes of a request
SILENCE = 60.0  # seconds that a client may take to send or to take something
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PAGE = {
    "/": ("index.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
}


class Ask(Record):
    """POST /ask."""

    prompt: str
    columns: tuple[int, ...]


class Stop(Record):
    """POST /stop."""

    id: str


class See(Record):
    """POST /tokens."""

    prompt: str
    column: int
    ids: tuple[int, ...] = ()


class Keep(Record):
    """POST /keep."""

    prompt: str
    completion: str
    column: int


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Served:
    """What a server is about."""

    view: PageView
    conversation: Conversation
    kept: KeptRows
    access: Access


class ChatServer(ThreadingHTTPServer):
    """Listens at once; `serve_forever` answers.

    Raises:
        ResourceError: the address is not this machine's, or its port is taken.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, served: Served) -> None:
        self.served = served
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ResourceError(
                f"cannot listen there: {error.strerror or error}",
                where=f"{host}:{port}",
                remedy="name another --port (0 takes a free one), or a --host of this machine",
            ) from error

    @property
    def url(self) -> str:
        """What the user opens."""
        host = str(self.server_address[0])
        name = f"[{host}]" if ":" in host else host
        token = self.served.access.token
        return f"http://{name}:{self.server_port}/" + (f"?token={token}" if token else "")

    @property
    def cookie(self) -> str:
        """The name of its cookie: those of other ports of the machine are sent here, too."""
        return f"keeptune_chat_{self.server_port}"


class _Refused(Exception):
    """A request that gets no answer."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    timeout = SILENCE
    server_version = "keeptune"
    sys_version = ""

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal: addresses may hold the token."""

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def _guarded(self, answer: Callable[[str], None]) -> None:
        """Answer who may ask; an error that was foreseen is a line of JSON."""
        try:
            self._check()
            answer(urlsplit(self.path).path)
        except _Refused as refused:
            self._json({"error": str(refused)}, refused.status)
        except KeeptuneError as error:
            self._json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except OSError:  # the client went away, or kept silent
            self.close_connection = True

    def _check(self) -> None:
        access, headers = self.server.served.access, dict(self.headers.items())
        foreign = access.foreign(headers, self.connection.getsockname()[0])
        if foreign is not None:
            raise _Refused(HTTPStatus.FORBIDDEN, foreign)
        if not access.known(headers, self.server.cookie) and not access.brings_token(self.path):
            raise _Refused(
                HTTPStatus.UNAUTHORIZED, "the token is missing or wrong -> open the address that keeptune chat printed"
            )

    def _get(self, path: str) -> None:
        access = self.server.served.access
        if path == "/" and access.brings_token(self.path):
            cookie = f"{self.server.cookie}={access.token}; Path=/; HttpOnly; SameSite=Lax"
            self._send(b"", "text/plain", HTTPStatus.SEE_OTHER, {"Location": "/", "Set-Cookie": cookie})
        elif path == "/columns":
            self._send(self.server.served.view.model_dump_json().encode(), "application/json")
        elif path == "/report.css":
            self._send(style().encode(), "text/css")
        elif path in PAGE:
            name, kind = PAGE[path]
            self._send(_page_file(name), kind)
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, f"nothing at {path}")

    def _post(self, path: str) -> None:
        served = self.server.served
        if path == "/ask":
            ask = self._body(Ask)
            self._tell(ask)
        elif path == "/stop":
            served.conversation.stop(self._body(Stop).id)
            self._json({})
        elif path == "/tokens":
            see = self._body(See)
            tokens = served.conversation.tokens(see.prompt, see.column, see.ids)
            looks = {word for token in tokens for word in token.look.split()}
            looks |= {"part"} if any(not token.text for token in tokens) else set()
            self._send(fragment("tokens.html.j2", tokens=tokens, looks=looks).encode(), "text/html")
        elif path == "/keep":
            keep = self._body(Keep)
            label = served.conversation.column(keep.column).label
            self._json({"rows": served.kept.keep(keep.prompt, keep.completion, label)})
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, f"nothing at {path}")

    def _tell(self, ask: Ask) -> None:
        """Every event as it happens; who goes away stops what was asked."""
        asked = self.server.served.conversation.ask(ask.prompt, ask.columns)
        try:
            self._head("text/event-stream")
            self._event({"kind": "asked", "id": asked.id})
            for event in asked.heard():
                self._event(event)
        finally:
            asked.stop()

    def _event(self, event: Happened | None) -> None:
        line = ": waiting" if event is None else f"data: {json.dumps(event, ensure_ascii=False)}"
        self.wfile.write(f"{line}\n\n".encode())

    def _body(self, kind: type[R]) -> R:
        """The JSON of a request.

        Raises:
            _Refused: it is too large, or no such JSON.
        """
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has a length of at most {MOST:,} bytes")
        try:
            return kind.model_validate_json(self.rfile.read(int(length)))
        except ValidationError as error:
            first = error.errors()[0]
            raise _Refused(
                HTTPStatus.BAD_REQUEST, f"{'.'.join(map(str, first['loc'])) or 'request'}: {first['msg']}"
            ) from error

    def _json(self, value: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value, ensure_ascii=False).encode(), "application/json", status)

    def _send(
        self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, more: Mapping[str, str] | None = None
    ) -> None:
        self._head(kind, status, {"Content-Length": str(len(body)), **(more or {})})
        self.wfile.write(body)

    def _head(self, kind: str, status: HTTPStatus = HTTPStatus.OK, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": f"{kind}; charset=utf-8", **HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()


@cache
def _page_file(name: str) -> bytes:
    return (files("keeptune.chat") / "page" / name).read_bytes()
