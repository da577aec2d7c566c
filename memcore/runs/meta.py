"""The content of ``run.toml``: what a run was started with, and how another configuration differs from it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from memcore.errors import MissingExtraError
from memcore.runs.config import Config
from memcore.runs.prompts import PromptList
from memcore.runs.reading import FORMAT
from memcore.storage.digests import FileDigest, seal


def make_meta(
    config: Config,
    digest: str,
    fingerprint: str,
    describe: Mapping[str, str],
    prompts: PromptList,
    file: FileDigest,
) -> dict[str, Any]:
    """Return the content of ``run.toml`` for a run that is started now; ``file`` is the digest of prompts.parquet."""
    import memcore

    return {
        "run": {
            "format": FORMAT,
            "digest": digest,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "memcore": memcore.__version__,
            "seed": config.seed,
        },
        "config": config.as_recorded(),
        "graph": {
            "threshold": config.threshold,
            "grid": list(config.grid),
            "min_clique": config.min_clique,
        },
        "budget": config.describe_budget(),
        "screen": config.describe_screen(),
        "prompts": {
            "count": prompts.count,
            "source": config.prompts or config.images,
            "digest": prompts.digest,
            **{name: count for name in ("blank", "repeated") if (count := getattr(prompts, name))},
            **({"conditions": list(prompts.conditions)} if prompts.conditions else {}),
            "file": file,
        },
        "sampler": {"kind": config.source, "fingerprint": fingerprint, "describe": dict(describe)},
    }


def meta_bytes(meta: Mapping[str, Any]) -> bytes:
    """Return the content of ``run.toml`` as TOML, sealed."""
    try:
        import tomli_w
    except ImportError:
        raise MissingExtraError("tomli-w", "audit", "A run folder") from None
    return tomli_w.dumps(seal(_storable(meta))).encode()


def _storable(value: Any) -> Any:
    """Return a value whose texts UTF-8 can hold: of paths that are of another encoding, foreign bytes become escapes."""
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # half a character, which is no byte of a path
            return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_storable(key): _storable(held) for key, held in value.items()}
    return [_storable(held) for held in value] if isinstance(value, list | tuple) else value


def explain_difference(
    place: str,
    meta: Mapping[str, Any],
    old: Config,
    new: Config,
    describe: Mapping[str, str],
    prompts: PromptList,
) -> str:
    """Say why the run of ``meta`` is not resumed: what differs between its configuration and the one that is given."""
    was = {**meta["sampler"]["describe"], **old.as_recorded()}
    now = {**describe, **new.as_recorded()}
    for name in ("model", "images", "prompts", "sampler"):
        was.pop(name, None), now.pop(name, None)
    lines = difference(was, now)
    if meta["prompts"]["digest"] != prompts.digest:
        lines.append("prompts: another list of prompts")
    listing = "\n  ".join(lines) or "the sampler's fingerprint"
    return (
        f"{place} was started with another configuration and is not changed; what differs (old -> new):\n  {listing}\n"
        "Give the old values to resume it, or another folder to start again."
    )


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what differs between two flat configurations, as lines.

    >>> difference({"steps": 20, "seed": 0}, {"steps": 30, "seed": 0})
    ['steps: 20 -> 30']
    """
    names = sorted(set(old) | set(new))
    return [
        f"{n}: {old.get(n, 'not set')} -> {new.get(n, 'not set')}" for n in names if old.get(n) != new.get(n)
    ]
