"""What is written into a run's folder is read back the same, whatever valid values it holds; malformed input is refused."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memcore import tiled_l2_graph
from memcore.errors import ConfigError, MemcoreError, RunError
from memcore.runs.config import BUDGETS, DTYPES, KEEP, SCREENS, Config
from memcore.runs.config_file import from_mapping, read_toml
from memcore.runs.folder import RunFolder, ShardRecord
from memcore.runs.prompts import ROW_GROUP, ParquetPrompts, TextPrompts, scan_prompts
from memcore.runs.reading import read_parquet
from memcore.runs.schema import FINDINGS, MATCHES, QUARANTINE
from memcore.runs.start import RunStart
from memcore.runs.tables import pairs_array, parquet_bytes, rows_to_table, table_to_rows
from memcore.storage.digests import digest_bytes

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
#: Every character that UTF-8 can hold: control characters, right-to-left marks and emoji as well.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PROMPT = TEXT.filter(str.strip)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Any value of a column, null included, with the extremes of its type."""
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return st.fixed_dictionaries({f.name: values_of(f.type) for f in fields})
    if pa.types.is_list(kind):
        return st.none() | st.lists(values_of(kind.value_type), max_size=3)
    whole = {pa.int32(): INT32, pa.int64(): INT64, pa.uint64(): UINT64, pa.bool_(): st.booleans()}
    plain: dict[pa.DataType, st.SearchStrategy[Any]] = {**whole, pa.string(): TEXT, pa.float64(): FINITE}
    return st.none() | plain[kind]


def rows_of(schema: pa.Schema) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({f.name: values_of(f.type) for f in schema}), max_size=3)


@pytest.mark.parametrize("schema", [FINDINGS, QUARANTINE, MATCHES], ids=["findings", "quarantine", "matches"])
def test_rows_of_every_table(schema: pa.Schema) -> None:
    @given(rows_of(schema))
    @settings(max_examples=25)
    def check(rows: list[dict[str, Any]]) -> None:
        data = parquet_bytes(pa.Table.from_pylist(rows, schema=schema))
        assert read_parquet(data).to_pylist() == rows
        assert read_parquet(data).schema.names == schema.names
        assert parquet_bytes(pa.Table.from_pylist(rows, schema=schema)) == data

    check()


@given(rows_of(FINDINGS))
@settings(max_examples=60)
def test_pairs_held_as_arrays_are_the_same_file(rows: list[dict[str, Any]]) -> None:
    data = parquet_bytes(pa.Table.from_pylist(rows, schema=FINDINGS))
    assert parquet_bytes(rows_to_table(rows)) == data
    read = table_to_rows(read_parquet(data))
    assert all(row["pairs"] is None or isinstance(row["pairs"], pa.Array) for row in read)
    assert parquet_bytes(rows_to_table(read)) == data


def test_pairs_of_a_graph() -> None:
    graph = tiled_l2_graph(np.random.default_rng(0).integers(0, 40, (20, 16, 16, 3), dtype=np.uint8), 0.1)
    assert graph.ssd is not None
    assert len(graph) > 100
    pairs = [
        {"i": i, "j": j, "ssd": s} for (i, j), s in zip(graph.edges.tolist(), graph.ssd.tolist(), strict=True)
    ]
    made = pairs_array(graph.edges, graph.ssd)
    assert made.to_pylist() == pairs
    assert made.nbytes <= 17 * len(graph)
    rows = [{"prompt_id": 0, "pairs": made}, {"prompt_id": 1, "pairs": None}, {"prompt_id": 2, "pairs": []}]
    plain = [{**row, "pairs": p} for row, p in zip(rows, (pairs, None, []), strict=True)]
    assert rows_to_table(rows).equals(pa.Table.from_pylist(plain, schema=FINDINGS))


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        (FINDINGS, {"size": 2**31}),
        (FINDINGS, {"pairs": [{"i": 0, "j": 1, "ssd": -1}]}),
        (QUARANTINE, {"reason": 7}),
    ],
    ids=["int32", "uint64", "string"],
)
def test_a_value_that_its_column_cannot_hold_is_never_bent(schema: pa.Schema, row: dict[str, Any]) -> None:
    with pytest.raises((pa.ArrowException, OverflowError)):
        pa.Table.from_pylist([row], schema=schema)


