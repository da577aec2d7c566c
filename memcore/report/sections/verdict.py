"""The top of the page: the headline and the verdict in words."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TypedDict

from memcore.matching.metric import metric_label
from memcore.report.evaluation_json import compared_with, is_planted
from memcore.report.finding import Finding
from memcore.report.run import Run
from memcore.report.sections import evaluation
from memcore.report.subject import Subject
from memcore.report.wording import count, interval, percent, proportion, tidy
from memcore.runs.completeness import Gap

ORDER = -30
LABEL = None
#: Gaps that the headline names.
GAPS = 3


class Verdict(TypedDict):
    """What the template shows."""

    origin: str
    headline: str
    sentences: list[str]


def context(subject: Subject) -> Verdict:
    """Return the headline and the sentences below it."""
    run = subject.run
    return {
        "origin": _origin(run),
        "headline": headline(run),
        "sentences": _sentences(run, subject.findings),
    }


def headline(run: Run) -> str:
    """Return the result of the run in one line; what was not decided is a part of it."""
    if not run.done:
        return "No prompt is finished yet"
    extracted, gaps = run.extracted_prompts, run.completeness.gaps
    found = len(run.findings) if extracted is None else extracted
    if not found:
        return f"Not decided: {_listed(gaps)}" if gaps else _none_of(run)
    of = f"of {count(run.done, 'prompt')}"
    if extracted:
        result = f"{extracted:,} {of} {'reproduces' if extracted == 1 else 'reproduce'} training images"
    else:
        result = (
            f"{found:,} {of} {'repeats one picture' if found == 1 else 'repeat one picture'} again and again"
        )
    return f"At least {result}. Not decided: {_listed(gaps)}" if gaps else result


def _none_of(run: Run) -> str:
    """Say that nothing was found, and at which miss rate."""
    out, budget = run.completeness.screened, run.budget
    of = count(run.done - out, "sampled prompt" if out else "prompt")
    result = (
        "reproduces a training image" if run.extracted_prompts == 0 and run.findings else "repeats a picture"
    )
    rate = f", at a stated miss rate of {percent(budget.miss_rate)}" if budget.rule == "sequential" else ""
    unknown = f"; {out:,} {'was' if out == 1 else 'were'} screened out, at no stated miss rate" if out else ""
    return f"None of {of} {result}{rate}{unknown}"


def _listed(gaps: Sequence[Gap]) -> str:
    """Return the first gaps in words; a list below the headline has all of them."""
    more = f"; and {len(gaps) - GAPS:,} more below" if len(gaps) > GAPS else ""
    return "; ".join(gap.what for gap in gaps[:GAPS]) + more


def _origin(run: Run) -> str:
    """Say what was audited and when, in one line."""
    try:
        date = datetime.datetime.fromisoformat(run.created).date()
        started = f"started {date.day} {date:%B %Y}"
    except ValueError:
        started = run.created
    parts = (run.pipeline, started, f"run {run.digest[:12]}")
    return " · ".join(tidy(part) for part in parts if part)


def _sentences(run: Run, findings: Sequence[Finding]) -> list[str]:
    """Return the paragraph below the headline, sentence by sentence."""
    if not run.done:
        return [
            "The run has started, but none of its shards is complete. Run the same memcore command again to resume it."
        ]
    sentences = [_generations(run), *_given(run)]
    repeats = f"at least {run.min_clique} of these are nearly the same picture"
    undecided = run.completeness.undecided
    if not run.findings:
        near = f"a {metric_label('tiled_l2')} of {run.threshold:g} or less between any two"
        decided = run.completeness.prompts - undecided - run.completeness.screened
        were = "was" if decided == 1 else "were"
        no = (
            f"For none of the {count(decided, 'prompt')} that {were} decided"
            if undecided
            else "For no prompt"
        )
        return [*sentences, f"{no}, {repeats}: {near}."] if decided else sentences
    extracted = run.extracted_prompts
    first = f"For {count(len(run.findings), 'prompt')}, {repeats}"
    if extracted is None:
        sentences.append(
            f"{first}. They were not yet compared with a training set, so these are candidates and no proof."
        )
    else:
        sentences.append(f"{first}{_proximity(run, extracted)}.")
        sentences.extend(_clearest(findings))
        sentences.extend(_false_alarms(len(run.findings) - extracted, extracted, bool(run.not_compared)))
    sentences.extend(_accuracy(run))
    return sentences


def _given(run: Run) -> list[str]:
    """Say what a given image explains."""
    if not run.has_given_images:
        return []
    one = run.given_near == 1
    near = f"{count(run.given_near, 'generation')} within {run.threshold:g} of it {'is' if one else 'are'} left out"
    return [
        "Each was made from a given image, which it may resemble without any memorisation: "
        f"{near if run.given_near else f'none is within {run.threshold:g} of it'}, and the given image and its distance "
        "stand beside each finding.",
        *_given_training(run),
    ]


def _given_training(run: Run) -> list[str]:
    given = run.match.get("given", 0) if run.match is not None else 0
    if not given:
        return []
    return [
        f"{count(given, 'match', 'matches')} {'is' if given == 1 else 'are'} no extraction although close to a training "
        "image, since that image was given."
    ]


def _accuracy(run: Run) -> list[str]:
    """Say what the evaluation says: recall only of what was planted."""
    stage = evaluation.judged_stage(run.evaluation)
    if run.evaluation is None or stage is None:
        return []
    if not is_planted(run.evaluation):
        return [evaluation.counted(run.evaluation)] if compared_with(run.evaluation) == "annotations" else []
    precision, recall = stage["precision"], stage["recall"]
    return [
        f"Against {evaluation.against(run.evaluation)}, precision is {proportion(precision['value'])} "
        f"({evaluation.confidence(run.evaluation)} interval {interval(precision)}) "
        f"and recall {proportion(recall['value'])} ({interval(recall)})."
    ]


def _generations(run: Run) -> str:
    """Say how many images were made or read, and of which prompts."""
    with_images = run.done - len(run.failures) - run.completeness.screened
    if run.sampler == "stored":
        return f"In all, {count(run.generated, 'image')} of {count(with_images, 'prompt')} were read."
    some = with_images < run.prompts
    were = "was" if with_images == 1 else "were"
    who = f"For each of the {count(with_images, 'prompt')} that {were} sampled" if some else "For each prompt"
    images = "many images" if run.budget.generations is None else f"{run.budget.generations:,} images"
    if run.budget.rule == "sequential":
        return (
            f"{who}, up to {images} were made, each from its own noise, and no more than it took to decide."
        )
    most = "up to " if any(gap.code == "short" for gap in run.completeness.gaps) else ""
    return f"{who}, {most}{images} were made, each from its own noise."


def _proximity(run: Run, extracted: int) -> str:
    """Say how many of the repeated pictures are training images, after "these are nearly the same picture"."""
    metric = metric_label(run.distance)
    article = "an" if metric.startswith("l") else "a"
    delta = "" if run.delta is None else run.delta
    were = "was" if run.training_images == 1 else "were"
    compared = f" that {were} compared" if run.not_compared else ""
    training = f"{count(run.training_images, 'training image')}{compared}"
    near = f"lies within {article} {metric} of {delta} of one of the {training}"
    if not extracted:
        return f", but none {near}"
    return f"; {'that picture' if extracted == len(run.findings) else f'for {extracted:,} of them that picture'} {near}"


def _clearest(findings: Sequence[Finding]) -> list[str]:
    for finding in findings:
        if finding.extracted and finding.match:
            copies = f"{finding.match.copies:,} of its {finding.generated:,} images are copies of one training image"
            return [f"The clearest is “{tidy(finding.prompt, 60)}”: {copies}."]
    return []


def _false_alarms(others: int, extracted: int, partial: bool) -> list[str]:
    if not others or not extracted:
        return []
    image = "training image that was compared" if partial else "training image"
    if others == 1:
        return [
            f"One more repeats a picture that is not that close to any {image}: a candidate, not an extraction."
        ]
    return [
        f"{others:,} more repeat pictures that are not that close to any {image}: candidates, not extractions."
    ]
