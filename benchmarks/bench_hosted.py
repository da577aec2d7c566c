"""An audit over HTTP beside a local one of the same model: images a second, the client's share of the processors, findings.

    python benchmarks/bench_hosted.py [--prompts 8] [--generations 64] [--repeats 3]

Client and server share this machine: ``memcore serve-model`` has a process a processor, the client is one worker with four
requests at a time. Times are those between the first shard's start and the last one's end, so that loading does not count.
The runs alternate, and the medians are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from memcore.audit import audit
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling.http import HttpSampler
from memcore.study.dataset import load, load_demo

STEPS, BATCH, CONCURRENCY = 10, 16, 4


def main() -> None:
    """Run the audits and print their rates as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--generations", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    demo = load_demo()
    prompts = [item.caption for item in load(demo.folder).items[: arguments.prompts]]
    found: dict[str, list[float]] = {"local": [], "hosted": [], "client_share": []}
    same = True
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        server, address, token = serve(demo.model)
        try:
            for repeat in range(arguments.repeats):
                common: dict[str, Any] = {"generations": arguments.generations, "shard_prompts": 2}
                local = audit_locally(folder / f"local-{repeat}", demo.model, prompts, common)
                found["local"].append(rate(local))
                sampler = HttpSampler(address, protocol="memcore", token=token, concurrency=CONCURRENCY)
                config = Config(source="custom", batch_size=BATCH * CONCURRENCY, **common)
                cpu = time.process_time()
                hosted = audit(
                    folder / f"hosted-{repeat}", config, sampler=sampler, prompts=prompts, quiet=True
                )
                cpu = time.process_time() - cpu
                sampler.close()
                found["hosted"].append(rate(hosted))
                found["client_share"].append(cpu / (seconds(hosted) * (os.cpu_count() or 1)))
                same &= digests(hosted) == digests(local)
        finally:
            server.terminate()
            server.wait()
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(
        json.dumps(
            {**medians, "ratio": medians["hosted"] / medians["local"], "same_findings": same, "all": found}
        )
    )


def serve(model: Path) -> tuple[subprocess.Popen[str], str, str]:
    """Start the server, and return it with its address and token."""
    command = [sys.executable, "-m", "memcore.cli", "serve-model", str(model), "--steps", str(STEPS)]
    command += ["--guidance-scale", "1", "--batch-size", str(BATCH), "--port", "0", "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    told = json.loads(server.stdout.readline())
    return server, told["address"], told["token"]


def audit_locally(run: Path, model: Path, prompts: list[str], common: dict[str, Any]) -> RunFolder:
    """Audit the model with a worker a processor."""
    config = Config(model=str(model), steps=STEPS, guidance_scale=1.0, batch_size=BATCH, **common)
    return audit(run, config, prompts=prompts, quiet=True)


def seconds(run: RunFolder) -> float:
    """Return the seconds from the first shard's start to the last one's end."""
    manifests = run.manifests()
    return max(m["finished"] for m in manifests) - min(m["started"] for m in manifests)


def rate(run: RunFolder) -> float:
    """Return images a second."""
    return sum(m["generated"] for m in run.manifests()) / seconds(run)


def digests(run: RunFolder) -> list[str]:
    """Return the sha256 of each shard's findings."""
    names = [layout.findings_name(shard.task) for shard in run.done()]
    return [hashlib.sha256(run.storage.read(name)).hexdigest() for name in names]


if __name__ == "__main__":
    main()
