"""Where a hosted model is: which addresses are taken, and that a token does not travel in clear."""

from __future__ import annotations

import dataclasses
import ipaddress
from urllib.parse import urlsplit, urlunsplit

from memcore.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """An address that was checked: ``url`` without the query, and the query."""

    url: str
    query: str

    def join(self, path: str = "") -> str:
        """Return the address of a path under it. The query stays, since some services keep their version there.

        >>> check_endpoint("https://host/v1?api-version=2").join("images/generations")
        'https://host/v1/images/generations?api-version=2'
        """
        return f"{self.url}{'/' if path else ''}{path}{'?' if self.query else ''}{self.query}"


def check_endpoint(address: object, *, has_token: bool = False, plain_http: bool = False) -> Endpoint:
    """Return the endpoint. With a token, http is taken for this machine alone, unless ``plain_http``.

    Raises ConfigError, which repeats no more of the address than its host: it might hold a password.
    """
    if not isinstance(address, str) or not address:
        raise ConfigError(
            "endpoint must be the address of a server, such as https://host/v1, got "
            f"{type(address).__name__ if not isinstance(address, str) else 'an empty text'}"
        )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("endpoint is no address: its host or port cannot be read") from None
    if parts.scheme not in _PORTS or not host:
        raise ConfigError("endpoint must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"endpoint holds a user or password for {host}: leave it out, and give token='env:NAME' or 'file:PATH'"
        )
    if parts.fragment:
        raise ConfigError(f"endpoint of {host} has a part after '#', which no server gets: leave it out")
    if has_token and parts.scheme == "http" and not is_loopback(host) and not plain_http:
        raise ConfigError(
            f"the token would travel in clear to {host}: give an https:// endpoint, or plain_http=true if the network "
            "between is yours"
        )
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port in (None, _PORTS[parts.scheme]) else f"{shown}:{port}"
    return Endpoint(urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", "")), parts.query)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or number alone.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("localhost.evil.example")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_redirect(start: str, target: str) -> str:
    """Return ``target`` if it is of the same server as ``start``: scheme, host and port. Others get no request at all.

    So neither the token nor a prompt reaches a server that the user did not name, and no server can have this machine
    ask another one of its network. Raises ConfigError.

    >>> check_redirect("https://host/v1/images", "https://host:443/v2/images")
    'https://host:443/v2/images'
    """
    if origin(start) != origin(target):
        scheme, host, port = origin(target)
        raise ConfigError(
            f"{origin(start)[1]} redirects to {scheme or '?'}://{host or '?'}:{port or '?'}, another server, which is not "
            "followed: give its address as the endpoint if it is meant"
        )
    return target


def origin(address: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address; empty ones and 0 where it has none."""
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0
