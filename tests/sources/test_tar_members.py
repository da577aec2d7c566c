"""Members of archives are those that tarfile finds, whole and damaged, whoever reads their headers."""

from __future__ import annotations

import io
import random
import tarfile
from typing import Any

import pytest

from memcore.sources.tar_members import Member, Members, parse_plain

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError)
#: Members, why reading ended early, and where.
Found = tuple[list[tuple[int, str, int, int]], type[Exception] | None, int]


def by_tarfile(data: bytes) -> Found:
    found: list[tuple[int, str, int, int]] = []
    archive: Any = None
    try:
        archive = tarfile.TarFile(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
        while (member := archive.next()) is not None:
            if member.size < 0:  # older releases of tarfile go on with a header before it, for ever
                raise tarfile.ReadError("negative")
            found.append((member.offset, member.name, member.offset_data, member.size))
    except DAMAGE as error:
        return found, type(error), 0 if archive is None else archive.offset
    return found, None, archive.offset


def by_members(data: bytes) -> Found:
    found: list[tuple[int, str, int, int]] = []
    archive: Members | None = None
    try:
        archive = Members(io.BytesIO(data))
        while (member := archive.next()) is not None:
            found.append((member.offset, member.name, member.data, member.size))
    except DAMAGE as error:
        return found, type(error), 0 if archive is None else archive.offset
    return found, None, archive.offset


def made(names: list[str], kind: int, *, extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(
        fileobj=sink, mode="w", format=kind, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid = 37 * number, 1_700_000_000, 1000
            archive.addfile(member, io.BytesIO(bytes(member.size)))
            for other in extra:
                archive.addfile(other)
    return sink.getvalue()


def odd_members() -> tuple[tarfile.TarInfo, ...]:
    kinds = {
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "folder": tarfile.DIRTYPE,
        "pipe": tarfile.FIFOTYPE,
    }
    members = []
    for name, kind in kinds.items():
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "a.png"
        members.append(member)
    return tuple(members)


NAMES = {
    "plain": ["a.png", "a.txt", "b/c.png", "b/c.json", "./d.png"],
    "odd": ["x" * 100, "/etc/passwd", "../up.png", "a b.png", "no suffix", "a/../b.png", "d/"],
    "long": ["y" * 150 + "/" + "z" * 90 + ".png", "a.png", "folder/" * 15 + "b.png", "c.png"],
    "not ASCII": ["Füchse.png", "a.png", "\udce9.png", "b.png"],
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_members_are_those_that_tarfile_finds(names: list[str], kind: int) -> None:
    if kind == tarfile.USTAR_FORMAT:
        names = [name for name in names if len(name) <= 100]
    data = made(names, kind, extra=odd_members())
    assert by_members(data) == by_tarfile(data)


def test_plain_headers_are_read_without_tarfile(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made([f"{i:04d}.png" for i in range(50)], tarfile.GNU_FORMAT)
    read = []
    original = tarfile.TarInfo.frombuf.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, *arguments: Any) -> Any:
        read.append(1)
        return original(cls, *arguments)

    monkeypatch.setattr(tarfile.TarInfo, "frombuf", classmethod(counted))
    assert len(by_members(data)[0]) == 50
    assert len(read) <= 3  # the first one and the end


@pytest.mark.parametrize("kind", FORMATS)
def test_global_headers_hold_for_the_members_after_them(kind: int) -> None:
    sink = io.BytesIO()
    headers = {"path": "another.png"} if kind == tarfile.PAX_FORMAT else {}
    with tarfile.open(fileobj=sink, mode="w", format=kind, pax_headers=headers) as archive:
        for name in ("a.png", "b.png", "c.png"):
            archive.addfile(tarfile.TarInfo(name))
    assert by_members(sink.getvalue()) == by_tarfile(sink.getvalue())


def test_every_flipped_bit_of_a_header_is_judged_as_tarfile_does() -> None:
    data = made(["a.png", "b.png", "c.png", "d.png"], tarfile.GNU_FORMAT)
    start = by_tarfile(data)[0][2][0]
    wrong = []
    for at in range(start, start + 512):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            if by_members(bytes(damaged)) != by_tarfile(bytes(damaged)):
                wrong.append((at - start, bit))
    assert wrong == []


def test_changed_headers_with_a_right_checksum_are_judged_as_tarfile_does() -> None:
    rng = random.Random(1)
    data = made(["a.png", "b.png", "c.png"], tarfile.PAX_FORMAT)
    start = by_tarfile(data)[0][1][0]
    for _ in range(1500):
        header = bytearray(data[start : start + 512])
        for _ in range(rng.randint(1, 3)):
            header[rng.choice((*range(100, 157), *range(257, 265), *range(329, 350)))] = rng.choice(
                b"\0 0178_+x\x80\xff"
            )
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        damaged = data[:start] + bytes(header) + data[start + 512 :]
        assert by_members(damaged) == by_tarfile(damaged), header


def test_an_archive_cut_anywhere_ends_where_tarfile_says() -> None:
    data = made(["a.png", "b.png", "c.png", "d.png"], tarfile.USTAR_FORMAT)
    for size in range(0, len(data), 7):
        assert by_members(data[:size]) == by_tarfile(data[:size]), size


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("a..b.png", None),
        ("a/../b.png", "leads out"),
        ("/a.png", "leads out"),
        ("..", "leads out"),
        ("..a/b", None),
    ],
)
def test_names_that_lead_out_are_refused_in_plain_headers_too(name: str, wrong: str | None) -> None:
    archive = Members(io.BytesIO(made(["first.png", name], tarfile.GNU_FORMAT)))
    archive.next()
    member = archive.next()
    assert isinstance(member, Member)
    assert member.name == name
    assert (wrong is None) == (member.wrong is None)


def test_the_data_of_a_member_is_read_whole_or_not_at_all() -> None:
    data = made(["a.txt", "b.txt", "c.txt"], tarfile.GNU_FORMAT)
    archive = Members(io.BytesIO(data))
    members = [archive.next() for _ in range(3)]
    last = members[2]
    assert last is not None
    assert archive.read(last) == bytes(74)
    assert archive.head(last) == bytes(32)
    cut = Members(io.BytesIO(data[: last.data + 40]))
    assert cut.read(last) == b""


def test_a_header_of_other_bytes_is_not_plain() -> None:
    assert parse_plain(b"") is None
    assert parse_plain(bytes(512)) is None
    assert parse_plain(b"\xff" * 512) is None


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**80)])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_member_of_negative_size_ends_the_archive(size: int, kind: bytes) -> None:
    """The header after it would be its own, or one before: reading would never end."""
    data = bytearray(made(["a.png", "b.png", "c.png"], tarfile.GNU_FORMAT))
    at = data.index(b"b.png\0")
    data[at + 156 : at + 157] = kind
    data[at + 124 : at + 136] = (256**12 + size).to_bytes(13)[1:]
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    found, error, _ = by_members(bytes(data))
    assert [name for _, name, _, _ in found] == ["a.png"]
    assert error is tarfile.ReadError
