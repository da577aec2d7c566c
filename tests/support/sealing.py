"""Change files of a run whose content is sealed, so that they are what memcore would have written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memcore.report.run import read_run
from memcore.runs.derived import match_digest, read_match
from memcore.runs.rows import MadeFrom
from memcore.storage.digests import digest_bytes, seal
from memcore.storage.local import LocalStorage


def seal_toml(text: str) -> str:
    """Return the text of a run.toml with its seal, in the place of one that it has."""
    body = "\n".join(line for line in text.split("\n") if not line.startswith("seal = "))
    return f'seal = "{seal(tomllib.loads(body))["seal"]}"\n{body}'


def change_toml(run: Path, old: str, new: str) -> None:
    """Replace a text of run.toml, which must be there, and seal it again."""
    text = (run / "run.toml").read_text("utf-8")
    assert old in text
    (run / "run.toml").write_text(seal_toml(text.replace(old, new)), "utf-8")


def write_sealed(path: Path, record: Any) -> None:
    """Write a sealed JSON file, in the place of one that is there, which may be a link."""
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(seal(record)))


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a sealed JSON file and seal it again."""
    record = json.loads(path.read_text("utf-8"))
    change(record)
    write_sealed(path, record)


def sign_matches(run: Path) -> None:
    """Let match.json hold the digest of matches.parquet as it is now."""
    digest = digest_bytes((run / "matches.parquet").read_bytes())
    change_json(run / "match.json", lambda record: record["files"].update({"matches.parquet": digest}))


def write_evaluation(run: Path, evaluation: Any) -> None:
    """Write evaluation.json as one that was made from the run as it is now."""
    (run / "evaluation.json").unlink(missing_ok=True)
    state = read_run(run).state
    storage = LocalStorage(run)
    made_from: MadeFrom = {
        "run": state.digest,
        "findings": state.findings,
        "matches": match_digest(storage, read_match(storage)),
    }
    write_sealed(run / "evaluation.json", {**evaluation, "made_from": made_from})
