"""What columns of tables and names in JSON are called that hold a text about an image."""

from __future__ import annotations

#: The first that is there counts.
NAMES = ("prompt", "caption", "text")
