"""Moved to ``memcore.audit``, ``memcore.evaluation`` and ``memcore.runs``."""

from memcore.audit import audit, filter_stored
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.runs.summary import summary

__all__ = ["audit", "evaluate_run", "filter_stored", "summary"]
