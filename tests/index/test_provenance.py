"""An index and the source that it was made from: unchanged, touched, changed, moved, in parts missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memcore.errors import ConfigError, RunError
from memcore.index import Index, build_index, open_source
from tests.support.index_sets import Images, pictures, png, write_parquet, write_tar

COUNT = 12
EVERY = np.arange(COUNT)


def write_folder(root: Path, images: Images) -> None:
    for i, pixels in enumerate(images):
        (root / f"{i // 4}").mkdir(exist_ok=True, parents=True)
        (root / f"{i // 4}" / f"{i:03d}.png").write_bytes(png(pixels, compress_level=0))


def write_files(write: Callable[[Path, Images], object], suffix: str) -> Callable[[Path, Images], None]:
    def files(root: Path, images: Images) -> None:
        root.mkdir(exist_ok=True, parents=True)
        for i in range(3):
            write(root / f"{i}{suffix}", images[i * 4 : i * 4 + 4])

    return files


KINDS: dict[str, Callable[[Path, Images], None]] = {
    "images": write_folder,
    "tars": write_files(write_tar, ".tar"),
    "parquet": write_files(write_parquet, ".parquet"),
    "arrays": write_files(np.save, ".npy"),
}


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, Images]:
    """The folder of an index, that of its source, and the images."""
    images = pictures(COUNT)
    KINDS[request.param](tmp_path / "data", images)
    build_index(tmp_path / "index", open_source(tmp_path / "data"), shard_images=5)
    return tmp_path / "index", tmp_path / "data", images


def files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def fetch(index: Path, *moved: Path) -> Images:
    return Index.open(index, moved=moved).fetch(EVERY)


def change(file: Path) -> None:
    """Change one byte of the pixels, and neither the size nor the times."""
    about, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_touched_source_is_the_same(made: tuple[Path, Path, Images]) -> None:
    index, source, images = made
    for file in files_of(source):
        os.utime(file, ns=(1, 1))
    assert (fetch(index) == images).all()
    before = (index / "index.json").read_bytes()
    build_index(index, open_source(source), shard_images=5)
    assert (index / "index.json").read_bytes() == before


@pytest.mark.parametrize("number", [0, 2])
def test_a_changed_file_is_named_before_anything_is_searched(
    made: tuple[Path, Path, Images], number: int
) -> None:
    index, source, _ = made
    files = files_of(source)
    file = files[number]
    change(file)
    said = rf"1 of {len(files)} files was changed \({file.relative_to(source)}\)"
    opened = Index.open(index)
    with pytest.raises(RunError, match=said):
        opened.check_sources()
    with pytest.raises(ConfigError, match=said):
        build_index(index, open_source(source), shard_images=5)


@pytest.mark.parametrize("left", [0, 100, 0.5])
def test_a_source_that_is_cut_after_it_was_checked(made: tuple[Path, Path, Images], left: float) -> None:
    """A-D15: an error by name, wherever it is noticed."""
    index, source, _ = made
    opened = Index.open(index)
    opened.check_sources()
    for file in files_of(source):
        os.truncate(file, int(left * file.stat().st_size if left < 1 else left))
    with pytest.raises(RunError, match=r"training image \S+ \(row \d+\) is not what"):
        opened.fetch(EVERY)


def test_a_half_built_index_is_not_joined_with_other_images(
    made: tuple[Path, Path, Images], tmp_path: Path
) -> None:
    _, source, _ = made

    class Stop(Exception):
        pass

    def stop(images: int, broken: int) -> None:
        if images >= 5:
            raise Stop

    with pytest.raises(Stop):
        build_index(tmp_path / "half", open_source(source), shard_images=2, progress=stop)
    assert (tmp_path / "half" / "shard-000001").exists()
    change(files_of(source)[0])
    with pytest.raises(ConfigError, match=r"has changed since .1 of \d+ files was changed"):
        build_index(tmp_path / "half", open_source(source), shard_images=2)


def test_a_source_that_moved(made: tuple[Path, Path, Images], tmp_path: Path) -> None:
    index, source, images = made
    shutil.copytree(source, tmp_path / "new", copy_function=shutil.copyfile)  # with times of its own
    shutil.rmtree(source)
    with pytest.raises(RunError, match="is missing"):
        fetch(index)
    assert (fetch(index, tmp_path / "new") == images).all()
    (meta,) = build_index(index, open_source(tmp_path / "new"), shard_images=5).sources
    assert meta["path"] == str(tmp_path / "new")
    assert (fetch(index) == images).all()
    assert len(Index.open(index)) == COUNT


def test_a_source_that_moved_and_changed(made: tuple[Path, Path, Images], tmp_path: Path) -> None:
    index, source, _ = made
    source.rename(tmp_path / "new")
    file = files_of(tmp_path / "new")[1]
    change(file)
    before = (index / "index.json").read_bytes()
    said = rf"files was changed \({file.relative_to(tmp_path / 'new')}\)"
    with pytest.raises(RunError, match=said):
        fetch(index, tmp_path / "new")
    with pytest.raises(ConfigError, match=said):
        build_index(index, open_source(tmp_path / "new"), shard_images=5)
    assert (index / "index.json").read_bytes() == before


def test_a_source_that_moved_and_lost_a_file(made: tuple[Path, Path, Images], tmp_path: Path) -> None:
    index, source, _ = made
    source.rename(tmp_path / "new")
    file = files_of(tmp_path / "new")[1]
    file.unlink()
    said = rf"files is missing \({file.relative_to(tmp_path / 'new')}\)"
    with pytest.raises(RunError, match=said):
        fetch(index, tmp_path / "new")
    with pytest.raises(ConfigError, match=said):
        build_index(index, open_source(tmp_path / "new"), shard_images=5)


def test_a_place_that_holds_something_else(made: tuple[Path, Path, Images], tmp_path: Path) -> None:
    index, source, images = made
    write_folder(tmp_path / "other", pictures(COUNT, seed=9))
    with pytest.raises(RunError, match=r"source=.*other is not what"):
        fetch(index, tmp_path / "other")
    with pytest.raises(RunError, match=r"none is not what .* does not exist"):
        fetch(index, tmp_path / "none")
    source.rename(tmp_path / "new")
    assert (fetch(index, tmp_path / "new") == images).all()
    # another source may be added while one is away: nothing of it is held
    build_index(index, open_source(tmp_path / "other"), shard_images=5)
    assert len(Index.open(index)) == 2 * COUNT


def test_a_copy_is_not_counted_twice(made: tuple[Path, Path, Images], tmp_path: Path) -> None:
    """While the old place is still there: the same files are the same source, others are another one."""
    index, source, images = made
    shutil.copytree(source, tmp_path / "copy", copy_function=shutil.copyfile)
    (entry,) = build_index(index, open_source(tmp_path / "copy"), shard_images=5).sources
    assert entry["path"] == str(tmp_path / "copy")
    assert (fetch(index) == images).all()
    shutil.copytree(source, tmp_path / "other")
    change(files_of(tmp_path / "other")[0])
    assert len(build_index(index, open_source(tmp_path / "other"), shard_images=5).sources) == 2


def test_a_moved_archive_of_another_name_that_grew(tmp_path: Path) -> None:
    images = pictures(COUNT)
    np.save(tmp_path / "a.npy", images)
    build_index(tmp_path / "index", open_source(tmp_path / "a.npy"), shard_images=5)
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    assert (fetch(tmp_path / "index", tmp_path / "b.npy") == images).all()
    build_index(tmp_path / "index", open_source(tmp_path / "b.npy"), shard_images=5)
    assert (fetch(tmp_path / "index") == images).all()


def test_a_moved_folder_of_archives_grows(tmp_path: Path) -> None:
    images = pictures(COUNT + 4)
    KINDS["tars"](tmp_path / "old", images[:COUNT])
    build_index(tmp_path / "index", open_source(tmp_path / "old"), shard_images=5)
    (tmp_path / "old").rename(tmp_path / "new")
    write_tar(tmp_path / "new" / "3.tar", images[COUNT:])
    made = build_index(tmp_path / "index", open_source(tmp_path / "new"), shard_images=5)
    assert [entry["path"] for entry in made.sources] == [str(tmp_path / "new")] * 2
    assert (Index.open(tmp_path / "index").fetch(np.arange(COUNT + 4)) == images).all()


def test_captions_of_arrays_may_move_too(tmp_path: Path) -> None:
    images = pictures(COUNT)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "old" / "a.npy", images)
    (tmp_path / "old" / "c.txt").write_text("\n".join(map(str, range(COUNT))))
    source = open_source(tmp_path / "old" / "a.npy", captions=str(tmp_path / "old" / "c.txt"))
    build_index(tmp_path / "index", source)
    for name in ("a.npy", "c.txt"):
        (tmp_path / "old" / name).rename(tmp_path / "new" / name)
    assert (fetch(tmp_path / "index", tmp_path / "new" / "a.npy") == images).all()
    source = open_source(tmp_path / "new" / "a.npy", captions=str(tmp_path / "new" / "c.txt"))
    (entry,) = build_index(tmp_path / "index", source).sources
    assert entry["options"] == {"captions": str(tmp_path / "new" / "c.txt")}
    (tmp_path / "new" / "c.txt").write_text("\n".join(["other"] * COUNT))
    with pytest.raises(RunError, match="captions were changed"):
        fetch(tmp_path / "index")
