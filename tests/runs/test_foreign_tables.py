"""A run of somebody else may be sealed and sound by its digests, and its tables hold anything: commands say so in a line."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.annotate.gallery import Gallery
from memcore.errors import MemcoreError
from memcore.storage.digests import digest_bytes
from tests.support.command_line import memcore
from tests.support.sealing import change_json, seal_toml, sign_matches
from tests.support.synthetic import write_training_set

DATA = Path(__file__).parents[1] / "data" / "format-3" / "finished"


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def replace(run: Path, kind: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows of a table, or replace it by another one, and let all digests fit."""
    if kind in ("findings", "quarantine"):
        path = next(iter(sorted((run / kind).glob("*.parquet"))))
    else:
        path = run / f"{kind}.parquet"
    old = pq.read_table(path)
    rows = old.to_pylist()
    made = change(rows)
    table = made if isinstance(made, pa.Table) else pa.Table.from_pylist(rows, schema=old.schema)
    path.write_bytes(parquet(table))
    if kind == "matches":
        sign_matches(run)
    elif kind == "prompts":
        toml = (run / "run.toml").read_text()
        head, _, rest = toml.partition("[prompts.file]\n")
        digest = digest_bytes(path.read_bytes())
        rest = "".join(line for line in rest.splitlines(True)[2:])
        text = f'{head}[prompts.file]\nbytes = {digest["bytes"]}\nsha256 = "{digest["sha256"]}"\n{rest}'
        (run / "run.toml").write_text(seal_toml(text))
    else:
        digest = digest_bytes(path.read_bytes())
        name = f"{kind}/{path.name}"
        change_json(
            run / "manifest" / f"{path.stem}.json", lambda record: record["files"].update({name: digest})
        )


