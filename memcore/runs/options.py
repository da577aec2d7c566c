"""Options declared once, as annotated fields of a dataclass, from which flags, help and type checks are derived."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from memcore.errors import ConfigError

_INT64 = 2**63
#: Where an option means something: for images that are sampled, for images that are stored, or for both.
Use = Literal["sampled", "stored", "both"]


@dataclasses.dataclass(frozen=True)
class Option:
    """The description of a field: ``Annotated[int, Option("images a prompt", "images")]``.

    ``unit`` names the value in ``--help``. ``choices`` are the values of a text where a table lists them; a ``Literal`` has
    its own. With ``use`` None the field has no flag.
    """

    help: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    use: Use | None = "both"


@dataclasses.dataclass(frozen=True)
class Declared:
    """A field with its type and default resolved. ``size`` is the number of values: above 1 for a tuple."""

    name: str
    kind: type
    size: int
    optional: bool
    default: Any
    choices: tuple[str, ...]
    option: Option

    @property
    def flag(self) -> str:
        """Return the name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def help(self) -> str:
        """Return the help text, with the default where it is informative."""
        default = " ".join(map(str, self.default)) if self.size > 1 else self.default
        return self.option.help + ("" if default in ("", 0, None) else f" (default: {default})")

    def checked(self, value: Any) -> Any:
        """Return the value in the field's type; an int is accepted for a float, nothing else is converted."""
        if self.optional and value is None:
            return None
        if self.size > 1:
            return self._several(value)
        if self.kind is float:
            return self._number(value)
        if self.kind is int:
            return self._integer(value)
        if self.kind is str and not isinstance(value, str):
            raise ConfigError(f"{self.name} must be a text, got {value!r}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name} must be one of {', '.join(self.choices)}, got {value!r}")
        return value

    def _integer(self, value: Any) -> int:
        if type(value) is not int:
            raise ConfigError(f"{self.name} must be an integer, got {value!r}")
        if not _fits(value):
            raise ConfigError(f"{self.name} must fit into 64 bits")
        return value

    def _several(self, value: Any) -> tuple[Any, ...]:
        right = isinstance(value, list | tuple) and len(value) == self.size
        values: tuple[Any, ...] = tuple(value) if right else ()
        if not right or not all(type(v) is self.kind and _fits(v) for v in values):
            raise ConfigError(f"{self.name} must be two integers, got {value!r}")
        return values

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{self.name} must be a number, got {value!r}")
        try:
            number = float(value)
        except OverflowError:  # an integer with more digits than a float has
            number = math.inf
        if not math.isfinite(number):
            raise ConfigError(f"{self.name} must be a finite number, got {value!r}")
        return number


def _fits(value: Any) -> bool:
    """Return whether a signed integer of 64 bits holds the value."""
    return -_INT64 <= value < _INT64


@functools.cache
def declared(owner: type) -> Mapping[str, Declared]:
    """Return the fields of a dataclass by name, in their order. Raises TypeError for a type that TOML cannot hold."""
    hints = get_type_hints(owner, include_extras=True)
    return types.MappingProxyType(
        {field.name: _resolve(field, hints[field.name]) for field in dataclasses.fields(owner)}
    )


def _resolve(field: dataclasses.Field[Any], hint: Any) -> Declared:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{field.name} has no Option")
    hint, option = get_args(hint)
    choices: tuple[str, ...] = option.choices
    size, optional = 1, False
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not types.NoneType)
        optional = True
    if get_origin(hint) is tuple:
        size, hint = len(get_args(hint)), get_args(hint)[0]
    if get_origin(hint) is Literal:
        choices, hint = get_args(hint), str
    if hint not in (int, float, str):
        raise TypeError(f"{field.name} is a {hint}, which neither a flag nor a TOML value can hold")
    return Declared(field.name, hint, size, optional, field.default, choices, option)
