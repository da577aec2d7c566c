"""The names of table columns and JSON keys that hold a text about an image."""

from __future__ import annotations

#: The first that exists counts.
NAMES = ("prompt", "caption", "text")
