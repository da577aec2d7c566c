"""From a run to what the page shows: findings with their evidence, figures, and the verdict in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from memcore import images
from memcore.report.evaluation import against
from memcore.report.pictures import Album, Picture
from memcore.report.reader import Row, Run
from memcore.report.wording import (
    NAME_LENGTH,
    PROMPT_LENGTH,
    count,
    differences,
    duration,
    interval,
    listed,
    percent,
    proportion,
    rate,
    tidy,
)

#: Findings shown with pictures; further ones are rows of a table, and of these no more than TABLE_ROWS.
PICTURED = 200
TABLE_ROWS = 3000
#: Copies shown of a clique; of findings after the first WIDE_STRIPS, NARROW_STRIP.
STRIP = 12
WIDE_STRIPS = 50
NARROW_STRIP = 6
COMPARED = 12
#: Lists that are examples (failures, reasons, misses) end here and say how many more there are.
EXAMPLES = 100
SEEDS = 600
WALL = 10
#: Largest side in pixels of an embedded training image and of a copy: twice what they take on the page.
TRAINING_SIDE = 400
COPY_SIDE = 200

METRICS = {"l2": "l2", "tiled_l2": "tiled l2"}
STAGES = {
    "screen": "screening",
    "sample": "sampling",
    "graph": "distances and graph",
    "clique": "cliques",
    "write": "writing",
}
REASONS = {
    "sampler": "the sampler raised for this prompt",
    "empty": "a prompt without a readable image",
    "error": "a shard that raised three times and was put aside",
    "crash": "a shard whose workers died three times and that was put aside",
    **images.REASONS,
}


@dataclasses.dataclass(frozen=True)
class Copy:
    """One generation of the strip."""

    seed: int
    picture: Picture | None


@dataclasses.dataclass(frozen=True)
class Figure:
    """A key figure: the number, what it counts, and what belongs to it."""

    value: str
    label: str
    note: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """A prompt's finding: the clique with the strongest match, and what is known of it.

    ``clique`` counts from 0 among the prompt's ``cliques``. ``extracted`` is None before matching. ``planted`` is the
    prompt's entry in the evaluation.
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
    match: Mapping[str, Any] | None
    planted: Mapping[str, Any] | None
    others: list[Row]
    copies: list[Copy]
    training: Picture | None

    @property
    def wrong_image(self) -> bool:
        return bool(self.extracted and self.planted and self.planted.get("right_image") is False)

    @property
    def false_positive(self) -> bool:
        return bool(self.extracted and self.planted and self.planted.get("expected") is False)


def training_name(match: Mapping[str, Any]) -> str:
    """The training image's name; one that is only a number (an array has no names) says so."""
    name = tidy(match["training_name"] or match["training_index"], NAME_LENGTH)
    return f"number {name}" if name.isdigit() else name


def findings_of(run: Run, album: Album, *, pictured: int = PICTURED) -> list[Finding]:
    """All findings in rank order; the first ``pictured`` with their pictures."""
    truth = {int(entry["prompt_id"]): entry for entry in (run.evaluation or {}).get("prompts", [])}
    shown = []
    for number, row in enumerate(run.findings[: PICTURED + TABLE_ROWS], 1):
        strip = 0 if number > pictured else STRIP if number <= WIDE_STRIPS else NARROW_STRIP
        shown.append(_finding(run, row, number, truth, album, strip))
    return shown


def pictures_wanted(findings: int) -> int:
    """How many pictures so many findings ask for."""
    wide = min(findings, WIDE_STRIPS)
    return wide * (STRIP + 1) + (min(findings, PICTURED) - wide) * (NARROW_STRIP + 1)


