"""Training of a small model, which can be killed at any step."""
