"""A stand-in of the hub's HTTP interface: repositories in memory, uploads in one commit, downloads by name."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Files by repository; ``refuses`` is the status that writes get, ``gated`` the repositories behind terms."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.refuses: int | None = None
        self.gated: set[str] = set()
        self.asked: list[str] = []


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Within, the address of the hub on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""

    def do_POST(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"POST {path}")
        if self.hub.refuses is not None:
            return self._json({"error": "no"}, self.hub.refuses)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.hub.files.setdefault(repo, {})
            return self._json({"url": f"{self._address}/{repo}", "name": repo, "id": repo})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        repo, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": modes})
        repo = path.removeprefix("/api/models/").partition("/commit/")[0]
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "file":
                self.hub.files[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._json(
            {"success": True, "commitOid": COMMIT, "commitUrl": f"{self._address}/{repo}/commit/{COMMIT}"}
        )

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"GET {path}")
        if path == "/api/whoami-v2":
            return self._json({"name": "owner", "type": "user", "auth": {"type": "access_token"}})
        if "/tree/" in path:
            files = self.hub.files[path.removeprefix("/api/models/").partition("/tree/")[0]]
            return self._json([{"type": "file", "path": n, "size": len(d), "oid": COMMIT} for n, d in files.items()])
        if "/resolve/" in path:
            return self._file(path, send=True)
        repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        if repo in self.hub.gated:
            return self._json({"error": "gated"}, 403, {"X-Error-Code": "GatedRepo"})
        if repo not in self.hub.files:
            return self._json({"error": "none"}, 404, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("", "main", "v1", COMMIT):
            return self._json({"error": "none"}, 404, {"X-Error-Code": "RevisionNotFound"})
        files = [{"rfilename": name} for name in self.hub.files[repo]]
        return self._json({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": files, "private": False})

    def do_HEAD(self) -> None:
        self._file(self.path.partition("?")[0], send=False)

    def _file(self, path: str, *, send: bool) -> None:
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        data = self.hub.files.get(repo, {}).get(rest.partition("/")[2])
        if data is None:
            return self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if send:
            self.wfile.write(data)
        return None

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @property
    def _address(self) -> str:
        return f"http://{self.headers['Host']}"