def _finding(run: Run, row: Row, number: int, truth: Mapping[int, Row], album: Album, strip: int) -> Finding:
    prompt_id = int(row["prompt_id"])
    matches = (run.matches or {}).get(prompt_id, [])
    match = matches[0] if matches else None
    position = int(match["clique"]) if match else 0
    clique = row["cliques"][position]
    seeds = [int(seed) for seed in clique["seeds"]]
    medoid = int(clique["medoid_seed"])
    first = [medoid, *(seed for seed in seeds if seed != medoid)][:strip]
    training = run.training_path(int(match["training_index"])) if match and strip else None
    return Finding(
        rank=number,
        prompt_id=prompt_id,
        prompt=tidy(row["prompt"], PROMPT_LENGTH) or "(empty prompt)",
        clique=position,
        cliques=len(row["cliques"]),
        size=len(seeds),
        generated=int(row["generated"]),
        mean_distance=float(clique["mean_distance"]),
        ranked_by=float(row["mean_distance"]),
        proven=bool(clique["proven"]),
        upper=int(clique["upper"]),
        seeds=seeds[:SEEDS],
        medoid=medoid,
        extracted=bool(match["extracted"]) if match else None,
        match={**match, "training_name": training_name(match)} if match else None,
        planted=truth.get(prompt_id),
        others=[{**m, "training_name": training_name(m)} for m in matches[1:]],
        training=album.picture(training, TRAINING_SIDE) if training else None,
        copies=[Copy(seed, album.picture(run.image_path(prompt_id, seed), COPY_SIDE)) for seed in first],
    )


def extracted_prompts(run: Run) -> int | None:
    """Prompts with at least one extracted clique; None before matching."""
    return (
        None if run.matches is None else sum(any(m["extracted"] for m in own) for own in run.matches.values())
    )


def extracted_images(run: Run) -> int:
    """Different training images among the extracted matches."""
    return len(
        {int(m["training_index"]) for own in (run.matches or {}).values() for m in own if m["extracted"]}
    )


def metric(run: Run) -> str:
    """The distance that decides an extraction, in words."""
    return METRICS.get(str(run.match.get("distance", "l2")), "l2")


def judged(run: Run) -> Row | None:
    """The evaluated stage that the verdict speaks of: extracted, or candidates before matching."""
    stages = (run.evaluation or {}).get("stages", {})
    stage: Row | None = stages.get("extracted") or stages.get("candidates")
    return stage


def confidence(run: Run) -> str:
    """The level of the evaluation's intervals."""
    return f"{100 * float((run.evaluation or {}).get('confidence', 0.95)):g} %"


def headline(run: Run) -> str:
    extracted = extracted_prompts(run)
    if not run.done:
        return "No prompt is finished yet"
    of = f"of {count(run.done, 'prompt')}"
    if extracted:
        return f"{extracted:,} {of} {'reproduces' if extracted == 1 else 'reproduce'} training images"
    if extracted == 0 and run.findings:
        return f"None {of} reproduces a training image"
    if run.findings:
        repeats = "repeats one picture" if len(run.findings) == 1 else "repeat one picture"
        return f"{len(run.findings):,} {of} {repeats} again and again"
    return f"None {of} repeats a picture"


def verdict(run: Run, findings: Sequence[Finding]) -> list[str]:
    """The paragraph below the headline, sentence by sentence."""
    if not run.done:
        return [
            "The run has started, but no shard of it is complete. Give the same memcore command again to go on."
        ]
    sentences = [f"For each prompt, {_generations(run)}."]
    repeats = f"at least {run.min_clique} of these are nearly the same picture"
    if not run.findings:
        sentences.append(
            f"For no prompt {repeats}: a {METRICS['tiled_l2']} of {run.threshold:g} or less between any two."
        )
        return sentences
    extracted = extracted_prompts(run)
    first = f"For {count(len(run.findings), 'prompt')}, {repeats}"
    if extracted is None:
        sentences.append(
            f"{first}. They were not yet held against a training set, so these are candidates and no proof."
        )
    else:
        near = (
            f"lies within {_article(metric(run))} {metric(run)} of {run.match.get('delta', '')} of one of the"
        )
        images = count(int(run.match.get("count", 0)), "training image")
        which = (
            "that picture" if extracted == len(run.findings) else f"for {extracted:,} of them that picture"
        )
        sentences.append(
            f"{first}; {which} {near} {images}." if extracted else f"{first}, but none {near} {images}."
        )
        sentences.extend(_clearest(findings))
        sentences.extend(_false_alarms(len(run.findings) - extracted, extracted))
    stage = judged(run)
    if stage:
        precision, recall = stage["precision"], stage["recall"]
        sentences.append(
            f"Against {against(run.evaluation)}, precision is {proportion(precision['value'])} ({confidence(run)} interval "
            f"{interval(precision)}) and recall {proportion(recall['value'])} ({interval(recall)})."
        )
    return sentences


