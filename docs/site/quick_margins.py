"""Record what ten seeds of the protocol quick give: ``python docs/site/quick_margins.py STUDY --commit ID``.

STUDY is one of quick.toml with ``seeds = 10`` in every group. ``tests/study/test_quick.py`` asserts that the two seeds of
quick lie beyond what these ten never crossed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from importlib.resources import files
from pathlib import Path

from memcore.study.findings import judge_study
from memcore.study.findings.reading import Study
from memcore.study.folder import StudyFolder

RECORD = Path(__file__).parents[1] / "records" / "quick-ten-seeds.json"
SEEDS = 10


def protocol_digest() -> str:
    """Return the digest of the shipped protocol: of another one, other seeds are needed."""
    return hashlib.sha256(files("memcore.study").joinpath("protocols/quick.toml").read_bytes()).hexdigest()


def values_of(study: str) -> dict[str, dict[str, list[float]]]:
    """Return the number of each seed by the letter of the finding and the name of the part, of those that quick measures."""
    findings = judge_study(Study.of(StudyFolder.open(study)))
    return {
        f.letter: {
            part.name: [value for _, value in sorted(part.values.items())]
            for part in f.measured.parts
            if part.values
        }
        for f in findings
        if any(part.values for part in f.measured.parts)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--commit", required=True)
    arguments = parser.parse_args()
    manifests = StudyFolder.open(arguments.study).manifests().values()
    values = values_of(arguments.study)
    for letter, parts in values.items():
        for part, found in parts.items():
            if len(found) != SEEDS:
                raise SystemExit(f"({letter}) {part}: {len(found)} seeds, not {SEEDS}")
    record = {
        "protocol": protocol_digest(),
        "commit": arguments.commit,
        "day": time.strftime("%Y-%m-%d", time.gmtime(max(m["finished"] for m in manifests))),
        "machine": sorted(
            {f"{m['processor']} ({m['instruction_set']}), torch {m['torch']}" for m in manifests}
        ),
        "values": {
            letter: {part: [round(v, 4) for v in found] for part, found in parts.items()}
            for letter, parts in values.items()
        },
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
