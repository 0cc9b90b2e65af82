"""Who may ask: this machine alone or whoever has the token, and no page of another site."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """What a request has to show.

    A page of another site can send requests to this server through the user's browser, under its own name (``Origin``)
    or, where its name was made to point here, under its own ``Host``: both are refused. Beyond this machine a token is
    needed; the first visit brings it in the address, and a cookie keeps it out of all others.

    Attributes:
        names: by which the server may be called, in lower case and without port.
        token: that every request has to have; None where only this machine reaches the server.
    """

    names: frozenset[str]
    token: str | None = None

    @classmethod
    def of(cls, host: str) -> Access:
        """For a server that listens at ``host``."""
        if is_loopback(host):
            return cls(frozenset({*LOOPBACK, host.lower()}))
        own = (socket.gethostname(), socket.getfqdn(), host)
        return cls(frozenset({*LOOPBACK, *(name.lower() for name in own)}), secrets.token_urlsafe(32))

    def foreign(self, headers: Mapping[str, str], reached_at: str) -> str | None:
        """Why a request is refused whatever token it has; None where it is not.

        Args:
            headers: of the request.
            reached_at: the address of this machine that it came to.
        """
        host = headers.get("Host", "")
        if _name(host) not in {*self.names, reached_at.lower()}:
            return f"this server is not called '{host}' -> open the address that keeptune chat printed"
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return f"a page of '{origin}' may not ask -> open the address that keeptune chat printed"
        return None

    def known(self, headers: Mapping[str, str], cookie: str) -> bool:
        """Whether a request has the token, in the cookie of this name."""
        try:
            found = SimpleCookie(headers.get("Cookie", "")).get(cookie)
        except CookieError:
            found = None
        return self.token is None or (found is not None and self._is_token(found.value))

    def brings_token(self, path: str) -> bool:
        """Whether an address has the token behind it."""
        given = parse_qs(urlsplit(path).query).get("token", [""])[0]
        return self._is_token(given)

    def _is_token(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(host: str) -> str:
    """'[::1]:8020' -> '::1'; '' of what is no host."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
