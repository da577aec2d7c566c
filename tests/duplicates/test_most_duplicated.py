"""Duplicates of a training set, grouped and ranked, and their captions as prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memcore
from memcore.cli import main
from memcore.duplicates.embeddings import Engine, group_embeddings
from memcore.duplicates.groups import Components, group_images
from memcore.duplicates.most_duplicated import prompts_from_index
from memcore.errors import ArgumentValueError, ConfigError, MissingExtraError
from memcore.index import Index, build_index, open_source
from memcore.runs.prompts import read_prompts
from memcore.study.dataset import load_demo
from tests.support.index_sets import make_index, natural, tile_ssd, write_parquet, write_tar


def components_of(near: np.ndarray) -> list[int]:
    """Smallest member of each one's connected component, by the definition."""
    labels = list(range(len(near)))
    changed = True
    while changed:
        changed = False
        for i, j in np.argwhere(near):
            low = min(labels[i], labels[j])
            if labels[i] != low or labels[j] != low:
                labels[i] = labels[j] = low
                changed = True
    return labels


@pytest.mark.parametrize("metric", ["l2", "tiled_l2"])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.12])
def test_groups_of_images_are_components_of_the_exact_graph(
    tmp_path: Path, metric: str, threshold: float
) -> None:
    rng = np.random.default_rng(3)
    images = natural(rng, 260, 16)
    images[200:220] = images[100]
    images[230] = images[100] + (images[100] < 255)
    cut = (1, 1) if metric == "l2" else (4, 4)
    limit = memcore.types.Threshold(threshold).ssd_max(768 // (cut[0] * cut[1]))
    want = components_of(tile_ssd(images, images, cut) <= limit)
    index = make_index(tmp_path, images, shard_images=100)
    found = group_images(index, threshold, metric=metric)  # type: ignore[arg-type]
    assert found.tolist() == want
    assert 1 < len(set(want)) < 260 - 19


@pytest.mark.parametrize("engine", ["exact", "faiss"])
def test_groups_of_embeddings_are_components(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss", reason="faiss is not installed")
    from memcore.duplicates import embeddings

    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (90, 12)).astype(np.float16)
    x[30:60] = x[:30] + rng.normal(0, 0.25, (30, 12))
    unit = x.astype(np.float64)
    unit /= np.sqrt((unit**2).sum(1, keepdims=True))
    want = components_of(unit @ unit.T >= 0.95)
    for block in (4096, 17):
        monkeypatch.setattr(embeddings, "_BLOCK", block)
        assert group_embeddings(x, 0.95, engine=engine).tolist() == want
    assert len(set(want)) < 90
    # Exactly at the threshold: (3, 4) against (1, 0) has the cosine 0.6.
    pair = np.array([[5, 0], [3, 4]], np.float32)
    assert group_embeddings(pair, 0.6, engine=engine).tolist() == [0, 0]
    assert group_embeddings(pair, np.nextafter(0.6, 1), engine=engine).tolist() == [0, 1]
    x[5] = 0
    with pytest.raises(ArgumentValueError, match="got one at 5"):
        group_embeddings(x, 0.9, engine=engine)


@given(
    st.integers(2, 60),
    st.integers(1, 9),
    st.floats(-1, 1, width=32),
    st.integers(0, 2**32 - 1),
    st.integers(3, 70),
)
@settings(max_examples=40)
def test_faiss_gives_the_groups_of_the_exact_path(
    n: int, d: int, threshold: float, seed: int, block: int
) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed")
    x = np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(np.float32)
    x[~x.any(axis=1)] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memcore.duplicates.embeddings._BLOCK", block)
        exact, faiss = (group_embeddings(x, threshold, engine=e).tolist() for e in ("exact", "faiss"))
    assert exact == faiss


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"'faiss-cpu'.*pip install .*\[faiss\]'"):
        group_embeddings(np.eye(3), 0.5, engine="faiss")
    assert group_embeddings(np.eye(3), 0.5).tolist() == [0, 1, 2]
    with pytest.raises(ArgumentValueError, match="engine must be one of exact, faiss, got 'cuvs'"):
        group_embeddings(np.eye(3), 0.5, engine="cuvs")  # type: ignore[arg-type]


def test_components_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, 50, (30, 2))
    want = None
    for _ in range(5):
        groups = Components(50)
        order = rng.permutation(30)
        groups.connect(pairs[order, 0], pairs[order, 1])
        labels = groups.labels().tolist()
        want = want or labels
        assert labels == want


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=6), max_size=8),
)
def test_components_that_come_in_batches(batches: list[list[tuple[int, int]]]) -> None:
    groups = Components(20)
    near = np.zeros((20, 20), np.bool_)
    for batch in batches:
        left, right = (np.array([pair[side] for pair in batch], np.int64) for side in (0, 1))
        groups.connect(left, right)
        near[left, right] = near[right, left] = True
        assert groups.labels().tolist() == components_of(near)


