"""Prompts stored as .npy arrays: where they are read to, what is read again, and files that change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore import PromptGraph, tiled_l2_graph
from memcore.audit import filter_stored
from memcore.audit.task import AuditJob
from memcore.engine.scheduler import run_here
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sources import buffers, npy_file
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.npy_file import StoredArray
from tests.support.stored_sets import Pixels, read_all, write_arrays
from tests.support.synthetic import MEMORISED, SHAPE


def test_damaged_arrays_are_put_aside(tmp_path: Path) -> None:
    root = write_arrays(tmp_path / "set")
    whole = (root / "rain.npy").read_bytes()
    (root / "rain.npy").write_bytes(whole[: 128 + 768 * 12 + 300])
    (root / "x.npy").write_bytes(b"\x93NUMPY\x01\x00 nothing")
    np.save(root / "y.npy", np.zeros((4, 8, 8, 3), np.uint8))
    np.save(root / "z.npy", np.zeros((4, *SHAPE), np.float32))
    np.save(root / "zz.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    run = filter_stored(tmp_path / "run", Config(source="stored", images=str(root)), workers=1, quiet=True)
    rows = {row["prompt"]: row for row in run.findings()}
    assert (rows["rain"]["status"], rows["rain"]["generated"]) == ("none", 12)
    assert {p for p, r in rows.items() if r["status"] == "failed"} == {"x", "y", "z", "zz"}
    assert {q["source"]: q["reason"] for q in run.quarantine()} == {
        "rain.npy[12:30]": "truncated",
        "x.npy": "unreadable",
        "y.npy[0:4]": "wrong-size",
        "z.npy": "dtype",
        "zz.npy": "dtype",
    }
    assert {p for p, r in rows.items() if r["status"] == "finding"} == set(MEMORISED)


def test_column_major_and_grey_arrays(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "f.npy", np.asfortranarray(images))
    stored = StoredPrompts(tmp_path / "f.npy")
    assert stored.image_shape == (8, 8, 1)
    assert np.array_equal(read_all(stored, 0)[0], images)


def test_column_major_arrays_of_many_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 16, 16, 3), dtype=np.uint8)
    path = tmp_path / "f.npy"
    np.save(path, np.asfortranarray(images))
    for block in (npy_file._BLOCK_BYTES, 1000):
        monkeypatch.setattr(npy_file, "_BLOCK_BYTES", block)
        stored = StoredPrompts(path)
        for prompt_id in range(3):
            assert np.array_equal(read_all(stored, prompt_id)[0], images[prompt_id])
    os.truncate(path, path.stat().st_size - 1)
    pixels, _, _, broken = read_all(stored, 1)
    assert len(pixels) == 0
    assert [(b["source"], b["reason"]) for b in broken] == [("f.npy[0:50]", "truncated")]


def in_process(path: Path, config: Config) -> RunFolder:
    """What ``filter_stored`` does, without processes."""
    stored = StoredPrompts(Path(config.images))
    return run_here(AuditJob(path, config, stored.prompts, source=stored, quiet=True), threads=1)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Pixels]]:
    """Prompts that do not fit a chunk: copies, constant images, near ones that are none, and one whose images all are."""
    rng = np.random.default_rng(5)
    root = tmp_path_factory.mktemp("large") / "set"
    root.mkdir()
    base = np.kron(rng.integers(0, 256, (720, 4, 4, 3)), np.ones((1, 16, 16, 1)))
    whole = {}
    for name, count in (("copies", 720), ("constant", 700), ("flat", 690)):
        images = rng.normal(0, 12, (count, 64, 64, 3)) + base[np.maximum(np.arange(count), 40)]
        images[100:130] = images[100] + rng.normal(0, 6, (30, 64, 64, 3))
        if name == "flat":
            images = rng.normal(128, 24, (count, 64, 64, 3))
        whole[name] = np.clip(images, 0, 255).astype(np.uint8)
        if name == "constant":
            whole[name][::3] = np.arange(0, 234, dtype=np.uint8).reshape(-1, 1, 1, 1)
        np.save(root / f"{name}.npy", whole[name])
    return root, whole


def graph_of(stored: StoredPrompts, prompt_id: int, threshold: float = 0.05) -> PromptGraph:
    graph = PromptGraph(stored.image_shape, threshold, channels="last", **stored.images_in(prompt_id))
    given: list[int] = []
    for seeds, broken in stored.feed(prompt_id, graph):
        assert not broken
        given.extend(seeds)
    assert given == list(range(graph.n))
    return graph


@pytest.mark.parametrize("threads", [1, 2])
def test_large_arrays_are_not_kept(large: tuple[Path, dict[str, Pixels]], threads: int) -> None:
    root, whole = large
    stored = StoredPrompts(root, threads=threads)
    assert stored.prompts == ["constant", "copies", "flat"]
    for prompt_id, name in enumerate(stored.prompts):
        assert set(stored.images_in(prompt_id)) == {"reread", "buffer"}
        assert np.array_equal(read_all(stored, prompt_id)[0], whole[name])
        graph = graph_of(stored, prompt_id)
        constant = (whole[name] == whole[name][:, :1, :1, :1]).all(axis=(1, 2, 3))
        edges = tiled_l2_graph(whole[name], 0.05, channels="last")
        among = ~constant[edges.edges].any(axis=1)
        assert edges.ssd is not None
        assert len(edges) >= (0 if name == "flat" else 190)
        assert np.array_equal(graph.graph().edges, edges.edges[among])
        assert np.array_equal(graph.graph().ssd, edges.ssd[among])
        assert graph.excluded == constant.sum()
        stats = graph.graph().stats
        assert stats["read_again"] == len(whole[name]) if name == "flat" else 0 < stats["read_again"] < 600
        for index in np.nonzero(~constant)[0][::50]:
            assert np.array_equal(graph.pixels(int(index)), whole[name][index])


def test_a_run_finds_the_same_whether_images_were_kept_or_not(
    large: tuple[Path, dict[str, Pixels]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = large
    config = Config(source="stored", images=str(root), threshold=0.05, edges_up_to=0.06)
    again = in_process(tmp_path / "again", config)
    monkeypatch.setattr(buffers, "CHUNK_BYTES", 1 << 30)
    kept = in_process(tmp_path / "kept", config)
    assert [row["status"] for row in again.findings()] == ["finding", "finding", "none"]
    files = sorted(p.name for p in (kept.path / "findings").iterdir())
    assert files == sorted(p.name for p in (again.path / "findings").iterdir())
    for name in files:
        assert (again.path / "findings" / name).read_bytes() == (kept.path / "findings" / name).read_bytes()
    images = sorted(p.relative_to(kept.path) for p in (kept.path / "images").rglob("*.png"))
    assert images
    assert all((again.path / p).read_bytes() == (kept.path / p).read_bytes() for p in images)


def overwrite(path: Path) -> None:
    """One pixel of image 105 by one level: no size, no time stamp need tell."""
    with path.open("r+b") as file:
        file.seek(128 + 105 * 64 * 64 * 3 + 5000)
        (value,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([value ^ 1]))


def cut(path: Path) -> None:
    os.truncate(path, 128 + 101 * 64 * 64 * 3)


def test_large_arrays_that_end_early(large: tuple[Path, dict[str, Pixels]], tmp_path: Path) -> None:
    """What is whole is used, whether it is let go or not, and two prompts in one file are told apart."""
    image_bytes = 64 * 64 * 3
    both = np.stack([large[1]["copies"][:690], large[1]["flat"]])
    path = tmp_path / "both.npy"
    np.save(path, both)
    os.truncate(path, path.stat().st_size - 3 * image_bytes - 5)
    config = Config(source="stored", images=str(path), threshold=0.05)
    run = in_process(tmp_path / "run", config)
    assert [(row["generated"], row["status"]) for row in run.findings()] == [(690, "finding"), (686, "none")]
    assert [(q["source"], q["reason"]) for q in run.quarantine()] == [("both.npy[686:690]", "truncated")]
    os.truncate(path, 128)
    broken = [entry for _, gone in StoredPrompts(path).feed(0, graph_for(path)) for entry in gone]
    assert [(b["source"], b["reason"]) for b in broken] == [("both.npy[0:690]", "truncated")]


def graph_for(path: Path) -> PromptGraph:
    stored = StoredPrompts(path)
    return PromptGraph(stored.image_shape, channels="last", **stored.images_in(0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [(overwrite, "changed"), (cut, "changed"), (Path.unlink, "unreadable")],
)
def test_a_file_that_changes_between_two_reads_is_never_answered_for(
    large: tuple[Path, dict[str, Pixels]],
    change: Callable[[Path], None],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "set"
    shutil.copytree(large[0], root)
    (root / "flat.npy").unlink()
    undisturbed = in_process(tmp_path / "good", Config(source="stored", images=str(root), threshold=0.05))
    read_again = StoredArray.read_again

    def disturbed(self: StoredArray, positions: NDArray[np.int64], out: Pixels) -> None:
        if 105 in positions and len(positions) < 500:
            change(root / "copies.npy")
        read_again(self, positions, out)

    monkeypatch.setattr(StoredArray, "read_again", disturbed)
    config = Config(source="stored", images=str(root), threshold=0.05)
    run = in_process(tmp_path / "run", config)
    rows = {row["prompt"]: row for row in run.findings()}
    assert (rows["copies"]["status"], rows["copies"]["reason"]) == ("failed", reason)
    assert [(q["prompt_id"], q["source"], q["reason"]) for q in run.quarantine()] == [
        (1, "copies.npy", reason)
    ]
    assert rows["constant"] == next(r for r in undisturbed.findings() if r["prompt"] == "constant")


def test_images_are_compared_where_they_were_read(tmp_path: Path) -> None:
    """The graph of a reused room is that of copies, also after a larger prompt, and with constant images in between."""
    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    root.mkdir()
    whole = {}
    for name, count in (("a", 40), ("b", 90), ("c", 12)):
        images = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        images[5:9] = images[4]
        images[7] = 9
        whole[name] = images
        np.save(root / f"{name}.npy", images)
    stored = StoredPrompts(root)
    for prompt_id, name in enumerate(stored.prompts):
        room = stored.images_in(prompt_id)["buffer"]
        graph = graph_of(stored, prompt_id, 0.2)
        edges = tiled_l2_graph(whole[name], 0.2, channels="last").edges
        expected = edges[(edges != 7).all(axis=1)]
        assert len(expected) == 6
        assert np.array_equal(graph.graph().edges, expected)
        assert np.array_equal(room[:7], whole[name][:7]), "nothing was copied elsewhere"
        assert np.array_equal(room[7], whole[name][8])
        assert np.array_equal(graph.pixels(8), whole[name][8])
        assert np.shares_memory(graph.images(), room)
