"""The pictures of a study's page: the strongest and the median hits of its models, each beside its training image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from memcore.report.pictures import Album, Picture
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import Factors, ModelSpec
from memcore.study.rows import PictureRow

#: Pairs in a row of pictures, at most one of each setting.
SHOWN = 6
SIDE = 160


@dataclasses.dataclass(frozen=True)
class Hit:
    """A generation beside the training image that it is nearest to."""

    setting: str
    image: int
    seed: int
    copies: int
    ratio: str
    training: Picture | None
    sample: Picture | None


@dataclasses.dataclass(frozen=True)
class Wall:
    """Pairs of one kind under their title."""

    title: str
    hits: Sequence[Hit]


@dataclasses.dataclass(frozen=True)
class Walls:
    """What is shown, and of how many models it was chosen; ``refused`` pictures could not be shown."""

    walls: Sequence[Wall]
    models: int
    settings: int
    refused: int


def read_walls(study: Study, album: Album) -> Walls:
    """Return the strongest hit of each of the settings that leak most clearly, and the median hits of the same models.

    Settings are ordered by the ratio of their strongest hit, models within one too. So the strongest pictures are the best
    cases, chosen as such; the median ones are what a hit of these models usually looks like.
    """
    best: dict[Factors, tuple[float, ModelSpec]] = {}
    rows: dict[str, dict[str, PictureRow]] = {}
    for spec in study.specs:
        if not study.is_done(spec):
            continue
        kinds = {row["kind"]: row for row in sorted(study.pictures(spec), key=lambda row: row["step"])}
        if "strongest" in kinds:
            rows[spec.id] = kinds
            ratio = kinds["strongest"]["ratio"]
            if spec.factors not in best or ratio < best[spec.factors][0]:
                best[spec.factors] = (ratio, spec)
    chosen = [spec for _, spec in sorted(best.values(), key=lambda pair: (pair[0], pair[1].id))[:SHOWN]]
    walls = []
    for kind, title in (
        ("strongest", "The strongest hit of each setting"),
        ("median", "The median hit of the same models"),
    ):
        hits = [_hit(spec, rows[spec.id][kind], album) for spec in chosen if kind in rows[spec.id]]
        if hits:
            walls.append(Wall(title, hits))
    shown = [picture for wall in walls for hit in wall.hits for picture in (hit.training, hit.sample)]
    return Walls(walls, len(rows), len(best), sum(picture is None for picture in shown))


def _hit(spec: ModelSpec, row: PictureRow, album: Album) -> Hit:
    return Hit(
        describe(spec, row["step"]),
        row["image"],
        row["seed"],
        row["copies"],
        f"{row['ratio']:.3f}",
        album.embed(row["training"], SIDE),
        album.embed(row["sample"], SIDE),
    )


def describe(spec: ModelSpec, step: int) -> str:
    """Say in a few words what a model is."""
    f = spec.factors
    extra = [
        text
        for text, given in (
            ("flips", f.flips),
            ("deduplicated", f.deduplicated),
            (f"{f.labels} labels", f.labels != "none"),
            ("half of a pool", f.half >= 0),
        )
        if given
    ]
    return ", ".join([f"n = {f.n:,}", f"width {f.width}", f"step {step:,}", *extra])
