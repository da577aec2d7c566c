"""Protocols from TOML: every name is checked, a wrong one answered with the nearest right one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from memcore.errors import ConfigError
from memcore.study.protocols.check import MOST_SEEDS, check_protocol
from memcore.study.protocols.protocol import (
    CanarySpec,
    DataSpec,
    ExtractionSpec,
    Factors,
    FilterSpec,
    Group,
    InpaintingSpec,
    MembershipSpec,
    Protocol,
    QualitySpec,
)
from memcore.system.parsing import check_shape, parse_toml
from memcore.system.places import where
from memcore.system.plain_files import read_plain
from memcore.system.suggestions import did_you_mean

T = TypeVar("T")

_SHIPPED = "study/protocols"
_MOST_BYTES = 1 << 20
_SETTINGS: dict[str, type] = {
    "extraction": ExtractionSpec,
    "membership": MembershipSpec,
    "inpainting": InpaintingSpec,
    "quality": QualitySpec,
    "canaries": CanarySpec,
    "filter": FilterSpec,
}
_PLAIN = ("name", "about", "device", "interval")


def shipped() -> list[str]:
    """Return the names of the protocols that memcore ships.

    >>> shipped()
    ['cifar10', 'defences', 'full', 'gan', 'gan-cifar10', 'laptop', 'quick']
    """
    folder = files("memcore") / _SHIPPED
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def read_bytes(protocol: str | Path) -> bytes:
    """Return the bytes of a protocol: a TOML file, or the name of a shipped one.

    Raises ConfigError if there is none.
    """
    if str(protocol) in shipped():
        return (files("memcore") / _SHIPPED / f"{protocol}.toml").read_bytes()
    path = Path(protocol)
    try:
        return read_plain(path, _MOST_BYTES)
    except FileNotFoundError:
        hint = did_you_mean(str(protocol), shipped(), repr)
        named = hint or f"give a TOML file, or one of {', '.join(shipped())}"
        raise ConfigError(f"the protocol {path} does not exist{where(path)}; {named}") from None
    except IsADirectoryError:
        raise ConfigError(f"the protocol {path} is a folder: give a TOML file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"the protocol {path} cannot be read: {error}") from None


def read_protocol(protocol: str | Path) -> Protocol:
    """Return the protocol of a TOML file, or a shipped one by its name."""
    return parse_protocol(read_bytes(protocol), str(protocol))


def with_paths(protocol: Protocol, paths: Mapping[str, str]) -> Protocol:
    """Return the protocol with its data sets elsewhere: ``paths`` by the sets' names.

    Raises ConfigError for a name that the protocol does not have.
    """
    for name in paths:
        if name not in protocol.data:
            hint = did_you_mean(name, protocol.data, repr) or f"it has {', '.join(protocol.data)}"
            raise ConfigError(f"data names no data set of the protocol {protocol.name}: {name!r}; {hint}")
    moved = {n: dataclasses.replace(s, path=paths.get(n, s.path)) for n, s in protocol.data.items()}
    return dataclasses.replace(protocol, data=moved)


def parse_protocol(data: bytes, name: str) -> Protocol:
    """Return the protocol that a TOML text declares; ``name`` is what errors call it.

    Raises ConfigError for whatever is wrong with it.
    """
    try:
        table = parse_toml(data)
        known = (*_PLAIN, "data", "groups", *_SETTINGS)
        _refuse_unknown(table, known, "the protocol")
        for needed in ("data", "groups"):
            if not table.get(needed):
                raise ValueError(f"it has no {needed}")
        check_shape(table["data"], dict[str, dict[str, object]], "data")
        check_shape(table["groups"], list[dict[str, object]], "groups")
        protocol = Protocol(
            data={key: _read(DataSpec, value, f"data.{key}") for key, value in table["data"].items()},
            groups=tuple(_read_group(value, i) for i, value in enumerate(table["groups"])),
            **{key: _read(kind, table[key], key) for key, kind in _SETTINGS.items() if key in table},
            **{
                key: _convert(table[key], get_type_hints(Protocol)[key], key)
                for key in _PLAIN
                if key in table
            },
        )
        check_protocol(protocol)
    except ValueError as error:
        raise ConfigError(f"the protocol {name}: {error}") from None
    return protocol


def _read_group(table: Mapping[str, Any], place: int) -> Group:
    where_ = f"groups[{place}]"
    values = dict(table)
    seeds = values.pop("seeds", 1)
    if isinstance(seeds, int) and not isinstance(seeds, bool) and 1 <= seeds <= MOST_SEEDS:
        seeds = list(range(seeds))
    fixed, grid = values.pop("fixed", {}), values.pop("grid", {})
    check_shape(fixed, dict[str, object], f"{where_}.fixed")
    check_shape(grid, dict[str, list[object]], f"{where_}.grid")
    group = _read(Group, {**values, "seeds": seeds}, where_)
    hints = get_type_hints(Factors)
    for part, held in (("fixed", fixed), ("grid", grid)):
        _refuse_unknown(held, tuple(hints), f"{where_}.{part}")
    return dataclasses.replace(
        group,
        fixed={name: _convert(value, hints[name], f"{where_}.fixed.{name}") for name, value in fixed.items()},
        grid={
            name: tuple(
                _convert(value, hints[name], f"{where_}.grid.{name}[{i}]") for i, value in enumerate(values_)
            )
            for name, values_ in grid.items()
        },
    )


def _read(kind: type[T], table: object, where_: str) -> T:
    """Return a dataclass of a table's values; fields that are not there keep their defaults."""
    check_shape(table, dict[str, object], where_)
    values = cast(dict[str, Any], table)
    hints = get_type_hints(kind)
    _refuse_unknown(values, tuple(hints), where_)
    made = {name: _convert(value, hints[name], f"{where_}.{name}") for name, value in values.items()}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # every kind here is a dataclass
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.name not in made:
            raise ValueError(f"{where_} has no {field.name!r}")
    return kind(**made)


def _convert(value: Any, hint: Any, where_: str) -> Any:
    """Return a value of TOML as a field's type: its lists become tuples."""
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        check_shape(value, list[object], where_)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return tuple(_convert(held, kinds[0], f"{where_}[{i}]") for i, held in enumerate(value))
        if len(value) != len(kinds):
            raise ValueError(f"{where_} must be a list of {len(kinds)}, got {len(value)}")
        pairs = zip(value, kinds, strict=True)
        return tuple(_convert(held, kind, f"{where_}[{i}]") for i, (held, kind) in enumerate(pairs))
    check_shape(value, hint, where_)
    return float(value) if hint is float else value


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where_: str) -> None:
    for name in table:
        if name not in known:
            hint = did_you_mean(name, known, repr) or f"known names: {', '.join(sorted(known))}"
            raise ValueError(f"{where_} has an unknown name {name!r}; {hint}")
