"""Precision and recall of a run against planted truth, with exact intervals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memcore.errors import ConfigError, MissingExtraError
from memcore.graphs.findings import rank

FORMAT = 1
CONFIDENCE = 0.95
#: Prompts with nothing to show that an evaluation lists; of more it lists none.
LISTED = 10_000
KIND_FIELDS = ("prompt", "copies", "expected")


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact binomial confidence interval of a proportion.

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


def check_truth(truth: Any, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """The truth's entry of each prompt of the run, in order; ConfigError if one is missing or malformed."""
    if (
        not isinstance(truth, dict)
        or truth.get("format") != FORMAT
        or not isinstance(truth.get("prompts"), list)
    ):
        raise ConfigError(f'truth must be JSON with "format": {FORMAT} and a list "prompts"')
    by_prompt: dict[str, dict[str, Any]] = {}
    for entry in truth["prompts"]:
        missing = [name for name in KIND_FIELDS if name not in entry]
        if missing:
            raise ConfigError(f"truth has an entry without {missing[0]!r}: {entry}")
        if entry["expected"] not in (True, False, None):
            raise ConfigError(f"truth: expected must be true, false or null, got {entry['expected']!r}")
        by_prompt[entry["prompt"]] = entry
    absent = [p for p in prompts if p not in by_prompt]
    if absent:
        raise ConfigError(
            f"truth says nothing of {len(absent)} of the run's prompts, the first is {absent[0]!r}"
        )
    return [by_prompt[p] for p in prompts]


def evaluate(
    findings: Iterable[Mapping[str, Any]],
    matches: Sequence[Mapping[str, Any]] | None,
    truth: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of evaluation.json.

    ``findings`` and ``matches`` are the run's rows, ``truth`` one entry a prompt. A prompt whose ``expected`` is null is
    in between (some copies, maybe too few): it is shown, and counted neither as right nor as wrong. Two stages are
    scored: "candidates", prompts with a clique, and "extracted", those whose clique also matches a training image.
    A match with another image than those planted under that prompt is wrong. ``findings`` and ``truth`` are gone through
    once; of more than 10,000 prompts that are neither expected nor found, "prompts" lists none: they are only counted.

    Source: Carlini et al. 2023, section 4.2.2: precision-recall over the ranking by mean distance.
    """
    best = _best_matches(matches or [])
    expected: Counter[bool | None] = Counter()
    groups: dict[int, _Group] = {}
    prompts, quiet = [], 0
    for row, entry in zip(findings, truth, strict=True):
        prompt = _prompt(row, entry, best.get(int(row["prompt_id"])))
        expected[prompt["expected"]] += 1
        groups.setdefault(prompt["copies"], _Group()).add(prompt)
        quiet += _quiet(prompt)
        if quiet <= LISTED or not _quiet(prompt):
            prompts.append(prompt)
    if quiet > LISTED:
        prompts = [p for p in prompts if not _quiet(p)]
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
        "by_copies": [{"copies": copies, **groups[copies].told()} for copies in sorted(groups)],
    }


def _prompt(
    row: Mapping[str, Any], entry: Mapping[str, Any], match: Mapping[str, Any] | None
) -> dict[str, Any]:
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


def _quiet(prompt: Mapping[str, Any]) -> bool:
    """Neither to be found nor found: it counts, and there is nothing to show of it."""
    return prompt["expected"] is not True and prompt["mean_distance"] is None and not prompt["extracted"]


@dataclasses.dataclass
class _Group:
    """Prompts with as many planted copies."""

    prompts: int = 0
    found: int = 0
    shares: float = 0.0

    def add(self, prompt: Mapping[str, Any]) -> None:
        self.prompts += 1
        self.found += bool(prompt["extracted"])
        self.shares += float(prompt["share"])

    def told(self) -> dict[str, Any]:
        return {"prompts": self.prompts, "found": self.found, "mean_share": self.shares / self.prompts}


def _best_matches(matches: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Each prompt's strongest match: an extracted one before others, then the largest clique."""
    best: dict[int, Mapping[str, Any]] = {}
    for match in sorted(matches, key=lambda m: (not m["extracted"], int(m["clique"]))):
        best.setdefault(int(match["prompt_id"]), match)
    return best


def score(prompts: Sequence[Mapping[str, Any]], said: Sequence[bool]) -> dict[str, Any]:
    """Counts, intervals and the curve of one stage; ``said`` marks the prompts that it calls memorised.

    Each prompt has prompt_id, expected (None: not counted), right_image, and mean_distance, by which it is ranked.
    """
    scored = [(p, s) for p, s in zip(prompts, said, strict=True) if p["expected"] is not None]
    order = rank([p["mean_distance"] if s else None for p, s in scored], [p["prompt_id"] for p, _ in scored])
    positives = sum(bool(p["expected"]) for p, _ in scored)
    true_positives = false_positives = 0
    curve, average, at_zero = [], 0.0, 0
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
    return {
        "tp": true_positives,
        "fp": false_positives,
        "fn": positives - true_positives,
        "precision": _proportion(true_positives, true_positives + false_positives),
        "recall": _proportion(true_positives, positives),
        "average_precision": average / positives if positives else 0.0,
        "recall_at_zero_fp": at_zero / positives if positives else 0.0,
        "curve": curve,
    }


def _proportion(successes: int, trials: int) -> dict[str, float | None]:
    low, high = clopper_pearson(successes, trials)
    return {"value": successes / trials if trials else None, "low": low, "high": high}
