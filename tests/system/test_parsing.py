"""JSON and TOML that may be damaged: one kind of error, whatever is wrong."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

import memcore
from memcore.system.parsing import check_shape, parse_json, parse_toml
from memcore.system.plain_text import MAX_CHARACTERS, error_text, storable

PACKAGE = Path(memcore.__file__).parent


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b"{", b"\xff", b"9" * 5000, b"", b'{"a": ' * 100_000, b"[1e999]", b"-Infinity", b"NaN"],
)
def test_damaged_json(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)


@pytest.mark.parametrize("data", [b"a = " + b"[" * 100_000, b"a = 1\na = 2", b"\xff", b"a = " + b"9" * 5000])
def test_damaged_toml(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_toml(data)


def test_nothing_else_parses() -> None:
    """json and tomllib raise RecursionError as well, and ValueError that is not JSONDecodeError."""
    own = ("dataset", "emoji", "tiny_sd")  # they read what is installed, or what they wrote themselves
    allowed = {PACKAGE / "system" / "parsing.py", *(PACKAGE / "study" / f"{name}.py" for name in own)}
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file in allowed or "bench" in file.relative_to(PACKAGE).parts:
            continue
        tree = ast.parse(
            file.read_text().replace("json.loads(json.dumps(", "copied((")
        )  # a copy in plain types
        for node in ast.walk(tree):
            parses = isinstance(node, ast.Attribute) and node.attr in ("load", "loads")
            whole = ast.unparse(node)
            if parses and whole in ("json.load", "json.loads", "tomllib.load", "tomllib.loads"):
                found.append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []


class Inner(TypedDict):
    name: str
    size: NotRequired[int]


class Outer(TypedDict):
    inner: list[Inner]
    kind: Literal["a", "b"]
    share: float | None
    pair: tuple[int, int]
    counts: dict[str, int]
    free: Annotated[Any, "anything"]


GOOD = {
    "inner": [{"name": "x"}],
    "kind": "a",
    "share": 1,
    "pair": [1, 2],
    "counts": {"a": 1},
    "free": None,
    "unknown": 1,
}


def test_a_value_of_the_type_passes() -> None:
    check_shape(GOOD, Outer)
    check_shape({"inner": [], "extra": 1}, Outer, absent=("kind", "share", "pair", "counts", "free"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inner": {}}, "it.inner is an object, not a list"),
        ({"inner": [{}]}, "it.inner[0] has no 'name'"),
        ({"inner": [{"name": 5}]}, "it.inner[0].name is 5, not str"),
        ({"inner": [{"name": "x", "size": "5"}]}, "it.inner[0].size is '5', not int"),
        ({"kind": "c"}, "it.kind is 'c', not one of 'a', 'b'"),
        ({"share": "x"}, "it.share is 'x', not a finite number"),
        ({"share": float("nan")}, "it.share is nan, not a finite number"),
        ({"share": 10**400}, "it.share is 1000"),
        ({"pair": [1]}, "it.pair is a list, not a list of 2"),
        ({"pair": [1, True]}, "it.pair[1] is True, not int"),
        ({"counts": {"a": None}}, "it.counts.a is None, not int"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        check_shape({**GOOD, **change}, Outer)
    assert str(error.value).startswith(said)


def test_a_key_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="it has no 'pair'"):
        check_shape({name: value for name, value in GOOD.items() if name != "pair"}, Outer)


@dataclass
class Record:
    number: int


def test_a_dataclass_is_a_type_too() -> None:
    check_shape({"number": 1}, Record)
    with pytest.raises(ValueError, match="it has no 'number'"):
        check_shape({}, Record)


def test_texts_of_others_can_be_stored() -> None:
    assert len(storable("x" * 10**6)) < MAX_CHARACTERS + 100
    storable("\ud800").encode()

    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Silent()) == "Silent"
