"""Which Arrow types hold text or bytes, and how their values are read."""

from __future__ import annotations

from typing import Any


def says_text(kind: Any) -> bool:
    """Tell whether a column of this type holds texts: strings of every kind, also as categories, and lists of them.

    A column of the null type counts as one of texts.
    """
    import pyarrow.types as types

    kind = _plain(kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = _plain(kind.value_type)
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
    )


def holds_bytes(kind: Any) -> bool:
    """Tell whether a column of this type holds files: binaries, also as categories or in structs' ``bytes``."""
    import pyarrow.types as types

    kind = _plain(kind)
    if types.is_struct(kind):
        return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def texts(column: Any) -> list[str | None]:
    """Return the texts of a column for which ``says_text`` is true; the first of each list."""
    values = column.to_pylist()
    return [(v[0] if v else None) if isinstance(v, list) else v for v in values]


def _plain(kind: Any) -> Any:
    import pyarrow.types as types

    return kind.value_type if types.is_dictionary(kind) else kind
