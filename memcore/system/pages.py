"""The headers of a Parquet column's pages: what will be unpacked is known before anything is.

The footer of a file says how large a column is, and nobody checks it: a page of a few bytes may unpack to two gigabytes,
and the footer may say ten bytes. What Arrow makes memory for stands in each page's own header, so these are read, one
after the other, in the encoding that the format prescribes for them (Thrift's compact protocol). A header that no writer
makes is refused, not guessed at: Arrow might read it otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from memcore.system.footer import Chunk
from memcore.system.thrift import CompactReader, Fields

#: Bytes that are read for a header at first, and at most: it may hold the smallest and the largest value of its page.
_WINDOW, _LARGEST = 1 << 12, 1 << 24
#: Bytes that a page may have when it is unpacked, however small it is, and how many times its bytes. Writers make pages of
#: about a megabyte, and larger ones for single values that are larger.
_UNPACKED, _UNPACKED_A_BYTE = 1 << 28, 64
#: Pages of a column of a row group: more take minutes to pass.
_PAGES = 1 << 18
#: Bytes after a column's end that Arrow reads too, for the sake of files whose old writers counted some too few.
_BEHIND = 100
#: Bytes that a value of a dictionary takes in memory beside its own.
_ENTRY = 16
#: A page's kinds and the encodings of values, as the format numbers them: numbers of a dictionary, and texts without what
#: they have in common with the one before.
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_OF_DICTIONARY, _SHORTENED = (2, 8), 7
#: Which field of a header describes a page of each kind, and which field of that is the encoding.
_DESCRIBED = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_2: (8, 4)}
_FIXED = "FIXED_LEN_BYTE_ARRAY"


class Page(NamedTuple):
    """A page's header. Its bytes are those of what is larger, packed or unpacked: some readers look at one alone."""

    #: Whether it holds the column's dictionary, whether it holds numbers of that, and whether its texts are shortened.
    dictionary: bool
    numbered: bool
    shortened: bool
    values: int
    packed: int
    unpacked: int


class Pages(NamedTuple):
    """What the pages of one column of one row group hold."""

    #: How many pages there are, how many values they hold without the dictionary's, and how many of these are stored as
    #: numbers of values in the dictionary.
    headers: int = 0
    values: int = 0
    numbered: int = 0
    #: Bytes of all pages as they are stored and when they are unpacked, of the dictionary's, and of values of one length.
    packed: int = 0
    unpacked: int = 0
    dictionary: int = 0
    fixed: int = 0
    #: Bytes that shortened texts can have at most, and those of an average value of the page where that is largest.
    lengthened: int = 0
    largest: int = 0

    @property
    def numbers(self) -> int:
        """Return the bytes that the values take where those of a dictionary are kept as its numbers."""
        return self.unpacked + 4 * self.values + self.fixed + self.lengthened

    @property
    def most(self) -> int:
        """Return the bytes that the values can take at most: each may be the one value of the dictionary."""
        return self.numbers + self.numbered * self.dictionary

    def plus(self, other: Pages) -> Pages:
        """Return what the pages of this column and of another hold."""
        summed = Pages(*(a + b for a, b in zip(self, other, strict=True)))
        return summed._replace(largest=max(self.largest, other.largest))


def count_pages(source: Any, chunk: Chunk, about: Any) -> Pages:
    """Return what the pages of one column of one row group hold, by their headers.

    ``source`` is the open file, ``about`` the column in its schema. Raises OSError if the headers cannot be followed, and
    ValueError if a page claims to unpack to far more than it can be worth.
    """
    width = int(about.length) if about.physical_type == _FIXED else 0
    count = values = numbered = packed = unpacked = dictionary = lengthened = largest = 0
    for page in iter_pages(source, chunk):
        if page.unpacked > max(_UNPACKED, _UNPACKED_A_BYTE * page.packed):
            raise ValueError(f"a page of {page.packed:,} bytes claims to unpack to {page.unpacked:,}")
        count += 1
        packed += page.packed
        unpacked += page.unpacked
        if page.dictionary:
            dictionary += page.unpacked + _ENTRY * page.values
            unpacked += _ENTRY * page.values
            continue
        values += page.values
        numbered += page.values if page.numbered else 0
        lengthened += page.values * page.unpacked if page.shortened else 0
        average = page.unpacked if page.shortened else page.unpacked // max(1, page.values)
        largest = max(largest, average, width)
    if (fixed := values * width) > max(_UNPACKED, _UNPACKED_A_BYTE * packed):
        raise ValueError(f"{packed:,} bytes claim to be {values:,} values of {width:,} bytes")
    return Pages(count, values, numbered, packed, unpacked, dictionary, fixed, lengthened, largest)


def iter_pages(source: Any, chunk: Chunk) -> Iterator[Page]:
    """Yield the pages of one column of one row group.

    Raises OSError if the headers cannot be followed, or say fewer values than the footer.
    """
    at = chunk.start
    end = min(at + chunk.stored + _BEHIND, source.seek(0, os.SEEK_END))
    values = pages = 0
    while at < end and values < chunk.values:
        pages += 1
        if pages > _PAGES:
            raise OSError(f"a column of a row group has more than {_PAGES:,} pages")
        header, length = _header(source, at, end)
        page = _page(header, at)
        if not page.dictionary:
            values += page.values
        yield page
        at += length + page.packed
    if values < chunk.values:  # Arrow would pass over the rest, or take other rows' values for them
        raise OSError(f"the pages of a column hold {values:,} values where the footer says {chunk.values:,}")


def _page(header: Fields, at: int) -> Page:
    """Return what a header says; OSError if it is none."""
    try:
        kind, packed, unpacked = header.number(1), header.number(3), header.number(2)
        values, encoding = 0, -1
        # other kinds hold no values: Arrow passes them over too, once they are unpacked
        if kind in _DESCRIBED:
            field, of_encoding = _DESCRIBED[kind]
            described = header.structure(field)
            values, encoding = described.number(1), described.number(of_encoding)
    except ValueError as error:
        raise OSError(f"byte {at:,} is no page's header: {error}") from None
    if min(packed, unpacked, values) < 0:
        raise OSError(f"the page at byte {at:,} claims a size below 0")
    data = kind in (_DATA, _DATA_2)
    numbered, shortened = data and encoding in _OF_DICTIONARY, data and encoding == _SHORTENED
    return Page(kind == _DICTIONARY, numbered, shortened, values, packed, max(packed, unpacked))


def _header(source: Any, at: int, end: int) -> tuple[Fields, int]:
    """Return the fields of the header at a byte, and its length."""
    window = _WINDOW
    while True:
        source.seek(at)
        data = source.read(min(window, end - at))
        reader = CompactReader(data)
        try:
            return reader.structure(), reader.at
        except ValueError as error:
            raise OSError(f"byte {at:,} is no page's header: {error}") from None
        except IndexError:
            if window >= _LARGEST or len(data) < window:
                raise OSError(f"byte {at:,} begins a header without an end") from None
            window *= 16
