"""The members of a tar archive, from its headers. Nothing is unpacked, and no header is kept."""

from __future__ import annotations

import re
import tarfile
import zlib
from typing import BinaryIO, NamedTuple

_BLOCK = tarfile.BLOCKSIZE
#: The header of a regular file as all programs write most of them, from its mode on: octal numbers of full length, no
#: prefix of the name. The size and the checksum are groups; owner, group and device mean nothing here.
_PLAIN = re.compile(
    rb"(?:[0-7]{7}[ \0]){3}([0-7]{11})[ \0][0-7]{11}[ \0]([0-7]{6})\0 0.{172}(?:[0-7]{7}[ \0]|\0{8}){2}\0",
    re.DOTALL,
)
_MODE, _CHECKSUM, _CHECKSUM_END = 100, 148, 156
_HEAD = 32
_PAX_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_HEADERS = (*_PAX_HEADERS, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
#: Bytes of the longest header, which holds names and what file systems keep beside a file.
_MAX_HEADER = 1 << 20
_MAX_DIGITS = 4096
_DIGITS = re.compile(rb"\d+")


class _Bounded(tarfile.TarInfo):
    """A member whose headers are bounded: tarfile reads one whole, however long it says that it is."""

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and not 0 <= self.size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        if self.type in _PAX_HEADERS:  # Python's expression for them takes time quadratic in a row of digits
            stream = tarfile_.fileobj
            assert stream is not None
            begin = stream.tell()
            digits = max(map(len, _DIGITS.findall(stream.read(self.size))), default=0)
            stream.seek(begin)
            if digits > _MAX_DIGITS:
                raise tarfile.ReadError(f"a header with a number of {digits:,} digits")
        made: tarfile.TarInfo = super()._proc_member(tarfile_)  # type: ignore[misc]
        return made


class Member(NamedTuple):
    """One member: where its headers and its data begin, and why it is refused if it is no plain file inside the archive."""

    offset: int
    name: str
    data: int
    size: int
    is_folder: bool
    wrong: str | None


class Members:
    """The members of the archive that begins where the stream is, in order. ``offset`` is where the next header begins.

    ``tarfile`` reads every header that is not plain, and its end. Plain ones, nearly all, are read here: a tenth of the
    time, which for small images is most of the time of a scan.

    Raises tarfile.TarError and what else tarfile raises for a damaged archive.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._archive = tarfile.TarFile(
            fileobj=stream, tarinfo=_Bounded, encoding="utf-8", errors="surrogateescape"
        )
        self._begun = False

    @property
    def offset(self) -> int:
        """Return where the next header begins."""
        return self._archive.offset

    def next(self) -> Member | None:
        """Return the next member, or None where the archive ends."""
        archive = self._archive
        # global headers change those that follow, and the first member is read when the archive is opened
        if self._begun and not archive.pax_headers:
            offset = archive.offset
            self._stream.seek(offset - 1)  # the last byte of the member before must be there too
            block = self._stream.read(1 + _BLOCK)
            found = parse_plain(block[1:]) if len(block) > _BLOCK else None
            if found is not None:
                name, size = found
                data = offset + _BLOCK
                archive.offset = data + -(-size // _BLOCK) * _BLOCK
                return Member(offset, name, data, size, False, _leads_out(name))
        self._begun = True
        member = archive.next()
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header that it has read
        if member is None:
            return None
        if member.size < 0:  # the next header would be one that was read before
            raise tarfile.ReadError(f"a member of {member.size:,} bytes")
        return Member(
            member.offset, member.name, member.offset_data, member.size, member.isdir(), _refusal(member)
        )

    def read(self, member: Member) -> bytes:
        """Return a member's data; b"" where the archive ends within it."""
        self._stream.seek(member.data)
        data = self._stream.read(member.size)
        return data if len(data) == member.size else b""

    def head(self, member: Member) -> bytes:
        """Return the first bytes of a member's data, enough to tell what it is."""
        self._stream.seek(member.data)
        return self._stream.read(min(member.size, _HEAD))


def parse_plain(header: bytes) -> tuple[str, int] | None:
    """Return the name and size in the header of a regular file, as tarfile reads them; None for any other header.

    >>> import tarfile
    >>> member = tarfile.TarInfo("a/fox.png")
    >>> member.size = 1000
    >>> parse_plain(member.tobuf()[:512]), parse_plain(bytes(512))
    (('a/fox.png', 1000), None)
    """
    if not header.isascii():
        return None
    fields = _PLAIN.match(header, _MODE)
    if fields is None:
        return None
    size, checksum = fields.groups()
    # The sum of 512 bytes below 128 is less than the modulus of Adler-32, whose lower half is that sum and 1. In the
    # header's sum, its own eight bytes count as spaces.
    total = (zlib.adler32(header) & 0xFFFF) - 1 - sum(header[_CHECKSUM:_CHECKSUM_END]) + 8 * 32
    if total != int(checksum, 8):
        return None
    return header[:_MODE].partition(b"\0")[0].decode("ascii"), int(size, 8)


def _leads_out(name: str) -> str | None:
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        return "its name leads out of the archive"
    return None


def _refusal(member: tarfile.TarInfo) -> str | None:
    """Return what is wrong with a member that is not a regular file, or whose name points outside the archive."""
    if (wrong := _leads_out(member.name)) is not None:
        return wrong
    if member.issym() or member.islnk():
        return "a link"
    if member.sparse is not None:
        return "a sparse member (tar -S): pack it without its holes"
    if not member.isreg():
        return "no plain file"
    return None
