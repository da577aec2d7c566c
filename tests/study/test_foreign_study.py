"""A study of somebody else may have digests that all fit, and hold anything: each command says so in a line."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import MemcoreError
from memcore.storage.digests import digest_bytes, seal
from memcore.study.folder import StudyFolder
from memcore.study.protocols.read import parse_protocol
from memcore.study.tables import read_axes, read_table
from tests.support.command_line import memcore
from tests.support.study_runs import do
from tests.support.study_sets import write_tiny


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def made(protocol: Path) -> Path:
    do(protocol, protocol.parent / "made")
    return protocol.parent / "made"


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "study"))


def change(study: Path, model: str, **values: Any) -> None:
    """Change entries of a manifest, and seal it."""
    path = study / "manifest" / f"{model}.json"
    path.write_text(json.dumps(seal({**json.loads(path.read_text()), **values})))


def replace(study: Path, table: str, make: Callable[[pa.Table], bytes]) -> None:
    """Replace a table of each model that has it, and let all digests fit."""
    for path in (study / "rows").glob(f"*.{table}.parquet"):
        path.write_bytes(make(pq.read_table(path)))
        model = path.name.partition(".")[0]
        files = json.loads((study / "manifest" / f"{model}.json").read_text())["files"]
        change(study, model, files={**files, f"rows/{path.name}": digest_bytes(path.read_bytes())})


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def with_column(name: str, value: Any) -> Callable[[pa.Table], bytes]:
    """Return the table with one value in all rows of a column."""

    def make(table: pa.Table) -> bytes:
        place = table.schema.get_field_index(name)
        column = pa.array([value] * table.num_rows, table.schema.field(name).type)
        return parquet(table.set_column(place, table.schema.field(name), column))

    return make


def with_axes(**axes: Any) -> Callable[[pa.Table], bytes]:
    return lambda table: parquet(table.replace_schema_metadata({"axes": json.dumps(axes)}))


_PLAIN = {pa.string(): "x", pa.float64(): 1.0, pa.int32(): 1, pa.int64(): 1}


def many(table: pa.Table) -> bytes:
    """Return two million rows, in a few kilobytes."""
    rows = 2_000_000
    columns = {}
    for field in table.schema:
        one = pa.array([_PLAIN.get(field.type)], field.type)
        columns[field.name] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), one)
    return parquet(pa.table(columns))


TABLES: Mapping[str, tuple[str, Callable[[pa.Table], bytes]]] = {
    "no figure": ("quality", with_column("frechet", float("nan"))),
    "no loss": ("losses", with_column("losses", [float("inf")])),
    "no losses": ("losses", with_column("losses", None)),
    "a null in a list": ("losses", with_column("losses", [None])),
    "no score": ("inpainting", with_column("score", float("nan"))),
    "no rule": ("extraction", with_column("rule", None)),
    "no step": ("extraction", with_column("step", None)),
    "negative samples": ("extraction", with_column("samples", -5)),
    "negative sizes": ("samples", with_column("height", -8)),
    "large sizes": ("samples", with_column("height", 2**31 - 1)),
    "no pixels": ("samples", with_column("pixels", None)),
    "text that is none": ("extraction", lambda t: parquet(t).replace(b"held-out", b"held-\xff\xfft")),
    "many rows": ("extraction", many),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_of_other_values_is_refused(study: Path, case: str) -> None:
    table, make = TABLES[case]
    replace(study, table, make)
    folder = StudyFolder.open(str(study))
    models = [m for m, files in folder.files().items() if f"rows/{m}.{table}.parquet" in files]
    assert models
    for model in models:
        with pytest.raises(MemcoreError, match=rf"{table}\.parquet"):
            read_table(folder.storage, model, table, folder.files()[model])  # type: ignore[arg-type]
    said = memcore("study", "report", study)
    assert said.code in (0, 2, 5), said


@pytest.mark.parametrize(
    "axes",
    [
        {"timesteps": 7},
        {"timesteps": [50, 100], "draws": 2**62, "flips": 1},
        {"timesteps": ["x"], "draws": 1},
    ],
)
def test_axes_of_other_values_end_nothing(study: Path, axes: dict[str, Any]) -> None:
    replace(study, "losses", with_axes(**axes))
    folder = StudyFolder.open(str(study))
    for model, files in folder.files().items():
        if f"rows/{model}.losses.parquet" in files:
            with pytest.raises(MemcoreError, match=r"losses\.parquet is damaged"):
                read_axes(folder.storage, model, files)
    assert memcore("study", "report", study).code == 2


MANIFESTS: Mapping[str, dict[str, Any]] = {
    "files in a list": {"files": [1, 2]},
    "no files": {"files": None},
    "times in words": {"started": "now"},
    "no time": {"finished": None},
    "no units": {"units": "many"},
    "given up in words": {"given_up": "no"},
    "a number as detail": {"detail": 5},
    "a file outside": {"files": {"../../outside": digest_bytes(b"x")}},
    "a file of the study": {"files": {"protocol.toml": digest_bytes(b"x")}},
    "a file of another kind": {"files": {"partial/x": digest_bytes(b"x")}},
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_of_other_values_is_refused_by_name(study: Path, case: str) -> None:
    model = next(iter(StudyFolder.open(str(study)).specs))
    change(study, model, **MANIFESTS[case])
    for action in ("status", "report"):
        said = memcore("study", action, study)
        assert said.code == 2
        assert f"{model}.json is damaged" in said.err


@pytest.mark.parametrize("name", ["protocol.toml", "study.json", "../outside", "partial/x"])
def test_nothing_but_tables_is_taken_over(study: Path, protocol: Path, tmp_path: Path, name: str) -> None:
    """Its manifest is as good as any by its digests, and may name whatever it likes."""
    model = next(iter(StudyFolder.open(str(study)).specs))
    files = json.loads((study / "manifest" / f"{model}.json").read_text())["files"]
    (study / name).parent.mkdir(exist_ok=True)
    content = (study / name).read_bytes() + b"\n" if (study / name).exists() else b"x"
    (study / name).write_bytes(content)
    change(study, model, files={**files, name: digest_bytes(content)})
    (tmp_path / "in").mkdir()
    with pytest.raises(MemcoreError, match="no table of its model"):
        do(protocol, tmp_path / "in" / "new", finished=study)
    assert not (tmp_path / "in" / "outside").exists()
    assert (tmp_path / "in" / "new" / "protocol.toml").read_bytes() == protocol.read_bytes()


def test_a_damaged_network_is_not_taken_over(study: Path, protocol: Path, tmp_path: Path) -> None:
    network = study / "features" / "images.weights"
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(MemcoreError, match=r"images\.weights is damaged"):
        do(protocol, tmp_path / "new", finished=study)


def test_a_start_of_other_values_is_refused(study: Path, protocol: Path, tmp_path: Path) -> None:
    told = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**told, "data": ["x"]}))
    with pytest.raises(MemcoreError, match=r"study\.json cannot be used"):
        do(protocol, tmp_path / "new", finished=study)


MANY = ("width", "depth", "layers", "steps", "batch", "timesteps", "n", "canaries", "half")
FIFTY = f" = [{'1,' * 50}]"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds = 2", "seeds = 100_000_000_000"),
        ("grid = { half = [0, 1] }", f"seeds = 10000\ngrid = {{ half = [{'0,' * 5000}] }}"),
        (
            "grid = { half = [0, 1] }",
            f"grid = {{ {', '.join(name + FIFTY for name in MANY)} }}",
        ),
    ],
)
def test_a_protocol_asks_for_no_more_models_than_there_can_be(protocol: Path, old: str, new: str) -> None:
    text = protocol.read_text()
    assert old in text
    start = time.process_time()
    with pytest.raises(MemcoreError, match=r"seeds|models"):
        parse_protocol(text.replace(old, new, 1).encode(), "p")
    assert time.process_time() - start < 5
