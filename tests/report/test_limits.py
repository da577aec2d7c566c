"""Size, bytes, wrong input, and plots at their edges."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memcore.errors import MissingExtraError, RunError, StoreError
from memcore.report import write_report
from memcore.report.drawing import plots
from memcore.report.drawing.axes import Axes
from memcore.report.pictures import Album
from memcore.report.run import read_run
from tests.support import report_runs
from tests.support.report_page import Page, empty_run
from tests.support.report_runs import RunWriter, finding_row
from tests.support.sealing import change_toml, sign_matches


def test_two_thousand_findings(tmp_path: Path) -> None:
    """200 with pictures, the others as rows; noise does not compress, so the limits apply."""
    writer = RunWriter(tmp_path)
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(noise)
    for i in range(2000):
        seeds = [2**62 + s for s in range(100)]
        record = {
            "seeds": seeds,
            "mean_distance": 0.01 + 6e-5 * i,
            "medoid_seed": seeds[3],
            "proven": True,
            "upper": 100,
        }
        writer.rows.append(finding_row(i, f"prompt {i} " + '"' * 100, [record]))
        if i < 200:
            folder = tmp_path / "images" / f"{i:06d}"
            folder.mkdir(parents=True)
            for seed in seeds[:12]:
                os.link(noise, folder / f"{seed}.png")
    writer.write(matched=False)
    target = write_report(tmp_path)
    page = Page(target.read_text("utf-8"))
    assert len(page.cards()) == 200
    assert "Ranks 201 to 2,000, without pictures" in page.text("findings")
    assert "prompt 1999 " in page.text("findings")
    size = target.stat().st_size
    assert len(page.all("img")) > 1000
    assert size < 30e6
    assert f"This file takes {size / 1e6:.1f} MB" in page.text()


def test_an_album_never_passes_its_limit(tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(noise)
    album = Album(100_000, expected=20)
    shown = [album.picture(noise, 200) for _ in range(20)]
    assert album.refused > 0
    assert sum(len(p.uri) for p in shown if p) == album.bytes <= 100_000
    assert {(p.width, p.height) for p in shown if p} == {(256, 256)}


def test_the_same_run_gives_the_same_bytes(run: Path, trap: Path, tmp_path: Path) -> None:
    first = write_report(run, compare=[trap]).read_bytes()
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    assert write_report(copy, compare=[trap]).read_bytes() == first
    assert write_report(run, compare=[trap]).read_bytes() == first


def test_the_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_run(tmp_path).write()
    target = write_report(tmp_path)
    assert target == tmp_path / "report" / "index.html"
    assert sorted(p.name for p in target.parent.iterdir()) == ["index.html", "report.json"]
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="no space"):
        write_report(tmp_path)
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["index.html"]


def test_not_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"is not a run folder: it holds no run\.toml"):
            write_report(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is not a run folder"):
        write_report(tmp_path / "file")
    assert not (tmp_path / "report").exists()


def test_compare_must_be_a_run(tmp_path: Path) -> None:
    empty_run(tmp_path / "run").write()
    with pytest.raises(RunError, match="other is not a run folder"):
        write_report(tmp_path / "run", compare=[tmp_path / "other"])
    assert not (tmp_path / "run" / "report").exists()


def damage(run: Path, name: str) -> None:
    shard = sorted((run / "findings").iterdir())[0]
    toml = run / "run.toml"
    if name == "format":
        change_toml(run, "format = 3", "format = 4")
    elif name == "toml":
        toml.write_text("[run")
    elif name == "setting":
        change_toml(run, "min_clique = 10", "")
    elif name == "changed":
        toml.write_text(toml.read_text().replace("min_clique = 10", "min_clique = 11"))
    elif name == "unsealed":
        lines = toml.read_text().splitlines()
        toml.write_text("\n".join(line for line in lines if not line.startswith("seal")))
    elif name == "digest":
        shard.write_bytes(shard.read_bytes() + b" ")
    elif name == "gone":
        shard.unlink()
    elif name == "parquet":
        (run / "matches.parquet").write_bytes(b"not parquet")
    elif name == "column":
        table = pq.read_table(run / "matches.parquet").drop_columns(["tiled_l2"])
        pq.write_table(table, run / "matches.parquet")
        sign_matches(run)
    elif name == "json":
        (run / "match.json").write_text("[]")
    elif name == "evaluation":
        (run / "evaluation.json").write_text('{"format": 9}')
    elif name == "stale":
        table = pq.read_table(run / "matches.parquet").to_pylist()
        numbers = dict.fromkeys(("size", "medoid_seed", "training_index", "copies", "eidetic"), 1)
        distances = dict.fromkeys(("mean_distance", "l2", "tiled_l2"), 0.1)
        named = {"prompt_id": 1, "clique": 3, "extracted": True, "training_name": "a", "neighbors": []}
        row = {**dict.fromkeys(report_runs.MATCHES.names), **numbers, **distances, **named}
        pq.write_table(
            report_runs.pa.Table.from_pylist([*table, row], schema=report_runs.MATCHES),
            run / "matches.parquet",
        )
        sign_matches(run)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("format", "has the run format 4, which a newer memcore made; this one reads up to format 3"),
        ("toml", r"run\.toml is damaged"),
        ("setting", r"has no 'min_clique' in its table \[graph\]"),
        ("changed", r"run\.toml is damaged: its content differs from the digest that it holds"),
        ("unsealed", r"run\.toml is damaged: the digest of its content is missing"),
        (
            "digest",
            r"shard-.* is damaged: it has \d+ bytes where \d+ were recorded; remove .*/manifest/shard-",
        ),
        ("gone", "is missing although its manifest says"),
        ("parquet", r"matches\.parquet is damaged: it has 11 bytes .*; give memcore match again"),
        ("column", "has no column 'tiled_l2'"),
        ("json", r"match\.json is damaged: it must hold a JSON object, got list; give memcore match again"),
        ("evaluation", "evaluation.json is damaged: .*; give memcore evaluate again"),
        ("stale", "names clique 3 of prompt 1, which this run does not have.*give memcore match again"),
    ],
)
def test_damaged_runs(tmp_path: Path, name: str, message: str) -> None:
    empty_run(tmp_path).write()
    damage(tmp_path, name)
    with pytest.raises(RunError, match=message):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("module", "package"), [("jinja2", "jinja2"), ("pyarrow", "pyarrow"), ("PIL", "pillow")]
)
def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    empty_run(tmp_path).write()
    for name in [m for m in sys.modules if m.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*pip install .*\[report\]"):
        write_report(tmp_path)


def test_plots_of_nothing_and_of_much() -> None:
    nothing = {
        "precision": {"value": None, "low": 0.0, "high": 1.0},
        "recall": {"value": None, "low": 0.0, "high": 1.0},
        "average_precision": 0.0,
        "curve": [],
    }
    assert "unknown" in plots.precision_recall({"candidates": nothing}, 0)
    assert plots.share_against_copies([]).count("<circle") == 0
    assert plots.histogram([], 0.0).startswith("<svg")
    prompts = [{"copies": c % 2000, "share": 0.5, "prompt": "p", "extracted": True} for c in range(20_000)]
    assert plots.share_against_copies(prompts[:3]).count("<circle") == 3
    assert len(plots.share_against_copies(prompts)) < 12_000_000
    distances = [(0.15 * i / 100_000, None) for i in range(100_001)]
    assert plots.histogram(distances, 0.15).count("<rect") == plots.BINS
    points = [plots.CliquePoint(0.1, 0.2, False, True, "p")] * 100_000
    assert plots.clique_against_match("x", points, 0.15, 0.15, "l2").count("<path") == plots.MARKS


def test_axes_map_data_to_pixels() -> None:
    axes = Axes("n", "s", x=(0, 2), y=(0, 4), x_label="x", y_label="y")
    assert (axes.x(0), axes.x(2)) == (46, 348)
    assert (axes.y(0), axes.y(4)) == (222, 26)


def test_counts_cover_all_prompts_and_rows_only_findings(run: Path) -> None:
    read = read_run(run)
    assert (read.prompts, read.done, read.generated) == (50, 50, 49 * 64)
    assert (len(read.findings), len(read.failures)) == (18, 1)
    assert read.seconds == {"sample": 123.0, "graph": 2.5, "clique": 0.4, "write": 4.1}
