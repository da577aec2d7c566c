"""Audits of a hosted model: nothing is paid twice, nothing is lost, and what was received decides what is found."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from memcore.audit import audit
from memcore.errors import ConfigError, OutageError, StoppedError
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.received import read_spent
from memcore.runs.status import status, status_lines
from memcore.runs.summary import summary
from memcore.sampling import transient
from memcore.sampling.http import HttpSampler
from memcore.system import atomic_files
from tests.support.faulty_disk import QuickDisk
from tests.support.hosted_server import FAULTS, HostedServer, Misbehave, options
from tests.support.synthetic import PROMPTS, SyntheticSampler

CONFIG = Config(source="custom", generations=24, batch_size=16, min_clique=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())
    monkeypatch.setattr(transient, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(transient, "LONGEST_WAIT", 0.002)


@pytest.fixture
def server() -> Iterator[HostedServer]:
    with HostedServer() as hosted:
        yield hosted


def hosted_audit(run: Path, hosted: HostedServer, config: Config = CONFIG, **more: Any) -> RunFolder:
    """Audit the server's model in this process."""
    made = {
        name: more.pop(name) for name in ("tries", "timeout", "concurrency", "per_request") if name in more
    }
    sampler = HttpSampler(**options(hosted, **made))
    try:
        return audit(run, config, sampler=sampler, prompts=more.pop("prompts", PROMPTS), quiet=True, **more)
    finally:
        sampler.close()


def findings(folder: RunFolder) -> dict[str, Any]:
    """Return the rows by prompt, without the digests of files."""
    return {row["prompt"]: row for row in folder.findings()}


def digests(folder: RunFolder) -> list[str]:
    """Return the sha256 of each shard's findings, in order of their prompts; the shards' names hold the run's digest."""
    names = [layout.findings_name(shard.task) for shard in folder.done()]
    return [hashlib.sha256(folder.storage.read(name)).hexdigest() for name in names]


class LocalSampler(SyntheticSampler):
    """Makes in this process the images that the server makes."""

    seed_bits = 32


def test_findings_are_those_of_a_local_audit_byte_for_byte(tmp_path: Path, server: HostedServer) -> None:
    local = audit(tmp_path / "local", CONFIG, sampler=LocalSampler(), prompts=PROMPTS, quiet=True)
    folder = hosted_audit(tmp_path / "run", server)
    assert digests(folder) == digests(local)
    assert summary(folder)["candidates"] == 2
    assert set(server.asked.values()) == {1}, "an image was asked for twice"
    assert not folder.storage.names(layout.RECEIVED), "what can be made again for nothing is not kept"


def misbehaving(share: float, seed: int) -> Misbehave:
    """Return a behaviour with this share of bad answers; of an image's later requests as well."""

    def misbehave(prompt: str, image: int | None, tries: int) -> str:
        rng = random.Random(f"{seed} {prompt} {image} {tries}")
        return rng.choice(FAULTS) if rng.random() < share else ""

    return misbehave


def test_of_a_server_with_three_bad_answers_in_ten(tmp_path: Path) -> None:
    """Every failure has its code in the quarantine, and what was answered is what a good server answers."""
    local = findings(audit(tmp_path / "local", CONFIG, sampler=LocalSampler(), prompts=PROMPTS, quiet=True))
    with HostedServer(misbehaving(0.3, 1), drip=0.2) as bad:
        folder = hosted_audit(tmp_path / "run", bad, timeout=0.1, concurrency=8)
        told = {(bad.bodies[k]["prompt"], code) for k, code in enumerate(_codes(bad))}
    found = findings(folder)
    noted = {(entry["source"], entry["reason"]) for entry in folder.quarantine()}
    assert len(found) == len(PROMPTS)
    assert {pair for pair in told if pair[1]} <= noted, "a failure is missing in the quarantine"
    whole = [
        p
        for p in PROMPTS
        if (p, "refused-image") not in noted and found[p]["excluded"] == local[p]["excluded"]
    ]
    assert len(whole) >= 1
    for prompt in whole:
        assert found[prompt] == local[prompt]
    for prompt, row in found.items():
        if prompt not in (*whole, "nothing but black"):  # of which all images are excluded anyway
            assert row["excluded"] > local[prompt]["excluded"]


