"""The top of the page: the headline and the verdict in words."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TypedDict

from memcore.matching.metric import metric_label
from memcore.report.finding import Finding
from memcore.report.run import Run
from memcore.report.sections import evaluation
from memcore.report.subject import Subject
from memcore.report.wording import count, interval, proportion, tidy

ORDER = -30
LABEL = None


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
    """Return the result of the run in one line."""
    extracted = run.extracted_prompts
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
    sentences = [f"For each prompt, {_generations(run)}."]
    repeats = f"at least {run.min_clique} of these are nearly the same picture"
    if not run.findings:
        near = f"a {metric_label('tiled_l2')} of {run.threshold:g} or less between any two"
        return [*sentences, f"For no prompt {repeats}: {near}."]
    extracted = run.extracted_prompts
    first = f"For {count(len(run.findings), 'prompt')}, {repeats}"
    if extracted is None:
        sentences.append(
            f"{first}. They were not yet compared with a training set, so these are candidates and no proof."
        )
    else:
        sentences.append(f"{first}{_proximity(run, extracted)}.")
        sentences.extend(_clearest(findings))
        sentences.extend(_false_alarms(len(run.findings) - extracted, extracted))
    stage = evaluation.judged_stage(run.evaluation)
    if run.evaluation and stage:
        precision, recall = stage["precision"], stage["recall"]
        sentences.append(
            f"Against {evaluation.against(run.evaluation)}, precision is {proportion(precision['value'])} "
            f"({evaluation.confidence(run.evaluation)} interval {interval(precision)}) "
            f"and recall {proportion(recall['value'])} ({interval(recall)})."
        )
    return sentences


def _generations(run: Run) -> str:
    images = "many images" if run.budget.generations is None else f"{run.budget.generations:,} images"
    if run.budget.rule == "sequential":
        return f"up to {images} were made, each from its own noise, and no more than it took to decide"
    if run.sampler == "stored":
        return f"up to {images} were read"
    return f"{images} were made, each from its own noise"


def _proximity(run: Run, extracted: int) -> str:
    """Say how many of the repeated pictures are training images, after "these are nearly the same picture"."""
    metric = metric_label(run.distance)
    article = "an" if metric.startswith("l") else "a"
    delta = "" if run.delta is None else run.delta
    near = f"lies within {article} {metric} of {delta} of one of the {count(run.training_images, 'training image')}"
    if not extracted:
        return f", but none {near}"
    return f"; {'that picture' if extracted == len(run.findings) else f'for {extracted:,} of them that picture'} {near}"


def _clearest(findings: Sequence[Finding]) -> list[str]:
    for finding in findings:
        if finding.extracted and finding.match:
            copies = f"{finding.match.copies:,} of its {finding.generated:,} images are copies of one training image"
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
