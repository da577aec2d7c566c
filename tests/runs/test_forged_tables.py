"""Tables and records with right digests that memcore has not written: each is refused by name, by whatever reads it."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import RunError
from memcore.index import build_index, open_source
from memcore.runs.annotations import Annotations
from memcore.runs.folder import RunFolder
from memcore.storage.digests import digest_bytes
from tests.support.command_line import memcore
from tests.support.sealing import change_json, change_toml, sign_matches, write_sealed

FINISHED = Path(__file__).parents[1] / "data" / "format-3" / "finished"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copytree(FINISHED, tmp_path / "run")
    return tmp_path / "run"


def forge(path: Path, change: Callable[[pa.Table], pa.Table], sign: Callable[[dict[str, Any]], None]) -> None:
    pq.write_table(change(pq.read_table(path)), path)
    sign(dict(digest_bytes(path.read_bytes())))


def forge_shard(run: Path, kind: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = sorted((run / kind).iterdir())[0]
    manifest = run / "manifest" / f"{path.stem}.json"
    name = f"{kind}/{path.name}"
    forge(path, change, lambda d: change_json(manifest, lambda record: record["files"].update({name: d})))


def without_value(name: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[0][name] = None
        return pa.Table.from_pylist(rows, schema=table.schema)

    return change


def twice(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.append_column(table.schema.field(name), table[name])


def no_text(table: pa.Table) -> pa.Table:
    raw = pa.array([b"\xff\xfe"] * len(table), pa.binary())
    column = pa.StringArray.from_buffers(len(table), raw.buffers()[1], raw.buffers()[2])
    return table.set_column(table.schema.names.index("prompt"), "prompt", column)


def null_seed(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[0]["seeds"] = [*rows[0]["seeds"], None]
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("findings", twice("medoid_seed"), "has several columns 'medoid_seed'"),
        ("findings", without_value("prompt_id"), "a value of prompt_id is null"),
        ("findings", null_seed, "a value of seeds is null"),
        ("findings", no_text, "cannot be read: .*UTF8"),
        ("quarantine", without_value("detail"), "a value of detail is null"),
    ],
)
def test_a_table_of_a_shard(run: Path, kind: str, change: Callable[[pa.Table], pa.Table], said: str) -> None:
    forge_shard(run, kind, change)
    folder = RunFolder.open(run)
    with pytest.raises(RunError, match=said):
        folder.findings() if kind == "findings" else folder.quarantine()
    told = memcore("report", run)
    assert told.code in (1, 2)
    assert "shard-" in told.err


def test_matches_without_a_value(run: Path) -> None:
    path = run / "matches.parquet"
    pq.write_table(without_value("prompt_id")(pq.read_table(path)), path)
    sign_matches(run)
    assert memcore("annotate", run, "--agreement").err.startswith("memcore: ")


def forge_checkpoint(run: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    (path,) = (run / "partial").iterdir()
    table = pq.read_table(io.BytesIO(path.read_bytes().partition(b"\n")[2]))
    sink = io.BytesIO()
    pq.write_table(change(table), sink)
    head = b"memcore checkpoint 3 " + digest_bytes(sink.getvalue())["sha256"].encode()
    path.write_bytes(head + b"\n" + sink.getvalue())
    return path


def with_metadata(**changes: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        about = {**json.loads(table.schema.metadata[b"memcore"]), **changes}
        return table.replace_schema_metadata({"memcore": json.dumps(about)})

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_metadata(seconds={"sample": "x"}),
        with_metadata(quarantine=[1]),
        with_metadata(started="now"),
        without_value("prompt"),
        lambda table: table.set_column(3, "generated", pa.array(["x"] * len(table))),
    ],
)
def test_a_checkpoint_is_left_aside(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    run = tmp_path / "run"
    shutil.copytree(FINISHED.parent / "stopped", run)
    path = forge_checkpoint(run, change)
    folder = RunFolder.open(run)
    (shard,) = (s for s in folder.shards() if s.task in path.name)
    with pytest.warns(RuntimeWarning, match="is not used"):
        assert not folder.read_partial(shard).rows


def test_prompts_of_another_number_are_refused_each_time(run: Path) -> None:
    path = run / "prompts.parquet"
    pq.write_table(pq.read_table(path).slice(0, 2), path)
    digest = digest_bytes(path.read_bytes())
    text = (run / "run.toml").read_text()
    recorded = [line for line in text.partition("[prompts.file]")[2].splitlines() if " = " in line][:2]
    change_toml(run, "\n".join(recorded), f'bytes = {digest["bytes"]}\nsha256 = "{digest["sha256"]}"')
    prompts = RunFolder.open(run).prompts
    for _ in range(2):
        with pytest.raises(RunError, match=r"prompts\.parquet has 2 prompts where run\.toml says 7"):
            prompts[5]


@pytest.mark.parametrize("record", [{}, {"made_from": 1}, {"made_from": {"run": 1}}, {"format": 1}])
def test_a_report_that_does_not_say_what_it_was_made_from(run: Path, record: dict[str, Any]) -> None:
    assert memcore("report", run).code in (0, 5)
    write_sealed(run / "report" / "report.json", record)
    assert memcore("show", run, "failures").err.startswith("memcore: ")
    (run / "report" / "report.json").write_text(json.dumps(record))
    assert memcore("status", run).err.startswith("memcore: ")


def test_annotations_that_are_a_pipe_are_not_waited_for(run: Path) -> None:
    (run / "annotations.sqlite").unlink()
    os.mkfifo(run / "annotations.sqlite")
    with pytest.raises(RunError, match=r"annotations\.sqlite cannot be used: it is no plain file"):
        Annotations.open(run)
    with pytest.raises(RunError, match=r"annotations\.sqlite cannot be used: it is no plain file"):
        Annotations.create(run, "", [])


# --- an index


@pytest.fixture
def index(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    images[3] = images[0]
    (tmp_path / "images").mkdir()
    for i, image in enumerate(images):
        (tmp_path / "images" / f"{i}.txt").write_text("a fox")
        sink = io.BytesIO()
        from PIL import Image

        Image.fromarray(image).save(sink, "png")
        (tmp_path / "images" / f"{i}.png").write_bytes(sink.getvalue())
    build_index(tmp_path / "index", open_source(tmp_path / "images"))
    return tmp_path / "index"


def forge_index(index: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    shard = index / "shard-000000"
    forge(
        shard / "text.parquet",
        change,
        lambda d: change_json(
            shard / "shard.json", lambda record: record["files"].update({"text.parquet": d})
        ),
    )
    made = [digest_bytes((shard / "shard.json").read_bytes())["sha256"]]
    change_json(index / "index.json", lambda record: record["sources"][0].update(made=made))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename_columns(["names", "caption"]), "it has no column 'name' of texts"),
        (twice("caption"), "it has no column 'caption' of texts"),
        (lambda t: t.slice(0, 2), "it has 2 rows where 6 are expected"),
        (lambda t: t.set_column(1, "caption", pa.array([1] * len(t))), "it has no column 'caption' of texts"),
    ],
)
def test_texts_of_an_index(
    index: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    forge_index(index, change)
    told = memcore("prompts", tmp_path / "list.parquet", "--index", index, "--trust-paths", "--threads", 1)
    assert told.code in (1, 2), told
    assert "text.parquet is damaged" in told.err
    assert said in told.err


@pytest.mark.parametrize(
    "changed", [{"made": 7}, {"blocks": "x"}, {"parts": [{"name": "a", "bytes": 1, "sample": 1}]}]
)
def test_a_record_of_an_index(index: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    change_json(index / "index.json", lambda record: record["sources"][0].update(changed))
    told = memcore("prompts", tmp_path / "list.parquet", "--index", index, "--threads", 1)
    assert told.code in (1, 2)
    assert "index.json is damaged" in told.err


def test_a_shard_that_names_no_quarantine(index: Path) -> None:
    change_json(index / "shard-000000" / "shard.json", lambda record: record.update(quarantined=1))
    told = memcore("index", index, "--verify")
    assert "it does not name quarantine.parquet" in told.err
