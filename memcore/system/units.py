"""Numbers with the noun or in the unit that a reader expects."""

from __future__ import annotations


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    >>> count(1, "prompt"), count(1200, "prompt"), count(2, "copy", "copies")
    ('1 prompt', '1,200 prompts', '2 copies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_seconds(seconds: float) -> str:
    """Return seconds, milliseconds or microseconds.

    >>> format_seconds(2.5), format_seconds(0.0123), format_seconds(0.00005)
    ('2.50 s', '12.3 ms', '50 us')
    """
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def format_hours(hours: float) -> str:
    """Return hours, minutes or seconds.

    >>> format_hours(12.34), format_hours(0.5), format_hours(0.001)
    ('12.3 h', '30.0 min', '3.6 s')
    """
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} s"
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:,.1f} h" if hours < 1e4 else f"{hours:,.0f} h"


def format_bytes(count: float) -> str:
    """Return bytes with a decimal prefix.

    >>> format_bytes(12), format_bytes(1500), format_bytes(2.5e12)
    ('12 bytes', '1.5 kB', '2.5 TB')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def duration(seconds: float) -> str:
    """Return seconds in words.

    >>> duration(59.6), duration(3700), duration(200_000)
    ('60 s', '1 h 1 min', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
