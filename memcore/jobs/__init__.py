"""Runs: a configuration, its shards, the folder that they are written to, and what launches them."""
