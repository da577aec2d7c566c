"""An audit: generations are sampled or read, graphed and searched for cliques, shard by shard."""
