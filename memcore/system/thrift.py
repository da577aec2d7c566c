"""Thrift's compact protocol, as far as Parquet's footer and pages need it: whole numbers, structures, lists of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

#: The fields of a structure that are kept, and of those that are structures or lists of them, what is kept of these.
Wanted: TypeAlias = "Mapping[int, Wanted]"

#: Structures within structures, fields in all, and structures in lists: a page's header has three of the first, about forty
#: of the second, and none of these.
_DEPTH, _FIELDS, _LISTED = 8, 4096, 64
#: The kinds of fields, as the protocol numbers them.
_TRUE, _FALSE, _BYTE, _SHORT, _WHOLE, _LONG, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCTURE = range(1, 13)
#: Bits of the whole numbers that are kept, by their kind, and of a field's own number.
_BITS, _FIELD_BITS = {_WHOLE: 32, _LONG: 64}, 16


class Fields(dict[int, "tuple[int, int | Fields | list[Fields]]"]):
    """The whole numbers of 32 and 64 bits, the structures, the lists of structures and the lengths of texts of a structure.

    Each is kept by its field and with its kind: one of another kind than the format says is refused where it is needed.
    """

    __slots__ = ()

    def number(self, field: int) -> int:
        """Return a whole number of 32 bits; ValueError if there is none."""
        value = self._of(field, _WHOLE)
        if not isinstance(value, int):
            raise ValueError(f"field {field} is no whole number of 32 bits")
        return value

    def long(self, field: int) -> int:
        """Return a whole number of 64 bits; ValueError if there is none."""
        value = self._of(field, _LONG)
        if not isinstance(value, int):
            raise ValueError(f"field {field} is no whole number of 64 bits")
        return value

    def length(self, field: int) -> int:
        """Return the bytes of a text; ValueError if there is none."""
        value = self._of(field, _BINARY)
        if not isinstance(value, int):
            raise ValueError(f"field {field} is no text")
        return value

    def structure(self, field: int) -> Fields:
        """Return a structure; ValueError if there is none."""
        value = self._of(field, _STRUCTURE)
        if not isinstance(value, Fields):
            raise ValueError(f"field {field} is no structure")
        return value

    def structures(self, field: int) -> list[Fields]:
        """Return a list of structures; ValueError if there is none."""
        value = self._of(field, _LIST)
        if not isinstance(value, list):
            raise ValueError(f"field {field} is no list of structures")
        return value

    def _of(self, field: int, kind: int) -> int | Fields | list[Fields] | None:
        found, value = self.get(field, (0, None))
        return value if found == kind else None


class CompactReader:
    """A reader of one structure; IndexError where the bytes end too early, ValueError for what no writer makes."""

    def __init__(self, data: bytes, most_fields: int = _FIELDS, most_listed: int = _LISTED) -> None:
        self._data = data
        self._fields, self._most = 0, most_fields
        self._listed, self._most_listed = 0, most_listed
        self.at = 0

    def structure(self, depth: int = 0, wanted: Wanted | None = None) -> Fields:
        """Return what is wanted of a structure, by default everything; its other fields are passed over."""
        if depth > _DEPTH:
            raise ValueError("it is nested too deep")
        fields = Fields()
        seen: set[int] = set()
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number(_FIELD_BITS)
            if field in seen or not 0 < field < 1 << _FIELD_BITS - 1:
                raise ValueError(f"field {field} comes again, or is none")
            seen.add(field)
            within = wanted.get(field, {}) if wanted is not None else None
            value = self._value(head & 15, depth, within, of_field=True)
            if value is not None and (wanted is None or field in wanted):
                fields[field] = head & 15, value
        return fields

    def _value(
        self, kind: int, depth: int, wanted: Wanted | None, *, of_field: bool = False
    ) -> int | Fields | list[Fields] | None:
        """Pass over a value; return it if it is kept."""
        self._fields += 1
        if self._fields > self._most:
            raise ValueError(f"it has more than {self._most:,} fields")
        if kind in _BITS:
            return self._number(_BITS[kind])
        if kind == _STRUCTURE:
            return self.structure(depth + 1, wanted)
        if kind in (_TRUE, _FALSE):
            self._skip(0 if of_field else 1)  # an item of a list has a byte, a field is its kind
        elif kind == _BYTE:
            self._skip(1)
        elif kind == _SHORT:
            self._varint()
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind == _BINARY:
            length = self._varint()
            self._skip(length)
            return length
        elif kind in (_LIST, _SET):
            return self._list(depth, wanted)
        elif kind == _MAP:
            self._map(depth)
        else:
            raise ValueError(f"a field has kind {kind}, which none has")
        return None

    def _list(self, depth: int, wanted: Wanted | None) -> list[Fields] | None:
        """Pass over a list; return it if its items are structures."""
        if depth > _DEPTH:
            raise ValueError("it is nested too deep")
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        kept = []
        for _ in range(count):
            item = self._value(head & 15, depth + 1, wanted)
            if isinstance(item, Fields) and (wanted is None or wanted):
                self._listed += 1
                if self._listed > self._most_listed:
                    raise ValueError(f"it lists more than {self._most_listed:,} structures")
                kept.append(item)
        return kept if head & 15 == _STRUCTURE or not count else None

    def _map(self, depth: int) -> None:
        if depth > _DEPTH:
            raise ValueError("it is nested too deep")
        count = self._varint()
        kinds = self._byte() if count else 0
        for _ in range(count):
            self._value(kinds >> 4, depth + 1, {})
            self._value(kinds & 15, depth + 1, {})

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("it has a number of more than 64 bits")

    def _number(self, bits: int) -> int:
        packed = self._varint()
        number = (packed >> 1) ^ -(packed & 1)
        if not -(1 << bits - 1) <= number < 1 << bits - 1:
            raise ValueError(f"it has {number} where {bits} bits are allowed")
        return number

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self.at:
            raise IndexError
        self.at += count
