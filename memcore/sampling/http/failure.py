"""What can go wrong with a request, as codes: of the moment, for good, the prompt's fault, or the end of the run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from memcore.sampling.watch import REFUSED_IMAGE
from memcore.system.credentials import redact
from memcore.system.parsing import parse_json
from memcore.system.plain_text import storable

#: A content filter refused the prompt or the image.
REFUSED = REFUSED_IMAGE
#: Requests that hold a whole account: a token, a permission, money, an address that does not exist.
_ACCOUNT = {401, 402, 403, 404, 405, 407, 410, 501, 505}
#: Too slow, too early, too many requests.
_MOMENT = {408, 425, 429}
#: Statuses by which a server asks all of its clients to wait.
BUSY = {429, 503}
#: How services call a refusal for what a prompt or an image shows.
_FILTER = re.compile(
    r"content.?(policy|filter|moderat|violat)|moderation|responsible.?ai|safety|nsfw|prompt.?block|sensitive",
    re.I,
)
#: How services call an account without money, for which some answer with 400 or 429.
_MONEY = re.compile(r"insufficient.?(quota|fund|credit|balance)|billing|hard.?limit|payment.?required", re.I)
#: Characters of what a server said that are kept.
_SAID = 300


@dataclasses.dataclass(eq=False)  # not frozen: contextlib sets the traceback of what passes through it
class Failure(Exception):
    """A request that brought no usable answer.

    ``kind``: "moment" (ask again), "bad" (ask again a few times), "prompt" (asking again does not help), "refused" (by a
    content filter), or "account" (every request would fail). ``busy``: all requests should wait. ``billed``: the server may
    bill it, as far as is known.
    """

    kind: str
    code: str
    detail: str
    retry_after: float | None = None
    busy: bool = False
    billed: bool = False

    def __str__(self) -> str:
        """Return the code and what was said."""
        return f"{self.code}: {self.detail}" if self.detail else self.code


def said(text: object) -> str:
    """Return what a server said as it may be stored: short, without secrets."""
    return storable(redact(" ".join(str(text).split())), _SAID)


def of_status(status: int, body: bytes, retry_after: float | None) -> Failure:
    """Return the failure that an error's status and body mean.

    >>> of_status(400, b'{"error": {"code": "content_policy_violation", "message": "no"}}', None).detail
    'content_policy_violation: no'
    >>> of_status(429, b"", 7.0).retry_after, of_status(401, b"", None).kind, of_status(422, b"", None).code
    (7.0, 'account', 'http-422')
    """
    names, text = _read_error(body)
    detail = said(": ".join(dict.fromkeys(part for part in (*names, text) if part)) or f"HTTP {status}")
    named = " ".join(names)
    if _MONEY.search(named):
        return Failure("account", f"http-{status}", detail)
    if 400 <= status < 500 and (_FILTER.search(named) or (not named and _FILTER.search(text))):
        return Failure("refused", REFUSED, detail)
    if status in _ACCOUNT:
        return Failure("account", f"http-{status}", detail)
    if status in _MOMENT or status >= 500:
        return Failure("moment", f"http-{status}", detail, retry_after, busy=status in BUSY)
    return Failure("prompt", f"http-{status}", detail)


def filtered(item: Mapping[str, Any]) -> str:
    """Return why a service says of one image that its filter took it out; "" if it does not.

    >>> filtered({"finish_reason": "CONTENT_FILTERED"}), filtered({"finish_reason": "success"})
    ('CONTENT_FILTERED', '')
    """
    for name in ("finish_reason", "finishReason", "refused", "error"):
        value = item.get(name)
        text = (
            " ".join(_texts(value)) if isinstance(value, Mapping) else value if isinstance(value, str) else ""
        )
        if text and (name == "refused" or _FILTER.search(text)):
            return said(text)
    return ""


def _read_error(body: bytes) -> tuple[list[str], str]:
    """Return the names that an error's body gives it, and its message; services have several forms."""
    try:
        told = parse_json(body)
    except ValueError:
        return [], body.decode("utf-8", "replace")
    found = told.get("error", told) if isinstance(told, Mapping) else told
    if not isinstance(found, Mapping):
        return [], str(found)
    inner = found.get("innererror")
    names = [found.get("code"), found.get("type"), inner.get("code") if isinstance(inner, Mapping) else None]
    message = found.get("message", found.get("detail", ""))
    return [name for name in names if isinstance(name, str)], message if isinstance(message, str) else str(
        message
    )


def _texts(value: Mapping[str, Any]) -> Iterator[str]:
    return (held for held in value.values() if isinstance(held, str))
