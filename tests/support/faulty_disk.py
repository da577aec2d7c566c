"""Disks that fail on demand, put in place of ``memcore.system.atomic_files.disk``."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from memcore.system.atomic_files import Disk

#: How one call can fail: the error number, or a write that takes only a part and then fails.
FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "short": errno.ENOSPC}


class QuickDisk(Disk):
    """A disk that syncs nothing: a test does not wait for it."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


class FaultyDisk(QuickDisk):
    """A disk that fails call number ``at`` (from 0), and with ``lasting`` every call after it. ``calls`` lists the calls."""

    def __init__(self, at: int = -1, fault: str = "EIO", *, lasting: bool = False) -> None:
        self.at = at
        self.fault = fault
        self.lasting = lasting
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        number = len(self.calls)
        self.calls.append(name)
        if number == self.at or (self.lasting and number > self.at >= 0 and name not in ("remove", "close")):
            raise OSError(FAULTS[self.fault], os.strerror(FAULTS[self.fault]))

    def make_folder(self, path: Path) -> None:
        self._call("make_folder")
        super().make_folder(path)

    def create(self, path: Path) -> int:
        self._call("create")
        return super().create(path)

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.fault == "short" and len(self.calls) == self.at and len(data) > 1:
            self.at += 1  # writing the rest of the data fails
            self.calls.append("write")
            return super().write(descriptor, data[: len(data) // 2])
        self._call("write")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._call("sync")
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)  # the descriptor is closed even if close reports an error
        self._call("close")

    def replace(self, old: Path, new: Path) -> None:
        self._call("replace")
        super().replace(old, new)

    def link(self, old: Path, new: Path) -> None:
        self._call("link")
        super().link(old, new)

    def remove(self, path: Path) -> None:
        self._call("remove")
        super().remove(path)

    def sync_folder(self, path: Path) -> None:
        self._call("sync_folder")
        super().sync_folder(path)


class PowerCut(BaseException):
    """The power was cut: no later call had an effect."""


class UnpluggedDisk(Disk):
    """A disk that keeps unsynced data in memory, and loses power at call number ``at``.

    Data are durable once they are synced, and the entries of a folder once the folder is. ``lose()`` puts the folder into
    the state that a machine finds afterwards: with ``pending="lost"`` without anything that was not synced, with
    ``pending="kept"`` with every rename, but files whose data were not synced are empty, as ext4 and xfs may leave them.
    """

    def __init__(self, root: Path, at: int = -1) -> None:
        self.root = root
        self.at = at
        self.calls = 0
        self._paths: dict[int, Path] = {}
        self._synced: set[Path] = set()
        #: For each folder, what it durably holds: name -> content, or None for a folder.
        self._durable: dict[Path, dict[str, bytes | None]] = {}

    def _call(self) -> None:
        if self.calls == self.at:
            raise PowerCut
        self.calls += 1

    def make_folder(self, path: Path) -> None:
        self._call()
        super().make_folder(path)

    def create(self, path: Path) -> int:
        self._call()
        descriptor = super().create(path)
        self._paths[descriptor] = path
        self._synced.discard(path)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        self._call()
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._call()
        self._synced.add(self._paths[descriptor])

    def replace(self, old: Path, new: Path) -> None:
        self._call()
        super().replace(old, new)
        self._move(old, new)

    def link(self, old: Path, new: Path) -> None:
        self._call()
        super().link(old, new)
        if old in self._synced:
            self._synced.add(new)

    def _move(self, old: Path, new: Path) -> None:
        (self._synced.add if old in self._synced else self._synced.discard)(new)
        self._synced.discard(old)

    def remove(self, path: Path) -> None:
        self._call()
        super().remove(path)

    def sync_folder(self, path: Path) -> None:
        self._call()
        self._durable[path] = {
            p.name: None if p.is_dir() else (p.read_bytes() if p in self._synced else b"")
            for p in path.iterdir()
        }

    def lose(self, pending: str) -> None:
        """Restore the folder to what survived the power cut."""
        import shutil

        if pending == "kept":
            for path in self.root.rglob("*"):
                if path.is_file() and path not in self._synced and not path.name.startswith(".lock"):
                    path.write_bytes(b"")
            return
        durable = dict(self._durable)
        shutil.rmtree(self.root, ignore_errors=True)
        if self.root.name not in durable.get(self.root.parent, {}):
            return
        self.root.mkdir()
        self._restore(self.root, durable)

    def _restore(self, folder: Path, durable: dict[Path, dict[str, bytes | None]]) -> None:
        for name, content in durable.get(folder, {}).items():
            if content is None:
                (folder / name).mkdir()
                self._restore(folder / name, durable)
            else:
                (folder / name).write_bytes(content)
