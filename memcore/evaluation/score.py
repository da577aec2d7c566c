"""Compute precision and recall of a run against what is expected of its prompts, with exact intervals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from memcore.errors import MissingExtraError
from memcore.evaluation.result import (
    FORMAT,
    CopiesGroup,
    CurvePoint,
    EvaluatedPrompt,
    Evaluation,
    Proportion,
    RankedPrompt,
    Stage,
    StageCounts,
)
from memcore.evaluation.truth import Expectation, Expected
from memcore.graphs.findings import rank
from memcore.runs.rows import FindingRow, MatchRow

CONFIDENCE = 0.95
#: Most prompts without a result that an evaluation lists; of more it lists none.
LISTED = 10_000


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact binomial confidence interval of a proportion.

    The quantiles are those of the beta distribution: to the last bit, and five times as fast as the root search of
    ``scipy.stats.binomtest``, which a sweep would feel.

    >>> tuple(round(v, 4) for v in clopper_pearson(10, 10))
    (0.6915, 1.0)
    """
    if trials == 0:
        return 0.0, 1.0
    try:
        from scipy.stats import beta
    except ImportError:
        raise MissingExtraError("scipy", "audit", "Confidence intervals") from None
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    return low, high


def evaluate(
    findings: Iterable[FindingRow], matches: Sequence[MatchRow] | None, truth: Iterable[Expectation]
) -> Evaluation:
    """Return the content of evaluation.json.

    ``findings`` and ``matches`` are the run's rows, ``truth`` one entry a prompt. A prompt whose ``expected`` is null is
    in between (some copies, maybe too few): it is shown, and counted neither as right nor as wrong. Two stages are
    scored: "candidates", prompts with a clique, and "extracted", those whose clique also matches a training image.
    A match with another image than those planted under that prompt is wrong. ``findings`` and ``truth`` are read once; of
    more than 10,000 prompts that are neither expected nor found, "prompts" lists none: they are only counted.

    Source: Carlini et al. 2023, section 4.2.2: precision-recall over the ranking by mean distance.
    """
    best = _best_matches(matches or [])
    expected: Counter[Expected] = Counter()
    groups: dict[int, _Group] = {}
    prompts: list[EvaluatedPrompt] = []
    quiet = 0
    for row, entry in zip(findings, truth, strict=True):
        prompt = _evaluate_prompt(row, entry, best.get(row["prompt_id"]))
        expected[prompt["expected"]] += 1
        groups.setdefault(prompt["copies"], _Group()).add(prompt)
        quiet += _is_quiet(prompt)
        if quiet <= LISTED or not _is_quiet(prompt):
            prompts.append(prompt)
    if quiet > LISTED:
        prompts = [p for p in prompts if not _is_quiet(p)]
    stages = {"candidates": score(prompts, [p["mean_distance"] is not None for p in prompts])}
    if matches is not None:
        stages["extracted"] = score(prompts, [p["extracted"] for p in prompts])
    return {
        "format": FORMAT,
        "against": "truth",
        "confidence": CONFIDENCE,
        "positives": expected[True],
        "negatives": expected[False],
        "ignored": expected[None],
        "stages": stages,
        "prompts": prompts,
        "not_listed": quiet if quiet > LISTED else 0,
        "by_copies": [groups[copies].summary(copies) for copies in sorted(groups)],
    }


def _evaluate_prompt(row: FindingRow, entry: Expectation, match: MatchRow | None) -> EvaluatedPrompt:
    planted = entry.get("training_images")
    extracted = bool(match and match["extracted"])
    generated = int(row["generated"])
    copies = int(match["copies"]) if match and extracted else 0
    return {
        "prompt_id": int(row["prompt_id"]),
        "prompt": str(row["prompt"]),
        "kind": str(entry.get("kind", "")),
        "copies": int(entry["copies"]),
        "expected": entry["expected"],
        "size": int(row["size"]),
        "generated": generated,
        "share": copies / generated if generated else 0.0,
        "mean_distance": row["mean_distance"],
        "extracted": extracted,
        "right_image": not planted or match is None or int(match["training_index"]) in planted,
        "l2": float(match["l2"]) if match else None,
        "tiled_l2": float(match["tiled_l2"]) if match else None,
    }


def _is_quiet(prompt: EvaluatedPrompt) -> bool:
    """Return whether a prompt must not be found and was not found: it counts, but is not shown."""
    return prompt["expected"] is not True and prompt["mean_distance"] is None and not prompt["extracted"]


@dataclasses.dataclass
class _Group:
    """Prompts whose images were planted equally often."""

    prompts: int = 0
    found: int = 0
    shares: float = 0.0

    def add(self, prompt: EvaluatedPrompt) -> None:
        self.prompts += 1
        self.found += prompt["extracted"]
        self.shares += prompt["share"]

    def summary(self, copies: int) -> CopiesGroup:
        mean_share = self.shares / self.prompts
        return {"copies": copies, "prompts": self.prompts, "found": self.found, "mean_share": mean_share}


def _best_matches(matches: Sequence[MatchRow]) -> dict[int, MatchRow]:
    """Return each prompt's strongest match: an extracted one before others, then the largest clique."""
    best: dict[int, MatchRow] = {}
    for match in sorted(matches, key=lambda m: (not m["extracted"], m["clique"])):
        best.setdefault(match["prompt_id"], match)
    return best


def score(prompts: Sequence[RankedPrompt], reported: Sequence[bool]) -> Stage:
    """Return counts, intervals and the curve of one stage; ``reported`` marks the prompts that it calls memorised."""
    counts, curve = _count(prompts, reported)
    return {**counts, "curve": curve}


def count_ranked(prompts: Sequence[RankedPrompt]) -> StageCounts:
    """Return counts and intervals of the stage that reports every prompt with a mean distance."""
    return _count(prompts, [p["mean_distance"] is not None for p in prompts])[0]


def _count(prompts: Sequence[RankedPrompt], reported: Sequence[bool]) -> tuple[StageCounts, list[CurvePoint]]:
    scored = [(p, s) for p, s in zip(prompts, reported, strict=True) if p["expected"] is not None]
    order = rank([p["mean_distance"] if s else None for p, s in scored], [p["prompt_id"] for p, _ in scored])
    positives = sum(bool(p["expected"]) for p, _ in scored)
    true_positives = false_positives = 0
    curve: list[CurvePoint] = []
    average, at_zero = 0.0, 0
    for i in order:
        prompt = scored[i][0]
        correct = bool(prompt["expected"]) and bool(prompt["right_image"])
        true_positives += correct
        false_positives += not correct
        precision = true_positives / (true_positives + false_positives)
        average += precision if correct else 0.0
        if not false_positives:
            at_zero = true_positives
        curve.append(
            {
                "prompt_id": prompt["prompt_id"],
                "score": prompt["mean_distance"],
                "correct": correct,
                "precision": precision,
                "recall": true_positives / positives if positives else 0.0,
            }
        )
    counts: StageCounts = {
        "tp": true_positives,
        "fp": false_positives,
        "fn": positives - true_positives,
        "precision": _proportion(true_positives, true_positives + false_positives),
        "recall": _proportion(true_positives, positives),
        "average_precision": average / positives if positives else 0.0,
        "recall_at_zero_fp": at_zero / positives if positives else 0.0,
    }
    return counts, curve


def _proportion(successes: int, trials: int) -> Proportion:
    low, high = clopper_pearson(successes, trials)
    return {"value": successes / trials if trials else None, "low": low, "high": high}