def _codes(bad: HostedServer) -> Iterator[str]:
    """Yield the code of each answer that the server gave, "" for a good one."""
    codes = {
        "500": "http-500", "429": "http-429", "cut": "http-cut", "slow": "http-slow", "wrong-size": "http-wrong-size",
        "broken": "http-truncated", "few": "http-few", "refused": "refused-image", "garbage": "http-format", "": "",
    }  # fmt: skip
    tries: dict[tuple[str, int], int] = {}
    for body in bad.bodies:
        key = body["prompt"], body["seed"]
        yield codes[bad.misbehave(*key, tries.get(key, 0))]
        tries[key] = tries.get(key, 0) + 1


def test_the_same_received_bytes_give_the_same_findings(tmp_path: Path) -> None:
    """A source without seeds makes another picture each time: what it gave is kept, and decides."""
    with HostedServer(seeds=False) as unseeded:
        folder = hosted_audit(tmp_path / "run", unseeded, per_request=3)
        before, asked = digests(folder), unseeded.images
        assert "no: the server takes no seeds" in folder.meta["sampler"]["describe"].values()
    for shard in folder.done():
        folder.storage.remove(layout.manifest_name(shard.task))
        folder.storage.remove(layout.findings_name(shard.task))
    again = hosted_audit(tmp_path / "run", unseeded, per_request=3)  # which is gone
    assert digests(again) == before
    assert unseeded.images == asked
    told = status(again)
    assert told["spent"] == {"images": asked, "unanswered": 0, "cost": None, "unanswered_cost": None}
    assert f"{asked} images received" in status_lines(told)


def test_a_refused_prompt_has_failed_and_costs_no_more_questions(tmp_path: Path) -> None:
    config = Config(source="custom", generations=64, batch_size=16, min_clique=3)
    with HostedServer(lambda prompt, seed, tries: "refused" if prompt == "rain" else "") as strict:
        folder = hosted_audit(tmp_path / "run", strict, config)
        assert strict.asked.total() <= 16 + 6 * 64
        row = findings(folder)["rain"]
        assert (row["status"], row["reason"], row["generated"]) == ("failed", "refused", 0)
        (entry,) = (e for e in folder.quarantine() if e["reason"] == "refused")
        assert "content_policy_violation: not this" in entry["detail"]
        told = summary(folder)
        assert told["failed"] == 1
        assert any(gap["code"] == "failed" for gap in told["not_decided"])
        strict.misbehave = lambda prompt, seed, tries: ""
        before = strict.asked.total()
        again = hosted_audit(tmp_path / "run", strict, config, retry_failed=True)
        assert findings(again)["rain"]["status"] == "none"
        assert strict.asked.total() - before == 64


def test_some_refused_images_are_left_out_of_their_prompt(tmp_path: Path) -> None:
    with HostedServer(lambda prompt, seed, tries: "refused" if (seed or 0) % 3 == 0 else "") as strict:
        folder = hosted_audit(tmp_path / "run", strict)
        assert set(strict.asked.values()) == {1}, "a refusal was asked for again"
    for prompt, row in findings(folder).items():
        refused = sum(seed % 3 == 0 for name, seed in strict.asked if name == prompt)
        assert refused
        assert row["excluded"] == (CONFIG.generations if prompt == "nothing but black" else refused)
        assert row["status"] != "failed"


@pytest.mark.parametrize("status_code", ["401", "402", "403", "404"])
def test_a_server_that_refuses_everything_ends_the_run(tmp_path: Path, status_code: str) -> None:
    with HostedServer(lambda prompt, seed, tries: status_code if prompt == "rain" else "") as expired:
        with pytest.raises(StoppedError, match=f"refuses every request, http-{status_code}: "):
            hosted_audit(tmp_path / "run", expired)
        half = RunFolder.open(tmp_path / "run")
        assert half.done()
        assert not [row for row in half.findings() if row["status"] == "failed"]
        expired.misbehave = lambda prompt, seed, tries: ""
        folder = hosted_audit(tmp_path / "run", expired)
    assert len(folder.findings()) == len(PROMPTS)
    assert max(expired.sent.values()) == 1, "what was received before was asked for again"


