"""An audit: generations are sampled or read, graphed and searched for cliques, shard by shard."""

from memcore.audit.run_audit import audit, filter_stored

__all__ = ["audit", "filter_stored"]
