"""An audit: sample or read generations, build their graphs and search these for cliques, shard by shard."""

from memcore.audit.run_audit import audit, filter_stored

__all__ = ["audit", "filter_stored"]