def _article(noun: str) -> str:
    return "an" if noun.startswith("l") else "a"


def _generations(run: Run) -> str:
    planned = run.settings.get("budget", {}).get("generations")
    images = f"{planned:,} images" if isinstance(planned, int) else "many images"
    if run.settings.get("budget", {}).get("rule") == "sequential":
        return f"up to {images} were made, each from its own noise, and no more than it took to decide"
    if run.settings.get("sampler", {}).get("kind") == "stored":
        return f"up to {images} were read"
    return f"{images} were made, each from its own noise"


def _clearest(findings: Sequence[Finding]) -> list[str]:
    for finding in findings:
        if finding.extracted and finding.match:
            copies = f"{finding.match['copies']:,} of its {finding.generated:,} images are copies of one training image"
            return [f"The clearest is “{tidy(finding.prompt, 60)}”: {copies}."]
    return []


def _false_alarms(others: int, extracted: int) -> list[str]:
    if not others or not extracted:
        return []
    if others == 1:
        return [
            "One more repeats a picture that is not that close to any training image: a candidate, not an extraction."
        ]
    return [
        f"{others:,} more repeat pictures that are not that close to any training image: candidates, not extractions."
    ]


def key_figures(run: Run) -> list[Figure]:
    failed = f"{len(run.failures):,} failed" if run.failures else "all sampled"
    left = run.prompts - run.done
    figures = [
        Figure(f"{run.done:,}", "prompts", f"{left:,} still to do" if left > 0 else failed),
        Figure(f"{run.generated:,}", "generations", _per_prompt(run)),
        Figure(f"{len(run.findings):,}", "candidates", f"prompts with a clique of {run.min_clique} or more"),
    ]
    extracted = extracted_prompts(run)
    if extracted is not None:
        note = f"{metric(run)} to a training image ≤ {run.match.get('delta', '')}"
        figures.append(Figure(f"{extracted:,}", "extracted", note))
    stage = judged(run)
    if stage:
        for name in ("precision", "recall"):
            figures.append(
                Figure(
                    proportion(stage[name]["value"]),
                    name,
                    f"{confidence(run)} interval {interval(stage[name])}",
                )
            )
    return figures


def _per_prompt(run: Run) -> str:
    told = run.settings.get("budget", {})
    if not told.get("generations"):
        return ""
    return f"{'up to ' if told.get('rule') == 'sequential' else ''}{told['generations']} a prompt"


def missed(run: Run) -> list[Row]:
    """Prompts whose image was planted often enough but that the judged stage does not report."""
    stage = "extracted" if "extracted" in (run.evaluation or {}).get("stages", {}) else "size"
    prompts = (run.evaluation or {}).get("prompts", [])
    wrong = [p for p in prompts if p["expected"] is True and (not p[stage] or p.get("right_image") is False)]
    return [{**p, "prompt": tidy(p["prompt"])} for p in wrong]


def cost(run: Run) -> dict[str, Any]:
    """Seconds a stage over all workers, and rates."""
    total = sum(run.seconds.values())
    sampling = run.seconds.get("sample", 0.0)
    rows = [
        {
            "name": STAGES.get(name, tidy(name)),
            "time": duration(s),
            "share": percent(s / total),
            "part": s / total,
        }
        for name, s in run.seconds.items()
        if total and (s or name != "screen")
    ]
    return {
        "rows": rows,
        "total": duration(total),
        "sampling_rate": rate(run.generated / sampling) if sampling else None,
        "rate": rate(run.generated / total) if total else None,
    }


def compared(run: Run, other: Run, album: Album) -> dict[str, Any]:
    """Another run: how its settings differ, how many of its candidates are extractions, and those that are not."""
    findings = findings_of(other, album, pictured=0)
    unproven = [f.rank for f in findings if not f.extracted]
    chosen = [_finding(other, other.findings[r - 1], r, {}, album, STRIP) for r in unproven[:COMPARED]]
    changed = differences(run.settings, other.settings)
    return {
        "changed": listed(changed),
        "prompts": other.done,
        "matched": other.matches is not None,
        "candidates": len(other.findings),
        "extracted": extracted_prompts(other),
        "findings": chosen,
        "all": findings,
        "more": len(unproven) - len(chosen),
        "min_clique": other.min_clique,
        "metric": metric(other),
        "delta": other.match.get("delta"),
    }
