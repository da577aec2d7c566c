"""One finding with its evidence: the strongest clique of a prompt, its training image and what is known of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from memcore.evaluation.result import EvaluatedPrompt
from memcore.report.evaluation_json import is_planted
from memcore.report.pictures import Album, Picture
from memcore.report.run import Run
from memcore.report.wording import NAME_LENGTH, PROMPT_LENGTH, tidy
from memcore.runs.pictures import png_bytes
from memcore.runs.rows import MatchRow
from memcore.runs.shown import image_digest

#: Findings shown with pictures; further ones are rows of a table, and of these no more than TABLE_ROWS.
PICTURED = 200
TABLE_ROWS = 3000
#: Copies shown of a clique; of findings after the first WIDE_STRIPS, NARROW_STRIP.
STRIP = 12
WIDE_STRIPS = 50
NARROW_STRIP = 6
SEEDS = 600
#: Largest side in pixels of an embedded training image and of a copy: twice what they take on the page.
TRAINING_SIDE = 400
COPY_SIDE = 200


@dataclasses.dataclass(frozen=True)
class Copy:
    """One generation of the strip."""

    seed: int
    picture: Picture | None


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """A training image near the clique's medoid."""

    name: str
    l2: float


@dataclasses.dataclass(frozen=True)
class Match:
    """A clique and its nearest training image; ``clique`` counts from 0 among the prompt's cliques."""

    clique: int
    size: int
    training_index: int
    training_name: str
    distances: Mapping[str, float]
    extracted: bool
    copies: int
    eidetic: int
    copies_known: bool
    neighbors: list[Neighbor]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A prompt's finding: the clique with the strongest match, and what is known of it.

    ``clique`` counts from 0 among the prompt's ``cliques``. ``extracted`` is None before matching. ``planted`` is the
    prompt's entry in an evaluation against planted truth; by it, an extraction is a ``false_positive``, or ``wrong_image``.
    """

    rank: int
    prompt_id: int
    prompt: str
    clique: int
    cliques: int
    size: int
    generated: int
    mean_distance: float
    ranked_by: float
    proven: bool
    upper: int
    seeds: list[int]
    medoid: int
    extracted: bool | None
    match: Match | None
    planted: EvaluatedPrompt | None
    others: list[Match]
    copies: list[Copy]
    training: Picture | None
    wrong_image: bool
    false_positive: bool
    #: What the images were made from: the given image, and the mean tiled l2 between it and the largest clique.
    given: Picture | None = None
    given_distance: float | None = None
    masked: bool = False


def read_findings(run: Run, album: Album, *, pictured: int = PICTURED) -> list[Finding]:
    """Return the findings in rank order; the first ``pictured`` of them with their pictures."""
    entries = planted_prompts(run)
    return [
        make_finding(run, rank, album, entries, strip=_strip(rank, pictured))
        for rank in range(1, min(len(run.findings), PICTURED + TABLE_ROWS) + 1)
    ]


def planted_prompts(run: Run) -> dict[int, EvaluatedPrompt]:
    """Return the evaluation's entry of each prompt that it lists; none unless it knows what was planted."""
    if run.evaluation is None or not is_planted(run.evaluation):
        return {}
    return {int(entry["prompt_id"]): entry for entry in run.evaluation["prompts"]}


def count_pictures(findings: int) -> int:
    """Return how many pictures a page with ``findings`` findings embeds if they fit."""
    wide = min(findings, WIDE_STRIPS)
    return wide * (STRIP + 1) + (min(findings, PICTURED) - wide) * (NARROW_STRIP + 1)


def make_finding(
    run: Run, rank: int, album: Album, entries: Mapping[int, EvaluatedPrompt], *, strip: int
) -> Finding:
    """Return the finding of a rank, counted from 1, with ``strip`` of its generations; with 0 it has no pictures."""
    row = run.findings[rank - 1]
    prompt_id = int(row["prompt_id"])
    matches = [_match(match, run.copies_known) for match in (run.matches or {}).get(prompt_id, [])]
    match = matches[0] if matches else None
    position = match.clique if match else 0
    clique = row["cliques"][position]
    seeds = [int(seed) for seed in clique["seeds"]]
    medoid = int(clique["medoid_seed"])
    first = [medoid, *(seed for seed in seeds if seed != medoid)][:strip]
    extracted, planted = match.extracted if match else None, entries.get(prompt_id)
    condition = run.condition(prompt_id) if strip else None
    image = condition.image if condition is not None else None
    return Finding(
        rank=rank,
        prompt_id=prompt_id,
        prompt=tidy(row["prompt"], PROMPT_LENGTH) or "(empty prompt)",
        clique=position,
        cliques=len(row["cliques"]),
        size=len(seeds),
        generated=int(row["generated"]),
        mean_distance=float(clique["mean_distance"]),
        ranked_by=float(row["mean_distance"] or 0.0),
        proven=bool(clique["proven"]),
        upper=int(clique["upper"]),
        seeds=seeds[:SEEDS],
        medoid=medoid,
        extracted=extracted,
        match=match,
        planted=planted,
        others=matches[1:],
        training=_training_picture(run, album, match.training_index) if match and strip else None,
        copies=[
            Copy(seed, album.picture(run.image_path(prompt_id, seed), COPY_SIDE, image_digest(row, seed)))
            for seed in first
        ],
        wrong_image=bool(extracted and planted and planted.get("right_image") is False),
        false_positive=bool(extracted and planted and planted.get("expected") is False),
        given=album.embed(png_bytes(image), COPY_SIDE) if image is not None else None,
        given_distance=row.get("given_distance"),
        masked=bool(condition is not None and condition.mask is not None),
    )


def _training_picture(run: Run, album: Album, index: int) -> Picture | None:
    return album.picture(run.training_path(index), TRAINING_SIDE, run.training_digest(index))


def _strip(rank: int, pictured: int) -> int:
    return 0 if rank > pictured else STRIP if rank <= WIDE_STRIPS else NARROW_STRIP


def _match(row: MatchRow, copies_known: bool) -> Match:
    name = tidy(row["training_name"] or row["training_index"], NAME_LENGTH)
    return Match(
        clique=int(row["clique"]),
        size=int(row["size"]),
        training_index=int(row["training_index"]),
        # images of an array have numbers for names
        training_name=f"number {name}" if name.isdigit() else name,
        distances={"l2": float(row["l2"]), "tiled_l2": float(row["tiled_l2"])},
        extracted=bool(row["extracted"]),
        copies=int(row["copies"]),
        eidetic=int(row["eidetic"]),
        copies_known=copies_known,
        neighbors=[
            Neighbor(tidy(n["name"] or n["index"], NAME_LENGTH), float(n["l2"]))
            for n in row["neighbors"] or []
        ],
    )
