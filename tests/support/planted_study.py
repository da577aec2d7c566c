"""Studies whose tables are made up, so that the truth of each finding is known."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from PIL import Image

from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest, digest_bytes
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import Attack, DataSpec, Factors, Group, ModelSpec, Protocol
from memcore.study.rows import Name, rows_name
from memcore.study.status import State
from memcore.study.tables import rows_to_bytes

LETTERS = "abcdefghi"
#: The findings that compare kinds of models.
COMPARED = "jkl"
SEEDS = (0, 1, 2, 3, 4)
STEPS = (500, 1000, 2000)
SAMPLES = 1000
#: What an effect is multiplied by in each seed: about the same in all, or as often for as against.
_STEADY = (1.0, 0.9, 1.1, 0.95, 1.05)
_MIXED = (1.0, -1.0, 0.9, -0.95, 0.05)


class Files:
    """A storage in memory, as far as tables are read."""

    place = "study"

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        return self.held[name]

    def exists(self, name: str) -> bool:
        return name in self.held

    def put(self, model: str, table: Name, rows: Sequence[Mapping[str, Any]], axes: Any = None) -> None:
        self.held[rows_name(model, table)] = rows_to_bytes(table, rows, axes)


class Digests(Mapping[str, Mapping[str, FileDigest]]):
    """The digests of each model's tables, as manifests would hold them of what is there now."""

    def __init__(self, files: Files, models: Sequence[ModelSpec]) -> None:
        self._files, self._models = files, [spec.id for spec in models]

    def __getitem__(self, model: str) -> dict[str, FileDigest]:
        held = self._files.held.items()
        return {name: digest_bytes(data) for name, data in held if name.startswith(f"rows/{model}.")}

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


def effect_in(seed: int, effect: int) -> float:
    """Return a seed's share of an effect: 1 for the finding, -1 for its opposite, 0 for neither."""
    return effect * _STEADY[seed % 5] if effect else _MIXED[seed % 5]


def study_of(
    letters: Iterable[str] = LETTERS, effect: int = 1, seeds: Sequence[int] = SEEDS, **swapped: bool
) -> Study:
    """Return a study of these findings in which each has the effect. ``swapped=True`` exchanges the labels of its rows."""
    files = Files()
    groups, specs = [], []
    for letter in letters:
        plan = PLANS[letter]
        group = Group(f"group-{letter}", (letter,), tuple(seeds), STEPS, plan.attacks)
        groups.append(group)
        for seed in seeds:
            models = [
                ModelSpec(f"{letter}{i}-s{seed}", (group.name,), seed, factors, STEPS, plan.attacks)
                for i, factors in enumerate(plan.factors)
            ]
            plan.write(files, models, effect_in(seed, effect), swapped.get("swapped", False))
            specs += models
    protocol = Protocol("planted", "tables that are made up", {"images": DataSpec()}, tuple(groups))
    done: dict[str, State] = {spec.id: "done" for spec in specs}
    return Study(protocol, specs, done, cast("Storage", files), Digests(files, specs))


def with_states(study: Study, why: str = "", **states: State) -> Study:
    """Return the study with other states of some models, named with "_" for "-"."""
    changed = {name.replace("_", "-"): state for name, state in states.items()}
    assert changed.keys() <= study.states.keys()
    return dataclasses.replace(
        study, states={**study.states, **changed}, why={name: why for name in changed if why}
    )


def files_of(study: Study) -> Files:
    return cast("Files", study.storage)


