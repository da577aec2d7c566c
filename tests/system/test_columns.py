"""Tables of a few bytes that would fill the memory are refused before they are read, and honest ones are not."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.system import claims
from memcore.system.parquet import ParquetTable


def parquet(column: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": column}), sink, compression="zstd", **options)
    return sink.getvalue()


def check(data: bytes) -> None:
    claims.check_claims(ParquetTable(pa.BufferReader(data)), data)


def repeated(rows: int, size: int) -> Any:
    """One text of ``size`` letters in every row."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * size]))


BOMBS = {
    "a text that is stored once": lambda: parquet(repeated(20_000, 20_000)),
    "in lists": lambda: parquet(pa.array([["x" * 100_000]] * 2_000)),
    "after a row of none": lambda: parquet(pa.array([[], None] + [["x" * 100_000]] * 2_000)),
    "after a null": lambda: parquet(pa.array([None] + ["x" * 100_000] * 2_000)),
    "in records": lambda: parquet(pa.array([{"a": {"b": "x" * 100_000}}] * 2_000)),
    "in several row groups": lambda: parquet(repeated(20_000, 20_000), row_group_size=1_000),
    "repeated by the compression": lambda: parquet(pa.array(["x" * 1_000] * 200_000), use_dictionary=False),
    "numbers in one list": lambda: parquet(pa.array([np.zeros(40_000_000, np.int8)])),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_table_that_would_fill_the_memory_is_refused(kind: str) -> None:
    data = BOMBS[kind]()
    assert len(data) < 1 << 20
    with pytest.raises(ValueError, match=r"claims|repeat a few"):
        check(data)


def test_no_memory_is_taken_to_see_it(tmp_path: Path) -> None:
    """Twenty thousand rows of a text of 100,000 letters: 2 GB."""
    (tmp_path / "bomb.parquet").write_bytes(parquet(repeated(20_000, 100_000)))
    program = (
        "import resource, sys; from pathlib import Path; import numpy as np; from memcore.system import columns\n"
        "data = np.frombuffer(Path(sys.argv[1]).read_bytes(), np.uint8)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: columns.read_rows(data, ['text'], 20_000)\n"
        "except ValueError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    said, mebibytes = done.stdout.splitlines()
    assert "repeat a few" in said
    assert int(mebibytes) < 100


def test_large_tables_that_are_what_they_say_are_read() -> None:
    draw = random.Random(1)
    texts = [f"{draw.random()} " * draw.randrange(1, 30) for _ in range(60_000)]
    for column in (pa.array(texts), pa.array(texts * 4), pa.array([[text, None] for text in texts])):
        check(parquet(column))
    check(parquet(pa.array([None] * 1_000_000, pa.string())))
    check(parquet(pa.array([], pa.string())))
