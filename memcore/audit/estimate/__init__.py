"""Estimate what a run will cost, from a few seconds of its own work on this machine."""

from memcore.audit.estimate.cost import MEMORISED, RAY_START_SECONDS, Plan, estimate, shard_count
from memcore.audit.estimate.measure import Measured, measure

__all__ = ["MEMORISED", "RAY_START_SECONDS", "Measured", "Plan", "estimate", "measure", "shard_count"]
