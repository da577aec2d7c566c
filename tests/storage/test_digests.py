"""Digests are those of hashlib, however a file is read; every change of a file is noticed, in the chunk where it is."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest

from memcore.errors import DamagedFileError, RunError
from memcore.storage import digests
from memcore.storage.digests import (
    Digester,
    FileDigest,
    chunk_digests,
    combine,
    digest_bytes,
    digest_stream,
    read_digest,
    read_sealed,
    seal,
    verify_bytes,
    verify_chunk,
    verify_stream,
)

#: Small chunks, so that a file of several is small; the size in bytes of each file that is tried.
CHUNK = 64
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 3]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "CHUNK_BYTES", CHUNK)


def content(size: int) -> bytes:
    return bytes((i * 37 + i // 251) % 256 for i in range(size))


def pieces(data: bytes) -> list[bytes]:
    return [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]


@pytest.mark.parametrize("size", SIZES)
def test_a_digest_is_that_of_hashlib(size: int) -> None:
    data = content(size)
    found = digest_bytes(data)
    assert (found["bytes"], found["sha256"]) == (size, hashlib.sha256(data).hexdigest())
    assert ("chunks" in found) == (size > CHUNK)
    assert chunk_digests(found) == [hashlib.sha256(piece).hexdigest() for piece in pieces(data)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1, 7, CHUNK, 1000])
def test_the_pieces_do_not_matter(size: int, step: int) -> None:
    data = content(size)
    digester = Digester()
    for start in range(0, size, step):
        digester.update(data[start : start + step])
    assert digester.finish() == digest_bytes(data) == digest_stream(io.BytesIO(data))


class OneByteAtATime(io.BytesIO):
    """A stream that gives less than it is asked for, as sockets do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if size else 0)


def test_a_stream_that_gives_little() -> None:
    data = content(3 * CHUNK + 1)
    assert digest_stream(OneByteAtATime(data)) == digest_bytes(data)
    verify_stream(OneByteAtATime(data), digest_bytes(data), "f")


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_passes(size: int) -> None:
    data = content(size)
    expected = digest_bytes(data)
    verify_bytes(data, expected, "f")
    verify_stream(io.BytesIO(data), expected, "f")
    for number, piece in enumerate(pieces(data)):
        verify_chunk(memoryview(piece), number, expected, "f")


def refused(data: bytes, expected: FileDigest) -> None:
    for check in (
        lambda: verify_bytes(data, expected, "run/f", "do this"),
        lambda: verify_stream(io.BytesIO(data), expected, "run/f", "do this"),
    ):
        with pytest.raises(DamagedFileError, match=r"^run/f is damaged: .*; do this$"):
            check()


@pytest.mark.parametrize("size", [1, CHUNK, 3 * CHUNK + 5])
def test_every_flipped_bit_is_noticed_in_its_chunk_alone(size: int) -> None:
    data = content(size)
    expected = digest_bytes(data)
    for bit in range(size * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        refused(bytes(changed), expected)
        for number, piece in enumerate(pieces(bytes(changed))):
            if number == bit // 8 // CHUNK:
                with pytest.raises(DamagedFileError, match=f"sha256 of its chunk {number} differs"):
                    verify_chunk(piece, number, expected, "f")
            else:
                verify_chunk(piece, number, expected, "f")


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_file_of_another_size(size: int) -> None:
    data = content(size)
    expected = digest_bytes(data)
    refused(data[:-1], expected)
    refused(data + b"\0", expected)
    with pytest.raises(DamagedFileError, match=f"it has {size - 1} bytes where {size} were recorded"):
        verify_bytes(data[:-1], expected, "f")
    last = len(pieces(data)) - 1
    with pytest.raises(DamagedFileError, match=rf"its chunk {last} has \d+ bytes where \d+ were recorded"):
        verify_chunk(pieces(data)[-1][:-1], last, expected, "f")


@pytest.mark.parametrize("number", [-1, 2, 99])
def test_a_chunk_that_was_not_recorded(number: int) -> None:
    with pytest.raises(DamagedFileError, match=f"chunk {number} was read, but 2 chunks were recorded"):
        verify_chunk(b"", number, digest_bytes(content(CHUNK + 1)), "f")


def test_the_error_is_one_of_a_run() -> None:
    """So that whoever catches damage of a run's files catches this."""
    assert issubclass(DamagedFileError, RunError)


SHA = "0" * 64


@pytest.mark.parametrize("size", SIZES)
def test_a_recorded_digest_is_read(size: int) -> None:
    expected = digest_bytes(content(size))
    assert read_digest(expected, "f") == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        SHA,
        {},
        {"bytes": 1},
        {"sha256": SHA},
        {"bytes": "1", "sha256": SHA},
        {"bytes": True, "sha256": SHA},
        {"bytes": 1.0, "sha256": SHA},
        {"bytes": -1, "sha256": SHA},
        {"bytes": 1, "sha256": SHA[1:]},
        {"bytes": 1, "sha256": SHA + "\n"},
        {"bytes": 1, "sha256": "G" + SHA[1:]},
        {"bytes": 1, "sha256": 5},
        {"bytes": 1, "sha256": SHA, "chunks": [SHA]},
        {"bytes": CHUNK + 1, "sha256": SHA},
        {"bytes": CHUNK + 1, "sha256": SHA, "chunks": [SHA]},
        {"bytes": CHUNK + 1, "sha256": SHA, "chunks": [SHA, 5]},
        {"bytes": CHUNK + 1, "sha256": SHA, "chunks": SHA},
        {"bytes": 1, "sha256": SHA, "other": 1},
    ],
)
def test_what_is_no_digest_is_refused(value: Any) -> None:
    with pytest.raises(DamagedFileError, match=r"^f is damaged: it records .* no digest of a file"):
        read_digest(value, "f")