@given(st.lists(PROMPT, min_size=1, max_size=6))
@settings(max_examples=25)
def test_prompts(prompts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = RunStart(Path(folder) / "run", Config(source="custom"), prompts).create("f", {})
        assert list(run.prompts) == prompts
        repeated = len(prompts) - len(set(prompts))
        assert run.meta["prompts"] == {
            "count": len(prompts),
            "source": "",
            "digest": scan_prompts(prompts).digest,
            "file": digest_bytes((run.path / "prompts.parquet").read_bytes()),
            **({"repeated": repeated} if repeated else {}),
        }
        assert list(ParquetPrompts(run.path / "prompts.parquet")) == prompts


@pytest.mark.parametrize("count", [ROW_GROUP - 1, ROW_GROUP, ROW_GROUP + 1, 2 * ROW_GROUP + 1])
def test_prompts_around_a_row_group(count: int, tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(count)]
    with (tmp_path / "prompts.parquet").open("wb") as file:
        assert scan_prompts(prompts, file) == scan_prompts(prompts)
    assert list(ParquetPrompts(tmp_path / "prompts.parquet")) == prompts


@given(st.lists(PROMPT.filter(lambda p: not {"\n", "\r", "\0"} & set(p)), min_size=1, max_size=6))
def test_prompts_of_a_text_file(prompts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.txt"
        path.write_bytes("".join(f"{p}\n" for p in prompts).encode())
        assert list(TextPrompts(path)) == prompts


@pytest.mark.parametrize(
    "prompt", ["half a pair \ud83d", 7, None, b"bytes"], ids=["surrogate", "int", "none", "bytes"]
)
def test_a_prompt_that_no_file_can_hold_is_refused(tmp_path: Path, prompt: Any) -> None:
    with pytest.raises(ConfigError, match="prompt 1 "):
        RunStart(tmp_path / "run", Config(source="custom"), ["fine", prompt]).create("f", {})
    assert not (tmp_path / "run").exists()


RATE = st.floats(0.01, 0.99)


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    """A valid configuration: every name may differ from its default."""
    source = draw(st.sampled_from(["diffusers", "stored", "custom"]))
    stored = source == "stored"
    threshold = draw(st.floats(0, 1))
    screen = "none" if stored else draw(st.sampled_from(SCREENS))
    natural = st.integers(1, 2**63 - 1)
    sampler = "" if source != "custom" else draw(TEXT)
    return Config(
        source=source,
        model=draw(TEXT) or "m",
        images=draw(TEXT) or "i",
        background=draw(st.from_regex("#[0-9a-fA-F]{6}|", fullmatch=True)),
        sampler=sampler,
        sampler_options=json.dumps(draw(st.dictionaries(PROMPT, st.none() | INT64 | TEXT, max_size=2)))
        if sampler
        else "",
        prompts=draw(TEXT),
        generations=draw(st.integers(1, 300)),
        budget="fixed" if stored else draw(st.sampled_from(BUDGETS)),
        copy_rate=draw(RATE),
        miss_rate=draw(RATE),
        screen=screen,
        screen_threshold=0.0 if screen == "none" else draw(st.floats(0, 1e6)),
        screen_seeds=draw(natural),
        screen_guidance=draw(FINITE),
        seed=draw(st.integers(0, 2**63 - 1)),
        steps=draw(natural),
        guidance_scale=draw(st.none() | FINITE),
        batch_size=draw(natural),
        height=draw(natural),
        width=draw(natural),
        dtype=draw(st.sampled_from(DTYPES)),
        device=draw(TEXT),
        threshold=threshold,
        grid=(draw(natural), draw(natural)),
        min_clique=draw(st.integers(2, 20)),
        node_limit=draw(natural),
        edges_up_to=draw(st.just(0.0) | st.floats(threshold, 1)),
        keep=draw(st.sampled_from(KEEP)),
        shard_prompts=draw(st.integers(0, 5)),
    )


@given(configurations(), st.dictionaries(TEXT, TEXT, max_size=3), TEXT)
@settings(max_examples=40)
def test_a_configuration_is_read_back_the_same(
    config: Config, describe: dict[str, str], fingerprint: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        made = RunStart(place, config, ["a", "b"]).create(fingerprint, describe)
        read = RunFolder.open(place)
        assert read.config == dataclasses.replace(config, sampler_options="")  # they are not recorded
        assert read.digest == made.digest == config.digest(fingerprint, scan_prompts(["a", "b"]).digest)
        assert read.meta["sampler"] == {
            "kind": config.source,
            "fingerprint": fingerprint,
            "describe": describe,
        }
        again = RunStart(place, from_mapping(read.config.as_dict()), ["a", "b"]).create(fingerprint, describe)
        assert [s.id for s in again.shards()] == [s.id for s in made.shards()]


#: What a TOML file may hold, of the right kind and of any other.
TOML = st.recursive(
    st.booleans()
    | INT64
    | st.floats()
    | TEXT
    | st.dates()
    | st.sampled_from(["fixed", "sequential", "custom", "stored"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(sorted(Config.__dataclass_fields__))


def error_of(call: Callable[[], Any]) -> str | None:
    """What a call says that refuses its input; None if it takes it. Anything but a memcore error ends the test."""
    try:
        call()
    except MemcoreError as error:
        assert isinstance(error, RunError | ConfigError)  # noqa: PT017
        return str(error)
    return None


@given(st.dictionaries(NAMES | TEXT, TOML, max_size=4))
@settings(max_examples=300)
@example({"guidance_scale": float("nan")})
@example({"screen_guidance": float("-inf")})
@example({"screen_guidance": 10**400})
@example({"\x1f": {"sa": False}})
def test_any_values_are_a_configuration_or_a_clear_error(values: dict[str, Any]) -> None:
    values = {"source": "custom", **values}
    said = error_of(lambda: from_mapping(values))
    if said is None:
        config = from_mapping(values)
        assert from_mapping(json.loads(json.dumps(config.as_dict()))) == config
        return
    names = [*values, "model", "images", "steps", "copy_rate", "budget", "screen"]
    # a name inside of a table is shown as "table.name"
    shown = [form for name in names for form in (name.replace("-", "_"), repr(name), repr(name)[:-1] + ".")]
    assert any(form in said for form in shown), said


@given(st.binary(max_size=60) | TEXT.map(lambda t: f"steps = {t}".encode()))
def test_any_file_is_toml_or_a_clear_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.toml"
        path.write_bytes(data)
        said = error_of(lambda: read_toml(path))
        if said is None:
            assert read_toml(path) == tomllib.loads(data.decode())
        else:
            assert "is not valid TOML" in said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two prompts that is done."""
    run = RunStart(
        tmp_path_factory.mktemp("small") / "run", Config(source="custom", min_clique=4), ["a", "b"]
    ).create("f", {"a": "b"})
    for shard in run.shards():
        row = {
            "prompt_id": shard.prompt_ids[0],
            "prompt": "a",
            "status": "none",
            "generated": 3,
            "excluded": 0,
            "edges": 0,
            "size": 0,
            "seeds": [],
            "proven": True,
            "upper": 0,
            "cliques": [],
        }
        run.write_shard(shard, ShardRecord([row], [], {"sample": 1.0}))
    return run


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """The file cut short, with bytes changed, or with a line gone or twice."""
    lines = data.split(b"\n")
    place = st.integers(0, len(data) - 1)
    line = st.integers(0, len(lines) - 1)
    return st.one_of(
        place.map(lambda n: data[:n]),
        st.tuples(place, st.binary(min_size=1, max_size=3)).map(
            lambda p: data[: p[0]] + p[1] + data[p[0] + len(p[1]) :]
        ),
        line.map(lambda n: b"\n".join(lines[:n] + lines[n + 1 :])),
        line.map(lambda n: b"\n".join(lines[:n] + lines[n : n + 1] * 2 + lines[n + 1 :])),
    )


def content(run: Path) -> list[Any]:
    """All that a command reads of a run."""
    folder = RunFolder.open(run)
    return [
        list(folder.prompts),
        folder.findings(),
        folder.quarantine(),
        folder.manifests(),
        folder.given_up(),
    ]


def test_prompts_with_any_byte_lost_are_read_or_refused(small: RunFolder) -> None:
    path = small.path / "prompts.parquet"
    whole = path.read_bytes()
    count, said = len(small.prompts), []
    try:
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
            try:
                assert len(list(RunFolder.open(small.path).prompts)) == count
            except RunError as error:
                said.append(str(error))
    finally:
        path.write_bytes(whole)
    assert said
    assert all("prompts.parquet" in text for text in said)


@pytest.mark.parametrize("kind", ["run.toml", "manifest", "findings", "prompts.parquet"])
def test_a_damaged_file_is_read_or_refused_and_never_crashes(small: RunFolder, kind: str) -> None:
    path = small.path / kind
    if path.is_dir():
        path = sorted(path.iterdir())[0]
    whole = path.read_bytes()

    before = content(small.path)

    @given(damaged(whole))
    @settings(max_examples=100)
    def check(data: bytes) -> None:
        path.write_bytes(data)
        said = error_of(lambda: content(small.path))
        if said is not None:
            assert str(small.path) in said or "configuration" in said
        elif kind == "findings":  # of which the manifest has a digest
            assert content(small.path) == before

    try:
        check()
    finally:
        path.write_bytes(whole)
    assert content(small.path) == before
