"""Texts of others, such as a server's answer or an error of a sampler, as they can be stored and shown."""

from __future__ import annotations

#: Characters that are kept of a text: a server may answer with a page, and a traceback with recursion is long.
MAX_CHARACTERS = 20_000


def storable(text: str, most: int = MAX_CHARACTERS) -> str:
    """Return a text that UTF-8 can hold, with half characters as escapes, and cut in its middle if it is long.

    >>> storable("caf\\udce9"), storable("abcdefghij", 6)
    ('caf\\\\udce9', 'abc ... (4 characters left out) ... hij')
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[-half:]}"


def error_text(error: BaseException) -> str:
    """Return an error's class and message; the class alone if it has none, or one that cannot be made.

    >>> error_text(ValueError("no")), error_text(KeyError())
    ('ValueError: no', 'KeyError')
    """
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:
        return name
    return f"{name}: {storable(message)}" if message else name