def test_a_set_of_digests() -> None:
    """Its digest depends on each name and each digest, and on nothing else."""
    one, two = digest_bytes(b"1"), digest_bytes(content(3 * CHUNK))
    whole = combine({"a": one, "b": two})
    assert whole == combine({"b": two, "a": one})
    assert whole == combine({"a": one, "b": {"bytes": two["bytes"], "sha256": two["sha256"]}})
    others = [
        {"a": one},
        {"a": two, "b": one},
        {"a": one, "c": two},
        {"a": one, "b": {**two, "bytes": 7}},
        {"a": one, "b": two["sha256"]},
        {"a": one, "b": two, "c": one},
        {},
    ]
    assert len({whole, *map(combine, others)}) == len(others) + 1


RECORD = {
    "format": 3,
    "count": 7,
    "share": 0.1,
    "names": ["a", "ä", "\udc80"],
    "more": {"x": None, "y": True},
}


def sealed_bytes() -> bytes:
    return json.dumps(seal(RECORD), indent=1).encode()


def test_a_sealed_record_is_read() -> None:
    assert read_sealed(sealed_bytes(), "f", since=3) == seal(RECORD)
    assert {**read_sealed(sealed_bytes(), "f", since=3), "seal": 0} == {**RECORD, "seal": 0}


def test_only_what_it_says_counts() -> None:
    again = json.dumps(dict(sorted(seal(RECORD).items())), separators=(",", ":")).encode()
    assert again != sealed_bytes()
    assert read_sealed(again, "f", since=3) == seal(RECORD)


def test_numbers_as_names_are_those_that_json_holds() -> None:
    record = {"format": 3, "by": {10: "a", 9: "b"}}
    assert read_sealed(json.dumps(seal(record)).encode(), "f", since=3)["by"] == {"10": "a", "9": "b"}


def test_every_flipped_bit_of_a_sealed_file_is_noticed_or_changes_nothing() -> None:
    data = sealed_bytes()
    refused = 0
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert read_sealed(bytes(changed), "f", since=3) == seal(RECORD)
        except DamagedFileError:
            refused += 1
    assert refused > 0.95 * len(data) * 8


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"9" * 5000, "cannot be read as JSON"),
        (b"[1]", "must hold a JSON object, got list"),
        (b'{"format": 3}', "digest of its content is missing"),
        (b'{"format": 4}', "digest of its content is missing"),
        (b'{"format": 2, "seal": "0"}', "differs from the digest"),
        (b'{"seal": ["0"]}', "differs from the digest"),
    ],
)
def test_what_is_not_sealed_right(data: bytes, says: str) -> None:
    with pytest.raises(DamagedFileError, match=rf"^f is damaged: .*{says}.*; do this$"):
        read_sealed(data, "f", "do this", since=3)


@pytest.mark.parametrize("data", [b"{}", b'{"format": 2}', b'{"format": "3"}'])
def test_an_older_file_has_no_seal(data: bytes) -> None:
    assert read_sealed(data, "f", since=3) == json.loads(data)