def put(column: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Give every row another value; of a column of lists with a dot, every entry of the list."""

    def change(rows: list[dict[str, Any]]) -> None:
        outer, _, inner = column.partition(".")
        for row in rows:
            if inner:
                for held in row[outer] or []:
                    held[inner] = value
            else:
                row[column] = value

    return change


def repeated(**values: Any) -> Callable[[list[dict[str, Any]]], pa.Table]:
    """Return 20 million equal rows, which take a few kilobytes."""

    def make(rows: list[dict[str, Any]]) -> pa.Table:
        index = pa.array(np.zeros(20_000_000, np.int8))
        return pa.table({n: pa.DictionaryArray.from_arrays(index, pa.array([v])) for n, v in values.items()})

    return make


CHANGES: dict[str, tuple[str, Callable[[list[dict[str, Any]]], Any]]] = {
    "no prompt": ("findings", put("prompt_id", 10**15)),
    "negative prompt": ("findings", put("prompt_id", -1)),
    "one prompt for all": ("findings", put("prompt_id", 0)),
    "null prompt": ("findings", put("prompt_id", None)),
    "null text": ("findings", put("prompt", None)),
    "foreign status": ("findings", put("status", "x")),
    "null status": ("findings", put("status", None)),
    "negative counts": ("findings", put("generated", -5)),
    "null counts": ("findings", put("generated", None)),
    "no distance": ("findings", put("mean_distance", float("nan"))),
    "large distance": ("findings", put("mean_distance", 1e308)),
    "no cliques": ("findings", put("cliques", [])),
    "null cliques": ("findings", put("cliques", None)),
    "cliques without seeds": ("findings", put("cliques.seeds", [])),
    "cliques with null seeds": ("findings", put("cliques.seeds", None)),
    "negative seeds": ("findings", put("cliques.seeds", [-1, -(2**63)])),
    "null medoid": ("findings", put("cliques.medoid_seed", None)),
    "medoid elsewhere": ("findings", put("cliques.medoid_seed", 1)),
    "image elsewhere": ("findings", put("medoid_image", "../../../../etc/passwd")),
    "null images": ("findings", put("images", None)),
    "null size of an image": ("findings", put("images.bytes", None)),
    "digest that is none": ("findings", put("images.sha256", "x")),
    "stop that is none": ("findings", put("stop", "x")),
    "tile of no bytes": ("findings", put("tile_bytes", 0)),
    "pairs that are none": ("findings", put("pairs", [{"i": -1, "j": 10**6, "ssd": 1}])),
    "pairs with null": ("findings", put("pairs", [{"i": None, "j": None, "ssd": None}])),
    "no rows": ("findings", lambda rows: rows.clear()),
    "rows twice": ("findings", lambda rows: rows.extend(rows[:])),
    "many findings": ("findings", repeated(prompt_id=1)),
    "match of no prompt": ("matches", put("prompt_id", 10**15)),
    "match of no clique": ("matches", put("clique", 99)),
    "match of a negative clique": ("matches", put("clique", -1)),
    "null match": ("matches", put("training_index", None)),
    "negative training image": ("matches", put("training_index", -1)),
    "large training image": ("matches", put("training_index", 2**62)),
    "null neighbors": ("matches", put("neighbors", None)),
    "neighbor that is none": ("matches", put("neighbors.index", -(2**62))),
    "null extracted": ("matches", put("extracted", None)),
    "null distance": ("matches", put("l2", None)),
    "distance that is none": ("matches", put("l2", float("inf"))),
    "matches twice": ("matches", lambda rows: rows.extend(rows[:])),
    "quarantine of no prompt": ("quarantine", put("prompt_id", 10**15)),
    "null reason": ("quarantine", put("reason", None)),
    "null detail": ("quarantine", put("detail", None)),
    "many in the quarantine": ("quarantine", repeated(prompt_id=1, source="x", reason="y", detail="z")),
    "null prompts": ("prompts", put("prompt", None)),
    "too few prompts": ("prompts", lambda rows: rows.pop()),
    "prompts that are numbers": ("prompts", lambda rows: pa.table({"prompt_id": [1], "prompt": [1]})),
    "many prompts": ("prompts", repeated(prompt_id=1, prompt="x")),
}


#: What reads a kind of table, besides status and report.
READERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "findings": (
        ("show", "RUN"),
        ("match", "RUN", "--training", "TRAINING"),
        ("evaluate", "RUN", "--against", "annotations"),
        ("evaluate", "RUN", "--truth", "TRUTH"),
    ),
    "matches": (("show", "RUN"), ("show", "RUN", "matches"), ("evaluate", "RUN", "--against", "matches")),
    "quarantine": (("show", "RUN", "quarantine"), ("show", "RUN", "failures", "--format", "csv")),
    "prompts": (("show", "RUN"), ("evaluate", "RUN", "--truth", "TRUTH")),
}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_set(tmp_path_factory.mktemp("training"))


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_told(training: Path, tmp_path: Path, change: str) -> None:
    kind, changing = CHANGES[change]
    run = tmp_path / "run"
    shutil.copytree(DATA, run)
    replace(run, kind, changing)
    places = {"RUN": run, "TRAINING": training, "TRUTH": training.parent / "truth.json"}
    for words in (("status", "RUN"), ("report", "RUN"), *READERS[kind]):
        said = memcore(*(places.get(word, word) for word in words))
        assert said.code in (0, 1, 2, 5), said
        assert said.code in (0, 5) or said.err.startswith("memcore: "), said
    with contextlib.suppress(MemcoreError):
        gallery = Gallery(run)
        for number in range(100):
            gallery.read(number)


def test_nothing_is_told_of_a_sound_one(training: Path, tmp_path: Path) -> None:
    """The helper itself changes nothing."""
    run = tmp_path / "run"
    shutil.copytree(DATA, run)
    for kind in ("findings", "quarantine", "prompts"):
        replace(run, kind, lambda rows: None)
    assert memcore("show", run).code == 0
    assert json.loads(memcore("status", run, "--json").out)["findings"] == 2
