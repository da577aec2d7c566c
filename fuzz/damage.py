"""Changes of files: of any bytes, and of JSON and TOML that stay parseable."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Values in the place of others: of every type, and at the borders of what types hold.
ODD: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], {"a": 1}, "", "x", "\x1b[31mred\x07", "\ud800", "../../../etc/passwd"),
    *(
        0,
        -1,
        1,
        2,
        3,
        2**31,
        2**63,
        -(2**63),
        2**64,
        10**40,
        10**400,
        0.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *(
        "/dev/zero",
        "file:///etc/passwd",
        "env:HOME",
        "os:system",
        "a" * 10_000,
        "é\u202eabc",
        "\x00",
        "1e5",
        "NaN",
    ),
    *([1, 2, 3], [None] * 50, {"": ""}, "<script>alert(1)</script>", "{{ 7 * 7 }}", "%s%n"),
)


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with bits flipped, bytes replaced, removed, put in, doubled or cut off."""
    held = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not held:
            break
        at = int(rng.integers(0, len(held) if rng.random() < 0.6 else min(200, len(held))))
        kind = int(rng.integers(0, 8))
        if kind == 0:
            held[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            held[at] = int(rng.choice([0, 255, 127, 128, 32, 57]))
        elif kind == 2:
            del held[at : at + int(rng.integers(1, 9))]
        elif kind == 3:
            held[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 4:
            del held[at:]
        elif kind == 5:
            held[at:at] = held[at : at + int(rng.integers(1, 65))] * int(rng.integers(1, 4))
        elif kind == 6:
            width = int(rng.choice([2, 4, 8]))
            value = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1])) % 256**width
            held[at : at + width] = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")
        else:
            held[at : at + 4] = rng.bytes(4)
    return bytes(held)


def damage_value(value: Any, rng: np.random.Generator) -> Any:
    """Return a value of JSON with entries replaced, removed, doubled or swapped."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        paths = list(_paths(value))
        path = paths[int(rng.integers(0, len(paths)))]
        if not path:
            if rng.random() < 0.05:
                return _odd(rng)
            continue
        within, key = _at(value, path[:-1]), path[-1]
        kind = int(rng.integers(0, 8))
        if kind <= 3:
            within[key] = _odd(rng)
        elif kind == 4:
            within[key] = _near(within[key], rng)
        elif kind == 5:
            del within[key]
        elif kind == 6:
            within[key] = copy.deepcopy(_at(value, paths[int(rng.integers(0, len(paths)))]))
        elif isinstance(within, dict):
            within[str(_odd(rng))[:50]] = within[key]
        else:
            within.append(copy.deepcopy(within[key]))
    return value


def _odd(rng: np.random.Generator) -> Any:
    return copy.deepcopy(ODD[int(rng.integers(0, len(ODD)))])


def _near(value: Any, rng: np.random.Generator) -> Any:
    """Return another value of the same type, which only a look at its meaning can tell from a right one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(value + rng.choice([-1, 1, 10, 1000]))
    if isinstance(value, str) and value:
        at = int(rng.integers(0, len(value)))
        return value[:at] + chr(int(rng.integers(32, 127))) + value[at + 1 :]
    if isinstance(value, list):
        return value[::-1] if rng.random() < 0.5 else value * 2
    return _odd(rng)


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield before
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    )
    for key, held in inner:
        yield from _paths(held, (*before, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def parse(data: bytes, suffix: str) -> Any:
    """Return what a sound .json or .toml file holds."""
    return tomllib.loads(data.decode()) if suffix == ".toml" else json.loads(data)


def nested(suffix: str, rng: np.random.Generator) -> bytes:
    """Return a file that is nested too deep, or whose numbers have too many digits."""
    many = int(rng.choice([10, 300, 5000, 100_000]))
    inner = [b"[" * many, b"[" * many + b"]" * many, b'{"a":' * many + b"1" + b"}" * many, b"1" * many][
        int(rng.integers(0, 4))
    ]
    return (b"a = " if suffix == ".toml" else b"") + inner + b"\n"
