"""Who may ask."""

from __future__ import annotations

from typing import Any

import pytest

from keeptune.chat import access
from keeptune.chat.access import Access, is_loopback


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.0.1", True), ("0.0.0.0", False), ("box", False)],
)
def test_beyond_this_machine_there_is_a_token(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone
    assert (Access.of(host).token is None) == alone
    assert Access.of("0.0.0.0").token != Access.of("0.0.0.0").token


@pytest.mark.parametrize("host", ["127.0.0.1:8020", "localhost", "LOCALHOST:9", "[::1]:8020", "10.1.2.3:8020"])
def test_its_own_names_may_be_called(host: str) -> None:
    """Whatever the port: a tunnel has another one."""
    assert Access.of("127.0.0.1").foreign({"Host": host, "Origin": f"http://{host}"}, "10.1.2.3") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8020", "127.0.0.1.evil.example", "", "[::1", "10.1.2.4"]
)
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    for listens in ("127.0.0.1", "0.0.0.0"):
        refused = Access.of(listens).foreign({"Host": host}, "10.1.2.3")
        assert refused is not None and f"not called '{host}' -> open the address" in refused


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:8021", "https://localhost:8020", "null"])
def test_a_page_of_another_site_is_refused(origin: str) -> None:
    refused = Access.of("127.0.0.1").foreign({"Host": "localhost:8020", "Origin": origin}, "127.0.0.1")
    assert refused is not None and f"a page of '{origin}' may not ask" in refused


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, compare = [], access.hmac.compare_digest

    def spy(a: Any, b: Any) -> bool:
        asked.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(access.hmac, "compare_digest", spy)
    guarded = Access.of("0.0.0.0")
    assert guarded.known({"Cookie": f"other=1; c={guarded.token}"}, "c") and guarded.brings_token(
        f"/?token={guarded.token}"
    )
    assert not guarded.known({"Cookie": f"d={guarded.token}"}, "c")
    assert not guarded.known({"Cookie": "c=wrong"}, "c") and not guarded.brings_token("/?token=wr%C3%B6ng")
    assert not guarded.known({}, "c") and not guarded.brings_token("/")
    assert len(asked) == 5  # every token that was there, empty ones included, and nothing else
    assert Access.of("127.0.0.1").known({}, "c") and not Access.of("127.0.0.1").brings_token("/?token=")
