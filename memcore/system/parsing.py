"""JSON and TOML that may be damaged: everything that is wrong with them is one kind of error."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tomllib
import types
from collections.abc import Collection, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

#: Characters of a wrong value that an error shows.
_SHOWN = 60


def parse_json(data: str | bytes | bytearray) -> Any:
    """Return the value of a JSON text.

    Raises ValueError for whatever is wrong with it: also where it is nested too deep, is not UTF-8, or holds a number that
    is infinite, no number (NaN), or of more digits than Python reads.

    >>> parse_json(b'{"format": 2}')
    {'format': 2}
    """
    try:
        return json.loads(data, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise _plainly(error) from None


def parse_toml(data: bytes) -> dict[str, Any]:
    """Return the tables of a TOML text; raise ValueError for whatever is wrong with it, as ``parse_json`` does.

    >>> parse_toml(b"steps = 20")
    {'steps': 20}
    """
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # editors of Windows write a mark
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise _plainly(error) from None


def _finite(text: str) -> float:
    """Return a number as ``json`` does; Infinity and NaN are none in JSON, and whoever rounds them fails in other ways."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text}, which is not finite")
    return number


def _plainly(error: ValueError) -> ValueError:
    """Return an error without Python's advice to its programmers, which is of no use to whoever wrote the file."""
    return ValueError("it has a number of thousands of digits") if "integer string" in str(error) else error


def check_shape(value: Any, kind: Any, where: str = "it", absent: Collection[str] = ()) -> None:
    """Raise ValueError unless a parsed value has a type: a TypedDict or dataclass, or what their fields are made of.

    ``where`` names the value in the error. Keys in ``absent`` may be missing, as files of earlier versions lack them; keys
    that the type does not know are ignored. Numbers must be finite, as JSON demands.

    >>> check_shape({"a": [1, "x"]}, dict[str, list[int]], "made")
    Traceback (most recent call last):
    ValueError: made.a[1] is 'x', not int
    """
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return
    if origin in (Annotated, NotRequired, Required):
        check_shape(value, get_args(kind)[0], where, absent)
    elif origin in (Union, types.UnionType):
        _check_choice(value, get_args(kind), where, absent)
    elif origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{where} is {_shown(value)}, not one of {', '.join(map(repr, get_args(kind)))}")
    elif origin is list:
        _require(isinstance(value, list), value, "a list", where)
        for i, held in enumerate(value):
            check_shape(held, get_args(kind)[0], f"{where}[{i}]", absent)
    elif origin is tuple:
        kinds = get_args(kind)
        right = isinstance(value, list) and len(value) == len(kinds)
        _require(right, value, f"a list of {len(kinds)}", where)
        for i, (held, own) in enumerate(zip(value, kinds, strict=True)):
            check_shape(held, own, f"{where}[{i}]", absent)
    elif origin in (dict, Mapping):
        _require(isinstance(value, Mapping), value, "an object", where)
        for key, held in value.items():
            check_shape(held, get_args(kind)[1], f"{where}.{key}", absent)
    elif is_typeddict(kind) or dataclasses.is_dataclass(kind):
        _check_fields(value, kind, where, absent)
    else:
        _check_plain(value, kind, where)


@functools.cache
def hints_of(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a TypedDict or dataclass with their types; Python itself evaluates them at each call.

    >>> from typing import TypedDict
    >>> hints_of(TypedDict("Point", {"x": int, "y": int}))
    mappingproxy({'x': <class 'int'>, 'y': <class 'int'>})
    """
    return types.MappingProxyType(get_type_hints(kind, include_extras=True))


def _check_fields(value: Any, kind: Any, where: str, absent: Collection[str]) -> None:
    _require(isinstance(value, Mapping), value, "an object", where)
    hints = hints_of(kind)
    for name, own in hints.items():
        if name in value:
            check_shape(value[name], own, f"{where}.{name}", absent)
        elif name not in absent and get_origin(own) is not NotRequired and name in _required(kind, hints):
            raise ValueError(f"{where} has no {name!r}")


def _required(kind: Any, hints: Mapping[str, Any]) -> Collection[str]:
    # With "from __future__ import annotations" __required_keys__ holds NotRequired ones too, which the caller leaves out
    return kind.__required_keys__ if is_typeddict(kind) else hints


def _check_choice(value: Any, kinds: tuple[Any, ...], where: str, absent: Collection[str]) -> None:
    wrong: ValueError | None = None
    for kind in kinds:
        try:
            check_shape(value, kind, where, absent)
        except ValueError as error:
            # of several, the one of a value that has the outer type says most
            wrong = error if wrong is None or len(str(error)) > len(str(wrong)) else wrong
        else:
            return
    assert wrong is not None
    raise wrong


def _check_plain(value: Any, kind: Any, where: str) -> None:
    if kind is None or kind is types.NoneType:
        _require(value is None, value, "null", where)
    elif kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(number and math.isfinite(_as_float(value)), value, "a finite number", where)
    elif kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        _require(whole and -(2**63) <= value < 2**63, value, "int", where)
    else:
        _require(isinstance(value, kind), value, kind.__name__, where)


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _require(right: bool, value: Any, what: str, where: str) -> None:
    if not right:
        raise ValueError(f"{where} is {_shown(value)}, not {what}")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number that is too large"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
