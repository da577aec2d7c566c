"""Whether the values of a run's tables are such as memcore writes: a run may come from somebody else.

What is checked here no reader needs to check: what must not be null, that numbers are not negative, that distances are
distances, and that a clique has its medoid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, is_typeddict

from memcore.errors import MissingExtraError
from memcore.system.parsing import hints_of

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

#: Columns of distances, which are in [0, 1].
_DISTANCES = ("mean_distance", "l2", "tiled_l2", "closest_distance", "given_distance")


def check_values(row: type, table: pa.Table, names: Collection[str]) -> None:
    """Check the columns ``names`` of a table with rows of a type. Raises ValueError, naming the column.

    >>> from memcore.runs.rows import QuarantineRow
    >>> check_values(QuarantineRow, pa.table({"prompt_id": [-1]}), ["prompt_id"])
    Traceback (most recent call last):
    ValueError: a value of prompt_id is negative
    """
    hints = hints_of(row)
    for name in names:
        if name in hints:
            for place, kind, values in _flattened(name, hints[name], table[name]):
                _check_column(place, kind, values)
    if "cliques" in names:
        _check_cliques(table["cliques"])


def _flattened(place: str, hint: Any, values: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, type, values) of a column and of all columns inside of it."""
    yield place, hint, values
    plain = _present(hint)
    if get_origin(plain) is list:
        yield from _flattened(place, get_args(plain)[0], pc.list_flatten(values))
    elif is_typeddict(plain):
        for name, own in hints_of(plain).items():
            yield from _flattened(f"{place}.{name}", own, pc.struct_field(values, name))


def _present(hint: Any) -> Any:
    """Return the type of a value that is not null."""
    if get_origin(hint) is Annotated:
        return _present(get_args(hint)[0])
    present = [argument for argument in get_args(hint) if argument is not NoneType]
    return _present(present[0]) if NoneType in get_args(hint) else hint


def _may_be_null(hint: Any) -> bool:
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return NoneType in get_args(inner)


def _check_column(place: str, hint: Any, values: Any) -> None:
    if values.null_count and not _may_be_null(hint):
        raise ValueError(f"a value of {place} is null")
    if pa.types.is_signed_integer(values.type):
        least = pc.min(values).as_py()
        if least is not None and least < 0:
            raise ValueError(f"a value of {place} is negative")
    elif pa.types.is_floating(values.type) and place.rpartition(".")[2] in _DISTANCES:
        right = pc.and_(pc.greater_equal(values, 0.0), pc.less_equal(values, 1.0))
        if pc.all(right).as_py() is False:  # NaN is neither; of nulls alone nothing is said
            raise ValueError(f"a value of {place} is no distance in [0, 1]")


def _check_cliques(cliques: Any) -> None:
    """Raise ValueError unless the medoid of each clique is a member of it."""
    flat = pc.list_flatten(cliques)
    members, medoids = pc.struct_field(flat, "seeds"), pc.struct_field(flat, "medoid_seed")
    for seeds, medoid in zip(members.to_pylist(), medoids.to_pylist(), strict=True):
        if medoid not in seeds:
            raise ValueError("a clique of cliques lacks its medoid")
