"""Import paths of earlier versions; docs/architecture.md has the table from old to new paths."""
