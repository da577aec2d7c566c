"""What the pictures are drawn with: memories as bands, the largest on top, boxes in them, arrows.

What is read goes down, what is written goes up. All positions are in pixels of a drawing 888 wide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

WIDTH = 888
#: Of each memory its name, the colour of its band, and that of its edges.
MEMORIES = {
    "hbm": ("HBM", "#fde6d3", "#b4500f"),
    "l2": ("L2 cache", "#fbf3c8", "#8a6d00"),
    "shared": ("shared", "#d9e9fb", "#1f5fa6"),
    "registers": ("registers", "#e6def7", "#6338ad"),
}
INK, WRITTEN = "#1c2430", "#a3123a"
STYLE = f"""
text {{ font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: {INK}; }}
.title {{ font-size: 18px; font-weight: 600; }}
.memory {{ font-size: 14px; font-weight: 600; }}
.head {{ font-size: 14px; font-weight: 600; }}
.read {{ fill: none; stroke: {INK}; stroke-width: 1.8; marker-end: url(#read); }}
.written {{ fill: none; stroke: {WRITTEN}; stroke-width: 1.8; stroke-dasharray: 6 3; marker-end: url(#written); }}
"""
LINE = 17


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle in a band: where arrows may begin and end."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


class Picture:
    """One drawing. ``bands``: the heights of the four memories."""

    def __init__(self, title: str, example: str, description: str, bands: Sequence[int]) -> None:
        self.title, self.description = title, description
        self.band: dict[str, Box] = {}
        self.parts: list[str] = []
        self.arrows: list[str] = []
        y = 62.0
        self.text(14, 28, title, "title")
        self.text(14, 49, example)
        for (kind, (name, fill, edge)), height in zip(MEMORIES.items(), bands, strict=True):
            self.band[kind] = Box(10, y, WIDTH - 10, y + height)
            self._rectangle(self.band[kind], fill, "none", 8)
            self.parts.append(f'<rect x="10" y="{y:g}" width="6" height="{height}" rx="3" fill="{edge}"/>')
            self.text(26, y + height / 2 + 5, name, "memory")
            y += height + 8
        self.height = y + 32
        self._legend(y + 17)

    def _rectangle(self, box: Box, fill: str, edge: str, radius: int = 5) -> None:
        self.parts.append(
            f'<rect x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:g}" '
            f'height="{box.bottom - box.top:g}" rx="{radius}" fill="{fill}" stroke="{edge}"/>'
        )

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        kind = f' class="{style}"' if style else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{kind}>{escape(words)}</text>')

    def lines(self, x: float, y: float, words: str) -> None:
        for place, line in enumerate(words.split("\n")):
            self.text(x, y + place * LINE, line)

    def box(self, kind: str, place: tuple[float, float, float, float], words: str) -> Box:
        """``place``: left edge, width, depth below the band's upper edge, height. The first line of ``words`` names it."""
        x, width, depth, height = place
        top = self.band[kind].top + depth
        box = Box(x, top, x + width, top + height)
        self._rectangle(box, "#ffffff", MEMORIES[kind][2])
        for line, text in enumerate(words.split("\n")):
            self.text(x + 9, top + 19 + line * LINE, text, "" if line else "head")
        return box

    def cell(self, kind: str, box: Box, words: str = "", full: bool = True) -> None:
        """A part of a box, in the colour of its memory where it is ``full``."""
        self._rectangle(box, MEMORIES[kind][1] if full else "#ffffff", MEMORIES[kind][2], 2)
        if words:
            self.text(box.left + 6, box.middle + 5, words)

    def arrow(self, *points: tuple[float, float], written: bool = False) -> None:
        kind = "written" if written else "read"
        way = " L".join(f"{x:g} {y:g}" for x, y in points)
        self.arrows.append(f'<path class="{kind}" d="M{way}"/>')

    def strips(self, x: float, y: float, rows: int, chosen: int) -> None:
        """Images as rows of 16 tiles, one of them chosen."""
        for row in range(rows):
            for tile in range(16):
                fill = MEMORIES["hbm"][2] if tile == chosen else MEMORIES["hbm"][1]
                left, top = x + tile * 8, y + row * 9
                self._rectangle(Box(left, top, left + 7, top + 7), fill, "none", 1)

    def _legend(self, y: float) -> None:
        x = 14
        for name, fill, edge in MEMORIES.values():
            self._rectangle(Box(x, y - 11, x + 16, y + 3), fill, edge, 3)
            self.text(x + 23, y + 1, name)
            x += 112
        self.arrow((x + 20, y - 4), (x + 62, y - 4))
        self.text(x + 72, y + 1, "read, passed on")
        self.arrow((x + 210, y - 4), (x + 252, y - 4), written=True)
        self.text(x + 262, y + 1, "written")

    def svg(self) -> str:
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
            for name, colour in (("read", INK), ("written", WRITTEN))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" width="{WIDTH}" '
            f'height="{self.height:g}" role="img" aria-labelledby="title desc">\n'
            f'<title id="title">{escape(self.title)}</title>\n<desc id="desc">{escape(self.description)}</desc>\n'
            f"<style>{STYLE}</style>\n<defs>{heads}</defs>\n"
            f'<rect width="{WIDTH}" height="{self.height:g}" rx="10" fill="#ffffff" stroke="#d4d9e0"/>\n'
            + "\n".join(self.parts + self.arrows)
            + "\n</svg>\n"
        )