def test_an_outage_ends_the_run_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient, "PATIENCE", 0.05)
    with HostedServer(lambda prompt, seed, tries: "500" if prompt == "rain" else "") as down:
        with pytest.raises(OutageError, match="http-500"):
            hosted_audit(tmp_path / "run", down)
        down.misbehave = lambda prompt, seed, tries: ""
        assert len(hosted_audit(tmp_path / "run", down).findings()) == len(PROMPTS)
    assert set(down.sent.values()) == {1}


def test_only_wrong_sizes_end_the_run_before_they_cost_much(tmp_path: Path) -> None:
    with HostedServer(lambda prompt, seed, tries: "wrong-size") as wrong:
        with pytest.raises(
            StoppedError, match=r"in a row brought no picture, the last one: http-wrong-size: "
        ):
            hosted_audit(tmp_path / "run", wrong)
        assert wrong.asked.total() < 30


def test_prompts_that_no_server_takes_are_told_from_a_server_that_takes_none(tmp_path: Path) -> None:
    """A few prompts in a row may be at fault; ten are not. The next command goes on behind them."""
    prompts = [f"{word} {n}" for n in range(3) for word in ("bad", "rain", "worse", "worst", "a door")]
    config = Config(source="custom", generations=12, batch_size=12, min_clique=3)
    with HostedServer(
        lambda prompt, seed, tries: "400" if prompt.startswith(("bad", "wors")) else ""
    ) as picky:
        folder = hosted_audit(tmp_path / "run", picky, config, prompts=prompts)
        failed = {row["prompt"] for row in folder.findings() if row["status"] == "failed"}
        assert failed == {p for p in prompts if p.startswith(("bad", "wors"))}
        picky.misbehave = lambda prompt, seed, tries: "422"
        with pytest.raises(
            StoppedError, match=r"10 prompts in a row brought no picture, the last one: http-422: "
        ):
            hosted_audit(tmp_path / "other", picky, config, prompts=prompts)


def test_a_run_stops_before_its_money_is_spent_and_is_resumed(tmp_path: Path, server: HostedServer) -> None:
    total = len(PROMPTS) * CONFIG.generations
    with pytest.raises(StoppedError, match=r"of max-cost=1\.00 is spent or asked for.*larger --max-cost"):
        hosted_audit(tmp_path / "run", server, price_per_image="0.03", max_cost="1.00")
    assert server.asked.total() == 33
    spent = read_spent(RunFolder.open(tmp_path / "run"))
    assert spent is not None
    assert (spent.images, spent.unanswered, spent.cost) == (33, 0, Decimal("0.99"))
    with pytest.raises(StoppedError, match=r"max-cost=1\.00"):
        hosted_audit(tmp_path / "run", server, price_per_image="0.03", max_cost="1.00")
    assert server.asked.total() == 33
    folder = hosted_audit(tmp_path / "run", server, price_per_image="0.03", max_cost="100")
    assert server.asked.total() == total
    assert set(server.asked.values()) == {1}
    assert summary(folder)["spent"] == {
        "images": total,
        "unanswered": 0,
        "cost": str(total * Decimal("0.03")),
        "unanswered_cost": None,
    }
    assert folder.storage.names(layout.RECEIVED), "images that were paid are kept"


def test_answers_that_never_came_may_be_billed(tmp_path: Path) -> None:
    """The limit counts them, and status says so."""
    with HostedServer(lambda prompt, seed, tries: "cut" if tries == 0 else "") as bad:
        with pytest.raises(StoppedError):
            hosted_audit(tmp_path / "run", bad, price_per_image="0.5", max_cost="10", concurrency=1)
        assert bad.asked.total() == 20
    spent = read_spent(RunFolder.open(tmp_path / "run"))
    assert spent is not None
    assert (spent.images, spent.unanswered, spent.cost, spent.unanswered_cost) == (10, 10, 5, 5)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"max_cost": "1"}, "max_cost needs price_per_image"),
        ({"max_cost": "1", "price_per_image": "0.1", "part": (1, 2)}, "max_cost needs one worker"),
    ],
)
def test_a_limit_that_nobody_could_hold_is_refused(
    tmp_path: Path, server: HostedServer, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        hosted_audit(tmp_path / "run", server, **more)
    assert not server.asked


def test_a_price_is_of_hosted_models(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="price_per_image is of a hosted model"):
        audit(tmp_path / "run", CONFIG, sampler=SyntheticSampler(), prompts=PROMPTS, price_per_image="0.1")