def test_the_bundled_training_images_are_ranked_by_their_copies(tmp_path: Path) -> None:
    """The demo's training set, with every image standing as often as it was planted."""
    folder = load_demo().folder
    images = np.load(folder / "train.npz")["images"]
    about = json.loads((folder / "train.json").read_text())["images"]
    planted = [(entry["index"], entry["caption"], entry["copies"]) for entry in about if entry["copies"] > 1]
    order = np.concatenate(
        [np.full(copies, index) for index, _, copies in planted] + [np.arange(len(images))]
    )
    rng = np.random.default_rng(0)
    order = rng.permutation(order)
    np.save(tmp_path / "train.npy", images[order])
    captions = {entry["index"]: entry["caption"] for entry in about}
    (tmp_path / "captions.txt").write_text("\n".join(captions[i] for i in order))
    source = open_source(tmp_path / "train.npy", captions=str(tmp_path / "captions.txt"))
    build_index(tmp_path / "index", source)
    result = prompts_from_index(Index.open(tmp_path / "index"), tmp_path / "prompts.parquet", threshold=0.0)
    rows = pq.read_table(tmp_path / "prompts.parquet").to_pylist()
    assert [row["count"] for row in rows] == sorted((c + 1 for _, _, c in planted), reverse=True)
    assert {(row["prompt"], row["count"]) for row in rows} == {(text, c + 1) for _, text, c in planted}
    assert {10, 50, 200} <= {c for _, _, c in planted}
    assert result["largest"] == 201
    assert list(read_prompts(tmp_path / "prompts.parquet")) == [row["prompt"] for row in rows]
    assert all(order[row["training_index"]] in captions for row in rows)


def test_the_command_over_tars_and_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = natural(np.random.default_rng(9), 40, 16)
    images[10:13], images[20:25], images[30] = images[1], images[2], images[3]
    write_tar(tmp_path / "tars" / "a.tar", images[:22])
    write_tar(tmp_path / "tars" / "b.tar", images[22:], 22)
    write_parquet(tmp_path / "all.parquet", images)
    for source in ("tars", "all.parquet"):
        index, out = tmp_path / f"{source}.index", tmp_path / f"{source}.prompts.parquet"
        assert main(["index", str(index), "--source", str(tmp_path / source), "--quiet"]) == 0
        flags = ["--index", str(index), "--source", str(tmp_path / source)]
        assert main(["prompts", str(out), *flags, "--threshold", "0", "--top", "2"]) == 0
        rows = pq.read_table(out).to_pylist()
        assert [(r["prompt"], r["count"], r["training_index"]) for r in rows] == [
            ("caption 2", 6, 2),
            ("caption 1", 4, 1),
        ]
    np.save(tmp_path / "embeddings.npy", images.reshape(40, -1).astype(np.float32))
    out = tmp_path / "cosine.parquet"
    flags = ["--embeddings", str(tmp_path / "embeddings.npy"), "--source", str(tmp_path / "tars")]
    assert main(["prompts", str(out), *flags, "--threshold", "0.999999", "--json"]) == 0
    assert [r["count"] for r in pq.read_table(out).to_pylist()][:3] == [6, 4, 2]
    np.save(tmp_path / "embeddings.npy", np.ones((39, 4)))
    capsys.readouterr()
    assert main(["prompts", str(out), *flags]) == 2
    assert "each of the 40 entries" in capsys.readouterr().err
    assert main(["prompts", str(out)]) == 2
    assert main(["prompts", str(out), "--index", str(tmp_path)]) == 2


def test_groups_without_captions_are_counted(tmp_path: Path) -> None:
    images = natural(np.random.default_rng(9), 9, 16)
    images[1:4], images[5:7], images[8] = images[0], images[4], images[7]
    np.save(tmp_path / "a.npy", images)
    texts = ["", "", "late", "other", "", "", "", "late", ""]
    (tmp_path / "captions.txt").write_text("\n".join(texts) + "\n")
    build_index(tmp_path / "index", open_source(tmp_path / "a.npy", captions=str(tmp_path / "captions.txt")))
    index = Index.open(tmp_path / "index")
    result = prompts_from_index(index, tmp_path / "out.parquet", threshold=0.0)
    assert (result["groups"], result["prompts"]) == (3, 1)
    assert (result["without_caption"], result["repeated_captions"]) == (1, 1)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["prompt"], row["count"], row["training_index"], row["training_name"]) == ("late", 4, 2, "2")
    with pytest.raises(ConfigError, match="at least 10 duplicates has a caption"):
        prompts_from_index(index, tmp_path / "out.parquet", threshold=0.0, min_count=10)
