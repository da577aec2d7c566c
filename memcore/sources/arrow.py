"""Which Arrow types hold text or bytes, and how their values are read."""

from __future__ import annotations

from collections import Counter
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
    """Tell whether a column of this type holds files: binaries, also as categories, or structs with one such ``bytes``."""
    import pyarrow.types as types

    kind = _plain(kind)
    if types.is_struct(kind):
        named = [_plain(field.type) for field in kind if field.name == "bytes"]
        return len(named) == 1 and _is_binary(named[0])
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def is_fixed_size(kind: Any) -> bool:
    """Tell whether all values of a column of bytes have one length."""
    import pyarrow.types as types

    return bool(types.is_fixed_size_binary(_plain(kind)))


def texts(column: Any) -> list[str | None]:
    """Return the texts of a column for which ``says_text`` is true, of each list the first; None for blank ones.

    Raises UnicodeDecodeError.
    """
    return [_first(value) for value in column.to_pylist()]


def texts_one_by_one(column: Any) -> list[str | UnicodeDecodeError | None]:
    """Return the texts as ``texts`` does, with an error in place of each that is not UTF-8."""
    found: list[str | UnicodeDecodeError | None] = []
    for value in column:
        try:
            found.append(_first(value.as_py()))
        except UnicodeDecodeError as error:
            found.append(error)
    return found


def repeated(names: list[str]) -> set[str]:
    """Return the names that several columns have: Arrow cannot tell such columns apart."""
    return {name for name, count in Counter(names).items() if count > 1}


def _first(value: Any) -> str | None:
    """Return a text, or the first of a list that is not blank."""
    if isinstance(value, list):
        return next((text for text in value if text and text.strip()), None)
    return value if value and value.strip() else None


def _plain(kind: Any) -> Any:
    import pyarrow.types as types

    return kind.value_type if types.is_dictionary(kind) else kind
