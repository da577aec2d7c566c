"""The Parquet schemas of a run's files, derived from the rows' types.

The columns are those of ``memcore.runs.rows``; docs/formats.md describes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, is_typeddict

from memcore.errors import MissingExtraError
from memcore.runs.rows import GIVEN, SCORES_FOLLOW, SINCE_2, SINCE_3, FindingRow, MatchRow, QuarantineRow
from memcore.sampling.screen import SCORES
from memcore.system.parsing import hints_of

try:
    import pyarrow as pa
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

_PLAIN = {str: pa.string(), bool: pa.bool_(), float: pa.float64()}


def make_schema(row: type) -> pa.Schema:
    """Return the Arrow schema of a row's type: its fields in order."""
    return pa.schema([(name, kind) for name, kind, _ in _columns(row)])


def added_columns(row: type) -> frozenset[str]:
    """Return the columns that runs of earlier formats may lack."""
    return frozenset(name for name, _, added in _columns(row) if added)


def _columns(row: type) -> Iterator[tuple[str, pa.DataType, bool]]:
    """Yield (name, Arrow type, whether runs of earlier formats may lack it) of each column."""
    for name, hint in hints_of(row).items():
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        yield name, _arrow_type(hint), bool({SINCE_2, SINCE_3, GIVEN} & set(marks))
        if SCORES_FOLLOW in marks:
            yield from ((score, pa.float64(), True) for score in SCORES)


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_typeddict(hint):
        return pa.struct([(name, kind) for name, kind, _ in _columns(hint)])
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        width = next((mark for mark in arguments[1:] if isinstance(mark, str)), None)
        return pa.type_for_alias(width) if width else _arrow_type(arguments[0])
    if get_origin(hint) is list:
        return pa.list_(_arrow_type(arguments[0]))
    (present,) = (argument for argument in arguments if argument is not NoneType)  # every column may be null
    return _arrow_type(present)


def find_null(values: pa.Array | pa.ChunkedArray, hint: Any, name: str) -> str | None:
    """Return where a column of a row's type has no value although it must have one; None if there is no such place.

    Columns that earlier formats may lack may have none in any row.

    >>> find_null(pa.array([1, None]), int, "size"), find_null(pa.array([1, None]), int | None, "size")
    ('size', None)
    >>> find_null(pa.array([[1, None]]), list[int], "seeds")
    'seeds[]'
    """
    if isinstance(values, pa.ChunkedArray):
        return next((found for chunk in values.chunks if (found := find_null(chunk, hint, name))), None)
    added = False
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
        added = bool({SINCE_2, SINCE_3, GIVEN} & set(marks))
    present = [argument for argument in get_args(hint) if argument is not NoneType]
    if NoneType in get_args(hint):
        return find_null(values.drop_null(), present[0], name)
    if values.null_count:
        return None if added else name
    if get_origin(hint) is list:
        return find_null(values.flatten(), present[0], f"{name}[]")
    if is_typeddict(hint):
        fields = hints_of(hint)
        inner = zip(values.flatten(), fields.items(), strict=True)
        return next(
            (found for own, (key, kind) in inner if (found := find_null(own, kind, f"{name}.{key}"))), None
        )
    return None


#: Columns of findings that only runs with given images have.
GIVEN_COLUMNS = ("given_near", "given_distance")
ALL_FINDINGS = make_schema(FindingRow)
FINDINGS = pa.schema([field for field in ALL_FINDINGS if field.name not in GIVEN_COLUMNS])
QUARANTINE = make_schema(QuarantineRow)
MATCHES = make_schema(MatchRow)