Write = Callable[[Files, Sequence[ModelSpec], float, bool], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The models of one seed and what writes their tables, given the seed's effect and whether labels are swapped."""

    attacks: tuple[Attack, ...]
    factors: Sequence[Factors]
    write: Write


def extraction_rows(
    step: int,
    share: float,
    *,
    control: float = 0.002,
    planted: int = 100,
    levels: Mapping[int, tuple[int, int]] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of one checkpoint, equal for both rules. ``levels`` maps copies to (planted, found)."""
    rows = []
    for rule in ("adaptive_held_out", "ratio"):
        common = {"step": step, "rule": rule, "threshold": 1.0, "samples": SAMPLES, "merged": 0}
        for of, part in (("train", share), ("held-out", control)):
            hits = round(min(1.0, max(0.0, part)) * SAMPLES)
            rows.append(
                {
                    **common,
                    "of": of,
                    "copies": 0,
                    "hits": hits,
                    "unique": min(planted, hits // 4),
                    "planted": planted,
                }
            )
        for copies, (there, found) in (levels or {}).items():
            rows.append(
                {**common, "of": "train", "copies": copies, "hits": found, "unique": found, "planted": there}
            )
    return rows


def _duplicates(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    found = {copies: 0.5 + 0.24 * e * (np.log10(copies) - 1) * 2 for copies in (1, 10, 100)}
    if swapped:
        found[1], found[100] = found[100], found[1]
    levels = {c: (50, round(50 * float(np.clip(share, 0, 1)))) for c, share in found.items()}
    rows = [
        row for step in STEPS for row in extraction_rows(step, 0.3 * step / 2000, levels=levels, planted=150)
    ]
    files.put(models[0].id, "extraction", rows)


def _set_size(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    for spec in models:
        f = spec.factors
        n = 128 * 32 // f.n if swapped else f.n
        log = np.log(np.array(STEPS) / 1000) + np.log(f.width / 32) - np.log(n / 64)
        shares = (
            0.4 + 0.12 * e * log
            if e > 0
            else 0.4 + 0.12 * e * (np.log(np.array(STEPS) / 1000) - np.log(n / 64))
        )
        files.put(
            spec.id,
            "extraction",
            [
                r
                for step, s in zip(STEPS, shares, strict=True)
                for r in extraction_rows(step, float(s), planted=f.n)
            ],
        )


def _quality(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    for i, spec in enumerate(models):
        distances = [90 - 20 * k - 6 * i for k in range(len(STEPS))]
        leaks = [0.4 + e * (0.1 * (k - 1) + 0.03 * (i - 1)) for k in range(len(STEPS))]
        if swapped:
            distances = [150 - d for d in distances]
        files.put(
            spec.id,
            "extraction",
            [r for step, s in zip(STEPS, leaks, strict=True) for r in extraction_rows(step, s)],
        )
        quality = [
            {
                "step": step,
                "of": of,
                "frechet": d,
                "samples": SAMPLES,
                "reference": 100,
                "features_sha256": "f" * 64,
            }
            for step, held_out in zip(STEPS, distances, strict=True)
            for of, d in (("held-out", held_out), ("train", held_out - 5))
        ]
        files.put(spec.id, "quality", quality)
        _pictures(files, spec)


def _contrast(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    """The first model leaks more than the last; what is between them is in between."""
    for i, spec in enumerate(models[::-1] if swapped else models):
        size = 1 - 2 * i / (len(models) - 1)
        rows = [
            r for k, step in enumerate(STEPS) for r in extraction_rows(step, 0.1 + 0.05 * k + 0.09 * e * size)
        ]
        files.put(spec.id, "extraction", rows)
        _pictures(files, spec)


def _membership(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    """For: images differ in difficulty, so that LiRA helps, and every draw tells something. Against: they do not, and the
    further draws are noise, so that shadow models add noise alone; members then have the higher loss, too.
    """
    seed = models[0].seed
    rng = np.random.default_rng(seed)
    images, timesteps, draws = 60, (50, 100), 6
    halves = [rng.permuted(np.arange(images) < images // 2) for _ in range(len(models) // 2)]
    hard = rng.normal(size=images)
    for k, spec in enumerate(models):
        member = halves[k // 2] ^ bool(k % 2)
        logs = -2 + 0.5 * np.sign(e) * (0.8 * hard[:, None, None] - member[:, None, None]) * np.ones(
            (1, 2, draws)
        )
        if e > 0:
            logs = logs + 0.6 * rng.normal(size=logs.shape)
        losses = np.exp(logs + 0.1 * rng.normal(size=logs.shape)).astype(np.float32).reshape(images, -1)
        rows = [
            {
                "image": i,
                "member": bool(member[i]) != swapped,
                "role": "member" if member[i] else "held-out",
                "losses": losses[i].tolist(),
            }
            for i in range(images)
        ]
        files.put(spec.id, "losses", rows, {"timesteps": list(timesteps), "draws": draws, "flips": 1})


def _agreement(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    """For: models on large halves turn equal noise into nearly equal images, those on small halves do not."""
    rng = np.random.default_rng(models[0].seed)
    for n in sorted({spec.factors.n for spec in models}):
        pair = [spec for spec in models if spec.factors.n == n]
        shared = rng.integers(0, 256, (16, 4, 4, 1))
        close = 0.5 + 0.4 * e * (1 if (n > 500) != swapped else -1)
        for spec in pair:
            own = rng.integers(0, 256, (16, 4, 4, 1))
            images = np.clip(close * shared + (1 - close) * own, 0, 255).astype(np.uint8)
            rows = [
                {
                    "step": STEPS[-1],
                    "seed": s,
                    "height": 4,
                    "width": 4,
                    "channels": 1,
                    "pixels": image.tobytes(),
                }
                for s, image in enumerate(images)
            ]
            files.put(spec.id, "samples", rows)


def _inpainting(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    rng = np.random.default_rng(models[0].seed)
    for spec in models:
        member = np.arange(80) % 2 == 0
        scores = rng.normal(size=80) + 1.5 * e * member
        rows = [
            {"image": i, "member": bool(member[i]) != swapped, "score": float(scores[i])} for i in range(80)
        ]
        files.put(spec.id, "inpainting", rows)


def _kinds(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    """For: of the diffusion model more is found, nearly nothing of the GAN; both come near to held-out images alike."""
    for spec in models:
        diffusion = (spec.factors.model == "diffusion") != swapped
        share = 0.16 * (1 + (0.9 if diffusion else -0.9) * e)
        rows = [r for k, s in enumerate(STEPS) for r in extraction_rows(s, share * (0.7 + 0.15 * k))]
        files.put(spec.id, "extraction", rows)
        quality = [
            {
                "step": step,
                "of": "held-out",
                "frechet": 95.0 - 20 * k + (spec.seed if diffusion else 3),
                "samples": SAMPLES,
                "reference": 100,
                "features_sha256": "f" * 64,
            }
            for k, step in enumerate(STEPS)
        ]
        files.put(spec.id, "quality", quality)


def _decay(files: Files, models: Sequence[ModelSpec], e: float, swapped: bool) -> None:
    """For: the diffusion model's share halves where the set doubles, and the GAN's is low at any size."""
    for spec in models:
        diffusion = (spec.factors.model == "diffusion") != swapped
        share = 0.2 * 2.0 ** (-e * np.log2(spec.factors.n / 32)) if diffusion else 0.23 - 0.18 * e
        files.put(spec.id, "extraction", [r for s in STEPS for r in extraction_rows(s, float(share))])


def png(value: int, side: int = 8) -> bytes:
    """Return a small grey picture as PNG."""
    sink = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(sink, "png")
    return sink.getvalue()


def _pictures(files: Files, spec: ModelSpec) -> None:
    rows = [
        {
            "step": STEPS[-1],
            "kind": kind,
            "seed": 7,
            "image": 3,
            "copies": 1,
            "ratio": ratio,
            "sample": png(100),
            "training": png(110),
        }
        for kind, ratio in (("strongest", 0.05 + spec.seed / 100), ("median", 0.2))
    ]
    files.put(spec.id, "pictures", rows)


PLANS: dict[str, Plan] = {
    "a": Plan(("extraction",), [Factors(n=150, copies=((50, 100), (50, 10)))], _duplicates),
    "b": Plan(("extraction",), [Factors(n=n, width=w) for n in (32, 64, 128) for w in (16, 32)], _set_size),
    "c": Plan(("extraction", "quality"), [Factors(n=256, width=w) for w in (16, 32, 64)], _quality),
    "d": Plan(("extraction",), [Factors(flips=f) for f in (False, True)], _contrast),
    "e": Plan(
        ("extraction",), [Factors(copies=((4, 20),), deduplicated=d) for d in (False, True)], _contrast
    ),
    "f": Plan(("extraction",), [Factors(labels=x) for x in ("unique", "class", "none")], _contrast),
    "g": Plan(("membership",), [Factors(n=60, half=k) for k in range(8)], _membership),
    "h": Plan(("samples",), [Factors(n=n, half=k) for n in (64, 1024) for k in (0, 1)], _agreement),
    "i": Plan(("inpainting",), [Factors(n=64)], _inpainting),
    "j": Plan(
        ("extraction", "quality"),
        [
            Factors(n=n, copies=c, model=m)
            for n, c in ((100, ()), (150, ((10, 20),)))
            for m in ("diffusion", "dcgan")
        ],
        _kinds,
    ),
    "k": Plan(("extraction", "quality"), [Factors(n=100, model=m) for m in ("diffusion", "dcgan")], _kinds),
    "l": Plan(
        ("extraction",), [Factors(n=n, model=m) for n in (16, 32, 64) for m in ("diffusion", "dcgan")], _decay
    ),
}
